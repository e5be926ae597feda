//! `cargo xtask test`: everything that has to hold, in one command, cheapest first.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{bail, ensure};

use crate::check::{self, Tool};
use crate::counts::Counts;
use crate::postgres::{self, Server};
use crate::{chromium, curl, process, promtool, redis, tidy};

/// What `--long` tells the tests: ours look for the first variable, property tests without a number of their own obey the
/// second.
const LONG_ENV: &[(&str, &str)] = &[("CI_CACHE_TEST_LONG", "1"), ("PROPTEST_CASES", "10000")];

/// How many crates the engine may pull in, in an ordinary build (loom and shuttle are for its models).
const MAX_CORE_CRATES: usize = 6;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Let randomised tests run much longer
    #[arg(long)]
    long: bool,
    /// Run only tests whose name contains one of these, and none of the checks before them
    filter: Vec<String>,
}

struct Run<'a> {
    root: &'a Path,
    options: &'a Options,
    counts: Counts,
}

type Step = (&'static str, fn(&mut Run<'_>) -> anyhow::Result<()>);

const CHECKS: &[Step] = &[
    ("tidy", |run| tidy::run(run.root)),
    ("format", |run| run.cargo(&["fmt", "--all", "--check"])),
    ("clippy", |run| {
        run.cargo(&[
            "clippy",
            "--workspace",
            "--exclude",
            crate::bench_engine::PACKAGE,
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ])
    }),
    // What a feature gates has a twin that is there without it, and everything else is checked with all of them.
    ("program without features", |run| {
        run.cargo(&["clippy", "--package", "ci-server", "--", "-D", "warnings"])
    }),
    ("docs", |run| crate::doc::build(run.root, false)),
    ("engine alone", |run| run.engine_alone()),
];
const MODELS: [Step; 2] = [
    ("models under loom", |run| run.models(Tool::Loom)),
    ("models under shuttle", |run| run.models(Tool::Shuttle)),
];
const COUNTS: Step = ("instruction counts", |run| {
    crate::instructions::check(run.root, false)
});
/// With `--long` alone: it needs a build of its own, with a sanitizer, and a C++ compiler.
const FUZZING: Step = ("fuzzing", |run| run.fuzzing());
const TESTS: Step = ("tests", |run| run.tests());

/// Runs all steps up to the first that fails; the last line says how many tests passed and failed.
pub(crate) fn command(root: &Path, options: &Options) -> anyhow::Result<u8> {
    let mut steps = if options.filter.is_empty() {
        [CHECKS, &MODELS, &[COUNTS]].concat()
    } else {
        Vec::new()
    };
    if !options.filter.is_empty() {
        let left_out: Vec<&str> = CHECKS
            .iter()
            .chain(&MODELS)
            .chain([&COUNTS])
            .map(|(name, _)| *name)
            .collect();
        println!("a filter was given: {} are left out", left_out.join(", "));
    }
    if options.long && options.filter.is_empty() {
        steps.push(FUZZING);
    }
    steps.push(TESTS);

    let mut run = Run {
        root,
        options,
        counts: Counts::default(),
    };
    let result = run.all(&steps);
    for name in &run.counts.failures {
        println!("failed: {name}");
    }
    if let Err(error) = &result {
        println!("FAILED: {error:#}");
    }
    println!("{}", run.counts);
    // The reason is printed; a signal still decides the exit code.
    match result {
        Ok(()) => Ok(0),
        Err(error) if error.is::<process::Interrupted>() => Err(error),
        Err(_) => Ok(1),
    }
}

