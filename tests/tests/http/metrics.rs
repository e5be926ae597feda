//! `/metrics`: what Prometheus is told of a service, and that its labels are bounded.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::Method;
use ci_runner::metrics::{CATALOGUE, Kind, Metric};
use ci_server::http::{Exporter, METRICS, PROMETHEUS_TEXT, ServerOptions};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::observed::Observed;
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::broken::{self, Fault};
use crate::service::{Service, template};

/// All series, by their name with labels.
fn series(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

fn all_metrics() -> impl Iterator<Item = &'static Metric> {
    CATALOGUE.iter().chain(METRICS)
}

async fn scrape(service: &Service) -> (String, BTreeMap<String, f64>) {
    let reply = service.get("/metrics").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some(PROMETHEUS_TEXT));
    let text = String::from_utf8(reply.body).expect("text");
    let series = series(&text);
    (text, series)
}

fn is(series: &BTreeMap<String, f64>, name: &str, value: f64) {
    let known = series.get(name).copied();
    assert!(
        known.is_some_and(|known| (known - value).abs() < f64::EPSILON),
        "{name}: {known:?}"
    );
}

fn requests(route: &str, method: &str, status: &str) -> String {
    format!(
        "ci_cache_http_requests_total{{runner=\"main\",route=\"{route}\",method=\"{method}\",status=\"{status}\"}}"
    )
}

#[tokio::test]
async fn everything_in_the_catalogues_is_told_with_its_kind_and_nothing_else() {
    let exporter = Exporter::new();
    // What the program `ci-cache` does for the whole process.
    let _guard = metrics::set_default_local_recorder(&exporter);
    let fixture = Fixture::sqlite();
    let options = ServerOptions::default().metrics(exporter.clone());
    let service = Service::over(fixture.open().await, options);
    service.put_ci("erp-1").await;
    for _ in 0..2 {
        assert_eq!(service.get("/v1/acme/cis?q=erp").await.status, 200);
    }
    service.put_ci("erp-2").await;
    let (text, series) = scrape(&service).await;
    let mut told = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a kind");
        let metric = all_metrics().find(|metric| metric.name == name).expect(name);
        let wanted = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            _ => "histogram",
        };
        assert_eq!(kind, wanted, "{name}");
        assert!(
            text.contains(&format!("# HELP {name} {}\n", metric.help)),
            "{name}"
        );
        told.insert(name);
    }
    // Of a shared tier and of a replica only where there is one.
    let expected = all_metrics().map(|metric| metric.name);
    assert_eq!(
        told,
        expected
            .filter(|name| !name.starts_with("ci_cache_tier_") && !name.starts_with("ci_cache_replica_"))
            .collect()
    );

    is(&series, &requests("/v1/{tenant}/cis", "GET", "2xx"), 2.0);
    let load = "ci_cache_load_seconds_bucket{runner=\"main\",operation=\"search\",result=\"ok\",le";
    is(&series, &format!("{load}=\"+Inf\"}}"), 1.0);
    for edge in ["0.00005", "10"] {
        assert!(
            series.contains_key(&format!("{load}=\"{edge}\"}}")),
            "{edge} in {text}"
        );
    }
    is(
        &series,
        "ci_cache_http_request_seconds_count{runner=\"main\",route=\"/v1/{tenant}/cis\"}",
        2.0,
    );
    is(&series, "ci_cache_db_connections_max{runner=\"main\"}", 4.0);
    is(
        &series,
        "ci_cache_http_requests_in_flight_max{runner=\"main\"}",
        512.0,
    );
}

#[tokio::test]
async fn labels_are_patterns_and_never_what_clients_make_up() {
    let fixture = Fixture::sqlite();
    let options = ServerOptions::default().metrics(Exporter::new());
    let service = Service::over(fixture.open().await, options);
    for n in 0..50 {
        service.get(&format!("/v1/t{n}/cis/secret{n}")).await;
        service.get(&format!("/nowhere/secret{n}")).await;
        let method = Method::from_bytes(format!("M{n}").as_bytes()).expect("a method");
        service.send(method, "/healthz", None, Body::empty()).await;
    }
    let (text, series) = scrape(&service).await;
    assert!(!text.contains("secret"), "{text}");
    let route = "/v1/{tenant}/cis/{id_or_code}";
    is(&series, &requests(route, "GET", "4xx"), 50.0);
    is(&series, &requests("none", "GET", "4xx"), 50.0);
    is(&series, &requests("/healthz", "other", "4xx"), 50.0);
    let counted = series
        .keys()
        .filter(|name| name.starts_with("ci_cache_http_requests_total"))
        .count();
    assert_eq!(counted, 3, "{text}");
}

