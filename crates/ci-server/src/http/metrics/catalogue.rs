//! Every metric of the HTTP service.

use ::metrics::Unit;
use ci_runner::metrics::{Kind, Metric};

pub(super) const REQUESTS: &str = "ci_cache_http_requests_total";
pub(super) const SECONDS: &str = "ci_cache_http_request_seconds";
pub(super) const IN_FLIGHT: &str = "ci_cache_http_requests_in_flight";
pub(super) const IN_FLIGHT_MAX: &str = "ci_cache_http_requests_in_flight_max";
pub(super) const REFUSED: &str = "ci_cache_http_refused_total";
pub(super) const LIMITED: &str = "ci_cache_http_limited_total";

/// Every metric that the service adds to [the runner's](ci_runner::metrics::CATALOGUE), in the order of the page
/// `docs/metrics.md`.
pub const CATALOGUE: &[Metric] = &[
    Metric::new(
        REQUESTS,
        Kind::Counter,
        Unit::Count,
        &["route", "method", "status"],
        "HTTP requests that were answered, by pattern of the path, method and class of the status.",
    ),
    Metric::new(
        SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        &["route"],
        "How long HTTP requests took, from their head to the whole answer, without the sending of it.",
    ),
    Metric::new(
        IN_FLIGHT,
        Kind::Gauge,
        Unit::Count,
        &[],
        "HTTP requests at work, probes and the scrape not included.",
    ),
    Metric::new(
        IN_FLIGHT_MAX,
        Kind::Gauge,
        Unit::Count,
        &[],
        "HTTP requests at work at most; further ones are refused.",
    ),
    Metric::new(
        REFUSED,
        Kind::Counter,
        Unit::Count,
        &[],
        "HTTP requests that were refused because as many as may be were at work.",
    ),
    Metric::new(
        LIMITED,
        Kind::Counter,
        Unit::Count,
        &["limit"],
        "HTTP requests that were refused because their tenant asked for more than it may, by the limit.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_and_are_not_the_runners() {
        let runner = ci_runner::metrics::CATALOGUE;
        let mut names: BTreeSet<&str> = runner.iter().map(|metric| metric.name).collect();
        for metric in CATALOGUE {
            let name = metric.name;
            assert!(names.insert(name), "{name} twice");
            assert!(name.starts_with("ci_cache_http_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), metric.unit == Unit::Seconds, "{name}");
            assert!(metric.help.ends_with('.'), "{}", metric.help);
        }
    }
}
