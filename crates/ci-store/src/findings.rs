//! What both kinds of database are asked by [`examine`](crate::examine()), judged in one place.

use std::time::Duration;

use crate::examine::{Finding, Remedy};
use crate::schema::{self, SCHEMA_KEY, SCHEMA_VERSION, State};
use crate::{Error, Result};

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
pub(crate) fn version(meta: &[(String, String)]) -> Finding {
    const CHECK: &str = "schema";
    let version = meta.iter().find(|(key, _)| key == SCHEMA_KEY);
    let ours = SCHEMA_VERSION;
    match (schema::state(meta), version) {
        (Ok(State::Current), _) => Finding::ok(CHECK, format!("version {ours}, that of this program")),
        (Ok(State::Older), None) => {
            let what = "there are no tables of ci-cache yet; the first start makes them";
            Finding::warning(CHECK, what, Remedy::Open)
        }
        (Ok(State::Older), Some((_, version))) => {
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
