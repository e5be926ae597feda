//! Sessions of browsers: a cookie with a random secret stands for a token that was proven once.
//!
//! They live in memory, and end with the service, after twelve hours, by signing out, or with their token: what that grants is looked up
//! anew for each request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::access::{Access, Grant, Proof};

/// What the cookie's name begins with.
const COOKIE: &str = "ci_cache_session";
/// Longest life of a session.
const LIFE: Duration = Duration::from_secs(12 * 3_600);
/// Most sessions; the oldest gives way.
const MOST: usize = 1_024;
/// Most sessions of one token; its oldest gives way, so that nobody's give way to those of one who signs in over and over.
const MOST_OF_ONE: usize = 32;

/// The hash of a session's secret: what is compared and kept is not what a browser could send.
type Name = [u8; 32];

#[derive(Debug)]
struct Session {
    proof: Proof,
    begun: Instant,
}

/// The sessions of a service.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<Name, Session>>);

impl Sessions {
    /// Begins one; gives its secret.
    pub(crate) fn begin(&self, proof: Proof) -> String {
        let digits = |uuid: Uuid| uuid.simple().to_string();
        let secret = digits(Uuid::new_v4()) + &digits(Uuid::new_v4());
        let mut sessions = self.0.lock();
        sessions.retain(|_, session| session.begun.elapsed() < LIFE);
        let own = |session: &Session| session.proof.id() == proof.id();
        if sessions.values().filter(|session| own(session)).count() >= MOST_OF_ONE {
            forget_oldest(&mut sessions, own);
        } else if sessions.len() >= MOST {
            forget_oldest(&mut sessions, |_| true);
        }
        let begun = Instant::now();
        sessions.insert(name(&secret), Session { proof, begun });
        secret
    }

    /// Ends the session of a request, if it has one.
    pub(crate) fn end(&self, headers: &HeaderMap, base: &str) {
        if let Some(secret) = secret(headers, base) {
            self.0.lock().remove(&name(secret));
        }
    }

    /// What the session of a request grants now.
    pub(crate) fn grant(&self, access: &Access, headers: &HeaderMap, base: &str) -> Option<Arc<Grant>> {
        let name = name(secret(headers, base)?);
        let sessions = self.0.lock();
        let session = sessions
            .get(&name)
            .filter(|session| session.begun.elapsed() < LIFE)?;
        access.granted(&session.proof)
    }
}

fn forget_oldest(sessions: &mut HashMap<Name, Session>, of: impl Fn(&Session) -> bool) {
    let some = sessions.iter().filter(|(_, session)| of(session));
    if let Some(name) = some
        .min_by_key(|(_, session)| session.begun)
        .map(|(name, _)| *name)
    {
        sessions.remove(&name);
    }
}

/// The name of the cookie of the service that a request is for. Browsers give a cookie to every port of a host, and to every path below its
/// own: each service there has one of its own.
fn cookie_name(headers: &HeaderMap, base: &str) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let port = host
        .and_then(|host| host.rsplit_once(':'))
        .map_or("", |(_, port)| port);
    let place = [port, base].map(|part| part.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    [COOKIE, &place[0], &place[1]]
        .join("_")
        .trim_end_matches('_')
        .to_owned()
}

fn name(secret: &str) -> Name {
    Sha256::digest(secret.as_bytes()).into()
}

/// The secret in a request's cookie; none where there are two, of which it would have to be guessed which counts.
fn secret<'a>(headers: &'a HeaderMap, base: &str) -> Option<&'a str> {
    let cookie = cookie_name(headers, base);
    let values = headers.get_all(header::COOKIE).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let pairs = texts
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut own = pairs.filter(|(name, _)| *name == cookie).map(|(_, value)| value);
    own.next().filter(|_| own.next().is_none())
}

/// The header that gives the browser of a request its cookie, or with an empty secret takes it away.
pub(crate) fn cookie(secret: &str, base: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let name = cookie_name(headers, base);
    let age = if secret.is_empty() { 0 } else { LIFE.as_secs() };
    let secure = if is_over_tls(headers) { "; Secure" } else { "" };
    let text = format!("{name}={secret}; Path={base}/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Tells whether a request that changes something comes from a page of this service: what the browser says of that. A request that
/// says nothing comes from no browser of these years, and is not taken either.
pub(crate) fn is_of_own_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some((_, origin)) = text("origin").and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    text("host").is_some_and(|host| host.eq_ignore_ascii_case(origin))
}

/// Tells whether a browser sends a request for some page.
pub(crate) fn is_of_some_page(headers: &HeaderMap) -> bool {
    headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN)
}

