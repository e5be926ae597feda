//! Looking at a database without changing it: what a service needs of it, one thing after the other.

use std::time::Duration;

use crate::StoreOptions;

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// A service works, but something is wanting or will be.
    Warning,
    /// A service does not work, or only for a time.
    Failure,
}

/// What mends a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Opening the store once ([`open`](crate::open)): it makes what is missing.
    Open,
    /// A statement, run by somebody who may: the text says who.
    Statement {
        /// Who may run it.
        by: String,
        /// The SQL.
        sql: String,
    },
    /// Commands, one after the other, each in words as a shell would divide them.
    Commands(Vec<Vec<String>>),
    /// Something that no command does.
    Advice(String),
}

impl Remedy {
    /// One command.
    pub fn command<const N: usize>(words: [&str; N]) -> Self {
        Self::Commands(vec![words.map(str::to_owned).to_vec()])
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is called, in one word.
    pub check: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found, without values of rows and without the address.
    pub what: String,
    /// What mends it; none when nothing has to be.
    pub remedy: Option<Remedy>,
}

impl Finding {
    /// A thing that is as it should be.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            what: what.into(),
            remedy: None,
        }
    }

    /// A thing that is wanting.
    pub fn warning(check: &'static str, what: impl Into<String>, remedy: Remedy) -> Self {
        Self {
            verdict: Verdict::Warning,
            remedy: Some(remedy),
            ..Self::ok(check, what)
        }
    }

    /// A thing that keeps a service from working.
    pub fn failure(check: &'static str, what: impl Into<String>, remedy: Remedy) -> Self {
        Self {
            verdict: Verdict::Failure,
            remedy: Some(remedy),
            ..Self::ok(check, what)
        }
    }
}

/// Looks at everything that a service needs of the database, and changes nothing: tables are neither made nor migrated.
///
/// The order is that in which things need each other; what cannot be looked at because something before it is missing is left out. A
/// database that cannot be reached is a finding, too. `retention` is how long the services keep recorded changes.
///
/// # Cost
/// One connection and about a dozen statements, none of which reads CIs.
pub async fn examine(address: &str, options: &StoreOptions, retention: Duration) -> Vec<Finding> {
    match address.split_once(':') {
        Some(("sqlite", path)) => examine_sqlite(path, options, retention).await,
        Some(("postgres" | "postgresql", _)) => examine_postgres(address, options, retention).await,
        _ => vec![unknown()],
    }
}

fn unknown() -> Finding {
    let what = "the address is not understood, or this program was built without its driver";
    let remedy = Remedy::Advice("give sqlite:PATH or postgres://USER@HOST:PORT/NAME".into());
    Finding::failure(REACH, what, remedy)
}

#[cfg(feature = "sqlite")]
async fn examine_sqlite(path: &str, options: &StoreOptions, retention: Duration) -> Vec<Finding> {
    crate::sqlite::examine(path, options, retention).await
}

#[cfg(not(feature = "sqlite"))]
#[expect(clippy::unused_async, reason = "the twin of the one that connects")]
async fn examine_sqlite(_: &str, _: &StoreOptions, _: Duration) -> Vec<Finding> {
    vec![unknown()]
}

#[cfg(feature = "postgres")]
async fn examine_postgres(address: &str, options: &StoreOptions, retention: Duration) -> Vec<Finding> {
    crate::postgres::examine(address, options, retention).await
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "the twin of the one that connects")]
async fn examine_postgres(_: &str, _: &StoreOptions, _: Duration) -> Vec<Finding> {
    vec![unknown()]
}

/// Looks whether a replica of a database can be read from ([`Store::replica`](crate::Store::replica)), and changes nothing. A service works without it, so
/// nothing that is found is a failure.
///
/// # Cost
/// A connection to each of the two and a statement on each.
pub async fn examine_replica(address: &str, replica: &str, options: &StoreOptions) -> Finding {
    match address.split_once(':') {
        Some(("postgres" | "postgresql", _)) => examine_postgres_replica(address, replica, options).await,
        _ => unknown(),
    }
}

#[cfg(feature = "postgres")]
async fn examine_postgres_replica(address: &str, replica: &str, options: &StoreOptions) -> Finding {
    crate::postgres::examine_replica(address, replica, options).await
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "the twin of the one that connects")]
async fn examine_postgres_replica(_: &str, _: &str, _: &StoreOptions) -> Finding {
    unknown()
}

/// The check of a replica.
#[cfg(feature = "postgres")]
pub(crate) const REPLICA: &str = "replica";
/// The first check of all.
pub(crate) const REACH: &str = "database";
