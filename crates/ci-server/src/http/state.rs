//! What all requests share: the runner, the limits, and the places for requests at work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ci_runner::Runner;

use crate::access::Access;
use crate::places::Places;
use crate::tenant_limits::{Buckets, TenantLimits};
use tokio::sync::{Semaphore, watch};

use super::changes;
use super::encoded::Bodies;
use super::export;
use super::hosts::Hosts;
use super::metrics::{self, Exporter, Series};
use super::strangers::Strangers;
use crate::web::Web;

/// Limits of the service. Every one has a default that fits a small machine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Largest body of a request other than an import, in bytes; 1 MiB.
    pub(crate) body_bytes: usize,
    /// Largest body of an import, in bytes as sent; 1 GiB. It is streamed, not held.
    pub(crate) import_bytes: u64,
    /// Longest silence between two requests of a connection, and longest time for the head of one; 30 s.
    pub(crate) head_timeout: Duration,
    /// Longest time that a body may take to arrive, or an import's body may pause; 30 s.
    pub(crate) body_timeout: Duration,
    /// Longest time for the answer of any request but an import; 60 s.
    pub(crate) request_timeout: Duration,
    /// Longest time for an import; one hour.
    pub(crate) import_timeout: Duration,
    /// Longest wait for the database's sign of life at `/readyz`; 2 s.
    pub(crate) ready_timeout: Duration,
    /// How far the change feed may be behind for `/readyz` to say ready; 5 s.
    pub(crate) ready_lag: Duration,
    /// Most requests that are answered at the same time; 512. Further ones are refused at once: a queue in front of a
    /// slow database helps nobody.
    pub(crate) concurrency: usize,
    /// How long, when the service is told to stop, it answers as before while `/readyz` says that it stops; not at all.
    pub(crate) drain_delay: Duration,
    /// Longest wait for requests at work when the service stops; 10 s.
    pub(crate) drain_timeout: Duration,
    /// Room for the encoded bodies of answers, in bytes; 64 MiB.
    pub(crate) encoded_bytes: u64,
    /// What one tenant may ask; as much as all together.
    pub(crate) tenant_limits: TenantLimits,
    /// By which names it may be asked; by any.
    pub(crate) hosts: Hosts,
    /// How many cached answers are audited in a minute; none.
    pub(crate) audit_rate: u32,
    /// What `/metrics` tells; none.
    pub(crate) exporter: Option<Exporter>,
    /// Largest answer to an AI assistant, in bytes; 16 KiB.
    #[cfg(feature = "mcp")]
    pub(crate) mcp_answer_bytes: usize,
    /// The names that AI assistants may ask by; of this machine alone where everybody is let in, else any.
    #[cfg(feature = "mcp")]
    pub(crate) mcp_hosts: Vec<String>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            import_bytes: 1 << 30,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            import_timeout: Duration::from_secs(3_600),
            ready_timeout: Duration::from_secs(2),
            ready_lag: Duration::from_secs(5),
            concurrency: 512,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
            encoded_bytes: 64 << 20,
            tenant_limits: TenantLimits::none(),
            hosts: Hosts::default(),
            audit_rate: 0,
            exporter: None,
            #[cfg(feature = "mcp")]
            mcp_answer_bytes: crate::mcp::DEFAULT_BYTES,
            #[cfg(feature = "mcp")]
            mcp_hosts: Vec::new(),
        }
    }
}

impl ServerOptions {
    /// Sets how many cached answers are loaded again and compared in a minute, in the background; 0 for none. Only a [`Server`](super::Server)
    /// does so. What it finds: [`Runner::audits`].
    pub fn audit_rate(mut self, per_minute: u32) -> Self {
        self.audit_rate = per_minute;
        self
    }