impl Run<'_> {
    fn all(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        let total = steps.len();
        for (index, (name, step)) in steps.iter().enumerate() {
            let number = index + 1;
            println!("[{number}/{total}] {name}");
            let start = Instant::now();
            let result = step(self);
            let seconds = start.elapsed().as_secs_f64();
            match result {
                Ok(()) => println!("[{number}/{total}] {name}: ok ({seconds:.1} s)"),
                Err(error) => {
                    println!("[{number}/{total}] {name}: FAILED ({seconds:.1} s)");
                    return Err(error.context(format!("step {number}/{total}, {name}")));
                }
            }
        }
        Ok(())
    }

    fn cargo(&self, arguments: &[&str]) -> anyhow::Result<()> {
        expect_success(process::cargo(self.root).args(arguments))
    }

    /// The engine is of use without its siblings: it builds alone, and stays small.
    fn engine_alone(&self) -> anyhow::Result<()> {
        self.cargo(&["check", "--package", "ci-cache-core", "--lib"])?;
        let mut tree = process::cargo(self.root);
        tree.args([
            "tree",
            "--package",
            "ci-cache-core",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ]);
        let pulled = pulled_crates(&process::output_of(&mut tree)?);
        let names: Vec<&str> = pulled.iter().map(String::as_str).collect();
        println!("ci-cache-core pulls {} crates: {}", names.len(), names.join(", "));
        ensure!(
            names.len() <= MAX_CORE_CRATES,
            "ci-cache-core may pull at most {MAX_CORE_CRATES} crates"
        );
        Ok(())
    }

    /// What threads may do to each other in the engine.
    fn models(&mut self, tool: Tool) -> anyhow::Result<()> {
        check::models(self.root, tool, self.options.long, &mut self.counts)
    }

    /// What reads bytes, by coverage; the tests replay what it found before.
    fn fuzzing(&mut self) -> anyhow::Result<()> {
        check::supports_sanitizer()?;
        crate::fuzz::long(self.root, &mut self.counts)
    }

    fn tests(&mut self) -> anyhow::Result<()> {
        let promtool = promtool::find_or_install()?;
        curl::find_or_install()?;
        let chromium = chromium::find_or_install()?;
        let server = Server::start()?;
        let redis = redis::Server::start()?;
        println!("private PostgreSQL {} at {}", server.major(), server.url());
        let mut command = process::cargo(self.root);
        // The peers of the engine's benchmark would take longer to build than everything else.
        command.args(["test", "--workspace", "--exclude", crate::bench_engine::PACKAGE]);
        command.args(["--all-features", "--no-fail-fast"]);
        command
            .arg("--")
            .args(&self.options.filter)
            .env(postgres::ENV, server.url())
            .envs(redis.variables())
            .env(promtool::ENV, promtool)
            .env(chromium::ENV, chromium);
        if self.options.long {
            command.envs(LONG_ENV.iter().copied());
        }
        let counts = &mut self.counts;
        let status = process::run_reading(&mut command, |line| {
            println!("{line}");
            counts.read(line);
        })?;
        if let Some(objection) = self.counts.objection() {
            bail!("{objection}");
        }
        // A program that crashed, or did not compile, reported no count.
        ensure!(status.success(), "cargo test ended with {status}");
        Ok(())
    }
}

/// The names in the output of `cargo tree --prefix none`, without the package itself.
fn pulled_crates(tree: &str) -> BTreeSet<String> {
    let names = tree
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| !name.starts_with('['))
        .map(str::to_owned)
        .collect()
}

/// Runs a command to its end; anything but success is an error.
pub(crate) fn expect_success(command: &mut Command) -> anyhow::Result<()> {
    let status = process::run(command)?;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_pulled_crate_once() {
        let tree = "ci-cache-core v0.1.0 (DIR)\nfoldhash v0.2.0\nhashbrown v0.17.1\nfoldhash v0.2.0\n\n\
            parking_lot v0.13.0\n[build-dependencies]\nautocfg v1.5.0 (*)\n";
        let pulled = pulled_crates(tree);
        assert_eq!(
            pulled.iter().collect::<Vec<_>>(),
            ["autocfg", "foldhash", "hashbrown", "parking_lot"]
        );
    }

    #[test]
    fn the_first_failing_step_ends_the_run() {
        const STEPS: &[Step] = &[
            ("good", |_| Ok(())),
            ("bad", |_| bail!("broken")),
            ("never", |run| {
                run.counts.passed = 1;
                Ok(())
            }),
        ];
        let options = Options {
            long: false,
            filter: Vec::new(),
        };
        let mut run = Run {
            root: Path::new("."),
            options: &options,
            counts: Counts::default(),
        };
        let error = run.all(STEPS).expect_err("a failure");
        assert_eq!(format!("{error:#}"), "step 2/3, bad: broken");
        assert_eq!(run.counts.passed, 0);
    }
}
