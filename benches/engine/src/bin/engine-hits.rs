//! Hits one cache again and again, for callgrind to count; `cargo xtask bench engine` starts it.

fn main() -> anyhow::Result<()> {
    std::hint::black_box(ci_engine_bench::hitting()?);
    Ok(())
}
