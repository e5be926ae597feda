//! The series of requests, found once: to look one up by its labels takes the recorder longer than a hit takes the cache.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use ::metrics::{Counter, Histogram, counter, histogram, with_local_recorder};
use axum::http::{Method, StatusCode};
use parking_lot::RwLock;

use super::super::AppState;
use super::{CLASSES, Exporter, METHODS, catalogue, class, method};

/// The series of the requests of an exporter, by route. Routes are patterns, so there are few.
#[derive(Debug, Default)]
pub(crate) struct Series(RwLock<HashMap<Box<str>, Arc<OfRoute>>>);

/// Those of one route.
struct OfRoute {
    /// By method and class of status.
    requests: [[OnceLock<Counter>; CLASSES.len()]; METHODS.len()],
    seconds: Histogram,
}

impl fmt::Debug for OfRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfRoute").finish_non_exhaustive()
    }
}

impl Series {
    /// Counts a request of a route.
    pub(super) fn answered(
        &self,
        (app, exporter): (&AppState, &Exporter),
        route: &str,
        (with, status): (&Method, StatusCode),
        seconds: f64,
    ) {
        let series = self.of(app, exporter, route);
        let (method, class) = (method(with), class(status));
        let counter = series.requests[method][class].get_or_init(|| {
            with_local_recorder(exporter, || {
                counter!(
                    catalogue::REQUESTS,
                    "runner" => app.runner_name(),
                    "route" => route.to_owned(),
                    "method" => METHODS[method].1,
                    "status" => CLASSES[class]
                )
            })
        });
        counter.increment(1);
        series.seconds.record(seconds);
    }

    fn of(&self, app: &AppState, exporter: &Exporter, route: &str) -> Arc<OfRoute> {
        if let Some(known) = self.0.read().get(route) {
            return Arc::clone(known);
        }
        let seconds = with_local_recorder(
            exporter,
            || histogram!(catalogue::SECONDS, "runner" => app.runner_name(), "route" => route.to_owned()),
        );
        let made = Arc::new(OfRoute {
            requests: Default::default(),
            seconds,
        });
        // Whoever else made it meanwhile has the same series.
        Arc::clone(self.0.write().entry(route.into()).or_insert(made))
    }
}
