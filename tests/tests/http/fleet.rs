//! What a service shows of the tier that it shares: on its page, in its statistics and in its metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use ci_cache_core::ManualClock;
use ci_runner::tier::TierOptions;
use ci_server::http::{self, AppState, Exporter, ServerOptions};
use ci_tests::fixture::{Fixture, patient};
use ci_tests::tier::{Down, Faults, MemoryTier};

use crate::service::Service;

/// The panel, as the page has it.
async fn panel(service: &Service) -> String {
    let asked = Request::builder().uri("/").header("accept", "text/html");
    let page = service
        .page(asked.body(Body::empty()).expect("a request"))
        .await
        .text();
    let (_, rest) = page.split_once("<div id=\"fleet\"").expect("a panel");
    rest.split_once("</section>").expect("an end").0.to_owned()
}

#[tokio::test]
async fn a_tier_is_shown_and_that_it_is_left_alone_only_while_it_is() {
    let exporter = Exporter::new();
    // What the program `ci-cache` does for the whole process.
    let _guard = metrics::set_default_local_recorder(&exporter);
    let (fixture, tier, clock) = (Fixture::sqlite(), MemoryTier::new(), Arc::new(ManualClock::new()));
    let options = TierOptions::new()
        .timeout(Duration::from_secs(10))
        .wait(Duration::ZERO)
        .replay(Duration::ZERO)
        .refresh_every(Duration::from_secs(3_600));
    let runner = patient(fixture.open().await)
        .clock(clock.clone())
        .tier(tier.clone(), options)
        .tier_anywhere()
        .build()
        .expect("a runner");
    let options = ServerOptions::default().metrics(exporter.clone());
    let service = Service::of(http::router(AppState::new(runner.clone(), options)));
    service.put_ci("erp-1").await;
    assert_eq!(service.get("/v1/acme/cis?q=erp").await.status, 200);
    runner.settle_tier(false).await;
    let shown = panel(&service).await;
    for holds in ["is asked", "<code>absent</code>", "Waiting to be written"] {
        assert!(shown.contains(holds), "no {holds} in {shown}");
    }
    let told = service.get("/metrics").await.text();
    for name in [
        "ci_cache_tier_call_seconds_count{runner=\"main\",result=\"ok\"}",
        "ci_cache_tier_waiting{runner=\"main\"} 0",
        "ci_cache_tier_waiting_bytes{runner=\"main\"} 0",
        "ci_cache_tier_left_alone{runner=\"main\"} 0",
    ] {
        assert!(told.contains(name), "no {name} in {told}");
    }

    tier.set(Faults {
        down: Down::Fails,
        ..Faults::default()
    });
    for word in ["a", "b", "c", "d"] {
        assert_eq!(service.get(&format!("/v1/acme/cis?q={word}")).await.status, 200);
    }
    let left_alone = async || service.get("/v1/cache/stats").await.json()["tier"]["left_alone"].clone();
    assert_eq!(left_alone().await, true);
    let shown = panel(&service).await;
    for holds in ["left alone", "<code>failed</code>", "last trouble"] {
        assert!(shown.contains(holds), "no {holds} in {shown}");
    }
    let told = service.get("/metrics").await.text();
    assert!(
        told.contains("ci_cache_tier_left_alone{runner=\"main\"} 1"),
        "{told}"
    );
    // Nobody asks for anything; the next who does would try it again.
    clock.advance(Duration::from_secs(31));
    assert_eq!(left_alone().await, false);
    assert!(panel(&service).await.contains("is asked"));
    runner.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn who_shares_nothing_says_so() {
    let fixture = Fixture::sqlite();
    let service = Service::over(fixture.open().await, ServerOptions::default());
    assert!(panel(&service).await.contains("shares nothing"));
}
