//! The predecessor's statements: one for each step, any-case substrings over five columns in a sequential scan, and nothing of ours but
//! the tables.

use std::sync::atomic::{AtomicU64, Ordering};

use ci_benches::{Loaded, Plain};
use sqlx::{
    AssertSqlSafe, ColumnIndex, Connection as _, Database, Decode, PgConnection, SqliteConnection, Type,
};

use crate::plain::Row;

/// The columns of a search, as text.
const NINE: &str =
    "CAST(ci_id AS TEXT), ci_code, ci_name, ci_type, ci_subtype, ci_category, status, location, owner";
/// The columns that a keyword is looked for in.
const SEARCHED: [&str; 5] = ["ci_code", "ci_name", "ci_type", "ci_subtype", "ci_category"];

/// How the predecessor gets a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connecting {
    /// From a pool, which it did not have.
    Pooled,
    /// Anew for each statement, which it did.
    Anew,
}

/// The plain database, asked step by step.
#[derive(Debug)]
pub(super) struct Steps {
    plain: Plain,
    url: String,
    connecting: Connecting,
    asked: AtomicU64,
}

/// A row as texts, absent ones none.
pub(super) type Cells = Vec<Option<String>>;

fn cells<R>(row: &R) -> Result<Cells, sqlx::Error>
where
    R: sqlx::Row,
    usize: ColumnIndex<R>,
    for<'r> Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    R::Database: Database,
{
    (0..row.len()).map(|at| row.try_get_unchecked(at)).collect()
}

impl Steps {
    pub(super) fn new(place: &Loaded, connecting: Connecting) -> Self {
        Self {
            plain: place.plain.clone(),
            url: place.url.clone(),
            connecting,
            asked: AtomicU64::new(0),
        }
    }

