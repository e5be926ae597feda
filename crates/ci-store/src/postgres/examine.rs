//! Looking at a server and a database without changing them.

use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor as _};

use super::{connect, feed_schema, migrate};
use crate::examine::{Finding, REACH, REPLICA, Remedy};
use crate::findings::{self, found};
use crate::{Error, Result, StoreOptions};

/// Clocks further apart than this are told.
const APART_MS: i64 = 2_000;
/// Connections that a service has beside those for questions: feed, doorbell, and one to come in by.
const BESIDE: i64 = 3;

/// See [`crate::examine()`].
pub(crate) async fn examine(url: &str, options: &StoreOptions, retention: Duration) -> Vec<Finding> {
    let server = match PgConnectOptions::from_str(url) {
        Ok(server) => server.application_name("ci-cache doctor"),
        Err(error) => return vec![unreachable(&error.into())],
    };
    let connecting = PgConnection::connect_with(&server);
    let mut connection = match connect::within(options.acquire_timeout, connecting).await {
        Ok(connection) => connection,
        Err(error) => return vec![unreachable(&error)],
    };
    // Nobody waits for a database that hangs.
    let late = Duration::from_millis(500).max(options.acquire_timeout) * 4;
    let looked = tokio::time::timeout(late, look(&mut connection, options, retention)).await;
    let findings =
        looked.unwrap_or_else(|_| vec![unreachable(&Error::Timeout("a statement took too long".into()))]);
    // It has been read; how the connection ends is the server's affair.
    drop(connection.close().await);
    findings
}

/// See [`crate::examine_replica`].
pub(crate) async fn examine_replica(primary: &str, replica: &str, options: &StoreOptions) -> Finding {
    match look_at_replica(primary, replica, options).await {
        Ok(finding) => finding,
        Err(error) => {
            let advice = "start the standby, correct `replica_url`, and let this machine in; until then the primary answers everything";
            Finding::warning(
                REPLICA,
                format!("failed to {error}"),
                Remedy::Advice(advice.into()),
            )
        }
    }
}

async fn look_at_replica(primary: &str, replica: &str, options: &StoreOptions) -> Result<Finding> {
    const ASK: &str = "SELECT (SELECT system_identifier FROM pg_control_system()), current_database()::text, pg_is_in_recovery(), \
                       (SELECT received_tli FROM pg_stat_get_wal_receiver()), (SELECT pid FROM pg_stat_get_wal_receiver()), \
                       quote_ident(current_user)";
    type Row = (i64, String, bool, Option<i32>, Option<i32>, String);
    let ask = async |url: &str| -> Result<Row> {
        let server = PgConnectOptions::from_str(url)?.application_name("ci-cache doctor");
        let asking = async {
            let mut connection = PgConnection::connect_with(&server).await?;
            let row = sqlx::query_as(ASK).fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok::<Row, sqlx::Error>(row)
        };
        connect::within(options.acquire_timeout, asking).await
    };
    let (system, database, standby, timeline, receiver, user) = ask(replica).await?;
    let (its_system, its_database, ..) = ask(primary).await?;
    let advice = |what: &str, advice: &str| Finding::warning(REPLICA, what, Remedy::Advice(advice.into()));
    Ok(if (system, &database) != (its_system, &its_database) {
        advice(
            "it is not a copy of this database",
            "give the address of a hot standby of `database`",
        )
    } else if !standby {
        advice(
            "it is not a standby: it was promoted, or is the primary",
            "give the address of a hot standby of `database`",
        )
    } else if receiver.is_none() {
        advice(
            "it does not stream from anybody",
            "let it stream (primary_conninfo): from an archive alone nobody can tell which timeline it follows",
        )
    } else if timeline.is_none() {
        let remedy = Remedy::Statement {
            by: "a superuser, on the primary".into(),
            sql: format!("GRANT pg_read_all_stats TO {user}"),
        };
        Finding::warning(
            REPLICA,
            "this user may not see whom it follows, so it is not used",
            remedy,
        )
    } else {
        Finding::ok(
            REPLICA,
            "it is a standby that streams, and this user may see from where",
        )
    })
}

fn unreachable(error: &Error) -> Finding {
    let advice = match error {
        Error::Address(_) => {
            "correct user, password or name in the address; `createuser` and `createdb NAME` make what the server has not"
        }
        _ => {
            "start the server, or correct host and port; `pg_isready -h HOST -p PORT` says whether it listens, pg_hba.conf whom it lets in"
        }
    };
    Finding::failure(REACH, format!("failed to {error}"), Remedy::Advice(advice.into()))
}