    /// Sets the largest body of a request other than an import, in bytes.
    pub fn body_bytes(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// Sets the largest body of an import, in bytes.
    pub fn import_bytes(mut self, bytes: u64) -> Self {
        self.import_bytes = bytes;
        self
    }

    /// Sets the longest silence between two requests of a connection, which is also the longest time for the head of one.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// Sets the longest time that a body may take to arrive, or an import's body may pause.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Sets the longest time for the answer of any request but an import.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets the longest time for an import.
    pub fn import_timeout(mut self, timeout: Duration) -> Self {
        self.import_timeout = timeout;
        self
    }

    /// Sets the longest wait for the database's sign of life.
    pub fn ready_timeout(mut self, timeout: Duration) -> Self {
        self.ready_timeout = timeout;
        self
    }

    /// Sets how far the change feed may be behind for the service to be ready.
    pub fn ready_lag(mut self, lag: Duration) -> Self {
        self.ready_lag = lag;
        self
    }

    /// Sets how long the service, told to stop, still answers while it says that it is not ready: as long as whoever sends it requests
    /// takes to notice.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.drain_delay = delay;
        self
    }

    /// Sets how many requests are answered at the same time; more than the runtime can count is brought down to that.
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.concurrency = requests.min(Semaphore::MAX_PERMITS);
        self
    }

    /// Sets the longest wait for requests at work when the service stops.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Sets how many bytes of encoded bodies are kept, so that a hit is sent as it was encoded the first time; 0 for none.
    pub fn encoded_bytes(mut self, bytes: u64) -> Self {
        self.encoded_bytes = bytes;
        self
    }

    /// Sets what each tenant may ask, follow and export; further requests of it get 429.
    pub fn tenant_limits(mut self, limits: TenantLimits) -> Self {
        self.tenant_limits = limits;
        self
    }

    /// Sets the names (`HOST` or `HOST:PORT`) by which it may be asked, beside `localhost` and whatever is an address; other requests are
    /// refused, unless they are for what everybody may know. For a service that lets everybody in, and browsers reach: a page of another
    /// site could be given its address. `ci-cache serve` does it where it lets everybody of this machine in.
    pub fn hosts(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hosts = Hosts::only(names.into_iter().map(Into::into).collect());
        self
    }

    /// Sets what the metrics of the service and its runner go to, and what `/metrics` tells. Without, they go to the recorder of the
    /// process, if there is one, and `/metrics` answers 404.
    pub fn metrics(mut self, exporter: Exporter) -> Self {
        self.exporter = Some(exporter);
        self
    }

    /// Sets the largest answer to an AI assistant, in bytes: 8,192 to 1,048,576; another number is brought within.
    #[cfg(feature = "mcp")]
    pub fn mcp_answer_bytes(mut self, bytes: usize) -> Self {
        self.mcp_answer_bytes = bytes;
        self
    }

    /// Sets the names (`HOST` or `HOST:PORT`) by which AI assistants may ask. Without, any name where callers need a token, and names of this
    /// machine alone where everybody is let in.
    #[cfg(feature = "mcp")]
    pub fn mcp_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.mcp_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }
}

/// The state of the service. Cloning copies a pointer.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    runner: Runner,
    /// What metrics call it.
    name: Arc<str>,
    options: ServerOptions,
    access: Access,
    /// What answers look like.
    bodies: Bodies,
    /// What the exporter counts requests by.
    series: Series,
    /// What each tenant has asked of late.
    buckets: Arc<Buckets>,
    /// What is written down about callers whom nobody knows.
    strangers: Strangers,
    /// One permit per request at work.
    places: Arc<Semaphore>,
    /// For those who follow changes.
    followers: Arc<Places>,
    /// For exports.
    exports: Arc<Places>,
    /// Whether the service has been told to stop, and is not ready for more.
    unready: AtomicBool,
    /// Becomes true when it stops in earnest.
    stopping: watch::Sender<bool>,
    /// Becomes true when the drain time is over: requests still at work end.
    cut: watch::Sender<bool>,
    /// What the pages for people need.
    web: Web,
}

/// The state of the service, as long as somebody else holds it.
#[derive(Debug, Clone)]
pub(crate) struct WeakState(Weak<Shared>);

