//! What records changes: a table and triggers.

use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::Result;
use crate::schema::KEYS_KEY;

/// Every trigger of ours, by name, in the order of names.
pub(super) const EXPECTED: &str = "\
    ci_change_delete ci_change_displace ci_change_ext_delete ci_change_ext_displace ci_change_ext_insert \
    ci_change_ext_move ci_change_ext_supplant ci_change_ext_update ci_change_insert ci_change_move \
    ci_change_relation_delete ci_change_relation_displace ci_change_relation_insert ci_change_relation_move \
    ci_change_relation_supplant ci_change_relation_update ci_change_supplant ci_change_update";
/// The unique indexes that there are, as one text. REPLACE displaces by each of them, so triggers that were made for others miss
/// rows. The number is that of what the triggers make of them.
const KEYS: &str = "\
    SELECT '1 ' || coalesce(group_concat(k.part, ' '), '') FROM (\
        SELECT t.name || '.' || i.name || '.' || coalesce(x.name, '') || '.' || x.coll AS part \
        FROM (SELECT 'ci' AS name UNION ALL SELECT 'ci_ext' UNION ALL SELECT 'ci_relation') AS t \
        CROSS JOIN pragma_index_list(t.name) AS i CROSS JOIN pragma_index_xinfo(i.name) AS x \
        WHERE i.\"unique\" = 1 AND x.key = 1 ORDER BY t.name, i.name, x.seqno) AS k";

/// The triggers that there are, in the form of [`EXPECTED`]; one word more when they were made for other unique indexes. A trigger on
/// a table that was dropped is dropped with it.
pub(super) fn found() -> String {
    format!(
        "SELECT coalesce(group_concat(t.name, ' '), '') || \
         CASE WHEN (SELECT value FROM ci_meta WHERE key = '{KEYS_KEY}') IS ({KEYS}) THEN '' ELSE ' keys' END \
         FROM (SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB 'ci_change_*' \
         AND tbl_name IN ('ci', 'ci_ext', 'ci_relation') ORDER BY name) AS t"
    )
}

/// A unique index, then its columns each with its collation; no name for an expression.
const UNIQUE: &str = "\
    SELECT i.name, x.name, x.coll FROM pragma_index_list($1) AS i JOIN pragma_index_xinfo(i.name) AS x \
    WHERE i.\"unique\" = 1 AND x.key = 1 ORDER BY i.name, x.seqno";

/// Columns of `ci` that an image has, in its order.
const TEXTS: [&str; 8] = [
    "ci_code",
    "ci_name",
    "ci_type",
    "ci_subtype",
    "ci_category",
    "status",
    "location",
    "owner",
];
/// Those whose values may be of another type.
const OTHERS: [&str; 3] = ["criticality", "created_at", "updated_at"];
/// Of a CI without a row in `ci_ext`.
const NO_DOCUMENTS: &str = r#"'["{}","{}"]'"#;
/// Documents longer than this together are not told.
const DOCUMENT_BYTES: u32 = 8_192;

/// Makes everything, or makes it again.
pub(super) async fn apply(connection: &mut SqliteConnection) -> Result<()> {
    let mut script = script();
    for (word, table, alias) in [
        ("CI", "ci", "c"),
        ("EXT", "ci_ext", "e"),
        ("RELATION", "ci_relation", "r"),
    ] {
        let mut keys = unique_keys(connection, table).await?;
        keys.extend(rowid(connection, table).await?);
        script = script
            .replace(&format!("@CONFLICT_{word}@"), &conflict(&keys, alias))
            .replace(
                &format!("@KEYS_{word}_DIFFER@"),
                &differs(keys.iter().flatten().map(|(name, _)| name.as_str())),
            );
    }
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(&mut *connection)
        .await?;
    let record = format!("INSERT OR REPLACE INTO ci_meta (key, value) VALUES ('{KEYS_KEY}', ({KEYS}))");
    sqlx::query(AssertSqlSafe(record)).execute(connection).await?;
    Ok(())
}

/// Tells whether changes are recorded.
pub(super) async fn is_whole(connection: &mut SqliteConnection) -> Result<bool> {
    let found: String = sqlx::query_scalar(AssertSqlSafe(found()))
        .fetch_one(connection)
        .await?;
    Ok(found == EXPECTED)
}

type Key = Vec<(String, String)>;