async fn look(connection: &mut PgConnection, options: &StoreOptions, retention: Duration) -> Vec<Finding> {
    let mut findings = vec![found(REACH, version(connection).await)];
    // From here on nothing can change anything.
    if let Err(error) = connection.execute("SET default_transaction_read_only = on").await {
        return vec![unreachable(&error.into())];
    }
    findings.push(found("primary", primary(connection).await));
    findings.push(found("extension", extension(connection).await));
    let meta = migrate::meta(connection).await;
    let schema = match &meta {
        Ok(meta) => findings::version(meta),
        // The table is there, and not for us.
        Err(error) => {
            return with(
                findings,
                found("schema", Err(error.clone())),
                permissions(connection).await,
            );
        }
    };
    let is_new = meta.is_ok_and(|meta| meta.is_empty());
    findings.push(schema);
    if is_new {
        findings.push(found("permissions", may_make(connection).await));
    } else {
        findings.push(found("triggers", triggers(connection).await));
        findings.push(found("inheritance", inheritance(connection).await));
        findings.push(found("permissions", permissions(connection).await));
        findings.push(found("change log", changes(connection, retention).await));
    }
    findings.push(found("transactions", transactions(connection, retention).await));
    findings.push(found("connections", connections(connection, options).await));
    findings.push(found("clock", clock(connection).await));
    findings
}

fn with(mut findings: Vec<Finding>, one: Finding, other: Result<Finding>) -> Vec<Finding> {
    findings.extend([one, found("permissions", other)]);
    findings
}

async fn version(connection: &mut PgConnection) -> Result<Finding> {
    let version: String = sqlx::query_scalar("SELECT current_setting('server_version')")
        .fetch_one(&mut *connection)
        .await?;
    match migrate::check_server(connection).await {
        Ok(()) => Ok(Finding::ok(REACH, format!("PostgreSQL {version} answers"))),
        Err(Error::Schema(what)) => {
            let remedy =
                Remedy::Advice("use PostgreSQL 15 or newer, and a database made with ENCODING 'UTF8'".into());
            Ok(Finding::failure(
                REACH,
                format!("PostgreSQL {version} answers, but {what}"),
                remedy,
            ))
        }
        Err(error) => Err(error),
    }
}

/// Whether the server takes writes.
async fn primary(connection: &mut PgConnection) -> Result<Finding> {
    const CHECK: &str = "primary";
    let standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(connection)
        .await?;
    if standby {
        let remedy = Remedy::Advice(
            "give the address of the primary, or add target_session_attrs=read-write to it".into(),
        );
        return Ok(Finding::failure(
            CHECK,
            "the server is a standby, which takes no writes",
            remedy,
        ));
    }
    Ok(Finding::ok(CHECK, "the server takes writes"))
}

async fn extension(connection: &mut PgConnection) -> Result<Finding> {
    const CHECK: &str = "extension";
    const ASK: &str = "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'), \
                       EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'), \
                       has_database_privilege(current_database(), 'CREATE'), current_database()::text";
    let (there, available, may, database): (bool, bool, bool, String) =
        sqlx::query_as(ASK).fetch_one(connection).await?;
    let statement = || Remedy::Statement {
        by: format!("the owner of the database {database}, or a superuser"),
        sql: "CREATE EXTENSION IF NOT EXISTS pg_trgm".into(),
    };
    Ok(match (there, available) {
        (true, _) => Finding::ok(CHECK, "pg_trgm is there"),
        (false, true) if may => Finding::warning(
            CHECK,
            "pg_trgm is not there yet; the first start makes it",
            statement(),
        ),
        (false, true) => {
            let what = "pg_trgm, which finds substrings, is not there, and this user may not make it";
            Finding::failure(CHECK, what, statement())
        }
        (false, false) => {
            let advice = "install the server's contrib package (Debian has it in postgresql-15, others call it postgresql-contrib)";
            Finding::failure(
                CHECK,
                "the server has no pg_trgm, which finds substrings",
                Remedy::Advice(advice.into()),
            )
        }
    })
}

