//! Making the tables, or adopting those of another program, in one transaction.

use ci_model::fold;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::feed_schema;
use crate::schema::{self, FOLD_KEY, SCHEMA_KEY, SCHEMA_VERSION, State, UUID_KEY};
use crate::{Error, Result};

/// The lock under which a database is migrated: one process at a time. An arbitrary number.
const LOCK: i64 = 0x0063_695f_6361_6368;
/// `server_version_num` of PostgreSQL 15.
const OLDEST: i32 = 150_000;

/// A column of another program's table: name, accepted types, definition when it is missing (none: it must be there).
type Column = (&'static str, &'static [&'static str], Option<&'static str>);

const TEXT: &[&str] = &["text", "character varying"];
const WHOLE: &[&str] = &["smallint", "integer", "bigint"];
const MOMENT: &[&str] = &["timestamp with time zone"];
const CI: &[Column] = &[
    ("ci_id", &["uuid"], None),
    ("tenant_id", TEXT, None),
    ("ci_code", TEXT, None),
    ("ci_name", TEXT, None),
    ("ci_type", TEXT, None),
    ("ci_subtype", TEXT, Some("text COLLATE \"C\"")),
    ("ci_category", TEXT, Some("text COLLATE \"C\"")),
    ("status", TEXT, Some("text COLLATE \"C\"")),
    ("criticality", WHOLE, Some("smallint")),
    ("location", TEXT, Some("text COLLATE \"C\"")),
    ("owner", TEXT, Some("text COLLATE \"C\"")),
    ("created_at", MOMENT, Some("timestamptz")),
    ("updated_at", MOMENT, Some("timestamptz")),
    ("deleted_at", MOMENT, Some("timestamptz")),
];
const EXT: &[Column] = &[
    ("ci_id", &["uuid"], None),
    ("attributes", &["jsonb"], Some("jsonb")),
    ("tags", &["jsonb"], Some("jsonb")),
    ("updated_at", MOMENT, Some("timestamptz")),
];

/// Conditions under which a row cannot be read back, each with what to say.
const CI_FAULTS: &[(&str, &str)] = &[
    ("ci_id IS NULL", "ci_id is empty"),
    ("coalesce(tenant_id, '') = ''", "tenant_id is empty"),
    ("coalesce(ci_code, '') = ''", "ci_code is empty"),
    ("coalesce(ci_name, '') = ''", "ci_name is empty"),
    ("coalesce(ci_type, '') = ''", "ci_type is empty"),
    (
        "criticality NOT BETWEEN 1 AND 5",
        "criticality is not between 1 and 5",
    ),
    (
        "NOT isfinite(created_at) OR NOT created_at BETWEEN '0001-01-01Z' AND '9999-12-30Z'",
        "created_at is not between the years 1 and 9999",
    ),
    (
        "NOT isfinite(updated_at) OR NOT updated_at BETWEEN '0001-01-01Z' AND '9999-12-30Z'",
        "updated_at is not between the years 1 and 9999",
    ),
    (
        "NOT isfinite(deleted_at) OR NOT deleted_at BETWEEN '0001-01-01Z' AND '9999-12-30Z'",
        "deleted_at is not between the years 1 and 9999",
    ),
];
const EXT_FAULTS: &[(&str, &str)] = &[
    (
        "jsonb_typeof(attributes) NOT IN ('object', 'null')",
        "attributes is not a JSON object",
    ),
    (
        "jsonb_typeof(tags) NOT IN ('object', 'null')",
        "tags is not a JSON object",
    ),
];

/// Brings the database to this program's schema; does nothing when it is there already. What records changes is made
/// again when a part of it is gone or switched off.
pub(super) async fn run(connection: &mut PgConnection) -> Result<()> {
    let current = schema::state(&meta(connection).await?)? == State::Current;
    if current && feed_schema::is_whole(connection).await? {
        return Ok(());
    }
    check_server(connection).await?;
    let mut transaction = connection.begin().await?;
    // Two processes that start at once migrate one after the other, and the second finds it done.
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await?;
    if schema::state(&meta(&mut transaction).await?)? != State::Current {
        apply(&mut transaction).await?;
    } else if !feed_schema::is_whole(&mut transaction).await? {
        settle(&mut transaction).await?;
        feed_schema::apply(&mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The pairs of `ci_meta`; none when the table is not there.
pub(super) async fn meta(connection: &mut PgConnection) -> Result<Vec<(String, String)>> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('ci_meta') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as("SELECT key, value FROM ci_meta")
        .fetch_all(connection)
        .await?)
}

/// Whether the server is new enough and the database can hold every text.
pub(super) async fn check_server(connection: &mut PgConnection) -> Result<()> {
    const ASK: &str =
        "SELECT current_setting('server_version_num')::int4, current_setting('server_encoding')";
    let (version, encoding): (i32, String) = sqlx::query_as(ASK).fetch_one(connection).await?;
    if version < OLDEST {
        return Err(Error::Schema("the server is older than PostgreSQL 15".into()));
    }
    if encoding != "UTF8" {
        return Err(Error::Schema(
            "the database's encoding is not UTF8; create it with ENCODING 'UTF8'".into(),
        ));
    }
    Ok(())
}

async fn apply(connection: &mut PgConnection) -> Result<()> {
    settle(connection).await?;
    let trigrams = trigrams(connection).await?;
    adopt(connection, "ci", CI, CI_FAULTS).await?;
    adopt(connection, "ci_ext", EXT, EXT_FAULTS).await?;
    refold(connection).await?;
    sqlx::raw_sql(AssertSqlSafe(script(&trigrams)))
        .execute(&mut *connection)
        .await
        .map_err(refused)?;
    feed_schema::apply(connection).await?;
    record(connection).await
}

/// Makes the schema of a `ci` that is there the one in which tables are made, until the transaction ends.
///
/// It need not be the first of the search path; a new, empty `ci` in the first would hide the one with the rows.
async fn settle(connection: &mut PgConnection) -> Result<()> {
    const FIRST: &str = "SELECT set_config('search_path', quote_ident(n.nspname) || ', ' || \
                         current_setting('search_path'), true) FROM pg_class AS c \
                         JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('ci')";
    sqlx::query(FIRST).execute(connection).await?;
    Ok(())
}

/// The schema, quoted, of the extension that indexes substrings (it need not be on the search path); says what to do
/// when the extension cannot be had.
async fn trigrams(connection: &mut PgConnection) -> Result<String> {
    const WHERE: &str = "SELECT quote_ident(n.nspname) FROM pg_extension AS e \
                         JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'";
    let created = sqlx::query("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        .execute(&mut *connection)
        .await;
    created.map_err(|error| match Error::from(error) {
        Error::Database(_) | Error::Unavailable(_) => Error::Schema(
            "the extension pg_trgm is needed and could not be made; install the server's contrib package, or have a \
             superuser run CREATE EXTENSION pg_trgm in this database"
                .into(),
        ),
        other => other,
    })?;
    Ok(sqlx::query_scalar(WHERE).fetch_one(connection).await?)
}

/// The schema with the folding table and the schema of the trigrams filled in.
fn script(trigrams: &str) -> String {
    let (from, to): (String, String) = fold::pairs().unzip();
    include_str!("../../schema/postgres.sql")
        .replace("@FOLD_FROM@", &from)
        .replace("@FOLD_TO@", &to)
        .replace("@TRIGRAMS@", trigrams)
}

/// Drops the search text when it was folded by an older table; the schema makes it again.
async fn refold(connection: &mut PgConnection) -> Result<()> {
    let known = meta(connection).await?;
    let current = fold::FOLD_VERSION.to_string();
    if known
        .iter()
        .any(|(key, value)| key == FOLD_KEY && *value != current)
    {
        sqlx::query("ALTER TABLE ci DROP COLUMN IF EXISTS search_text")
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// A statement of the schema failed: the tables of another program are in its way.
pub(super) fn refused(error: sqlx::Error) -> Error {
    match Error::from(error) {
        Error::Database(what) => Error::Schema(
            format!("its tables could not be completed ({what}); an object of another program may have the same name")
                .into(),
        ),
        other => other,
    }
}

/// Fits a table of another program to the schema, or says what is wrong with it.
async fn adopt(
    connection: &mut PgConnection,
    table: &str,
    columns: &[Column],
    faults: &[(&str, &str)],
) -> Result<()> {
    let known = types(connection, table).await?;
    if known.is_empty() {
        return Ok(());
    }
    for (name, accepted, definition) in columns {
        match (known.iter().find(|(column, _)| column == name), definition) {
            (Some((_, is)), _) if accepted.contains(&is.as_str()) => {}
            (Some(_), _) => return Err(schema::wrong_type(table, name, accepted[0])),
            (None, None) => return Err(schema::missing_column(table, name)),
            (None, Some(definition)) => {
                let add = format!("ALTER TABLE {table} ADD COLUMN {name} {definition}");
                sqlx::query(AssertSqlSafe(add)).execute(&mut *connection).await?;
            }
        }
    }
    for (condition, what) in faults {
        let rows = count(
            connection,
            format!("SELECT count(*) FROM {table} WHERE {condition}"),
        )
        .await?;
        if rows > 0 {
            return Err(schema::faulty_rows(table, rows, what));
        }
    }
    let keys: &[&str] = if table == "ci" {
        &["tenant_id, ci_code", "ci_id"]
    } else {
        &["ci_id"]
    };
    for key in keys {
        let repeated = format!("SELECT 1 FROM {table} GROUP BY {key} HAVING count(*) > 1");
        let groups = count(
            connection,
            format!("SELECT count(*) FROM ({repeated}) AS repeated"),
        )
        .await?;
        if groups > 0 {
            return Err(schema::duplicates(table, groups, key));
        }
    }
    if table == "ci" {
        fill_moments(connection).await?;
    }
    Ok(())
}

/// Names and types of a table's columns; none when it is not there.
async fn types(connection: &mut PgConnection, table: &str) -> Result<Vec<(String, String)>> {
    const ASK: &str = "SELECT attname::text, split_part(format_type(atttypid, NULL), '(', 1) FROM pg_attribute \
                       WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
    Ok(sqlx::query_as(ASK).bind(table).fetch_all(connection).await?)
}

async fn count(connection: &mut PgConnection, statement: String) -> Result<i64> {
    Ok(sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(connection)
        .await?)
}

async fn fill_moments(connection: &mut PgConnection) -> Result<()> {
    const FILL: &str = "UPDATE ci SET created_at = coalesce(created_at, updated_at, now()), \
                        updated_at = coalesce(updated_at, created_at, now()) \
                        WHERE created_at IS NULL OR updated_at IS NULL";
    sqlx::query(FILL).execute(connection).await?;
    Ok(())
}

async fn record(connection: &mut PgConnection) -> Result<()> {
    const CREATE: &str =
        "CREATE TABLE IF NOT EXISTS ci_meta (key text NOT NULL PRIMARY KEY, value text NOT NULL)";
    const KEEP: &str = "INSERT INTO ci_meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    const REPLACE: &str = "INSERT INTO ci_meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    sqlx::query(CREATE).execute(&mut *connection).await?;
    for (statement, key, value) in [
        (KEEP, UUID_KEY, uuid::Uuid::new_v4().to_string()),
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
