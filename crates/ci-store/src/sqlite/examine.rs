//! Looking at a file without changing it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};

use super::{feed_schema, migrate};
use crate::examine::{Finding, REACH, Remedy, Verdict};
use crate::findings::{self, found};
use crate::{Result, StoreOptions};

/// See [`crate::examine()`].
pub(crate) async fn examine(path: &str, options: &StoreOptions, retention: Duration) -> Vec<Finding> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path == ":memory:" {
        return vec![Finding::ok(
            REACH,
            "a database in memory: it goes with the service",
        )];
    }
    let file = Path::new(path);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut findings = vec![permissions(file, folder.unwrap_or(Path::new(".")))];
    if findings.iter().any(|finding| finding.verdict == Verdict::Failure) {
        return findings;
    }
    if !file.exists() {
        let what = "there is no file yet; the first start makes it";
        findings.push(Finding::warning("schema", what, Remedy::Open));
        return findings;
    }
    let access = SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(options.busy_timeout)
        .pragma("query_only", "on");
    match SqliteConnection::connect_with(&access).await {
        Ok(mut connection) => {
            look(&mut findings, &mut connection, retention).await;
            // It has been read; nothing is to be written back.
            drop(connection.close().await);
        }
        Err(error) => findings.push(damaged(error)),
    }
    findings
}

fn damaged(error: sqlx::Error) -> Finding {
    let error = crate::Error::from(error);
    let advice = "give the path of a SQLite database that this user may read; a damaged file is restored from a backup";
    Finding::failure(REACH, format!("failed to {error}"), Remedy::Advice(advice.into()))
}

/// The file and its folder, in which SQLite makes two more files.
fn permissions(file: &Path, folder: &Path) -> Finding {
    const CHECK: &str = "permissions";
    if !folder.is_dir() {
        let remedy = Remedy::command(["mkdir", "-p", &shown(folder)]);
        return Finding::failure(CHECK, "the folder of the file is not there", remedy);
    }
    let writes = match File::options().read(true).append(true).open(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = writes {
        let what = format!("this user may not read and write the file: {}", error.kind());
        return Finding::failure(CHECK, what, Remedy::command(["chmod", "u+rw", &shown(file)]));
    }
    // Unnamed, and gone when it is dropped.
    if let Err(error) = tempfile::tempfile_in(folder) {
        let what = format!(
            "no file can be made in the folder, where SQLite has its log: {}",
            error.kind()
        );
        return Finding::failure(CHECK, what, Remedy::command(["chmod", "u+rwx", &shown(folder)]));
    }
    Finding::ok(CHECK, "this user may write the file, and make others beside it")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

async fn look(findings: &mut Vec<Finding>, connection: &mut SqliteConnection, retention: Duration) {
    match version(connection).await {
        Ok(finding) => findings.push(finding),
        Err(error) => return findings.push(damaged(error)),
    }
    let meta = match migrate::meta(connection).await {
        Ok(meta) => meta,
        Err(error) => return findings.push(found("schema", Err(error))),
    };
    findings.push(findings::version(&meta));
    if meta.is_empty() {
        return;
    }
    findings.push(found("triggers", triggers(connection).await));
    findings.push(found("journal", journal(connection).await));
    findings.push(found("change log", changes(connection, retention).await));
}

/// Reads the header, which says whether it is a database.
async fn version(connection: &mut SqliteConnection) -> sqlx::Result<Finding> {
    const ASK: &str = "SELECT sqlite_version() FROM pragma_schema_version";
    let version: String = sqlx::query_scalar(ASK).fetch_one(connection).await?;
    Ok(Finding::ok(
        REACH,
        format!("the file is a database; SQLite {version} is built in"),
    ))
}

async fn triggers(connection: &mut SqliteConnection) -> Result<Finding> {
    let there: String = sqlx::query_scalar(AssertSqlSafe(feed_schema::found()))
        .fetch_one(connection)
        .await?;
    let there: Vec<&str> = there.split(' ').collect();
    let expected: Vec<&str> = feed_schema::EXPECTED.split(' ').collect();
    let missing = expected.iter().filter(|name| !there.contains(name));
    let mut missing: Vec<String> = missing.map(|name| (*name).to_owned()).collect();
    if there.iter().any(|name| !expected.contains(name)) {
        missing.push("those for a unique index that came later".into());
    }
    Ok(findings::triggers(expected.len(), &missing))
}

/// Whether readers and writers wait for each other.
async fn journal(connection: &mut SqliteConnection) -> Result<Finding> {
    const CHECK: &str = "journal";
    let mode: String = sqlx::query_scalar("SELECT journal_mode FROM pragma_journal_mode")
        .fetch_one(connection)
        .await?;
    if mode == "wal" {
        return Ok(Finding::ok(
            CHECK,
            "write-ahead log: readers and writers do not wait for each other",
        ));
    }
    let what = format!(
        "the mode is `{mode}`, in which readers wait for writers; a start makes it a write-ahead log"
    );
    Ok(Finding::warning(CHECK, what, Remedy::Open))
}

/// The recorded changes, and whether one is missing among them.
async fn changes(connection: &mut SqliteConnection, retention: Duration) -> Result<Finding> {
    const CHECK: &str = "change log";
    const ASK: &str = "SELECT count(*), coalesce(max(seq) - min(seq) + 1, 0), \
                       coalesce(CAST(strftime('%s', 'now') AS INTEGER) - min(at), 0) FROM ci_change";
    let (changes, span, oldest): (i64, i64, i64) = sqlx::query_as(ASK).fetch_one(connection).await?;
    if changes < span {
        let what = format!(
            "{} changes were taken out of it: who has not read them begins with an empty cache",
            span - changes
        );
        let advice = "let no other program delete from ci_change; it goes away when they are forgotten";
        return Ok(Finding::warning(CHECK, what, Remedy::Advice(advice.into())));
    }
    Ok(findings::recorded(changes, oldest, retention))
}