/// The unique indexes of a table, by columns and collations. Those over expressions are passed over.
async fn unique_keys(connection: &mut SqliteConnection, table: &str) -> Result<Vec<Key>> {
    let rows: Vec<(String, Option<String>, String)> = sqlx::query_as(UNIQUE)
        .bind(table.to_owned())
        .fetch_all(connection)
        .await?;
    let mut keys: Vec<(String, Option<Key>)> = Vec::new();
    for (index, column, collation) in rows {
        if keys.last().is_none_or(|(name, _)| *name != index) {
            keys.push((index, Some(Key::new())));
        }
        if let Some((_, key)) = keys.last_mut() {
            *key = key.take().zip(column).map(|(mut key, column)| {
                key.push((column, collation));
                key
            });
        }
    }
    Ok(keys.into_iter().filter_map(|(_, key)| key).collect())
}

/// The number that a table's rows have beside their keys, if they have one: no index lists it, and REPLACE displaces by it, too. Where
/// an insert gives none, a trigger before it sees -1.
async fn rowid(connection: &mut SqliteConnection, table: &str) -> Result<Option<Key>> {
    const WITHOUT: &str = "SELECT coalesce(max(wr), 0) FROM pragma_table_list($1) WHERE schema = 'main'";
    let without: i64 = sqlx::query_scalar(WITHOUT)
        .bind(table.to_owned())
        .fetch_one(connection)
        .await?;
    Ok((without == 0).then(|| vec![("rowid".to_owned(), "BINARY".to_owned())]))
}

/// Whether a row of `alias` has a key of the new row.
fn conflict(keys: &[Key], alias: &str) -> String {
    let one = |key: &Key| {
        let columns = key.iter().map(|(name, collation)| {
            let name = quoted(name);
            format!("{alias}.{name} = NEW.{name} COLLATE {}", quoted(collation))
        });
        format!("({})", columns.collect::<Vec<_>>().join(" AND "))
    };
    let all: Vec<String> = keys.iter().map(one).collect();
    if all.is_empty() {
        "0".to_owned()
    } else {
        all.join(" OR ")
    }
}

/// Whether the old and the new row differ in a column, byte by byte: a column may have a collation that knows no case.
fn differs<'a>(columns: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<String> = columns
        .map(quoted)
        .map(|name| format!("OLD.{name} COLLATE BINARY IS NOT NEW.{name}"))
        .collect();
    if all.is_empty() {
        "0".to_owned()
    } else {
        all.join(" OR ")
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn script() -> String {
    let columns = TEXTS.into_iter().chain(OTHERS).chain(["deleted_at"]);
    let mut script = include_str!("../../schema/sqlite_feed.sql").replace("@CI_DIFFERS@", &differs(columns));
    for (word, row, documents) in [
        ("NEW", "NEW", documents_of("NEW")),
        ("OLD", "OLD", documents_of("OLD")),
        ("C", "c", documents_of("c")),
        ("C_NONE", "c", NO_DOCUMENTS.to_owned()),
        ("C_OLD", "c", documents("OLD")),
        ("C_NEW", "c", documents("NEW")),
    ] {
        script = script.replace(&format!("@IMAGE_{word}@"), &image(row, &documents));
    }
    for (word, row) in [("NEW", "NEW"), ("OLD", "OLD"), ("R", "r")] {
        let relation = format!(
            "json_array(1, CAST({row}.from_id AS TEXT), CAST({row}.to_id AS TEXT), CAST({row}.rel_type AS TEXT))"
        );
        script = script.replace(&format!("@RELATION_{word}@"), &relation);
    }
    script
}

/// The image of a row of `ci`, in the layout of `crate::image`.
pub(super) fn image(row: &str, documents: &str) -> String {
    let values = TEXTS.into_iter().chain(OTHERS);
    let values: Vec<String> = values
        .map(|column| format!("CAST({row}.{column} AS TEXT)"))
        .collect();
    format!(
        "json_array(1, {}, {row}.deleted_at IS NOT NULL, json({documents}))",
        values.join(", ")
    )
}

/// Tags and attributes of a row of `ci_ext`, as texts in a JSON array; JSON null when they are too large.
pub(super) fn documents(row: &str) -> String {
    format!(
        "CASE WHEN coalesce(length({row}.tags), 0) + coalesce(length({row}.attributes), 0) <= {DOCUMENT_BYTES} \
         THEN json_array(CAST({row}.tags AS TEXT), CAST({row}.attributes AS TEXT)) ELSE 'null' END"
    )
}

/// The documents of a row of `ci`.
pub(super) fn documents_of(row: &str) -> String {
    format!(
        "coalesce((SELECT {} FROM ci_ext AS e WHERE e.ci_id = {row}.ci_id), {NO_DOCUMENTS})",
        documents("e")
    )
}
