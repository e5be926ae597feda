//! Fills one cache and prints the bytes that it asked the allocator for; `cargo xtask bench engine` starts it.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to its caller")]

use std::alloc::System;

use cap::Cap;

/// Counts the sizes that are asked for; sets no limit.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

fn main() -> anyhow::Result<()> {
    println!("{}", ci_engine_bench::memory(|| ALLOCATOR.allocated())?);
    Ok(())
}
