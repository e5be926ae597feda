//! The one place where this crate asks for the time.

use std::time::{SystemTime, UNIX_EPOCH};

use ci_model::Timestamp;

/// 9999-12-30T22:00:00Z, the last moment that a row can hold, in microseconds.
const LATEST: u128 = 253_402_207_200_000_000;

/// The system's clock: what rows are stamped with must mean something outside of this process.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(since.as_micros().min(LATEST)).unwrap_or_default();
    Timestamp::from_micros(micros).expect("a moment between 1970 and 9999 is a timestamp")
}
