//! `cargo xtask bench engine`: our cache against its peers, on keys and traces drawn or given for the run.

fn main() -> anyhow::Result<std::process::ExitCode> {
    ci_engine_bench::main()
}
