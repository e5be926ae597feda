//! What the runner counts reaches a recorder, under the names that the documentation lists, and with bounded labels.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use ci_model::{CiDraft, Epoch, Search, TenantId, Version};
use ci_runner::metrics::{CATALOGUE, Metric};
use ci_runner::replica::ReplicaOptions;
use ci_runner::tier::TierOptions;
use ci_runner::{Level, Runner, Tenant};
use ci_server::http::METRICS;
use ci_store::{Replica, Snapshot, Unused};
use ci_tests::fixture::Fixture;
use ci_tests::observed::Observed;
use ci_tests::tier::MemoryTier;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

const PAGE: &str = include_str!("../../docs/metrics.md");

/// One line of the page's table.
fn line(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    format!(
        "| `{}` | {} | {} | {} | {} |",
        metric.name,
        format!("{:?}", metric.kind).to_lowercase(),
        metric.unit.as_str(),
        if labels.is_empty() {
            "-".into()
        } else {
            labels.join(", ")
        },
        metric.help.trim_end_matches('.')
    )
}

#[test]
fn the_page_lists_every_metric_and_no_other() {
    let table: Vec<&str> = PAGE
        .lines()
        .filter(|line| line.starts_with("| `ci_cache_"))
        .collect();
    let wanted: Vec<String> = CATALOGUE.iter().chain(METRICS).map(line).collect();
    assert_eq!(
        table,
        wanted,
        "put this into docs/metrics.md:\n{}",
        wanted.join("\n")
    );
}

fn tenant(runner: &Runner, name: &str) -> Tenant {
    runner.tenant(TenantId::new(name).unwrap())
}

fn search() -> Search {
    Search::builder().keyword("erp").build().unwrap()
}

/// All series as `name{label=value,...}` without the runner's label, which is checked here.
fn series(snapshotter: &Snapshotter) -> BTreeMap<String, DebugValue> {
    let mut all = BTreeMap::new();
    for (key, unit, description, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        let metric = CATALOGUE.iter().find(|metric| metric.name == key.name()).unwrap();
        assert_eq!(unit, Some(metric.unit), "{}", metric.name);
        assert_eq!(description.as_deref(), Some(metric.help), "{}", metric.name);
        let (runner, labels): (Vec<_>, Vec<_>) = key.labels().partition(|label| label.key() == "runner");
        assert_eq!(runner.len(), 1, "{}", metric.name);
        assert_eq!(runner[0].value(), "desk");
        let names: BTreeSet<&str> = labels.iter().map(|label| label.key()).collect();
        assert_eq!(names, metric.labels.iter().copied().collect(), "{}", metric.name);
        let mut labels: Vec<String> = labels
            .iter()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        labels.sort();
        all.insert(format!("{}{{{}}}", metric.name, labels.join(",")), value);
    }
    all
}

/// A replica that is none any more.
#[derive(Debug)]
struct Promoted;

#[async_trait]
impl Replica for Promoted {
    async fn state(&self, _: Epoch) -> Result<Version, Unused> {
        Err(Unused::Promoted)
    }

