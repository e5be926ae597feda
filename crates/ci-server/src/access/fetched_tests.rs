//! Keys that are fetched: what comes counts, what does not come changes nothing.

use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use super::tests::{ISSUER, Signer, claims};
use super::*;

/// A provider on this machine, and what it sends.
#[derive(Clone, Default)]
struct Sends(Arc<Mutex<(u16, String, u64)>>);

impl Sends {
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/keys", get(send)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/keys")
    }

    fn set(&self, status: u16, body: impl Into<String>) {
        let mut sends = self.0.lock().unwrap();
        (sends.0, sends.1) = (status, body.into());
    }

    fn keys(&self, keys: &[Value]) {
        self.set(200, json!({"keys": keys}).to_string());
    }

    /// How often it was asked.
    fn asked(&self) -> u64 {
        self.0.lock().unwrap().2
    }
}

async fn send(State(sends): State<Sends>) -> (StatusCode, String) {
    let mut sends = sends.0.lock().unwrap();
    sends.2 += 1;
    (StatusCode::from_u16(sends.0).unwrap(), sends.1.clone())
}

fn judge(url: &str, refresh: Duration) -> Jwt {
    let url = url.to_owned();
    Jwt::new(JwtOptions::by(JwtKeys::Url { url, refresh }, ISSUER, "ci-cache")).unwrap()
}

/// Fetches the keys, again where a machine that stalls took longer than it may.
async fn fetch(jwt: &Jwt) -> Result<(), KeysError> {
    loop {
        match jwt.fetch().await {
            Err(late) if late.reason.contains("get an answer within") => {}
            fetched => return fetched,
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const AT_MOST: Duration = Duration::from_secs(120);

#[tokio::test]
async fn what_is_no_set_of_keys_changes_nothing() {
    let provider = Signer::new("one", Algorithm::ES256);
    let sends = Sends::default();
    let jwt = judge(&sends.listen().await, HOUR);
    let token = provider.sign(&claims());
    assert!(jwt.lacks_keys() && jwt.grant(&token).is_none());
    let secret = json!({"kty": "oct", "kid": "one", "alg": "HS256", "k": "c2VjcmV0"});
    let good = json!({"keys": [provider.jwk()]}).to_string();
    let bad = [
        (500, good.clone(), "the status 500"),
        (404, good.clone(), "the status 404"),
        // Not followed: it would lead to wherever the provider says.
        (302, good.clone(), "the status 302"),
        (200, "<html>canary-4711</html>".into(), "no JWK set"),
        (200, "{\"keys\": []}".into(), "no public key"),
        (200, json!({"keys": [secret]}).to_string(), "no public key"),
        (
            200,
            format!("{good}{}", " ".repeat(256 << 10)),
            "at most 262144 bytes",
        ),
    ];
    for is_first in [true, false] {
        for (status, body, told) in &bad {
            sends.set(*status, body);
            let error = fetch(&jwt).await.unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("4711"), "{error}");
            assert_eq!(jwt.lacks_keys(), is_first, "{told}");
            assert_eq!(jwt.grant(&token).is_some(), !is_first, "{told}");
        }
        sends.set(200, &good);
        fetch(&jwt).await.unwrap();
        assert!(!jwt.lacks_keys() && jwt.grant(&token).is_some());
    }
    // Exactly as much as it may be.
    sends.set(200, format!("{good}{}", " ".repeat((256 << 10) - good.len())));
    fetch(&jwt).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_answer_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody listens there, and nobody else can.
    let gone = tokio::net::TcpSocket::new_v4().unwrap();
    gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    for address in [silent.local_addr().unwrap(), gone.local_addr().unwrap()] {
        let jwt = judge(&format!("http://{address}/keys"), HOUR);
        let error = tokio::time::timeout(HOUR, jwt.fetch())
            .await
            .unwrap()
            .unwrap_err();
        assert!(error.reason.starts_with("failed to "), "{error}");
        assert!(!error.to_string().contains("127.0.0.1"), "{error}");
        assert!(jwt.lacks_keys());
    }
}

#[tokio::test]
async fn keys_change_with_the_provider_and_outlive_its_failures() {
    let signers = ["one", "two", "three"].map(|id| Signer::new(id, Algorithm::ES256));
    let [one, two, three] = &signers;
    let sends = Sends::default();
    sends.keys(&[one.jwk()]);
    let jwt = Arc::new(judge(&sends.listen().await, Duration::from_millis(10)));
    fetch(&jwt).await.unwrap();
    let watched = Arc::clone(&jwt);
    let watch = tokio::spawn(async move { watched.watch().await });
    let granted = async |signer: &Signer| {
        let token = signer.sign(&claims());
        let until = async {
            while jwt.grant(&token).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(AT_MOST, until)
            .await
            .expect("it counts in time");
    };
    granted(one).await;
    sends.keys(&[two.jwk()]);
    granted(two).await;
    assert_eq!(jwt.grant(&one.sign(&claims())), None, "it was taken away");
    sends.set(500, "");
    let before = sends.asked();
    while sends.asked() < before + 3 {
        tokio::task::yield_now().await;
    }
    assert!(
        jwt.grant(&two.sign(&claims())).is_some(),
        "the last good set is kept"
    );
    sends.keys(&[two.jwk(), three.jwk()]);
    granted(three).await;
    watch.abort();
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_known_is_asked_for() {
    let (old, new) = (
        Signer::new("old", Algorithm::ES256),
        Signer::new("new", Algorithm::ES256),
    );
    let jwt = judge("https://idp.example/keys", HOUR);
    let Source::Provider(provider) = &jwt.source else {
        panic!("it is fetched")
    };
    let keys = json!({"keys": [old.jwk()]}).to_string();
    jwt.keys
        .store(Arc::new(parse(keys.as_bytes(), &jwt.pinned).unwrap()));
    let asked = async || {
        let minutes = Duration::from_secs(61);
        tokio::time::timeout(minutes, provider.due(Last::Good))
            .await
            .is_ok()
    };
    // What is known, and what could count by no key at all, is no reason to ask.
    assert!(jwt.grant(&old.sign(&claims())).is_some());
    assert!(jwt.grant("x.y.z").is_none());
    assert!(!asked().await);
    assert!(jwt.grant(&new.sign(&claims())).is_none());
    assert!(asked().await);
}
