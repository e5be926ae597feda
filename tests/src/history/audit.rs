//! The record of what really happened, written by the test's own triggers, and the connections of other programs.

use ci_model::{
    CiCode, CiDetail, CiId, CiSummary, Criticality, Document, Origin, RelationType, TenantId, Timestamp,
    Version,
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};

use super::timeline::Place;

/// A connection that knows nothing of the store, as another program has.
#[derive(Debug)]
pub enum Raw {
    /// To a SQLite file.
    Sqlite(Box<SqliteConnection>),
    /// To a PostgreSQL database.
    Postgres(Box<PgConnection>),
}

/// One row's fate.
#[derive(Debug, Clone)]
pub struct Audited {
    /// The order of the record.
    pub n: i64,
    /// Which versions include it.
    pub origin: Origin,
    /// What happened.
    pub deed: Deed,
}

/// What happened to a row.
#[derive(Debug, Clone)]
pub enum Deed {
    /// A CI has these columns now (its documents are not among them), or is gone.
    Ci(CiId, Option<Box<CiDetail>>),
    /// A CI has these tags and attributes now, or none.
    Documents(CiId, Option<Box<(Document, Document)>>),
    /// A relation came or went.
    Relation(Link, bool),
    /// A table was emptied.
    Truncated(String),
    /// The triggers of the feed were taken away (true) or are there again (false): what is between is not numbered.
    Blind(bool),
}

/// A relation: tenant, from, to, type.
pub type Link = (TenantId, CiId, CiId, RelationType);

/// An error of another program's statement.
pub type RawError = sqlx::Error;

impl Raw {
    /// Connects by an address as [`ci_store::open`] takes it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn connect(address: &str) -> Result<Self, RawError> {
        match address.strip_prefix("sqlite:") {
            Some(file) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(file)
                    .busy_timeout(std::time::Duration::from_secs(20));
                let connection = SqliteConnection::connect_with(&options).await?;
                Ok(Self::Sqlite(Box::new(connection)))
            }
            None => Ok(Self::Postgres(Box::new(PgConnection::connect(address).await?))),
        }
    }

    /// Whether this is SQLite.
    pub fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// Runs statements.
    ///
    /// # Errors
    /// What the database says.
    pub async fn run(&mut self, sql: &str) -> Result<(), RawError> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => query.execute(&mut **connection).await.map(drop),
            Self::Postgres(connection) => query.execute(&mut **connection).await.map(drop),
        }
    }

    /// The texts of a query's first column.
    ///
    /// # Errors
    /// What the database says.
    pub async fn texts(&mut self, sql: &str) -> Result<Vec<String>, RawError> {
        let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => query.fetch_all(&mut **connection).await,
            Self::Postgres(connection) => {
                let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
                query.fetch_all(&mut **connection).await
            }
        }
    }

    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// What the database says.
    pub async fn begin(&mut self) -> Result<(), RawError> {
        let begin = if self.is_sqlite() {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN"
        };
        self.run(begin).await
    }

    /// What anybody can see at a moment during this call.
    ///
    /// # Errors
    /// What the database says.
    pub async fn place(&mut self) -> Result<Place, RawError> {
        match self {
            Self::Sqlite(connection) => {
                let n: Option<i64> = sqlx::query_scalar("SELECT max(n) FROM history_audit")
                    .fetch_one(&mut **connection)
                    .await?;
                Ok(Place::Row(n.unwrap_or(0)))
            }
            Self::Postgres(connection) => {
                let text: String = sqlx::query_scalar("SELECT pg_current_snapshot()::text")
                    .fetch_one(&mut **connection)
                    .await?;
                let snapshot = text
                    .parse()
                    .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                Ok(Place::Version(Version::Snapshot(snapshot)))
            }
        }
    }

    /// What was recorded after a row of the record, of those transactions that are over.
    ///
    /// # Errors
    /// What the database says.
    pub async fn audited(&mut self, after: i64) -> Result<Vec<Audited>, RawError> {
        match self {
            Self::Sqlite(connection) => {
                let rows =
                    sqlx::query("SELECT n, mark, what, id, body FROM history_audit WHERE n > ? ORDER BY n")
                        .bind(after)
                        .fetch_all(&mut **connection)
                        .await?;
                let row = |row: sqlx::sqlite::SqliteRow| {
                    let mark: i64 = row.try_get(1)?;
                    let origin = Origin::Sequence(mark.unsigned_abs());
                    audited(
                        row.try_get(0)?,
                        origin,
                        row.try_get(2)?,
                        row.try_get(3)?,
                        row.try_get(4)?,
                    )
                };
                rows.into_iter().map(row).collect()
            }
            Self::Postgres(connection) => {
                let rows = sqlx::query(
                    "SELECT n, xid::text, what, id, body::text FROM history_audit WHERE n > $1 ORDER BY n",
                )
                .bind(after)
                .fetch_all(&mut **connection)
                .await?;
                let row = |row: sqlx::postgres::PgRow| {
                    let xid: &str = row.try_get(1)?;
                    let xid = xid
                        .parse()
                        .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                    let origin = Origin::Transaction(xid);
                    audited(
                        row.try_get(0)?,
                        origin,
                        row.try_get(2)?,
                        row.try_get(3)?,
                        row.try_get(4)?,
                    )
                };
                rows.into_iter().map(row).collect()
            }
        }
    }
}