    /// How many statements have been run.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Runs one statement.
    pub(super) async fn ask(&self, sql: &str, bound: &[&str]) -> anyhow::Result<Vec<Cells>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let text = AssertSqlSafe(sql.to_owned());
        let rows = match (&self.plain, self.connecting) {
            (Plain::Sqlite(pool), connecting) => {
                let mut query = sqlx::query(text);
                for value in bound {
                    query = query.bind((*value).to_owned());
                }
                let rows = match connecting {
                    Connecting::Pooled => query.fetch_all(pool).await?,
                    Connecting::Anew => {
                        let mut connection = SqliteConnection::connect(&self.url).await?;
                        let rows = query.fetch_all(&mut connection).await?;
                        connection.close().await?;
                        rows
                    }
                };
                rows.iter().map(cells).collect::<Result<_, _>>()?
            }
            (Plain::Postgres(pool), connecting) => {
                let mut query = sqlx::query(text);
                for value in bound {
                    query = query.bind((*value).to_owned());
                }
                let rows = match connecting {
                    Connecting::Pooled => query.fetch_all(pool).await?,
                    Connecting::Anew => {
                        let mut connection = PgConnection::connect(&self.url).await?;
                        let rows = query.fetch_all(&mut connection).await?;
                        connection.close().await?;
                        rows
                    }
                };
                rows.iter().map(cells).collect::<Result<_, _>>()?
            }
        };
        Ok(rows)
    }

    /// Whether the database is PostgreSQL.
    fn is_postgres(&self) -> bool {
        matches!(self.plain, Plain::Postgres(_))
    }

    /// The CIs that have all keywords and all values.
    pub(super) async fn search(
        &self,
        tenant: &str,
        keywords: &[String],
        values: &[(String, String)],
        limit: u32,
    ) -> anyhow::Result<Vec<Row>> {
        let (table, like) = if self.is_postgres() {
            ("ci", "ILIKE")
        } else {
            ("ci NOT INDEXED", "LIKE")
        };
        let mut sql = format!("SELECT {NINE} FROM {table} WHERE tenant_id = $1 AND deleted_at IS NULL");
        let mut bound = vec![tenant.to_owned()];
        for keyword in keywords {
            bound.push(format!("%{keyword}%"));
            let place = bound.len();
            let columns = SEARCHED.map(|column| format!("{column} {like} ${place}"));
            sql.extend([format!(" AND ({})", columns.join(" OR "))]);
        }
        for (column, value) in values {
            bound.push(value.clone());
            let text = if column == "criticality" {
                "CAST(criticality AS TEXT)"
            } else {
                column
            };
            sql.extend([format!(" AND {text} = ${}", bound.len())]);
        }
        sql.extend([format!(" ORDER BY ci_code LIMIT {limit}")]);
        let bound: Vec<&str> = bound.iter().map(String::as_str).collect();
        let rows = self.ask(&sql, &bound).await?;
        Ok(rows.into_iter().map(row).collect())
    }

    /// One CI in full, by a column.
    pub(super) async fn ci(&self, tenant: &str, by: By<'_>) -> anyhow::Result<Option<Row>> {
        let (column, value) = match by {
            By::Code(code) => ("c.ci_code = $2", code),
            By::Id(id) if self.is_postgres() => ("c.ci_id = $2::uuid", id),
            By::Id(id) => ("c.ci_id = $2", id),
        };
        let sql = format!(
            "SELECT CAST(c.ci_id AS TEXT), ci_code, ci_name, ci_type, ci_subtype, ci_category, status, location, owner, \
             CAST(e.tags AS TEXT), CAST(e.attributes AS TEXT) FROM ci AS c LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id \
             WHERE c.tenant_id = $1 AND {column} AND c.deleted_at IS NULL"
        );
        let found = self.ask(&sql, &[tenant, value]).await?;
        Ok(found.into_iter().next().map(row))
    }

    /// The other ends of a CI's relations of some types, both ways: ids.
    pub(super) async fn neighbours(
        &self,
        tenant: &str,
        id: &str,
        types: &[&str],
    ) -> anyhow::Result<Vec<String>> {
        let id_bound = if self.is_postgres() { "$2::uuid" } else { "$2" };
        let among = if types.is_empty() {
            String::new()
        } else {
            format!(" AND rel_type IN ('{}')", types.join("', '"))
        };
        let sql = format!(
            "SELECT CAST(to_id AS TEXT) FROM ci_relation WHERE tenant_id = $1 AND from_id = {id_bound}{among} \
             UNION ALL SELECT CAST(from_id AS TEXT) FROM ci_relation WHERE tenant_id = $1 AND to_id = {id_bound}{among}"
        );
        let found = self.ask(&sql, &[tenant, id]).await?;
        Ok(found
            .into_iter()
            .filter_map(|mut cells| cells.swap_remove(0))
            .collect())
    }

    /// How many CIs there are of each value of a column, and (as the predecessor did, for nothing) how many values there are.
    pub(super) async fn counts(&self, tenant: &str, column: &str, limit: u32) -> anyhow::Result<Vec<Cells>> {
        let groups = format!(
            "SELECT {column}, CAST(count(*) AS TEXT) FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL GROUP BY 1 \
             ORDER BY count(*) DESC LIMIT {limit}"
        );
        let found = self.ask(&groups, &[tenant]).await?;
        let again = format!(
            "SELECT CAST(count(*) AS TEXT) FROM (SELECT {column} FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL GROUP BY 1) AS g"
        );
        self.ask(&again, &[tenant]).await?;
        Ok(found)
    }

    /// How many CIs there are.
    pub(super) async fn total(&self, tenant: &str) -> anyhow::Result<Vec<Cells>> {
        let sql = "SELECT CAST(NULL AS TEXT), CAST(count(*) AS TEXT) FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL";
        self.ask(sql, &[tenant]).await
    }

    /// A page of the CIs, and how many there are in all.
    pub(super) async fn list(&self, tenant: &str, order: &str, limit: u32) -> anyhow::Result<Vec<Row>> {
        let sql = format!(
            "SELECT {NINE} FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL ORDER BY {order} DESC LIMIT {limit}"
        );
        let rows = self.ask(&sql, &[tenant]).await?;
        self.total(tenant).await?;
        Ok(rows.into_iter().map(row).collect())
    }
}

/// By what a CI is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum By<'a> {
    Code(&'a str),
    Id(&'a str),
}

/// Nine cells as a row; what comes after them as its rest.
fn row(cells: Cells) -> Row {
    let mut cells = cells.into_iter();
    let mut next = || cells.next().flatten();
    let mut row = Row {
        ci_id: next().unwrap_or_default(),
        ci_code: next().unwrap_or_default(),
        ci_name: next().unwrap_or_default(),
        ci_type: next().unwrap_or_default(),
        ci_subtype: next(),
        ci_category: next(),
        status: next(),
        location: next(),
        owner: next(),
        rest: None,
    };
    if let (Some(tags), attributes) = (next(), next()) {
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
        row.rest = Some(serde_json::json!({
            "tags": read(&tags),
            "attributes": attributes.as_deref().map(read),
        }));
    }
    row
}
