//! A moment, in the precision that both databases keep.

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::Error;

const MICROS_PER_SECOND: i64 = 1_000_000;
/// 0001-01-01T00:00:00Z and 9999-12-30T22:00:00Z, in seconds: what both databases and RFC 3339 can hold.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_207_200;

/// Microseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999.
///
/// The text form is RFC 3339 in UTC with exactly six decimals (`2026-01-31T08:00:00.000000Z`), so that the order of
/// texts is the order of moments: SQLite stores and compares that text. This crate reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

impl Timestamp {
    /// A moment from microseconds since the epoch.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] outside the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Result<Self, Error> {
        if SECONDS.contains(&micros.div_euclid(MICROS_PER_SECOND)) {
            Ok(Self(micros))
        } else {
            Err(Error::value("timestamp", "a moment between the years 1 and 9999"))
        }
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn as_micros(self) -> i64 {
        self.0
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads RFC 3339 with an offset, or a date and time without one (taken as UTC, as in `2026-01-31 08:00:00`), or a
    /// date alone (its midnight in UTC). Digits beyond microseconds are cut off.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let moment = text
            .parse::<jiff::Timestamp>()
            .or_else(|_| {
                text.parse::<civil::DateTime>()
                    .and_then(|t| TimeZone::UTC.to_timestamp(t))
            })
            .map_err(|_| Error::value("timestamp", "a date and time such as 2026-01-31T08:00:00Z"))?;
        let seconds = moment.as_second();
        let micros = i64::from(moment.subsec_nanosecond()).div_euclid(1_000);
        Self::from_micros(seconds.saturating_mul(MICROS_PER_SECOND).saturating_add(micros))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(moment: Timestamp) -> Self {
        moment.to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment:.6}"),
            // Unreachable for a checked value; a number is better than a panic in a log line.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_databases_and_people_write_and_prints_one_form() {
        for (text, canonical) in [
            ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00.000000Z"),
            (
                "2026-01-31T08:00:00.123456789+02:00",
                "2026-01-31T06:00:00.123456Z",
            ),
            ("2026-01-31 08:00:00", "2026-01-31T08:00:00.000000Z"),
            ("2026-01-31 08:00:00.5", "2026-01-31T08:00:00.500000Z"),
            ("2026-01-31", "2026-01-31T00:00:00.000000Z"),
            ("0001-01-01", "0001-01-01T00:00:00.000000Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ] {
            let moment: Timestamp = text.parse().unwrap();
            assert_eq!(moment.to_string(), canonical, "{text}");
            assert_eq!(canonical.parse::<Timestamp>().unwrap(), moment);
        }
        for text in [
            "",
            "yesterday",
            "0000-01-01",
            "2026-13-01",
            "-000001-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_order_of_texts_is_the_order_of_moments() {
        let texts = [
            "0001-01-01",
            "1969-12-31T23:59:59.999999Z",
            "1970-01-01",
            "2026-01-31T08:00:00.000001Z",
        ];
        let moments: Vec<Timestamp> = texts.iter().map(|t| t.parse().unwrap()).collect();
        assert!(moments.is_sorted());
        assert!(moments.iter().map(Timestamp::to_string).is_sorted());
    }
}
