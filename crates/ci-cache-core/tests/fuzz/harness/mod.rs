//! What a fuzzer does with bytes: decodes them into a cache and its life, and checks every answer against a naive reference.
//!
//! Three programs include this folder by path, so that they cannot drift apart: the ordinary test `tests/fuzz`, the engine's own tests (which plant
//! defects that it must notice), and the coverage-guided targets of the package `ci-fuzz` (`cargo xtask check fuzz`).
#![allow(dead_code, reason = "no program uses all of it")]
#![allow(
    unreachable_patterns,
    reason = "in the engine itself its enums are exhaustive"
)]

pub(crate) mod bytes;
mod flights;
mod loading;
mod model;
pub(crate) mod operations;
mod restore;
pub(crate) mod snapshot;
mod steps;
mod subject;

pub(crate) use subject::Subject;

/// Prepares each cache before its first use: where the tests of the tests plant their defects.
pub(crate) type Plant<'a> = &'a dyn Fn(&Subject);

/// Checks one input; panics if the engine did wrong.
pub(crate) type Target = fn(&[u8], Plant<'_>);

/// The committed inputs of each target, in hexadecimal, one a line: the fuzzer found each to reach what the others do not.
pub(crate) const OPERATIONS: &str = include_str!("../corpus/operations.txt");
/// See [`OPERATIONS`].
pub(crate) const SNAPSHOT: &str = include_str!("../corpus/snapshot.txt");
