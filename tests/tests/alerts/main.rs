//! Alerts and dashboard speak of metrics that exist, every alert says what to do, fires when it should, and only then.

mod deployed;
mod promql;
mod promtool;

use serde_json::json;

use crate::deployed::{Deployed, expressions};

#[test]
fn alerts_and_dashboard_name_what_is_published_and_every_alert_has_its_section() {
    let deployed = Deployed::committed();
    assert!(deployed.alerts().len() >= 12);
    let findings = deployed.findings();
    assert!(findings.is_empty(), "{findings:#?}");
}

/// Replaces text that must be there.
fn planted(text: &mut String, from: &str, to: &str) {
    assert!(text.contains(from), "{from} is gone: plant another defect");
    *text = text.replacen(from, to, 1);
}

#[test]
fn planted_defects_are_found() {
    type Plant = fn(&mut Deployed);
    let plants: &[(&str, Plant)] = &[
        ("`ci_cache_lag_second`", |deployed| {
            planted(
                &mut deployed.alerts,
                "ci_cache_lag_seconds",
                "ci_cache_lag_second",
            );
        }),
        ("`cache_lag_seconds`", |deployed| {
            planted(&mut deployed.alerts, "ci_cache_lag_seconds", "cache_lag_seconds");
        }),
        ("`ci_cache_entries_count`", |deployed| {
            planted(
                &mut deployed.dashboard,
                "ci_cache_entries_max{",
                "ci_cache_entries_count{",
            );
        }),
        ("label `outcom`", |deployed| {
            planted(&mut deployed.alerts, "outcome=\"hit\"", "outcom=\"hit\"");
        }),
        ("label `operations`", |deployed| {
            planted(&mut deployed.dashboard, "by (operation)", "by (operations)");
        }),
        ("label `tenants`", |deployed| {
            planted(&mut deployed.dashboard, "{{tenant}}", "{{tenants}}");
        }),
        ("value `hits`", |deployed| {
            planted(&mut deployed.alerts, "outcome=\"hit\"", "outcome=\"hits\"");
        }),
        ("value `alive`", |deployed| {
            planted(&mut deployed.alerts, "live|absent", "alive|absent");
        }),
        ("has no section", |deployed| {
            planted(&mut deployed.operations, "## CiCacheDown", "## CiCacheUp");
        }),
        ("section CiCacheUp has no alert", |deployed| {
            planted(&mut deployed.operations, "## CiCacheDown", "## CiCacheUp");
        }),
        ("does not lead to its section", |deployed| {
            planted(&mut deployed.alerts, "#cicachedown", "#cicacheup");
        }),
        ("is not seen to fire", |deployed| {
            deployed.tests = deployed.tests.replace("exp_alerts:\n", "exp_alerts: []\n");
        }),
        ("is not seen to be silent", |deployed| {
            deployed.tests = deployed.tests.replace("exp_alerts: []", "exp_alerts:");
        }),
    ];
    for (what, plant) in plants {
        let mut deployed = Deployed::committed();
        plant(&mut deployed);
        let findings = deployed.findings();
        assert!(
            findings.iter().any(|finding| finding.contains(what)),
            "{what}: {findings:#?}"
        );
    }
}

#[test]
fn promtool_accepts_the_rules_and_the_configuration() {
    promtool::succeeds(&["check", "rules", "alerts.yml"]);
    promtool::succeeds(&["check", "config", "prometheus.yml"]);
}

#[test]
fn every_alert_fires_when_it_should_and_stays_silent_when_it_should_not() {
    promtool::succeeds(&["test", "rules", "alerts_test.yml"]);
}

#[test]
fn promtool_notices_an_alert_that_fires_at_the_wrong_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let deployed = Deployed::committed();
    let mut alerts = deployed.alerts.clone();
    planted(&mut alerts, "< 0.5", "> 0.5");
    std::fs::write(folder.path().join("alerts.yml"), alerts).expect("a file");
    std::fs::write(folder.path().join("alerts_test.yml"), &deployed.tests).expect("a file");
    let done = promtool::run(folder.path(), &["test", "rules", "alerts_test.yml"]);
    assert!(!done.status.success());
}

#[test]
fn every_expression_of_the_dashboard_is_promql() {
    let deployed = Deployed::committed();
    // Grafana fills its variables in before it asks.
    let rules: Vec<_> = expressions(&deployed.dashboard())
        .iter()
        .map(|(_, expr, _)| expr.replace("$__rate_interval", "5m"))
        .enumerate()
        .map(|(n, expr)| json!({"record": format!("panel:expression:{n}"), "expr": expr}))
        .collect();
    assert!(rules.len() > 30);
    // JSON is YAML.
    let file = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("rules.yml"), file.to_string()).expect("a file");
    let done = promtool::run(folder.path(), &["check", "rules", "rules.yml"]);
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn panels_have_numbers_and_places_of_their_own() {
    let dashboard = Deployed::committed().dashboard();
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    let place = |panel: &serde_json::Value| {
        ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"))
    };
    for (n, panel) in panels.iter().enumerate() {
        let [x, y, w, h] = place(panel);
        assert!(x + w <= 24, "{panel}");
        for other in &panels[..n] {
            let [ox, oy, ow, oh] = place(other);
            let apart = x + w <= ox || ox + ow <= x || y + h <= oy || oy + oh <= y;
            assert!(apart && panel["id"] != other["id"], "{panel} and {other}");
        }
    }
}
