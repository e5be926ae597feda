//! What a write's headers expect of the CI that it is about (RFC 9110, 13.1).

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName};
use ci_model::{Fingerprint, Precondition};
use ci_store::WriteOptions;

use super::params::Params;
use super::problem::Problem;

/// The parameter of writes that are only to be tried.
pub(crate) const DRY_RUN: &str = "dry_run";

/// Reads how a CI is to be written.
pub(crate) fn options(headers: &HeaderMap, params: &Params) -> Result<WriteOptions, Problem> {
    let options = WriteOptions::default().dry_run(params.flag(DRY_RUN)?);
    Ok(match precondition(headers)? {
        Some(precondition) => options.only_if(precondition),
        None => options,
    })
}

/// Refuses the headers where nothing would come of them: whoever sends them wants to be protected.
pub(crate) fn refuse(headers: &HeaderMap) -> Result<(), Problem> {
    let given = [IF_MATCH, IF_NONE_MATCH]
        .into_iter()
        .find(|name| headers.contains_key(name));
    given.map_or(Ok(()), |name| {
        Err(Problem::invalid(format!(
            "the header `{name}` is not taken here: only writes of one CI are conditional"
        )))
    })
}

fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, Problem> {
    match (list(headers, &IF_MATCH)?, list(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (Some(any), None) if any == ["*"] => Ok(Some(Precondition::Present)),
        (None, Some(any)) if any == ["*"] => Ok(Some(Precondition::Absent)),
        (Some(known), None) => Ok(Some(Precondition::Unchanged(
            known.into_iter().filter_map(strong).collect(),
        ))),
        (None, Some(_)) => Err(Problem::invalid(
            "the header `if-none-match` of a write must be `*`: only if the CI is not there",
        )),
        (Some(_), Some(_)) => Err(Problem::invalid(
            "send either `if-match` or `if-none-match`, not both",
        )),
    }
}

/// The members of a header that is a list and may come in several parts; none if it does not come. It is refused rather than ignored: whoever
/// sends it wants to be protected by it.
fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<Vec<&'h str>>, Problem> {
    let mut members = Vec::new();
    let mut is_there = false;
    for value in headers.get_all(name) {
        is_there = true;
        let text = value
            .to_str()
            .map_err(|_| Problem::invalid(format!("the header `{name}` is not text")))?;
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        for part in parts {
            if part != "*" && validator(part).is_none() {
                return Err(Problem::invalid(format!(
                    "the header `{name}` must be `*`, or validators in double quotes, as `etag` has them"
                )));
            }
            members.push(part);
        }
    }
    if is_there && members.is_empty() || members.len() > 1 && members.contains(&"*") {
        return Err(Problem::invalid(format!(
            "the header `{name}` must be `*`, or a list of validators"
        )));
    }
    Ok(is_there.then_some(members))
}

/// What is between the quotes, weak or strong.
fn validator(text: &str) -> Option<&str> {
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('"')).then_some(inner)
}

/// The fingerprint that a strong validator is. A weak one never matches here (13.1.1), nor does one that this service never gave.
fn strong(text: &str) -> Option<Fingerprint> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    inner.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&'static str, &str)]) -> Result<Option<Precondition>, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, value.parse().unwrap());
        }
        precondition(&headers)
    }

    #[test]
    fn the_headers_of_a_write_are_read_as_the_standard_says() {
        let one = Fingerprint::of(b"one");
        let two = Fingerprint::of(b"two");
        let unchanged = |known: &[Fingerprint]| Some(Precondition::Unchanged(known.to_vec()));
        for (given, wanted) in [
            (vec![], None),
            (vec![("if-match", "*".to_owned())], Some(Precondition::Present)),
            (
                vec![("if-none-match", " * ".to_owned())],
                Some(Precondition::Absent),
            ),
            (vec![("if-match", format!("\"{one}\""))], unchanged(&[one])),
            (
                vec![("if-match", format!("\"{one}\", \"{two}\""))],
                unchanged(&[one, two]),
            ),
            (
                vec![
                    ("if-match", format!("\"{one}\"")),
                    ("if-match", format!("\"{two}\"")),
                ],
                unchanged(&[one, two]),
            ),
            // A weak one says that something like it will do, which is no protection.
            (vec![("if-match", format!("W/\"{one}\""))], unchanged(&[])),
            (
                vec![("if-match", "\"of somebody else\"".to_owned())],
                unchanged(&[]),
            ),
        ] {
            let pairs: Vec<(&str, &str)> = given
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            assert_eq!(read(&pairs).unwrap(), wanted, "{given:?}");
        }
    }

    #[test]
    fn what_protects_nobody_is_refused() {
        for given in [
            vec![("if-match", "")],
            vec![("if-match", "abc")],
            vec![("if-match", "*, \"a\"")],
            vec![("if-match", "\"a\"b\"")],
            vec![("if-none-match", "\"a\"")],
            vec![("if-match", "*"), ("if-none-match", "*")],
        ] {
            assert!(read(&given).is_err(), "{given:?}");
        }
    }
}
