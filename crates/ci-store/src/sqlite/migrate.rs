//! Making the tables, or adopting those of another program, in one transaction.

use ci_model::fold;
use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use super::feed_schema;
use crate::schema::{self, FOLD_KEY, SCHEMA_KEY, SCHEMA_VERSION, State, UUID_KEY};
use crate::sql::fold::sqlite_fold;
use crate::{Error, Result};

/// Text columns of `ci`; the first four must have a value.
const TEXTS: [&str; 9] = [
    "tenant_id",
    "ci_code",
    "ci_name",
    "ci_type",
    "ci_subtype",
    "ci_category",
    "status",
    "location",
    "owner",
];
const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'";
const MOMENT: &str = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]\
                      .[0-9][0-9][0-9][0-9][0-9][0-9]Z";
const HEX: &str = "[0-9a-f]";

/// Brings the database to this program's schema; does nothing when it is there already. What records changes is made
/// again when a part of it is gone.
pub(super) async fn run(pool: &SqlitePool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let current = schema::state(&meta(&mut connection).await?)? == State::Current;
    if current && feed_schema::is_whole(&mut connection).await? {
        return Ok(());
    }
    // IMMEDIATE: two processes that start at once migrate one after the other, and the second finds it done.
    let mut transaction = sqlx::Connection::begin_with(&mut *connection, "BEGIN IMMEDIATE").await?;
    let state = schema::state(&meta(&mut transaction).await?)?;
    if state != State::Current {
        apply(&mut transaction).await?;
    } else if !feed_schema::is_whole(&mut transaction).await? {
        feed_schema::apply(&mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The pairs of `ci_meta`; none when the table is not there.
pub(super) async fn meta(connection: &mut SqliteConnection) -> Result<Vec<(String, String)>> {
    const THERE: &str = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'ci_meta'";
    if sqlx::query_scalar::<_, i64>(THERE)
        .fetch_one(&mut *connection)
        .await?
        == 0
    {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as("SELECT key, value FROM ci_meta")
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

async fn apply(connection: &mut SqliteConnection) -> Result<()> {
    adopt(connection).await?;
    sqlx::raw_sql(AssertSqlSafe(script()))
        .execute(&mut *connection)
        .await?;
    fill_fold(connection).await?;
    backfill(connection).await?;
    record(connection).await?;
    feed_schema::apply(connection).await
}

/// The schema with its expressions filled in.
fn script() -> String {
    let mut script = include_str!("../../schema/sqlite.sql").replace("@NOW@", NOW);
    for (name, column) in [
        ("CREATED", "created_at"),
        ("UPDATED", "updated_at"),
        ("DELETED", "deleted_at"),
    ] {
        let value = format!("NEW.{column}");
        let otherwise = if name == "DELETED" { "NULL" } else { NOW };
        script = script
            .replace(&format!("@CANONICAL_{name}@"), &canonical(&value))
            .replace(&format!("@MOMENT_{name}@"), &moment(&value, otherwise));
    }
    script
        .replace("@SEARCH_TEXT_NEW@", &search_text("NEW."))
        .replace("@CHECK_CI@", &checks(&ci_faults("NEW.")))
        .replace("@CHECK_EXT@", &checks(&ext_faults("NEW.")))
}

/// The folded search text of a row.
fn search_text(row: &str) -> String {
    let columns = ["ci_code", "ci_name", "ci_type", "ci_subtype", "ci_category"];
    let parts: Vec<String> = columns
        .iter()
        .map(|c| format!("coalesce({row}{c}, '')"))
        .collect();
    sqlite_fold(&format!("({})", parts.join(" || char(31) || ")))
}

/// Whether a value is a moment in its canonical form; never NULL.
fn canonical(value: &str) -> String {
    format!("(coalesce({value}, '') GLOB '{MOMENT}')")
}

/// A moment in its canonical form, whatever form of date and time it was written in; `otherwise` for none.
///
/// The fraction is cut off before SQLite sees it, because SQLite rounds it to milliseconds.
fn moment(value: &str, otherwise: &str) -> String {
    let fraction = format!("substr({value}, instr({value}, '.') + 1)");
    let zone = format!("ltrim({fraction}, '0123456789')");
    let whole =
        format!("strftime('%Y-%m-%dT%H:%M:%S', substr({value}, 1, instr({value}, '.') - 1) || {zone})");
    let digits =
        format!("substr(substr({fraction}, 1, length({fraction}) - length({zone})) || '000000', 1, 6)");
    format!(
        "CASE WHEN {value} IS NULL THEN {otherwise} WHEN {canonical} THEN {value} \
         WHEN instr({value}, '.') > 0 THEN {whole} || '.' || {digits} || 'Z' \
         ELSE strftime('%Y-%m-%dT%H:%M:%S', {value}) || '.000000Z' END",
        canonical = canonical(value)
    )
}

/// Conditions under which a row of `ci` cannot be read back, each with what to say.
fn ci_faults(row: &str) -> Vec<(String, String)> {
    let groups = [8, 4, 4, 4, 12].map(|n| HEX.repeat(n)).join("-");
    let mut faults = vec![(
        format!("coalesce({row}ci_id, '') NOT GLOB '{groups}'"),
        "ci_id is not a UUID in lower-case hyphenated form".to_owned(),
    )];
    for column in &TEXTS[..4] {
        faults.push((
            format!("coalesce({row}{column}, '') = ''"),
            format!("{column} is empty"),
        ));
    }
    for column in TEXTS {
        faults.push((
            format!("typeof({row}{column}) NOT IN ('text', 'null')"),
            format!("{column} is not text"),
        ));
    }
    faults.push((
        format!("{row}criticality IS NOT NULL AND {row}criticality NOT IN (1, 2, 3, 4, 5)"),
        "criticality is not a whole number from 1 to 5".to_owned(),
    ));
    for column in ["created_at", "updated_at", "deleted_at"] {
        faults.push((
            format!(
                "{row}{column} IS NOT NULL AND ({}) IS NULL",
                moment(&format!("{row}{column}"), "NULL")
            ),
            format!("{column} is not a date and time"),
        ));
    }
    faults
}

/// The same for a row of `ci_ext`.
fn ext_faults(row: &str) -> Vec<(String, String)> {
    ["attributes", "tags"]
        .map(|column| {
            (
                format!(
                    "{row}{column} IS NOT NULL AND CASE WHEN json_valid({row}{column}) \
                     THEN json_type({row}{column}) NOT IN ('object', 'null') ELSE 1 END"
                ),
                format!("{column} is not a JSON object"),
            )
        })
        .into()
}

/// The body of a trigger that refuses faulty rows.
fn checks(faults: &[(String, String)]) -> String {
    let cases: Vec<String> = faults
        .iter()
        .map(|(when, what)| format!("WHEN {when} THEN RAISE(ABORT, '{what}')"))
        .collect();
    format!("SELECT CASE {} END", cases.join(" "))
}

/// Fits `ci` and `ci_ext` of another program to the schema, or says what is wrong with them.
async fn adopt(connection: &mut SqliteConnection) -> Result<()> {
    for (table, required, optional) in [
        (
            "ci",
            &["ci_id", "tenant_id", "ci_code", "ci_name", "ci_type"][..],
            &[
                "ci_subtype TEXT",
                "ci_category TEXT",
                "status TEXT",
                "criticality INTEGER",
                "location TEXT",
                "owner TEXT",
                "created_at TEXT",
                "updated_at TEXT",
                "deleted_at TEXT",
            ][..],
        ),
        (
            "ci_ext",
            &["ci_id"][..],
            &["attributes TEXT", "tags TEXT", "updated_at TEXT"][..],
        ),
    ] {
        let columns = columns(connection, table).await?;
        if columns.is_empty() {
            continue;
        }
        for name in required {
            if !columns.iter().any(|(column, _)| column == name) {
                return Err(schema::missing_column(table, name));
            }
        }
        check_affinity(table, &columns)?;
        for definition in optional {
            let name = definition.split(' ').next().unwrap_or_default();
            if !columns.iter().any(|(column, _)| column == name) {
                let add = format!("ALTER TABLE {table} ADD COLUMN {definition}");
                sqlx::query(AssertSqlSafe(add)).execute(&mut *connection).await?;
            }
        }
        let faults = if table == "ci" {
            ci_faults("")
        } else {
            ext_faults("")
        };
        check_rows(connection, table, &faults).await?;
    }
    check_duplicates(connection).await
}

/// Names and declared types of a table's columns; none when it is not there.
async fn columns(connection: &mut SqliteConnection, table: &str) -> Result<Vec<(String, String)>> {
    let rows = sqlx::query_as("SELECT name, upper(type) FROM pragma_table_info($1)")
        .bind(table.to_owned())
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

/// Text columns must have text affinity: in any other, SQLite would turn the code `007` into the number 7.
fn check_affinity(table: &str, columns: &[(String, String)]) -> Result<()> {
    let is_text = |declared: &str| {
        ["CHAR", "CLOB", "TEXT"]
            .iter()
            .any(|word| declared.contains(word))
    };
    for (name, declared) in columns {
        if TEXTS.contains(&name.as_str()) && !is_text(declared) {
            return Err(schema::wrong_type(table, name, "TEXT"));
        }
    }
    Ok(())
}

async fn check_rows(
    connection: &mut SqliteConnection,
    table: &str,
    faults: &[(String, String)],
) -> Result<()> {
    for (condition, what) in faults {
        let count = format!("SELECT count(*) FROM {table} WHERE {condition}");
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count))
            .fetch_one(&mut *connection)
            .await?;
        if rows > 0 {
            return Err(schema::faulty_rows(table, rows, what));
        }
    }
    Ok(())
}

async fn check_duplicates(connection: &mut SqliteConnection) -> Result<()> {
    if columns(connection, "ci").await?.is_empty() {
        return Ok(());
    }
    for key in ["tenant_id, ci_code", "ci_id"] {
        let count = format!("SELECT count(*) FROM (SELECT 1 FROM ci GROUP BY {key} HAVING count(*) > 1)");
        let groups: i64 = sqlx::query_scalar(AssertSqlSafe(count))
            .fetch_one(&mut *connection)
            .await?;
        if groups > 0 {
            return Err(schema::duplicates("ci", groups, key));
        }
    }
    Ok(())
}

async fn fill_fold(connection: &mut SqliteConnection) -> Result<()> {
    let ascii = ('A'..='Z').map(|c| (c, c.to_ascii_lowercase()));
    let pairs: Vec<(char, char)> = ascii.chain(fold::pairs()).collect();
    let json =
        serde_json::to_string(&pairs).map_err(|_| Error::Schema("the folding table is broken".into()))?;
    sqlx::query("DELETE FROM ci_fold")
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO ci_fold (upper, lower) SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') \
         FROM json_each($1)",
    )
    .bind(json)
    .execute(connection)
    .await?;
    Ok(())
}

/// Moments in their canonical form and the search text of every row that was there before the triggers.
async fn backfill(connection: &mut SqliteConnection) -> Result<()> {
    let moments = format!(
        "UPDATE ci SET created_at = {}, updated_at = {}, deleted_at = {} \
         WHERE NOT ({} AND {} AND (deleted_at IS NULL OR {}))",
        moment(
            "created_at",
            &format!("coalesce({}, {NOW})", moment("updated_at", "NULL"))
        ),
        moment(
            "updated_at",
            &format!("coalesce({}, {NOW})", moment("created_at", "NULL"))
        ),
        moment("deleted_at", "NULL"),
        canonical("created_at"),
        canonical("updated_at"),
        canonical("deleted_at"),
    );
    let texts = format!(
        "INSERT INTO ci_search (ci_id, tenant_id, text) SELECT ci_id, tenant_id, {} FROM ci ORDER BY ci_id",
        search_text("")
    );
    sqlx::query(AssertSqlSafe(moments))
        .execute(&mut *connection)
        .await?;
    // All of them again: after a change of the folding table the old texts are wrong.
    sqlx::query("DELETE FROM ci_search")
        .execute(&mut *connection)
        .await?;
    sqlx::query(AssertSqlSafe(texts)).execute(connection).await?;
    Ok(())
}

async fn record(connection: &mut SqliteConnection) -> Result<()> {
    const CREATE: &str =
        "CREATE TABLE IF NOT EXISTS ci_meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)";
    const KEEP: &str = "INSERT INTO ci_meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    const REPLACE: &str = "INSERT OR REPLACE INTO ci_meta (key, value) VALUES ($1, $2)";
    sqlx::query(CREATE).execute(&mut *connection).await?;
    let uuid = uuid::Uuid::new_v4().to_string();
    for (statement, key, value) in [
        (KEEP, UUID_KEY, uuid),
        (REPLACE, SCHEMA_KEY, SCHEMA_VERSION.to_string()),
        (REPLACE, FOLD_KEY, fold::FOLD_VERSION.to_string()),
    ] {
        sqlx::query(statement)
            .bind(key)
            .bind(value)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