/// Whether tables can be made where there are none.
async fn may_make(connection: &mut PgConnection) -> Result<Finding> {
    const CHECK: &str = "permissions";
    const ASK: &str = "SELECT quote_ident(current_schema()), quote_ident(current_user), \
                       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)";
    let (schema, user, may): (Option<String>, String, bool) =
        sqlx::query_as(ASK).fetch_one(connection).await?;
    let schema = schema.unwrap_or_else(|| "public".into());
    if may {
        return Ok(Finding::ok(
            CHECK,
            format!("this user may make tables in the schema {schema}"),
        ));
    }
    let remedy = Remedy::Statement {
        by: "the owner of the database, or a superuser".into(),
        sql: format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {user}"),
    };
    Ok(Finding::failure(
        CHECK,
        format!("this user may not make tables in the schema {schema}"),
        remedy,
    ))
}

async fn triggers(connection: &mut PgConnection) -> Result<Finding> {
    const ASK: &str = "SELECT e.name || ' of ' || e.tab FROM (VALUES ('ci', 'CI_change_rows'), ('ci', 'CI_change_truncate'), \
                       ('ci_ext', 'CI_change_rows'), ('ci_ext', 'CI_change_truncate'), ('ci_relation', 'CI_change_rows'), \
                       ('ci_relation', 'CI_change_truncate')) AS e (tab, name) WHERE NOT EXISTS (SELECT 1 FROM pg_trigger AS t \
                       WHERE t.tgrelid = to_regclass(e.tab) AND t.tgname = e.name AND t.tgenabled = 'A') ORDER BY 1";
    let missing: Vec<String> = sqlx::query_scalar(ASK).fetch_all(connection).await?;
    let expected = usize::try_from(feed_schema::EXPECTED).unwrap_or_default();
    Ok(findings::triggers(expected, &missing))
}

/// Tables that inherit from ours: their rows fire no trigger of ours.
async fn inheritance(connection: &mut PgConnection) -> Result<Finding> {
    const CHECK: &str = "inheritance";
    const ASK: &str = "SELECT 'ALTER TABLE ' || i.inhrelid::regclass::text || ' NO INHERIT ' || i.inhparent::regclass::text \
                       FROM pg_inherits AS i WHERE i.inhparent = ANY (ARRAY[to_regclass('ci'), to_regclass('ci_ext'), \
                       to_regclass('ci_relation')]) ORDER BY 1";
    let away: Vec<String> = sqlx::query_scalar(ASK).fetch_all(connection).await?;
    if away.is_empty() {
        return Ok(Finding::ok(CHECK, "no table inherits from ours"));
    }
    let remedy = Remedy::Statement {
        by: "the owner of the tables".into(),
        sql: away.join("; "),
    };
    let what = "tables inherit from ours, and their rows fire no trigger: nothing is answered from memory";
    Ok(Finding::failure(CHECK, what, remedy))
}

/// What a service needs of each table; those of the second list only to write CIs and relations.
const FEED_NEEDS: [(&str, &str); 6] = [
    ("ci", "SELECT"),
    ("ci_ext", "SELECT"),
    ("ci_relation", "SELECT"),
    ("ci_meta", "SELECT, INSERT, UPDATE"),
    ("ci_change", "SELECT, DELETE"),
    ("ci_alive", "SELECT, INSERT, UPDATE"),
];
const WRITE_NEEDS: [(&str, &str); 3] = [
    ("ci", "INSERT, UPDATE, DELETE"),
    ("ci_ext", "INSERT, UPDATE, DELETE"),
    ("ci_relation", "INSERT, UPDATE, DELETE"),
];

async fn permissions(connection: &mut PgConnection) -> Result<Finding> {
    const CHECK: &str = "permissions";
    let to_read = grants(connection, &FEED_NEEDS).await?;
    let to_write = grants(connection, &WRITE_NEEDS).await?;
    let remedy = |grants: Vec<String>| Remedy::Statement {
        by: "the owner of the tables, or a superuser".into(),
        sql: grants.join("; "),
    };
    if !to_read.is_empty() {
        let what = "this user may not do what a service has to: read the tables, follow the feed, forget old changes";
        return Ok(Finding::failure(
            CHECK,
            what,
            remedy([to_read, to_write].concat()),
        ));
    }
    if !to_write.is_empty() {
        let what = "this user may read and not write: PUT, DELETE and imports fail";
        return Ok(Finding::warning(CHECK, what, remedy(to_write)));
    }
    Ok(Finding::ok(
        CHECK,
        "this user may read, write and follow the feed",
    ))
}

