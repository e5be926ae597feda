//! Fills one cache with searches of ten rows and prints the bytes that it asked the allocator for; `cargo xtask bench` starts it.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to its caller")]

use std::alloc::System;

use cap::Cap;

/// Counts the sizes that are asked for; sets no limit. SQLite's own memory is not Rust's, and not counted.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let counted = runtime.block_on(ci_load_bench::measure::count_memory(&arguments, || {
        ALLOCATOR.allocated()
    }))?;
    println!("{counted}");
    Ok(())
}