/// Makes the record's table and triggers. On SQLite those of the feed are made again afterwards, because the youngest
/// triggers run first, and the record has to see the numbers that the feed has given.
///
/// # Errors
/// What the database says.
pub async fn install(raw: &mut Raw, address: &str) -> Result<(), RawError> {
    if !raw.is_sqlite() {
        return raw.run(include_str!("audit_postgres.sql")).await;
    }
    let feed = feed_triggers(raw).await?;
    raw.run(&dropped(&feed)).await?;
    raw.run(include_str!("audit_sqlite.sql")).await?;
    let store = ci_store::open(address, &ci_store::StoreOptions::default()).await;
    store
        .map_err(|error| sqlx::Error::Configuration(Box::new(error)))?
        .close()
        .await;
    Ok(())
}

/// The feed's triggers in SQLite: name and text.
///
/// # Errors
/// What the database says.
pub async fn feed_triggers(raw: &mut Raw) -> Result<Vec<(String, String)>, RawError> {
    let rows =
        "FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'ci\\_change\\_%' ESCAPE '\\' ORDER BY name";
    let names = raw.texts(&format!("SELECT name {rows}")).await?;
    let texts = raw.texts(&format!("SELECT sql {rows}")).await?;
    Ok(names.into_iter().zip(texts).collect())
}

/// The statements that drop SQLite triggers.
pub fn dropped(triggers: &[(String, String)]) -> String {
    let drops: Vec<String> = triggers
        .iter()
        .map(|(name, _)| format!("DROP TRIGGER {name};\n"))
        .collect();
    drops.concat()
}

/// The statements that make SQLite triggers again.
pub fn made(triggers: &[(String, String)]) -> String {
    let texts: Vec<String> = triggers.iter().map(|(_, text)| format!("{text};\n")).collect();
    texts.concat()
}

fn audited(
    n: i64,
    origin: Origin,
    what: &str,
    id: Option<&str>,
    body: Option<&str>,
) -> Result<Audited, RawError> {
    let deed = deed(what, id.unwrap_or_default(), body);
    let deed = deed.ok_or_else(|| {
        sqlx::Error::Decode(format!("row {n} of the record: {what} {id:?} {body:?}").into())
    })?;
    Ok(Audited { n, origin, deed })
}

fn deed(what: &str, id: &str, body: Option<&str>) -> Option<Deed> {
    let body: Option<Vec<Value>> = body.map(serde_json::from_str).transpose().ok()?;
    Some(match what {
        "c" => {
            let id = id.parse().ok()?;
            let row = match &body {
                Some(values) => Some(Box::new(ci(id, values)?)),
                None => None,
            };
            Deed::Ci(id, row)
        }
        "e" => {
            let documents = body.map(|values| {
                let mut values = values.into_iter().map(object);
                Some((values.next()??, values.next()??))
            });
            let documents = match documents {
                Some(documents) => Some(Box::new(documents?)),
                None => None,
            };
            Deed::Documents(id.parse().ok()?, documents)
        }
        "r" => {
            let values = body?;
            let link = (
                TenantId::new(values.first()?.as_str()?).ok()?,
                values.get(1)?.as_str()?.parse().ok()?,
                values.get(2)?.as_str()?.parse().ok()?,
                RelationType::new(values.get(3)?.as_str()?).ok()?,
            );
            Deed::Relation(link, id == "+")
        }
        "t" => Deed::Truncated(id.to_owned()),
        "b" => Deed::Blind(id == "+"),
        _ => return None,
    })
}

fn object(value: Value) -> Option<Document> {
    match value {
        Value::Object(document) => Some(document),
        _ => None,
    }
}

fn ci(id: CiId, values: &[Value]) -> Option<CiDetail> {
    let text = |at: usize| values.get(at).and_then(Value::as_str).map(str::to_owned);
    let moment = |at: usize| -> Option<Timestamp> {
        match values.get(at)? {
            Value::String(text) => text.parse().ok(),
            value => Timestamp::from_micros(value.as_i64()?).ok(),
        }
    };
    Some(CiDetail {
        summary: CiSummary {
            ci_id: id,
            ci_code: CiCode::new(text(1)?).ok()?,
            ci_name: text(2)?,
            ci_type: text(3)?,
            ci_subtype: text(4),
            ci_category: text(5),
            status: text(6),
            location: text(7),
            owner: text(8),
        },
        tenant_id: TenantId::new(text(0)?).ok()?,
        criticality: values
            .get(9)?
            .as_i64()
            .and_then(|value| Criticality::new(value).ok()),
        created_at: moment(10)?,
        updated_at: moment(11)?,
        deleted_at: moment(12),
        tags: Document::new(),
        attributes: Document::new(),
    })
}
