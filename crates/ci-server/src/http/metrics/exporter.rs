//! A recorder that tells what it recorded as Prometheus reads it.

use std::fmt;
use std::sync::Arc;

use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Upper bounds of the buckets of times, in seconds: from an answer out of memory to one that hardly anybody waits for.
const BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Records the metrics of a service for its route `/metrics`. Cloning copies a pointer.
///
/// Give it to [`ServerOptions::metrics`](super::super::ServerOptions::metrics): then everything that the service and its runner count
/// goes to it, and several services of one process can have one each. The times of loads alone are recorded when a load ends, by the recorder of
/// the process: install a clone for them, as the program `ci-cache` does.
///
/// ```
/// use ci_server::http::{Exporter, ServerOptions};
///
/// let exporter = Exporter::new();
/// // Fails when the program has a recorder already; then the times of loads are there.
/// let installed = metrics::set_global_recorder(exporter.clone());
/// let options = ServerOptions::default().metrics(exporter);
/// # assert!(installed.is_ok());
/// # let _ = options;
/// ```
///
/// Times are held one by one until the next [`render`](Self::render) or [`upkeep`](Self::upkeep): [`serve`](super::super::serve) sees to that, while a
/// program that mounts the [`router`](super::super::router) and may go without a scrape calls `upkeep` every few seconds.
#[derive(Clone)]
pub struct Exporter {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Exporter {
    /// An exporter without any series.
    pub fn new() -> Self {
        // Refused is only a list without a bucket.
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).unwrap_or_default();
        let recorder = builder.build_recorder();
        Self {
            handle: recorder.handle(),
            recorder: Arc::new(recorder),
        }
    }

    /// Tells all series in the text format of Prometheus, version 0.0.4. Cost: some microseconds per series.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Puts the times that were recorded into their buckets. Without it, and without [`render`](Self::render), they pile up.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl Default for Exporter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Recorder for Exporter {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.recorder.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.recorder.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.recorder.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.recorder.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.recorder.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.recorder.register_histogram(key, metadata)
    }
}
