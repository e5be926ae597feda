//! What `deploy/` holds, read as far as it has to agree with the code and with the page on operations.

use std::collections::BTreeSet;
use std::path::Path;

use ci_runner::FeedState;
use ci_runner::metrics::{CATALOGUE, Kind, Metric};
use ci_server::http::METRICS;
use serde_json::Value;

use crate::promql::{self, Matcher, Named};

/// Labels that Prometheus gives every series.
const SCRAPED: [&str; 2] = ["job", "instance"];
/// The one metric that is Prometheus's own.
const UP: &str = "up";
/// Classes of a status.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The texts of the files.
#[derive(Debug, Clone)]
pub(crate) struct Deployed {
    pub(crate) alerts: String,
    pub(crate) tests: String,
    pub(crate) dashboard: String,
    pub(crate) operations: String,
}

/// One alert.
#[derive(Debug, Default)]
pub(crate) struct Alert {
    name: String,
    expr: String,
    severity: String,
    runbook: String,
}

impl Deployed {
    /// As they are committed.
    pub(crate) fn committed() -> Self {
        let read = |path: &str| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            std::fs::read_to_string(root.join(path)).expect(path)
        };
        Self {
            alerts: read("deploy/prometheus/alerts.yml"),
            tests: read("deploy/prometheus/alerts_test.yml"),
            dashboard: read("deploy/grafana/ci-cache.json"),
            operations: read("docs/operations.md"),
        }
    }

    /// The alerts. promtool knows whether the file is right; this reads what it holds, one key a line.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = Vec::new();
        let mut in_expr = false;
        for line in self.alerts.lines() {
            let text = line.trim();
            if let Some(name) = text.strip_prefix("- alert: ") {
                alerts.push(Alert {
                    name: name.to_owned(),
                    ..Alert::default()
                });
                continue;
            }
            let Some(alert) = alerts.last_mut() else { continue };
            let deep = line.starts_with("          ");
            match text.split_once(": ").unwrap_or((text, "")) {
                _ if in_expr && deep => alert.expr = format!("{} {text}", alert.expr),
                ("expr", "|") => in_expr = true,
                ("expr", expr) => expr.clone_into(&mut alert.expr),
                ("severity", severity) => severity.clone_into(&mut alert.severity),
                ("runbook_url", url) => url.clone_into(&mut alert.runbook),
                _ => in_expr = false,
            }
        }
        alerts
    }

    /// The dashboard.
    pub(crate) fn dashboard(&self) -> Value {
        serde_json::from_str(&self.dashboard).expect("JSON")
    }

    /// Everything that does not agree.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let alerts = self.alerts();
        for alert in &alerts {
            let name = &alert.name;
            findings.extend(judge(name, &promql::named(&alert.expr), &[]));
            if alert.expr.is_empty() || !["critical", "warning"].contains(&alert.severity.as_str()) {
                findings.push(format!("{name} has no expression, or no severity"));
            }
            if !self.sections().any(|section| section == name) {
                findings.push(format!("{name} has no section in docs/operations.md"));
            }
            let section = format!("/docs/operations.md#{}", name.to_lowercase());
            if !alert.runbook.ends_with(&section) {
                findings.push(format!("the runbook of {name} does not lead to its section"));
            }
            findings.extend(self.untested(name));
        }
        for section in self.sections() {
            if !alerts.iter().any(|alert| alert.name == section) {
                findings.push(format!("the section {section} has no alert"));
            }
        }
        for (panel, expr, legend) in expressions(&self.dashboard()) {
            findings.extend(judge(&panel, &promql::named(&expr), &legend));
        }
        findings
    }

    /// The sections of the page on operations.
    fn sections(&self) -> impl Iterator<Item = &str> {
        self.operations
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
    }

    /// What the tests of an alert do not show.
    fn untested(&self, name: &str) -> Vec<String> {
        let mark = format!("alertname: {name}\n");
        let cases: Vec<&str> = self
            .tests
            .split(&mark)
            .skip(1)
            .map(|case| case.split("alertname: ").next().unwrap_or_default())
            .collect();
        let silent = |case: &&&str| case.contains("exp_alerts: []");
        let mut missing = Vec::new();
        if cases.iter().filter(silent).count() == cases.len() {
            missing.push(format!("{name} is not seen to fire"));
        }
        if cases.iter().find(silent).is_none() {
            missing.push(format!("{name} is not seen to be silent"));
        }
        missing
    }
}

