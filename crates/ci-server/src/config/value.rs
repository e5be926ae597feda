//! What a setting may be: one text form per type, read and checked.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::uri::Authority;
use ci_model::QuestionKind;
use ci_runner::TenantShares;

use crate::access::ALGORITHMS;

/// A type that settings have.
pub(crate) trait Value: Sized {
    /// What help and documentation call it.
    const FORM: &'static str;
    /// What a text has to be, after "expected".
    const EXPECTED: &'static str;

    /// Reads a text; none when it is not of the form. The text is never repeated to anybody: it may be a secret.
    fn parse(text: &str) -> Option<Self>;
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A filter of the log, in the form of `tracing_subscriber`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFilter(pub(crate) String);

/// What JWTs may be signed with, by its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JwtAlgorithms(pub(crate) Vec<String>);

/// Names by which a service is asked, `HOST` or `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hosts(pub(crate) Vec<String>);

/// Divides a number from its unit.
fn unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

impl Value for Duration {
    const FORM: &'static str = "DURATION";
    const EXPECTED: &'static str = "a time such as 250ms, 30s, 10m or 1h; a number alone is seconds";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = unit(text)?;
        match unit {
            "ms" => Some(Self::from_millis(number)),
            "" | "s" => Some(Self::from_secs(number)),
            "m" => number.checked_mul(60).map(Self::from_secs),
            "h" => number.checked_mul(3_600).map(Self::from_secs),
            _ => None,
        }
    }
}

impl Value for Bytes {
    const FORM: &'static str = "BYTES";
    const EXPECTED: &'static str = "a size such as 1048576, 64KiB, 16MiB or 1GiB";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = unit(text)?;
        let factor = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(factor).map(Self)
    }
}

impl Value for Share {
    const FORM: &'static str = "SHARE";
    const EXPECTED: &'static str = "a number from 0 to 1, such as 0.1";

    fn parse(text: &str) -> Option<Self> {
        let share: f64 = text.parse().ok()?;
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }
}

/// Types whose own parser says it all.
macro_rules! plain {
    ($($type:ty: $form:literal, $expected:literal;)+) => {$(
        impl Value for $type {
            const FORM: &'static str = $form;
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )+};
}

plain! {
    bool: "BOOL", "true or false";
    u32: "NUMBER", "a whole number from 0 to 4294967295";
    usize: "NUMBER", "a whole number from 0";
    NonZeroUsize: "NUMBER", "a whole number from 1";
}

impl Value for String {
    const FORM: &'static str = "TEXT";
    const EXPECTED: &'static str = "a text that is not empty";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_owned())
    }
}

impl Value for PathBuf {
    const FORM: &'static str = "FILE";
    const EXPECTED: &'static str = "the path of a file";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }
}

/// Nothing where the text is empty.
impl<V: Value> Value for Option<V> {
    const FORM: &'static str = V::FORM;
    const EXPECTED: &'static str = V::EXPECTED;

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(None);
        }
        V::parse(text).map(Some)
    }
}

impl Value for LogFormat {
    const FORM: &'static str = "text|json";
    const EXPECTED: &'static str = "text or json";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Value for LogFilter {
    const FORM: &'static str = "FILTER";
    const EXPECTED: &'static str = "a filter such as `info` or `warn,ci_store=debug`";

    fn parse(text: &str) -> Option<Self> {
        let filter = tracing_subscriber::EnvFilter::builder().parse(text);
        filter.is_ok().then(|| Self(text.to_owned()))
    }
}

impl Value for JwtAlgorithms {
    const FORM: &'static str = "NAME[,NAME…]";
    const EXPECTED: &'static str =
        "some of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA, separated by commas";

    fn parse(text: &str) -> Option<Self> {
        let words = text.split(',').map(str::trim);
        let is_known = |word: &&str| ALGORITHMS.iter().any(|(name, _)| name == word);
        let words: Option<Vec<String>> = words
            .map(|word| Some(word).filter(is_known).map(str::to_owned))
            .collect();
        words.map(Self)
    }
}

impl Value for Hosts {
    const FORM: &'static str = "HOST[,HOST…]";
    const EXPECTED: &'static str =
        "names such as cmdb.example.com or cmdb.example.com:8642, separated by commas";

    fn parse(text: &str) -> Option<Self> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let names: Option<Vec<String>> = words
            .map(|word| {
                let name: Authority = word.parse().ok()?;
                (!name.host().is_empty() && !word.contains(['@', '*'])).then(|| word.to_owned())
            })
            .collect();
        names.map(Self)
    }
}

impl Value for TenantShares {
    const FORM: &'static str = "fair|off";
    const EXPECTED: &'static str = "fair or off";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "fair" => Some(Self::Fair),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

/// Kinds of questions, separated by commas; none when empty.
impl Value for Vec<QuestionKind> {
    const FORM: &'static str = "KIND[,KIND…]";
    const EXPECTED: &'static str =
        "some of get, search, list, aggregate, expand and path, separated by commas";

    fn parse(text: &str) -> Option<Self> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words
            .map(|word| QuestionKind::ALL.into_iter().find(|kind| kind.as_str() == word))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("30", 30_000),
            ("30 s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                Duration::parse(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "-1s",
            "1.5s",
            "1d",
            "99999999999999999999",
            "18446744073709551615h",
        ] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
        for (text, bytes) in [
            ("7", 7),
            ("64KiB", 65_536),
            ("16 MiB", 16 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
        }
        for text in ["", "1MB", "-1", "18446744073709551615GiB"] {
            assert_eq!(Bytes::parse(text), None, "{text}");
        }
    }

    #[test]
    fn words_are_known_ones() {
        assert_eq!(Option::<u32>::parse(""), Some(None));
        assert_eq!(Option::<u32>::parse("x"), None);
        assert_eq!(NonZeroUsize::parse("0"), None);
        assert_eq!(
            Vec::parse("get, path"),
            Some(vec![QuestionKind::Get, QuestionKind::Path])
        );
        assert_eq!(Vec::<QuestionKind>::parse(""), Some(Vec::new()));
        assert_eq!(Vec::<QuestionKind>::parse("get,page"), None);
        assert_eq!(TenantShares::parse("none"), None);
        assert_eq!(LogFormat::parse("yaml"), None);
        assert_eq!(Share::parse("0.25"), Some(Share(0.25)));
        for refused in ["", "-0.1", "1.01", "NaN", "inf", "10%"] {
            assert_eq!(Share::parse(refused), None, "{refused}");
        }
        assert!(JwtAlgorithms::parse("ES384, EdDSA").is_some());
        for refused in ["", "none", "HS256", "RS256,HS256", "rs256"] {
            assert_eq!(JwtAlgorithms::parse(refused), None, "{refused}");
        }
        assert_eq!(Hosts::parse(""), Some(Hosts(Vec::new())));
        let names = Hosts::parse("cmdb.example.com, [::1]:8642").map(|hosts| hosts.0.len());
        assert_eq!(names, Some(2));
        for refused in ["http://cmdb", "a b", "me@cmdb", "*", ":80", "cmdb/path"] {
            assert_eq!(Hosts::parse(refused), None, "{refused}");
        }
        assert!(LogFilter::parse("warn,ci_store=debug").is_some());
        assert_eq!(LogFilter::parse("ci_store=loudly"), None);
    }
}