impl WeakState {
    pub(crate) fn upgrade(&self) -> Option<AppState> {
        self.0.upgrade().map(AppState)
    }
}

impl AppState {
    /// A service over a runner that answers everybody: see [`Access::open`].
    pub fn new(runner: Runner, options: ServerOptions) -> Self {
        Self::guarded(runner, options, Access::open())
    }

    /// A service over a runner that answers those whom `access` lets in.
    pub fn guarded(runner: Runner, options: ServerOptions, access: Access) -> Self {
        let places = Arc::new(Semaphore::new(options.concurrency));
        let bodies = Bodies::new(options.encoded_bytes);
        let limits = options.tenant_limits;
        Self(Arc::new(Shared {
            bodies,
            series: Series::default(),
            name: runner.name().into(),
            runner,
            buckets: Buckets::new(options.tenant_limits),
            strangers: Strangers::default(),
            options,
            access,
            places,
            followers: Places::new(changes::FOLLOWERS, limits.followers),
            exports: Places::new(export::EXPORTS, limits.exports),
            unready: AtomicBool::new(false),
            stopping: watch::Sender::new(false),
            cut: watch::Sender::new(false),
            web: Web::default(),
        }))
    }

    /// The runner.
    pub fn runner(&self) -> &Runner {
        &self.0.runner
    }

    /// Who is let in.
    pub fn access(&self) -> &Access {
        &self.0.access
    }

    /// The limits.
    pub fn options(&self) -> &ServerOptions {
        &self.0.options
    }

    /// Gives the recorder what the service and its runner counted, as [`Runner::publish_metrics`] does for a runner alone: for a
    /// program with a recorder of its own, when that is read. `/metrics` does it by itself.
    pub fn publish_metrics(&self) {
        metrics::publish(self);
    }

    /// What answers look like.
    pub(crate) fn bodies(&self) -> &Bodies {
        &self.0.bodies
    }

    pub(crate) fn web(&self) -> &Web {
        &self.0.web
    }

    pub(crate) fn downgrade(&self) -> WeakState {
        WeakState(Arc::downgrade(&self.0))
    }

    /// What `/metrics` tells.
    pub(crate) fn exporter(&self) -> Option<&Exporter> {
        self.0.options.exporter.as_ref()
    }

    /// What the exporter counts requests by.
    pub(crate) fn series(&self) -> &Series {
        &self.0.series
    }

    pub(crate) fn runner_name(&self) -> Arc<str> {
        Arc::clone(&self.0.name)
    }

    pub(crate) fn buckets(&self) -> &Arc<Buckets> {
        &self.0.buckets
    }

    pub(crate) fn strangers(&self) -> &Strangers {
        &self.0.strangers
    }

    pub(crate) fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.places)
    }

    /// Says from now on that the service is not ready, and ends what goes on for as long as somebody listens: live updates and streams of
    /// changes. What is asked is answered all the same. [`serve`](super::serve) does it when it is told to stop; a program that mounts the
    /// router does it when it begins to.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
        self.0.web.live.stop();
    }

    /// Says from now on that the service is not ready, and goes on as before.
    pub(crate) fn begin_to_stop(&self) {
        self.0.unready.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.unready.load(Ordering::Relaxed) || *self.0.stopping.borrow()
    }

    /// Ends when the service is told to stop.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.0.stopping.subscribe();
        // The sender is in the state that `self` holds, so it is never gone.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    pub(crate) fn exports(&self) -> &Arc<Places> {
        &self.0.exports
    }

    pub(crate) fn followers(&self) -> &Arc<Places> {
        &self.0.followers
    }

    /// Ends all requests at work.
    pub(crate) fn cut(&self) {
        self.0.cut.send_replace(true);
    }

    /// Ends when requests at work must end.
    pub(crate) async fn is_cut(&self) {
        let mut cut = self.0.cut.subscribe();
        // The sender is in the state that `self` holds, so it is never gone.
        let _ = cut.wait_for(|cut| *cut).await;
    }
}
