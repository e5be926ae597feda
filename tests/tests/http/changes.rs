//! Who follows changes is told all of them, as JSON or as a stream, and goes on where it left off.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request};
use axum::response::Response;
use ci_server::http::{AppState, ServerOptions, router};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::observed::Observed;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::service::{Reply, Service};

const AT_MOST: Duration = Duration::from_secs(120);

async fn changes(service: &Service, query: &str) -> Value {
    let reply = service.get(&format!("/v1/acme/changes?{query}")).await;
    assert_eq!(reply.status, 200, "{query}");
    reply.json()
}

fn effects(body: &Value) -> Vec<String> {
    let items = body["items"].as_array().expect("items").iter();
    items
        .map(|item| {
            format!(
                "{} {}",
                item["effect"].as_str().expect("a text"),
                item["ci_code"].as_str().expect("a text")
            )
        })
        .collect()
}

async fn begun(service: &Service) -> String {
    // Nothing is known before the feed's first poll, which a strong question waits for.
    service.get("/v1/acme/list?level=strong").await;
    changes(service, "").await["next"]
        .as_str()
        .expect("a text")
        .to_owned()
}

#[tokio::test]
async fn changes_are_told_from_a_token_on() {
    on_both(async |fixture| {
        let service = Service::empty(fixture).await;
        let began = begun(&service).await;
        service.put_ci("a").await;
        service.put_ci("b").await;
        service.delete("/v1/acme/cis/a").await;
        let first = changes(&service, &format!("since={began}")).await;
        assert_eq!(effects(&first), ["created a", "created b", "deleted a"]);
        assert_eq!(first["lost"], false);
        let next = first["next"].as_str().unwrap();
        let after = changes(&service, &format!("since={next}")).await;
        assert_eq!((effects(&after).len(), &after["lost"]), (0, &json!(false)));
        // A read at least as new as the token sees what was told.
        let read = service.get_at_least("/v1/acme/cis/b", &[next]).await;
        assert_eq!(read.status, 200);
        // Of another tenant nothing is told, but that time goes on.
        let other = service
            .get(&format!("/v1/other/changes?since={began}"))
            .await
            .json();
        assert_eq!(other["items"], json!([]));
        assert!(other["next"].is_string());
        for (query, part) in [
            ("since=x", "token"),
            ("wait_ms=30001", "wait_ms"),
            ("wait_ms=x", "wait_ms"),
            ("limit=1", "limit"),
        ] {
            let reply = service.get(&format!("/v1/acme/changes?{query}")).await;
            assert_eq!(reply.status, 400, "{query}");
            assert!(reply.detail().contains(part), "{}", reply.detail());
        }
    })
    .await;
}

#[tokio::test]
async fn who_waits_is_told_the_first_change() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    let began = begun(&service).await;
    let query = format!("since={began}&wait_ms=30000");
    let (told, ()) = tokio::join!(changes(&service, &query), service.put_ci("a"));
    assert_eq!(effects(&told), ["created a"]);
    // Nothing comes, and it is told so when the wait is over.
    let query = format!("since={}&wait_ms=1", told["next"].as_str().unwrap());
    assert_eq!(changes(&service, &query).await["items"], json!([]));
}

fn stream_of(since: Option<&str>) -> Request<Body> {
    let request = Request::builder()
        .method(Method::GET)
        .uri("/v1/acme/changes")
        .header("accept", "text/event-stream");
    let request = match since {
        Some(id) => request.header("last-event-id", id),
        None => request,
    };
    request.body(Body::empty()).expect("a request")
}

/// Reads whole events of a stream until one of them has a text.
async fn read_until(body: &mut BodyDataStream, text: &str) -> String {
    let mut read = String::new();
    while !(read.contains(text) && read.ends_with("\n\n")) {
        let chunk = tokio::time::timeout(AT_MOST, body.next()).await;
        let chunk = chunk
            .expect("an event in time")
            .expect("a stream that goes on")
            .expect("a chunk");
        read.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
    }
    read
}

/// The events of a stream until one of them has a text: pairs of a field and its value.
async fn events_until(response: Response, text: &str) -> Vec<(String, String)> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let read = read_until(&mut body, text).await;
    let fields = read.lines().filter_map(|line| line.split_once(": "));
    fields
        .map(|(field, value)| (field.to_owned(), value.to_owned()))
        .collect()
}