/// The statements that grant what is missing.
async fn grants(connection: &mut PgConnection, needs: &[(&str, &str)]) -> Result<Vec<String>> {
    // By name and not by the search path: a schema that may not be used is not on it.
    const ASK: &str = "SELECT quote_ident(n.nspname), quote_ident(current_user), \
                       has_schema_privilege(n.oid, 'USAGE') FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                       WHERE c.relname = 'ci_meta' AND c.relkind = 'r' ORDER BY c.oid = to_regclass('ci_meta') DESC NULLS LAST LIMIT 1";
    const MAY: &str = "SELECT bool_and(has_table_privilege(c.oid, trim(p))) FROM pg_class AS c \
                       JOIN pg_namespace AS n ON n.oid = c.relnamespace, unnest(string_to_array($3, ',')) AS p \
                       WHERE quote_ident(n.nspname) = $1 AND c.relname = $2";
    let (schema, user, may_use): (String, String, bool) =
        sqlx::query_as(ASK).fetch_one(&mut *connection).await?;
    let mut missing = Vec::new();
    if !may_use {
        missing.push(format!("GRANT USAGE ON SCHEMA {schema} TO {user}"));
    }
    for (table, rights) in needs {
        let may: Option<bool> = sqlx::query_scalar(MAY)
            .bind(&schema)
            .bind(table)
            .bind(rights)
            .fetch_one(&mut *connection)
            .await?;
        if may == Some(false) {
            missing.push(format!("GRANT {rights} ON {schema}.{table} TO {user}"));
        }
    }
    Ok(missing)
}

async fn changes(connection: &mut PgConnection, retention: Duration) -> Result<Finding> {
    const ASK: &str = "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(c.at)), 0)::int8 \
                       FROM (SELECT at FROM ci_change ORDER BY xid, seq LIMIT 1000000) AS c";
    let (changes, oldest): (i64, i64) = sqlx::query_as(ASK).fetch_one(connection).await?;
    Ok(findings::recorded(changes, oldest, retention))
}

/// Transactions that are open for longer than changes are kept: nothing that came after them can be forgotten.
async fn transactions(connection: &mut PgConnection, retention: Duration) -> Result<Finding> {
    const CHECK: &str = "transactions";
    const ASK: &str = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                       AND backend_xmin IS NOT NULL AND xact_start < clock_timestamp() - $1 * interval '1 second' ORDER BY xact_start LIMIT 20";
    let old: Vec<i32> = sqlx::query_scalar(ASK)
        .bind(retention.as_secs_f64())
        .fetch_all(connection)
        .await?;
    if old.is_empty() {
        return Ok(Finding::ok(
            CHECK,
            "none is open for longer than changes are kept",
        ));
    }
    let end: Vec<String> = old
        .iter()
        .map(|pid| format!("SELECT pg_terminate_backend({pid})"))
        .collect();
    let remedy = Remedy::Statement {
        by: "a superuser, or the user of those sessions".into(),
        sql: end.join("; "),
    };
    let what = format!(
        "{} open for longer than changes are kept, which then pile up",
        old.len()
    );
    Ok(Finding::warning(CHECK, what, remedy))
}

async fn connections(connection: &mut PgConnection, options: &StoreOptions) -> Result<Finding> {
    const CHECK: &str = "connections";
    const ASK: &str = "SELECT current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8 \
                       - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())";
    let free: i64 = sqlx::query_scalar(ASK).fetch_one(connection).await?;
    let wanted = i64::from(options.connections) + BESIDE;
    if free >= wanted {
        return Ok(Finding::ok(
            CHECK,
            format!("{free} are free, a service takes up to {wanted}"),
        ));
    }
    let advice = "lower `connections`, raise the server's max_connections, or end sessions that nobody needs";
    let what =
        format!("{free} are free, and a service takes up to {wanted}; where one runs already, those are its");
    Ok(Finding::warning(CHECK, what, Remedy::Advice(advice.into())))
}

/// Whether two clocks agree, as far as the way to the server lets it be told.
async fn clock(connection: &mut PgConnection) -> Result<Finding> {
    const CHECK: &str = "clock";
    let before = now_ms();
    let theirs: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8")
        .fetch_one(connection)
        .await?;
    let after = now_ms();
    // Within the statement's time anything is possible.
    let apart = (theirs - after).max(before - theirs).max(0);
    if apart <= APART_MS {
        return Ok(Finding::ok(
            CHECK,
            "this machine's clock and the database's agree",
        ));
    }
    let advice = "let both machines keep their time by NTP; `timedatectl` says whether one does";
    let what = format!(
        "this machine's clock and the database's are {apart} ms apart: ages of changes and of tokens are off by that"
    );
    Ok(Finding::warning(CHECK, what, Remedy::Advice(advice.into())))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