/// Every expression of a dashboard with where it stands, and the labels that its legend shows.
pub(crate) fn expressions(dashboard: &Value) -> Vec<(String, String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut all = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in list(&panel["targets"]) {
            let legend = text(&target["legendFormat"]);
            let labels = legend.split("{{").skip(1);
            let labels = labels.filter_map(|part| Some(part.split_once("}}")?.0.trim().to_owned()));
            all.push((text(&panel["title"]), text(&target["expr"]), labels.collect()));
        }
    }
    for variable in list(&dashboard["templating"]["list"]) {
        let query = text(&variable["query"]["query"]);
        let asked = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        if let Some((expr, label)) = asked.and_then(|asked| asked.rsplit_once(',')) {
            let name = text(&variable["name"]);
            all.push((name, expr.to_owned(), vec![label.trim().to_owned()]));
        }
    }
    all
}

/// The metric of a series, and whether the series is one of buckets.
fn metric(series: &str) -> Option<(&'static Metric, bool)> {
    let known = |name: &str| CATALOGUE.iter().chain(METRICS).find(|metric| metric.name == name);
    if let Some(metric) = known(series) {
        return Some((metric, false)).filter(|(metric, _)| metric.kind != Kind::Histogram);
    }
    let parts = ["_bucket", "_sum", "_count"];
    let base = parts.iter().find_map(|part| series.strip_suffix(part))?;
    let metric = known(base).filter(|metric| metric.kind == Kind::Histogram)?;
    Some((metric, series.ends_with("_bucket")))
}

/// The labels of a series; none when there is no such series.
fn labels(series: &str) -> Option<BTreeSet<&'static str>> {
    let mut labels = BTreeSet::from(SCRAPED);
    if series != UP {
        let (metric, is_bucket) = metric(series)?;
        labels.extend(metric.labels);
        labels.insert("runner");
        labels.extend(is_bucket.then_some("le"));
    }
    Some(labels)
}

/// What an expression names that is not there; `shown` are labels that must be there as well.
fn judge(place: &str, named: &Named, shown: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut known = BTreeSet::new();
    for selector in &named.selectors {
        let Some(labels) = labels(&selector.metric) else {
            findings.push(format!("{place}: there is no metric `{}`", selector.metric));
            continue;
        };
        for matcher in &selector.matchers {
            if !labels.contains(matcher.label.as_str()) {
                findings.push(format!(
                    "{place}: `{}` has no label `{}`",
                    selector.metric, matcher.label
                ));
            }
            for value in strange(&selector.metric, matcher) {
                findings.push(format!("{place}: `{}` has no value `{value}`", matcher.label));
            }
        }
        known.extend(labels);
    }
    if named.selectors.is_empty() {
        findings.push(format!("{place} names no metric"));
    }
    for label in named.grouped.iter().chain(shown) {
        if !known.contains(label.as_str()) {
            findings.push(format!("{place}: nothing in it has the label `{label}`"));
        }
    }
    findings
}

/// The values that a matcher asks for and that are never given. The help of a metric lists its values, except where they are
/// those of a type, or open.
fn strange<'a>(series: &str, matcher: &'a Matcher) -> Vec<&'a str> {
    let open = [
        "job",
        "instance",
        "runner",
        "tenant",
        "route",
        "operation",
        "reason",
    ];
    let Some((metric, _)) = metric(series).filter(|_| !open.contains(&matcher.label.as_str())) else {
        return Vec::new();
    };
    let is_listed = |value: &str| match matcher.label.as_str() {
        "status" => CLASSES.contains(&value),
        "state" if metric.name.ends_with("feed_state") => {
            FeedState::ALL.iter().any(|state| state.as_str() == value)
        }
        _ => metric
            .help
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == value),
    };
    matcher
        .value
        .split('|')
        .filter(|value| !is_listed(value))
        .collect()
}
