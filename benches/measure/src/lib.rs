//! What measurements share: seeded draws, interleaved rounds, medians with their spread, and confidence intervals.
//!
//! The engine's benchmark and the workload benchmark both compare contenders on a machine that others use. What makes their figures
//! comparable is here, once: the same seed draws the same, everybody runs in every round, a median is reported with its spread,
//! and two runs differ only where [`bootstrap`] says so. It knows nothing of caches.

pub mod bootstrap;
pub mod number;
pub mod random;
pub mod rounds;
pub mod sibling;
pub mod statistics;
