//! The target `parsers`: what reads bytes of other people, and what has to be true of each reader whatever the bytes are.
//!
//! Two programs check inputs by it, so that they cannot drift apart: the coverage-guided one (`cargo xtask check fuzz`), and the tests of this
//! package, which replay the committed inputs and some thousand at random. Either can be told to plant a [`Defect`], which it must notice.

#[allow(dead_code, reason = "the engine's targets use the rest")]
#[path = "../../../crates/ci-cache-core/tests/fuzz/harness/bytes.rs"]
mod bytes;
mod parsers;
#[cfg(test)]
mod replay;

pub use parsers::{Defect, check};
