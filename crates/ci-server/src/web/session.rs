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

/// The cookie's name.
const COOKIE: &str = "ci_cache_session";
/// Longest life of a session.
const LIFE: Duration = Duration::from_secs(12 * 3_600);
/// Most sessions; the oldest gives way.
const MOST: usize = 1_024;

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
        if sessions.len() >= MOST {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.begun);
            if let Some(name) = oldest.map(|(name, _)| *name) {
                sessions.remove(&name);
            }
        }
        let begun = Instant::now();
        sessions.insert(name(&secret), Session { proof, begun });
        secret
    }

    /// Ends the session of a request, if it has one.
    pub(crate) fn end(&self, headers: &HeaderMap) {
        if let Some(secret) = secret(headers) {
            self.0.lock().remove(&name(secret));
        }
    }

    /// What the session of a request grants now.
    pub(crate) fn grant(&self, access: &Access, headers: &HeaderMap) -> Option<Arc<Grant>> {
        let name = name(secret(headers)?);
        let sessions = self.0.lock();
        let session = sessions
            .get(&name)
            .filter(|session| session.begun.elapsed() < LIFE)?;
        access.granted(&session.proof)
    }
}

fn name(secret: &str) -> Name {
    Sha256::digest(secret.as_bytes()).into()
}

/// The secret in a request's cookie; none where there are two, of which it would have to be guessed which counts.
fn secret(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let pairs = texts
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut own = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value);
    own.next().filter(|_| own.next().is_none())
}

/// The header that gives a browser its cookie, or with an empty secret takes it away. `is_secure`: over TLS alone.
pub(crate) fn cookie(secret: &str, base: &str, is_secure: bool) -> Option<HeaderValue> {
    let age = if secret.is_empty() { 0 } else { LIFE.as_secs() };
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={secret}; Path={base}/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
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

/// Tells whether the page that a request comes from was fetched over TLS.
pub(crate) fn is_over_tls(headers: &HeaderMap) -> bool {
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
        let text = |secret, base, tls| cookie(secret, base, tls).unwrap().to_str().unwrap().to_owned();
        let given = text("abc", "/x", false);
        assert!(given.starts_with("ci_cache_session=abc; Path=/x/;"), "{given}");
        assert!(given.contains("HttpOnly") && given.contains("SameSite=Strict"));
        assert!(!given.contains("Secure") && text("abc", "", true).ends_with("; Secure"));
        assert!(text("", "", false).contains("Max-Age=0"));
    }

    #[test]
    fn one_cookie_counts_and_of_two_none() {
        assert_eq!(
            secret(&headers(&[("cookie", "a=b; ci_cache_session=s")])),
            Some("s")
        );
        assert_eq!(
            secret(&headers(&[("cookie", "ci_cache_session=s; ci_cache_session=t")])),
            None
        );
        assert_eq!(secret(&headers(&[("cookie", "xci_cache_session=s")])), None);
        assert_eq!(secret(&headers(&[])), None);
    }

    /// A file with one token, and the token.
    fn tokens() -> (tempfile::TempDir, std::path::PathBuf, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let new = NewToken {
            name: "one".into(),
            role: Role::Read,
            tenants: Tenants::All,
            expires: None,
        };
        let token = TokenFile::change(&path, |file| file.create(new)).unwrap();
        (folder, path, token)
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_with_its_token() {
        let (_folder, path, token) = tokens();
        let access = Access::by_file(&path).unwrap();
        let sessions = Sessions::default();
        let secret = sessions.begin(access.proof(&token).unwrap());
        assert!(!secret.contains(&token) && !token.contains(&secret));
        let cookie = format!("{COOKIE}={secret}");
        let headers: HeaderMap = [(header::COOKIE, cookie.parse().unwrap())].into_iter().collect();
        assert_eq!(&*sessions.grant(&access, &headers).unwrap().name, "one");
        TokenFile::change(&path, |file| file.revoke("one")).unwrap();
        let _over = tokio::time::timeout(Duration::from_secs(3), access.watch()).await;
        assert!(sessions.grant(&access, &headers).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_gives_way() {
        let (_folder, path, token) = tokens();
        let access = Access::by_file(&path).unwrap();
        let sessions = Sessions::default();
        let begin = || sessions.begin(access.proof(&token).unwrap());
        let is_there = |secret: &str| {
            let cookie = format!("{COOKIE}={secret}").parse().unwrap();
            let headers: HeaderMap = [(header::COOKIE, cookie)].into_iter().collect();
            sessions.grant(&access, &headers).is_some()
        };
        let secrets: Vec<String> = (0..=MOST).map(|_| begin()).collect();
        assert!(!is_there(&secrets[0]) && secrets[1..].iter().all(|secret| is_there(secret)));
        assert_eq!(sessions.0.lock().len(), MOST);
    }
}
