//! How true an answer has to be, over HTTP: two parameters and a header of the request, three headers of the answer.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use ci_model::Token;
use ci_runner::Level;

use super::params::Params;
use super::problem::Problem;

/// A state of the database: with a request what the answer must include at least, with an answer the state at which it is true
/// (or, of a write, one that includes it).
pub const X_CI_TOKEN: HeaderName = HeaderName::from_static("x-ci-token");
/// How far an answer may be behind the database, in milliseconds.
pub const X_CI_LAG: HeaderName = HeaderName::from_static("x-ci-lag");
/// Where an answer was: `l1`, `l2`, `load` or `bypass`.
pub const X_CI_SOURCE: HeaderName = HeaderName::from_static("x-ci-source");

/// The parameters of every question.
pub(crate) const PARAMS: [&str; 2] = ["level", "max_lag_ms"];

/// Reads the token of a request.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<Token>, Problem> {
    let mut values = headers.get_all(X_CI_TOKEN).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        // To look at one of them would be to forget what the other asks for.
        return Err(Problem::invalid(
            "the header `x-ci-token` is given more than once",
        ));
    }
    let text = value
        .to_str()
        .map_err(|_| Problem::invalid("the header `x-ci-token` is not text"))?;
    Ok(Some(text.parse()?))
}

/// Reads the level that a question asks for; the service's own when it asks for none.
pub(crate) fn level(params: &Params, token: Option<&Token>) -> Result<Option<Level>, Problem> {
    let max_lag: Option<u64> = params.number("max_lag_ms")?;
    let cached = |millis| Level::Cached {
        max_lag: Duration::from_millis(millis),
    };
    match (params.one("level")?, token, max_lag) {
        (Some("strong"), _, None) => Ok(Some(Level::Strong)),
        (Some("bypass"), _, None) => Ok(Some(Level::Bypass)),
        (None | Some("cached"), Some(token), None) => Ok(Some(Level::AtLeast(token.clone()))),
        (None | Some("cached"), None, max_lag) => Ok(max_lag.map(cached)),
        (Some("strong" | "bypass" | "cached") | None, _, Some(_)) => Err(Problem::invalid(
            "`max_lag_ms` goes with the level `cached`, without a token",
        )),
        (Some(_), ..) => Err(Problem::invalid(
            "the parameter `level` must be cached, strong or bypass",
        )),
    }
}
