//! The engine against its peers: what `cargo xtask bench engine` runs.
//!
//! Three programs: the main one measures time and hit ratios and prints the verdict; a small one counts allocated
//! bytes (its allocator would slow the others down); a small one does nothing but hit, for callgrind to count its
//! instructions. The main one starts the others, which lie beside it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "command-line tools talk to their users"
)]

mod bytes;
mod contender;
mod field;
mod hit_ratio;
mod hitting;
mod instructions;
mod key;
mod latency;
mod memory;
mod optimum;
mod options;
mod ours;
mod paths;
mod peers;
mod report;
mod run;
mod tenants;
mod throughput;
mod trace;
mod verdict;

pub use bytes::memory;
pub use hitting::hitting;
pub use run::main;