    async fn snapshot(&self, _: Epoch) -> Result<(Box<dyn Snapshot>, Version), Unused> {
        Err(Unused::Promoted)
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn a_recorder_is_given_everything_that_was_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let runner = ci_tests::fixture::patient(store)
        .name("desk")
        .tenants_apart(1)
        .tier(MemoryTier::new(), TierOptions::new())
        .tier_anywhere()
        .replica(Arc::new(Promoted), ReplicaOptions::new())
        .build()
        .unwrap();
    // Before the first poll nobody knows how far behind the cache is: that is infinitely far.
    runner.publish_metrics();
    let seen = series(&snapshotter);
    let gauged = |name: &str| match seen.get(name) {
        Some(DebugValue::Gauge(value)) => value.into_inner(),
        other => panic!("{name}: {other:?}"),
    };
    assert!(gauged("ci_cache_lag_seconds{}").is_infinite());
    assert!((gauged("ci_cache_feed_state{state=starting}") - 1.0).abs() < f64::EPSILON);
    let acme = tenant(&runner, "acme");
    acme.upsert_cis(vec![CiDraft::new("erp-1", "ERP", "SW")])
        .await
        .unwrap();
    for _ in 0..3 {
        acme.search_strict(&search()).await.unwrap();
    }
    acme.at(Level::Bypass).search_strict(&search()).await.unwrap();
    control.fail_nth(1);
    assert!(acme.get_by_code("erp-1").await.is_err());
    for other in ["b", "c"] {
        tenant(&runner, other).search_strict(&search()).await.unwrap();
    }
    acme.upsert_cis(vec![CiDraft::new("erp-2", "ERP", "SW")])
        .await
        .unwrap();
    runner.publish_metrics();
    let seen = series(&snapshotter);

    let counted = |name: &str| match seen.get(name) {
        Some(DebugValue::Counter(count)) => *count,
        other => panic!("{name}: {other:?}"),
    };
    let request = |outcome: &str, tenant: &str| {
        counted(&format!(
            "ci_cache_requests_total{{operation=search,outcome={outcome},tenant={tenant}}}"
        ))
    };
    assert_eq!(request("hit", "acme"), 2);
    assert_eq!(request("miss", "acme"), 1);
    assert_eq!(request("bypass", "acme"), 1);
    assert_eq!(request("miss", ""), 2, "the others share one label");
    assert!(
        !seen
            .keys()
            .any(|name| name.contains("tenant=b") || name.contains("tenant=c"))
    );
    assert_eq!(
        counted("ci_cache_requests_total{operation=get,outcome=error,tenant=acme}"),
        1
    );
    assert_eq!(counted("ci_cache_replica_loads_total{outcome=promoted}"), 3);
    assert_eq!(counted("ci_cache_replica_loads_total{outcome=used}"), 0);
    assert_eq!(counted("ci_cache_loaded_answers_total{operation=search}"), 4);
    assert_eq!(counted("ci_cache_load_statements_total{}"), 4);
    assert_eq!(counted("ci_cache_invalidations_total{reason=entered_window}"), 1);
    assert_eq!(counted("ci_cache_publications_total{ending=kept}"), 3);

    let gauged = |name: &str| match seen.get(name) {
        Some(DebugValue::Gauge(value)) => value.into_inner(),
        other => panic!("{name}: {other:?}"),
    };
    assert!((gauged("ci_cache_saved_statements{operation=search}") - 2.0).abs() < f64::EPSILON);
    assert!((gauged("ci_cache_feed_state{state=live}") - 1.0).abs() < f64::EPSILON);
    assert!(gauged("ci_cache_feed_state{state=stopped}").abs() < f64::EPSILON);
    assert!(
        (gauged("ci_cache_entries{}") - 2.0).abs() < f64::EPSILON,
        "acme's went"
    );
    assert!((gauged("ci_cache_weight{}") - 2.0).abs() < f64::EPSILON);
    assert!(gauged("ci_cache_loads_in_flight{}").abs() < f64::EPSILON);
    assert!(gauged("ci_cache_lag_seconds{}").is_finite());

    let loads = |result: &str, operation: &str| match seen.get(&format!(
        "ci_cache_load_seconds{{operation={operation},result={result}}}"
    )) {
        Some(DebugValue::Histogram(values)) => values.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!((loads("ok", "search"), loads("error", "get")), (4, 1));

    // Every listed name is published, and publishing again adds nothing.
    let names: BTreeSet<&str> = seen.keys().filter_map(|name| name.split('{').next()).collect();
    assert_eq!(names, CATALOGUE.iter().map(|metric| metric.name).collect());
    runner.publish_metrics();
    let again = series(&snapshotter);
    let name = "ci_cache_requests_total{operation=search,outcome=hit,tenant=acme}";
    assert_eq!(again.get(name), Some(&DebugValue::Counter(2)));

    runner.close().await;
    fixture.finish().await;
}
