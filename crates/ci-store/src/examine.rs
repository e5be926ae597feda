//! Looking at a database without changing it: what a service needs of it, one thing after the other.

use std::time::Duration;

use crate::{Error, Result, StoreOptions};

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

/// The first check of all.
pub(crate) const REACH: &str = "database";

/// A check's finding, or that it could not be made.
pub(crate) fn found(check: &'static str, looked: Result<Finding>) -> Finding {
    looked.unwrap_or_else(|error| {
        let remedy = Remedy::Advice("mend what is told above first, and run this again".into());
        Finding::failure(
            check,
            format!("it could not be looked at: failed to {error}"),
            remedy,
        )
    })
}

/// How the schema stands to this program.
pub(crate) fn schema(meta: &[(String, String)]) -> Finding {
    const CHECK: &str = "schema";
    let version = meta.iter().find(|(key, _)| key == crate::schema::SCHEMA_KEY);
    let ours = crate::schema::SCHEMA_VERSION;
    match (crate::schema::state(meta), version) {
        (Ok(crate::schema::State::Current), _) => {
            Finding::ok(CHECK, format!("version {ours}, that of this program"))
        }
        (Ok(crate::schema::State::Older), None) => {
            let what = "there are no tables of ci-cache yet; the first start makes them";
            Finding::warning(CHECK, what, Remedy::Open)
        }
        (Ok(crate::schema::State::Older), Some((_, version))) => {
            let what = format!(
                "version {version} is older than this program's {ours}; the next start migrates it, and older programs refuse it then"
            );
            Finding::warning(CHECK, what, Remedy::Open)
        }
        (Err(Error::Schema(what)), _) => {
            let remedy =
                Remedy::Advice("run a version of ci-cache that is as new as the one that migrated it".into());
            Finding::failure(CHECK, what.to_string(), remedy)
        }
        (Err(error), _) => found(CHECK, Err(error)),
    }
}

/// The triggers that are not there or do not fire, by name.
pub(crate) fn triggers(expected: usize, missing: &[String]) -> Finding {
    const CHECK: &str = "triggers";
    if missing.is_empty() {
        return Finding::ok(CHECK, format!("all {expected} are there and fire"));
    }
    let what = format!(
        "changes are not recorded, so nothing is answered from memory: missing or disabled: {}",
        missing.join(", ")
    );
    Finding::failure(CHECK, what, Remedy::Open)
}

/// How many changes are recorded and how old the oldest is.
pub(crate) fn recorded(changes: i64, oldest_s: i64, retention: Duration) -> Finding {
    const CHECK: &str = "change log";
    let kept = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX);
    let what = format!("{changes} changes are recorded, the oldest {oldest_s} s ago");
    // Services forget in steps; twice the time is more than a step behind.
    if changes > 1 && oldest_s > kept.saturating_mul(2) {
        let what = format!("{what}: more than twice the retention of {kept} s, so no service forgets them");
        let advice = "start a service, which forgets them in the background; where one runs, its log says what keeps it from that";
        return Finding::warning(CHECK, what, Remedy::Advice(advice.into()));
    }
    Finding::ok(CHECK, what)
}
