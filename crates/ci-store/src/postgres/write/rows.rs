//! How rows travel: as one array per column, or, when they are many and new, by COPY in its text format.

use std::fmt::Write as _;

use ci_model::{CiRecord, Timestamp, json};
use sqlx::PgConnection;

use crate::write::Failure;
use crate::write::cis::{self, Change};

const COPY: &str = "\
    COPY ci (ci_id, tenant_id, ci_code, ci_name, ci_type, ci_subtype, ci_category, status, criticality, location, \
    owner, created_at, updated_at, deleted_at) FROM STDIN";
const COPY_EXT: &str = "COPY ci_ext (ci_id, tags, attributes, updated_at) FROM STDIN";
/// Bytes that are sent at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// Runs a statement over the columns of `ci`.
pub(super) async fn write(
    connection: &mut PgConnection,
    statement: &'static str,
    changes: &[Change<'_>],
    created_at: impl Fn(&CiRecord) -> Option<Timestamp>,
    at: Timestamp,
) -> sqlx::Result<()> {
    let texts = |of: fn(&CiRecord) -> Option<&str>| -> Vec<Option<String>> {
        changes
            .iter()
            .map(|(_, record)| of(record).map(str::to_owned))
            .collect()
    };
    let moments = |of: &dyn Fn(&CiRecord) -> Option<Timestamp>| -> Vec<Option<String>> {
        changes
            .iter()
            .map(|(_, record)| of(record).map(|moment| moment.to_string()))
            .collect()
    };
    let criticality = changes
        .iter()
        .map(|(_, record)| record.criticality.map(|c| i16::from(c.get())));
    sqlx::query(statement)
        .bind(changes.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
        .bind(texts(|record| Some(record.tenant.as_str())))
        .bind(texts(|record| Some(record.code.as_str())))
        .bind(texts(|record| Some(&record.name)))
        .bind(texts(|record| Some(&record.ci_type)))
        .bind(texts(|record| record.subtype.as_deref()))
        .bind(texts(|record| record.category.as_deref()))
        .bind(texts(|record| record.status.as_deref()))
        .bind(criticality.collect::<Vec<_>>())
        .bind(texts(|record| record.location.as_deref()))
        .bind(texts(|record| record.owner.as_deref()))
        .bind(moments(&created_at))
        .bind(moments(&|record| Some(cis::moments(record, at).1)))
        .bind(moments(&|record| record.deleted_at))
        .execute(connection)
        .await?;
    Ok(())
}

/// Runs a statement over the columns of `ci_ext`.
pub(super) async fn write_documents(
    connection: &mut PgConnection,
    statement: &'static str,
    changes: &[Change<'_>],
    at: Timestamp,
) -> sqlx::Result<()> {
    let texts = |of: &dyn Fn(&CiRecord) -> String| -> Vec<String> {
        changes.iter().map(|(_, record)| of(record)).collect()
    };
    sqlx::query(statement)
        .bind(changes.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
        .bind(texts(&|record| json::to_text(&record.tags)))
        .bind(texts(&|record| json::to_text(&record.attributes)))
        .bind(texts(&|record| cis::moments(record, at).1.to_string()))
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds rows that are known not to be there.
///
/// # Errors
/// A clash when another program has added one of them since; the transaction is then of no use any more.
pub(super) async fn copy_all(
    connection: &mut PgConnection,
    changes: &[Change<'_>],
    at: Timestamp,
) -> Result<(), Failure> {
    copy(connection, COPY, changes, |line, change| ci(line, change, at)).await?;
    copy(connection, COPY_EXT, changes, |line, change| {
        ext(line, change, at);
    })
    .await
}

async fn copy(
    connection: &mut PgConnection,
    statement: &'static str,
    changes: &[Change<'_>],
    mut write: impl FnMut(&mut Line, &Change<'_>),
) -> Result<(), Failure> {
    let mut sink = connection.copy_in_raw(statement).await?;
    let mut line = Line(String::with_capacity(CHUNK_BYTES + 4_096));
    for change in changes {
        write(&mut line, change);
        line.end();
        if line.0.len() >= CHUNK_BYTES {
            sink.send(line.0.as_bytes()).await?;
            line.0.clear();
        }
    }
    sink.send(line.0.as_bytes()).await?;
    sink.finish().await?;
    Ok(())
}

fn ci(line: &mut Line, (id, record): &Change<'_>, at: Timestamp) {
    let (created_at, updated_at) = cis::moments(record, at);
    line.plain(id);
    line.text(Some(record.tenant.as_str()));
    line.text(Some(record.code.as_str()));
    line.text(Some(&record.name));
    line.text(Some(&record.ci_type));
    for text in [&record.subtype, &record.category, &record.status] {
        line.text(text.as_deref());
    }
    line.text(record.criticality.map(|c| c.get().to_string()).as_deref());
    for text in [&record.location, &record.owner] {
        line.text(text.as_deref());
    }
    line.plain(created_at.unwrap_or(at));
    line.plain(updated_at);
    line.text(record.deleted_at.map(|moment| moment.to_string()).as_deref());
}

fn ext(line: &mut Line, (id, record): &Change<'_>, at: Timestamp) {
    line.plain(id);
    line.text(Some(&json::to_text(&record.tags)));
    line.text(Some(&json::to_text(&record.attributes)));
    line.plain(cis::moments(record, at).1);
}

/// Rows in COPY's text format: columns end with a tab, rows with a line feed.
struct Line(String);

impl Line {
    /// A value whose text has nothing to escape.
    fn plain(&mut self, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{value}\t");
    }

    /// A text, or nothing.
    fn text(&mut self, text: Option<&str>) {
        match text {
            None => self.0.push_str("\\N"),
            Some(text) => self.escape(text),
        }
        self.0.push('\t');
    }

    fn escape(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(['\\', '\t', '\n', '\r']) {
            self.0.push_str(&rest[..at]);
            self.0.push_str(match rest.as_bytes()[at] {
                b'\\' => "\\\\",
                b'\t' => "\\t",
                b'\n' => "\\n",
                _ => "\\r",
            });
            rest = &rest[at + 1..];
        }
        self.0.push_str(rest);
    }

    /// Ends the row: its last column ends with the row instead of a tab.
    fn end(&mut self) {
        self.0.pop();
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_separates_is_escaped_and_nothing_is_not_a_text() {
        let mut line = Line(String::new());
        line.plain(7);
        line.text(Some("a\tb\\N\r\né\u{8}"));
        line.text(None);
        line.text(Some(""));
        line.end();
        assert_eq!(line.0, "7\ta\\tb\\\\N\\r\\né\u{8}\t\\N\t\n");
    }
}