#[tokio::test]
async fn a_stream_is_gone_on_with_after_the_last_event() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    begun(&service).await;
    let stream = service.router().oneshot(stream_of(None)).await.unwrap();
    service.put_ci("a").await;
    let events = events_until(stream, "created").await;
    let id = events
        .iter()
        .rev()
        .find(|(field, _)| field == "id")
        .unwrap()
        .1
        .clone();
    assert!(
        events
            .iter()
            .any(|(field, value)| field == "event" && value == "changes")
    );
    // The connection is gone; what happens meanwhile is told to who comes back.
    service.put_ci("b").await;
    let again = service.router().oneshot(stream_of(Some(&id))).await.unwrap();
    let events = events_until(again, "created").await;
    let told: Vec<&str> = events
        .iter()
        .filter(|(field, _)| field == "data")
        .map(|(_, value)| value.as_str())
        .collect();
    assert!(told.iter().any(|data| data.contains("\"b\"")), "{told:?}");
    assert!(!told.iter().any(|data| data.contains("\"a\"")), "{told:?}");
    // A token of another history.
    let reply = service
        .router()
        .oneshot(stream_of(Some("nonsense")))
        .await
        .unwrap();
    assert_eq!(reply.status(), 400);
}

/// Asks until the answer has this status.
async fn until(service: &Service, uri: &str, status: u16) -> Reply {
    loop {
        let reply = service.get(uri).await;
        if reply.status == status {
            return reply;
        }
        tokio::task::yield_now().await;
    }
}

fn is_behind(reply: &Reply) {
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["type"], "/problems/feed-behind");
    assert_eq!(reply.header("retry-after"), Some("5"));
}

#[tokio::test]
async fn a_feed_that_hears_of_nothing_is_no_news_that_there_is_none() {
    on_both(async |fixture| {
        let service = Service::empty(fixture).await;
        let began = begun(&service).await;
        let since = format!("/v1/acme/changes?since={began}");
        service.put_ci("a").await;
        fixture
            .execute(if fixture.is_sqlite() {
                "DROP TRIGGER ci_change_update"
            } else {
                "ALTER TABLE ci DISABLE TRIGGER \"CI_change_rows\""
            })
            .await;
        // What it heard of before is told or, on a new history, said to be lost; but not that nothing is new.
        is_behind(&until(&service, "/v1/acme/changes", 503).await);
        let told = service.get(&since).await;
        assert!(
            told.status == 503
                || !told.json()["items"].as_array().unwrap().is_empty()
                || told.json()["lost"] == true
        );
        // Mended by whoever opens the database.
        drop(fixture.open().await);
        let mended = until(&service, "/v1/acme/changes", 200).await;
        assert!(mended.json()["next"].is_string());
        assert_eq!(until(&service, &since, 200).await.json()["lost"], true);
    })
    .await;
}

#[tokio::test]
async fn a_feed_whose_task_has_stopped_has_no_answer_to_who_waits_or_follows() {
    let fixture = Fixture::sqlite();
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .build()
        .expect("a runner");
    let options = ServerOptions::default().ready_timeout(Duration::from_millis(1));
    let service = Service::of(router(AppState::new(runner.clone(), options)));
    let began = begun(&service).await;
    service.put_ci("a").await;
    runner.close().await;
    let since = format!("/v1/acme/changes?since={began}");
    // What was told before it stopped still is.
    let told = service.get(&since).await;
    assert_eq!(effects(&told.json()), ["created a"]);
    let next = told.json()["next"].as_str().expect("a text").to_owned();
    // The task notices a moment later that it is to end.
    until(&service, "/v1/acme/changes", 503).await;
    for query in [
        String::new(),
        "wait_ms=30000".into(),
        format!("since={next}"),
        format!("since={next}&wait_ms=30000"),
    ] {
        is_behind(&service.get(&format!("/v1/acme/changes?{query}")).await);
    }
    is_behind(&service.get_with(&since, "accept", &["text/event-stream"]).await);
}

#[tokio::test]
async fn a_stream_tells_that_the_feed_is_behind_and_when_it_no_longer_is() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let options = ServerOptions::default().ready_lag(Duration::from_millis(200));
    let service = Service::over(store, options);
    // On a machine that stalls the feed may seem behind now and then.
    let stream = loop {
        service.get("/v1/acme/list?level=strong").await;
        let stream = service.router().oneshot(stream_of(None)).await.unwrap();
        if stream.status() == 200 {
            break stream;
        }
    };
    let held = control.hold_poll(false);
    let mut body = stream.into_body().into_data_stream();
    let first = read_until(&mut body, "event: behind").await;
    assert_eq!(first.matches("event: behind").count(), 1, "{first}");
    drop(held);
    let then = read_until(&mut body, "event: changes").await;
    assert!(then.contains("id: "), "{then}");
}

/// Holds as many streams as there may be, and gives the answer to one more request.
pub(crate) async fn crowded(service: &Service) -> u16 {
    let mut held = Vec::new();
    loop {
        let stream = service.router().oneshot(stream_of(None)).await.expect("no error");
        if stream.status() != 200 {
            break;
        }
        held.push(stream);
        assert!(held.len() <= 1_000, "there is no bound");
    }
    assert!(held.len() > 100, "{}", held.len());
    service.get("/v1/acme/changes").await.status
}

#[tokio::test]
async fn followers_have_places_of_their_own() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    assert_eq!(crowded(&service).await, 503);
    // All of them are gone, so their places come back.
    while service.get("/v1/acme/changes").await.status != 200 {
        tokio::task::yield_now().await;
    }
}