#[tokio::test]
async fn services_of_one_process_do_not_mix() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let one = Service::over(store.clone(), ServerOptions::default().metrics(Exporter::new()));
    let other = Service::over(store.clone(), ServerOptions::default().metrics(Exporter::new()));
    let without = Service::over(store, ServerOptions::default());
    one.get("/healthz").await;
    for service in [&other, &without] {
        service.get("/healthz").await;
        service.get("/healthz").await;
    }
    for (service, count) in [(&one, 1.0), (&other, 2.0)] {
        let (_, series) = scrape(service).await;
        is(&series, &requests("/healthz", "GET", "2xx"), count);
    }
    let reply = without.get("/metrics").await;
    assert_eq!(reply.status, 404);
    assert!(
        reply.detail().contains("publishes no metrics"),
        "{}",
        reply.detail()
    );
}

#[tokio::test]
async fn a_service_that_is_full_says_so() {
    let options = ServerOptions::default().concurrency(1).metrics(Exporter::new());
    let service = Service::broken(Fault::Hangs, options);
    let in_flight = "ci_cache_http_requests_in_flight{runner=\"main\"}";
    let refused = "ci_cache_http_refused_total{runner=\"main\"}";
    let (_, before) = scrape(&service).await;
    is(&before, in_flight, 0.0);
    is(&before, refused, 0.0);
    {
        let mut hanging = Box::pin(service.get("/v1/acme/list"));
        assert!(
            hanging.as_mut().now_or_never().is_none(),
            "it waits for the database"
        );
        assert_eq!(service.get("/v1/acme/cis").await.status, 503);
        let (_, series) = scrape(&service).await;
        is(&series, in_flight, 1.0);
        is(&series, refused, 1.0);
        is(&series, &requests("/v1/{tenant}/cis", "GET", "5xx"), 1.0);
    }
    // Its client went away: it is at work no more, and was not answered.
    let (text, series) = scrape(&service).await;
    is(&series, in_flight, 0.0);
    assert!(!text.contains("{tenant}/list"), "{text}");
}

#[tokio::test]
async fn the_page_does_not_ask_the_database() {
    let options = ServerOptions::default().metrics(Exporter::new());
    let service = Service::broken(broken::down(), options);
    let (text, series) = scrape(&service).await;
    assert!(!text.contains("hunter2"));
    is(
        &series,
        "ci_cache_feed_state{runner=\"main\",state=\"absent\"}",
        1.0,
    );
    assert_eq!(template("/metrics").as_deref(), Some("/metrics"));
}

#[tokio::test]
async fn connections_in_use_are_told_on_both_databases() {
    on_both(async |fixture| {
        let (store, control) = Observed::around(fixture.open().await);
        let options = ServerOptions::default().metrics(Exporter::new());
        let service = Service::over(store.clone(), options);
        let gate = control.close_gate();
        let uris: Vec<String> = (1..=4)
            .map(|limit| format!("/v1/acme/list?limit={limit}"))
            .collect();
        let mut all = Box::pin(join_all(uris.iter().map(|uri| service.get(uri))));
        while control.reads() < 4 {
            assert!((&mut all).now_or_never().is_none(), "the gate is closed");
            tokio::task::yield_now().await;
        }
        let used = "ci_cache_db_connections{runner=\"main\",state=\"used\"}";
        let (_, series) = scrape(&service).await;
        is(&series, used, 4.0);
        is(&series, "ci_cache_db_connections_max{runner=\"main\"}", 4.0);
        is(&series, "ci_cache_loads_in_flight{runner=\"main\"}", 4.0);
        drop(gate);
        assert!(all.await.iter().all(|reply| reply.status == 200));
        // They come back a moment after the answers.
        while scrape(&service).await.1[used] > 0.0 {
            tokio::task::yield_now().await;
        }
        drop(service);
        store.close().await;
    })
    .await;
}
