//! Every operation has a span with tenant, operation, whether the cache answered, rows and duration.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::io;
use std::sync::{Arc, Mutex};

use ci_model::{CiDraft, Search, TenantId};
use ci_tests::fixture::Fixture;
use serde_json::Value;
use tracing_subscriber::fmt::format::FmtSpan;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn spans_tell_what_was_asked_and_how_it_was_answered() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(move || writer.clone())
        .finish();
    let fixture = Fixture::sqlite();
    let runner = ci_tests::fixture::patient(fixture.open().await).build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    let guard = tracing::subscriber::set_default(subscriber);
    tenant
        .upsert_cis(vec![CiDraft::new("srv-01", "canary-4711", "HW")])
        .await
        .unwrap();
    let question = Search::builder().keyword("canary-4711").build().unwrap();
    for _ in 0..2 {
        tenant.search(&question).await.unwrap();
    }
    runner.store().close().await;
    assert!(tenant.get_by_code("another").await.is_err());
    drop(guard);

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(
        // Not its digits: a moment of the log may have those.
        !text.contains("canary"),
        "no value of a row or keyword is in the log: {text}"
    );
    let spans: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["span"].clone())
        .filter(|span| span["name"] == "ci_cache")
        .collect();
    // A load's span closes when its task is gone, which may be after the next question's.
    let mut told: Vec<(&str, &Value, &Value)> = spans
        .iter()
        .map(|span| {
            (
                span["operation"].as_str().unwrap(),
                &span["cache_hit"],
                &span["rows"],
            )
        })
        .collect();
    told[1..3].sort_by_key(|(_, hit, _)| hit.as_bool());
    let (none, one) = (Value::Null, Value::from(1));
    assert_eq!(
        told,
        [
            ("upsert_cis", &none, &one),
            ("search", &Value::from(false), &one),
            ("search", &Value::from(true), &one),
            ("get", &none, &none),
        ]
    );
    assert!(
        spans
            .iter()
            .all(|span| span["tenant"] == "acme" && span["duration_us"].is_u64())
    );
    assert!(
        spans[3]["error"]
            .as_str()
            .unwrap()
            .starts_with("reach the database"),
        "{}",
        spans[3]
    );
}
