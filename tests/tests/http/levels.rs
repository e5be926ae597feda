//! How true an answer has to be: parameters and tokens, and what is wrong with them.

use axum::http::Method;
use ci_tests::fixture::Fixture;
use serde_json::json;

use crate::service::Service;

const URI: &str = "/v1/acme/cis/db-1";

#[tokio::test]
async fn a_write_tells_a_token_that_a_question_may_ask_for() {
    let fixture = Fixture::sqlite();
    let (service, other) = (Service::empty(&fixture).await, Service::empty(&fixture).await);
    for name in ["one", "two", "three"] {
        let body = json!({"ci_name": name, "ci_type": "SW"});
        let written = service.json(Method::PUT, URI, body).await;
        let token = written.header("x-ci-token").expect("a token");
        let seen = other.get_at_least(URI, &[token]).await;
        assert_eq!(seen.json()["ci_name"], name);
        let strong = other.get(&format!("{URI}?level=strong")).await;
        assert_eq!(strong.json()["ci_name"], name);
        let fresh = other.get(&format!("{URI}?level=cached&max_lag_ms=0")).await;
        assert_eq!(fresh.json()["ci_name"], name);
        let past = other.get(&format!("{URI}?level=bypass")).await;
        assert_eq!(
            (past.header("x-ci-source"), past.header("x-cache")),
            (Some("bypass"), Some("miss"))
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_level_is_told() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    let body = json!({"ci_name": "one", "ci_type": "SW"});
    let written = service.json(Method::PUT, URI, body).await;
    let token = written.header("x-ci-token").expect("a token");
    for (query, tokens, words) in [
        ("?level=fresh", &[][..], "must be cached, strong or bypass"),
        ("?level=", &[], "must be cached, strong or bypass"),
        ("?level=strong&level=strong", &[], "more than once"),
        ("?level=strong&max_lag_ms=1", &[], "goes with the level `cached`"),
        ("?max_lag_ms=-1", &[], "a whole number"),
        ("?max_lag_ms=1", &[token], "without a token"),
        ("", &[""], "a token as it came"),
        ("", &[&token[1..]], "a token as it came"),
        ("", &[&token.to_uppercase()], "a token as it came"),
        // One of two would be forgotten.
        ("", &[token, token], "more than once"),
    ] {
        let reply = service.get_at_least(&format!("{URI}{query}"), tokens).await;
        assert_eq!(reply.status, 400, "{query} {tokens:?}");
        assert!(reply.detail().contains(words), "{query}: {}", reply.detail());
    }
}
