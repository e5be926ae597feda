//! `cargo xtask chaos`: a fleet of services over a database that crashes, fails over and is restored, and a Redis that forgets, behind proxies
//! that hurt. The campaign is a test of `ci-tests`; this starts it as a release, for as long as it is told to, beside a private PostgreSQL
//! that it learns from.

use std::path::{Path, PathBuf};

use crate::{postgres, process, redis};

/// How long, how, and what to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long; every fault is seen once, however short it is
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=10_000))]
    minutes: u32,
    /// The same seed draws the same faults, questions and writes; when what happens, threads decide
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nodes of the fleet
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=16))]
    nodes: u32,
    /// Those who ask at the same time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    readers: u32,
    /// A further setting of every node, as `max_entries=500`; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write what was seen into this file, such as docs/campaigns/NAME.md
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Have nodes with a defect, in which the campaign has to find a wrong answer: they hear of no change (`feed`), or take what the
    /// shared tier has for true (`tier`)
    #[arg(long, num_args = 0..=1, default_missing_value = "feed")]
    broken: Option<Broken>,
}

/// What is wrong with the nodes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Broken {
    Feed,
    Tier,
}

/// Runs the campaign; the exit code is its test's.
pub(crate) fn command(root: &Path, options: &Options) -> anyhow::Result<u8> {
    let server = postgres::Server::start()?;
    let mut command = process::cargo(root);
    command
        .args(["test", "--release", "--package", "ci-tests", "--all-features"])
        .args(["--test", "chaos", "--", "--exact", "--nocapture", test(options)])
        .env(postgres::ENV, server.url())
        .env(redis::PROGRAM_ENV, redis::program()?)
        .env("CI_CACHE_CHAOS_MINUTES", options.minutes.to_string())
        .env("CI_CACHE_CHAOS_SEED", options.seed.to_string())
        .env("CI_CACHE_CHAOS_NODES", options.nodes.to_string())
        .env("CI_CACHE_CHAOS_READERS", options.readers.to_string())
        .env("CI_CACHE_CHAOS_SET", options.set.join("\n"));
    if let Some(log) = &options.log {
        // The test runs in the folder of its package.
        command.env("CI_CACHE_CHAOS_LOG", std::path::absolute(log)?);
    }
    Ok(process::exit_code(process::run(&mut command)?))
}

fn test(options: &Options) -> &'static str {
    match options.broken {
        None => "a_fleet_answers_truly_while_everything_fails",
        Some(Broken::Feed) => "nodes_that_hear_of_no_change_are_caught",
        Some(Broken::Tier) => "nodes_that_trust_the_tier_are_caught",
    }
}
