//! Answers: the body, where it came from, and at which state of the database it is true.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use ci_model::Token;
use ci_runner::{Answer, Source};

use super::encoded::Encoded;
use super::level::{X_CI_LAG, X_CI_SOURCE, X_CI_TOKEN};
use crate::search::Found;

/// `hit` when no database was asked for this answer, `miss` otherwise.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Where an answer came from and how true it is, as headers.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    source: Source,
    age: Duration,
    as_of: Option<Token>,
    lag: Option<Duration>,
}

impl Origin {
    pub(crate) fn of<T>(answer: &Answer<T>) -> Self {
        Self {
            source: answer.source,
            age: answer.age,
            as_of: answer.as_of.clone(),
            lag: answer.lag,
        }
    }

    /// The origin of what a search found.
    pub(crate) fn of_found(found: &Found<'_>) -> Self {
        Self {
            source: found.source,
            age: found.age,
            as_of: found.as_of.clone(),
            lag: found.lag,
        }
    }

    /// The origin of an answer of several parts at one state, which are not of one age.
    pub(crate) fn of_parts(source: Source, as_of: Option<Token>, lag: Option<Duration>) -> Self {
        Self {
            source,
            age: Duration::ZERO,
            as_of,
            lag,
        }
    }

    /// The origin of an answer that is made of several: a hit only when all are, as old and as far behind as the worst; with a
    /// token only if it is true at one state.
    pub(crate) fn of_all<T>(answers: &[Answer<T>]) -> Self {
        let mut rest = answers.iter();
        let Some(first) = rest.next() else {
            return Self {
                source: Source::Hit,
                age: Duration::ZERO,
                as_of: None,
                lag: None,
            };
        };
        rest.fold(Self::of(first), |worst, answer| Self {
            source: worst.source.farther(answer.source),
            age: worst.age.max(answer.age),
            as_of: worst.as_of.filter(|token| Some(token) == answer.as_of.as_ref()),
            lag: worst.lag.zip(answer.lag).map(|(one, other)| one.max(other)),
        })
    }

    /// From where.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// How long ago it was loaded.
    pub(crate) fn age(&self) -> Duration {
        self.age
    }

    /// The state at which it is true.
    pub(crate) fn as_of(&self) -> Option<&Token> {
        self.as_of.as_ref()
    }

    /// How far behind the database it may be.
    pub(crate) fn lag(&self) -> Option<Duration> {
        self.lag
    }

    pub(crate) fn set(&self, headers: &mut HeaderMap) {
        let cache = if self.source.is_hit() { "hit" } else { "miss" };
        headers.insert(X_CACHE, HeaderValue::from_static(cache));
        headers.insert(AGE, HeaderValue::from(self.age.as_secs()));
        headers.insert(X_CI_SOURCE, HeaderValue::from_static(self.source.place()));
        if let Some(lag) = self.lag {
            let millis = u64::try_from(lag.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
            headers.insert(X_CI_LAG, HeaderValue::from(millis));
        }
        set_token(headers, self.as_of.as_ref());
    }
}

/// Tells a state, if there is one to tell.
pub(crate) fn set_token(headers: &mut HeaderMap, token: Option<&Token>) {
    // A token's text is hexadecimal digits, which a header may always have.
    if let Some(Ok(value)) = token.map(|token| HeaderValue::try_from(token.to_string())) {
        headers.insert(X_CI_TOKEN, value);
    }
}

/// What a client said about the body that it has, if anything: its own copy may be as good as what it asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held(Vec<HeaderValue>);

impl Held {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(headers.get_all(IF_NONE_MATCH).iter().cloned().collect())
    }

    /// Tells whether one of them is this one (RFC 9110, 13.1.2: the weak comparison).
    fn has(&self, etag: &HeaderValue) -> bool {
        self.0
            .iter()
            .any(|given| lists(given.as_bytes(), etag.as_bytes()))
    }
}

/// Tells whether a list of validators has one, or is `*`. What is no list has none: then the answer is sent.
pub(crate) fn lists(given: &[u8], etag: &[u8]) -> bool {
    let mut all = given.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    given.trim_ascii() == b"*" || all.any(|one| one.strip_prefix(b"W/").unwrap_or(one) == etag)
}

/// Sends a body, or says that the client's copy of it is still right.
pub(crate) fn send(encoded: Encoded, origin: &Origin, held: &Held) -> Response {
    let is_held = held.has(&encoded.etag);
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    // All that there will be, and the length: it grows once instead of three times.
    headers.reserve(9);
    headers.insert(ETAG, encoded.etag);
    // Whoever keeps it asks whether it still holds; and nobody keeps it for somebody else.
    headers.insert(CACHE_CONTROL, PRIVATE);
    origin.set(headers);
    if is_held {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(CONTENT_TYPE, JSON);
        *response.body_mut() = Body::from(encoded.bytes);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_validators_is_read_as_the_standard_says() {
        for (given, wanted) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("\"b\",W/\"a\" ", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("\"x,*,y\"", false),
            ("", false),
            ("\"A\"", false),
        ] {
            assert_eq!(lists(given.as_bytes(), b"\"a\""), wanted, "{given}");
        }
    }
}