/// Tells whether the page that a request comes from was fetched over TLS.
fn is_over_tls(headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    origin.is_some_and(|origin| origin.starts_with(b"https://"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{NewToken, Role, Tenants, TokenFile};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        pairs.collect()
    }

    #[test]
    fn what_changes_something_comes_from_a_page_of_this_service() {
        for (pairs, is_own) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "http://a:1"),
                    ("host", "a:1"),
                ],
                false,
            ),
            (&[("origin", "http://a:1"), ("host", "a:1")], true),
            (&[("origin", "http://A:1"), ("host", "a:1")], true),
            (&[("origin", "http://a:1"), ("host", "a:2")], false),
            (&[("origin", "http://b:1"), ("host", "a:1")], false),
            (&[("origin", "null"), ("host", "a:1")], false),
            (&[("origin", "http://a:1")], false),
        ] {
            assert_eq!(is_of_own_page(&headers(pairs)), is_own, "{pairs:?}");
        }
    }

    #[test]
    fn a_cookie_is_of_use_to_no_script_and_no_other_site() {
        let text = |secret, base, pairs: &[_]| {
            let cookie = cookie(secret, base, &headers(pairs)).unwrap();
            cookie.to_str().unwrap().to_owned()
        };
        let given = text("abc", "/x", &[]);
        assert!(
            given.starts_with("ci_cache_session___x=abc; Path=/x/;"),
            "{given}"
        );
        assert!(given.contains("HttpOnly") && given.contains("SameSite=Strict"));
        let over_tls = text("abc", "", &[("origin", "https://a"), ("host", "a:8443")]);
        assert!(!given.contains("Secure") && over_tls.ends_with("; Secure"));
        assert!(
            over_tls.starts_with("ci_cache_session_8443=abc; Path=/;"),
            "{over_tls}"
        );
        assert!(text("", "", &[]).contains("Max-Age=0"));
    }

    #[test]
    fn one_cookie_counts_and_of_two_none() {
        assert_eq!(
            secret(&headers(&[("cookie", "a=b; ci_cache_session=s")]), ""),
            Some("s")
        );
        assert_eq!(
            secret(
                &headers(&[("cookie", "ci_cache_session=s; ci_cache_session=t")]),
                ""
            ),
            None
        );
        assert_eq!(secret(&headers(&[("cookie", "xci_cache_session=s")]), ""), None);
        assert_eq!(secret(&headers(&[]), ""), None);
        // Those of other services of the host are none of it.
        let all = [
            ("host", "a:1"),
            (
                "cookie",
                "ci_cache_session=s; ci_cache_session_1=t; ci_cache_session_1__x=u",
            ),
        ];
        assert_eq!(secret(&headers(&all), ""), Some("t"));
        assert_eq!(secret(&headers(&all), "/x"), Some("u"));
    }

    /// A file with so many tokens, and the tokens.
    fn tokens(many: usize) -> (tempfile::TempDir, std::path::PathBuf, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let new = |number: usize| NewToken {
            name: number.to_string(),
            role: Role::Read,
            tenants: Tenants::All,
            expires: None,
        };
        let tokens = TokenFile::change(&path, |file| {
            (1..=many).map(|number| file.create(new(number))).collect()
        });
        (folder, path, tokens.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_with_its_token() {
        let (_folder, path, tokens) = tokens(1);
        let access = Access::by_file(&path).unwrap();
        let sessions = Sessions::default();
        let secret = sessions.begin(access.proof(&tokens[0]).unwrap());
        assert!(!secret.contains(&tokens[0]) && !tokens[0].contains(&secret));
        let cookie = format!("{COOKIE}={secret}");
        let headers: HeaderMap = [(header::COOKIE, cookie.parse().unwrap())].into_iter().collect();
        assert_eq!(&*sessions.grant(&access, &headers, "").unwrap().name, "1");
        TokenFile::change(&path, |file| file.revoke("1")).unwrap();
        let _over = tokio::time::timeout(Duration::from_secs(3), access.watch()).await;
        assert!(sessions.grant(&access, &headers, "").is_none());
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_gives_way() {
        let (_folder, path, tokens) = tokens(MOST / MOST_OF_ONE + 1);
        let access = Access::by_file(&path).unwrap();
        let sessions = Sessions::default();
        let begin = |token: &str| sessions.begin(access.proof(token).unwrap());
        let is_there = |secret: &str| {
            let cookie = format!("{COOKIE}={secret}").parse().unwrap();
            let headers: HeaderMap = [(header::COOKIE, cookie)].into_iter().collect();
            sessions.grant(&access, &headers, "").is_some()
        };
        // Those of one token give way to each other, and nobody else's do.
        let (others, own) = (begin(&tokens[1]), &tokens[0]);
        let secrets: Vec<String> = (0..=MOST_OF_ONE).map(|_| begin(own)).collect();
        assert!(!is_there(&secrets[0]) && secrets[1..].iter().all(|secret| is_there(secret)));
        assert!(is_there(&others));
        // Of all together the oldest does.
        for token in &tokens[1..] {
            (0..MOST_OF_ONE).for_each(|_| drop(begin(token)));
        }
        assert!(!is_there(&others) && !is_there(&secrets[1]));
        assert_eq!(sessions.0.lock().len(), MOST);
    }
}
