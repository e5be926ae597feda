//! Cache-first questions to a CMDB: what a service embeds.
//!
//! Operations services ask their CMDB the same questions all day. A [`Runner`] answers them from memory: searches, single
//! CIs, lists, counts, graphs and paths, each with one load however many callers ask at once. It follows the changes of the
//! database, whoever makes them, and drops exactly what a change matters to.
//!
//! Four nouns: a [`Runner`] is a store with the cache in front of it, one per database and process; a [`Tenant`] asks and
//! writes for one tenant, and there is no other way to ask; a [`Level`] says how true an answer has to be; an [`Answer`] is a value
//! with its source, the state at which it is true, and how far that may be behind.
//!
//! Guaranteed: an answer is the store's answer to that question of that tenant, at the state that it names, and that state keeps the
//! level's promise; a failing database is an error, never an empty answer, and errors are not cached; after a write through
//! this runner has returned, no look-up that starts later is answered from before it; a load goes on when its caller goes away. For a
//! store that records no changes ([`FeedState::Absent`]) writes by other programs are seen when an entry's time to live ends (300 to
//! 600 s by default).
//!
//! A load takes as long as the store lets it: those who wait for it wait as long, and whoever cannot drops the future,
//! which disturbs nobody. Bound statements in the store's options, calls with the caller's own time-out. A hit is ready
//! at its first poll: a loop of nothing but hits has to yield to the runtime by itself.
//!
//! ```
//! use ci_model::{CiDraft, Search, TenantId};
//! use ci_runner::{Runner, Source};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = ci_store::open("sqlite::memory:", &ci_store::StoreOptions::default()).await?;
//! let runner = Runner::builder(store).build()?;
//! let acme = runner.tenant(TenantId::new("acme")?);
//!
//! acme.upsert_cis(vec![CiDraft::new("db-erp-01", "ERP orders", "SW")]).await?;
//! let question = Search::builder().keyword("erp").limit(20).build()?;
//! assert_eq!(acme.search(&question).await?.source, Source::Miss);
//! let answer = acme.search(&question).await?;
//! assert_eq!(answer.source, Source::Hit);
//! assert_eq!(answer.value.items[0].ci_code.as_str(), "db-erp-01");
//! # Ok(()) }
//! ```

mod again;
mod answer;
mod audit;
mod batch;
mod breaker;
mod builder;
mod changes;
mod coherence;
mod desk;
mod encoding;
mod error;
mod events;
mod gather;
mod latency;
mod level;
mod load;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "metrics_off.rs"]
mod metrics;
mod observe;
mod operations;
mod page;
mod polls;
mod reading;
pub mod record;
mod recover;
pub mod replica;
mod request;
mod runner;
mod savings;
mod search;
mod search_with;
mod shape;
mod size;
mod tally;
mod tenant;
mod through;
pub mod tier;
mod traverse;
mod warm;
mod watch;
mod write;
mod writer;

pub use again::AskedAgain;
pub use answer::{Answer, Reply, SearchMode, SearchResult, Source};
pub use audit::{AuditReport, Audited, Auditor, Violation};
pub use builder::RunnerBuilder;
pub use changes::{Changes, Following, News, TenantChange};
pub use ci_cache_core::ci::matching::Reason;
pub use ci_cache_core::ci::{EntrySummary, TenantPolicy, TenantShares, TenantStats};
pub use ci_cache_core::coherence::{CoherenceStats, Dropped, Why};
pub use coherence::{FeedState, FeedStatus};
pub use desk::{CiPage, Dashboard};
pub use error::{Error, Result};
pub use events::{Event, Events, Load};
pub use latency::{Latencies, Latency, SlowLoad};
pub use level::Level;
pub use page::Page;
pub use record::Recorder;
pub use request::{Facet, SearchPage, SearchRequest};
pub use runner::{Runner, Stats};
pub use savings::{KindSavings, Requests, Savings};
pub use tenant::Tenant;
pub use traverse::Traversal;
pub use warm::WarmStatus;
#[doc(hidden)]
pub use warm::inspect as warm_file;
pub use write::Written;

/// Runs the README's example with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
