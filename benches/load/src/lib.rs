//! Whole operations under load: what `cargo xtask bench` runs when it is given no names.
//!
//! Everybody answers the same seeded sequence of operations over the same database, in turns: the predecessor's way, the store
//! without a cache, a cache with times to live written the usual way (moka), a Redis cache-aside, and the runner. Each is asked for
//! statements, latency, hits and stale answers; a run is one file ([`run_file`]), from which tables and charts are
//! rendered ([`render`]) and two of which are compared ([`compare`]). No figure of the documentation comes from anywhere else.
//!
//! Modules in reading order: [`operation`] and [`workload`] say what is asked, [`arms`] who answers, [`ledger`] what a stale answer
//! is, [`pacing`] when a request begins, [`measure`] puts them together.

pub mod arms;
pub mod compare;
pub mod counted;
pub mod ledger;
pub mod machine;
pub mod measure;
pub mod operation;
pub mod pacing;
pub mod place;
pub mod plain;
pub mod relay;
pub mod render;
pub mod run_file;
pub mod subjects;
pub mod workload;
