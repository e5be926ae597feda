//! `cargo xtask bench` without names: measures whole operations, renders what was found, compares runs.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]

mod options;

use std::time::Instant;

use anyhow::ensure;
use ci_load_bench::machine::Machine;
use ci_load_bench::measure::{Bench, SECTIONS, Scale, replay};
use ci_load_bench::place::Servers;
use ci_load_bench::run_file::RunFile;
use ci_load_bench::{compare, render};
use clap::Parser as _;
use options::{Options, Run, Task};

fn main() -> anyhow::Result<()> {
    match Options::parse().task {
        Task::Run(run) => measure(&run),
        Task::Render { run, into } => render::into(&RunFile::read(&run)?, &into),
        Task::Compare { before, after } => {
            let report = compare::report(&RunFile::read(&before)?, &RunFile::read(&after)?);
            println!("{report}");
            Ok(())
        }
    }
}

/// The commit that is checked out, shortened; nothing where there is no repository.
fn commit() -> String {
    let told = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    told.ok()
        .filter(|told| told.status.success())
        .map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn measure(run: &Run) -> anyhow::Result<()> {
    for only in &run.only {
        ensure!(
            SECTIONS.contains(&only.as_str()),
            "no section is called {only}; there are: {}",
            SECTIONS.join(", ")
        );
    }
    let servers = Servers::from_environment();
    if servers.redis.is_none() {
        eprintln!("no Redis server was found: its arm is left out");
    }
    let bench = Bench {
        scale: if run.quick { Scale::Quick } else { Scale::Full },
        seed: run.seed,
        servers,
        memory_program: None,
    };
    let date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut file = RunFile::new(
        date,
        commit(),
        run.quick,
        run.seed,
        run.note.clone(),
        Machine::here(),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let (Some(log), Some(address)) = (&run.replay, &run.database) {
        file.figures = runtime.block_on(replay(log, address, &bench))?;
        println!("{}", render::tables(&file));
        println!("written to {}", file.write(&run.into)?.display());
        return Ok(());
    }
    let wanted = |name: &&&str| run.only.is_empty() || run.only.iter().any(|only| only == **name);
    for name in SECTIONS.iter().filter(wanted) {
        let began = Instant::now();
        file.figures.extend(runtime.block_on(bench.section(name))?);
        // After each section: what was measured is not lost if a later one fails.
        file.write(&run.into)?;
        eprintln!("({name}: {:.0} s)", began.elapsed().as_secs_f64());
    }
    println!("{}", render::tables(&file));
    println!("written to {}", file.write(&run.into)?.display());
    // The documentation shows whole runs only.
    if !run.quick && run.only.is_empty() && !run.no_render {
        render::into(&file, std::path::Path::new("."))?;
        println!("docs/performance.md, its charts and the README's table are rendered from it");
    }
    Ok(())
}
