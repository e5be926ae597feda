//! `cargo xtask check fuzz`: the engine, and what reads bytes of other people, fuzzed by coverage.
//!
//! That needs compiler flags that are not stable. The compiler is told to accept them (`RUSTC_BOOTSTRAP`) for this build alone, in a folder of
//! its own; the sanitizer's runtime comes with every toolchain for Linux on x86-64. libFuzzer is compiled by a C++ compiler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use crate::check::{TRIPLE, target_dir};
use crate::counts::Counts;
use crate::process;

/// The package of the targets.
const PACKAGE: &str = "ci-fuzz";
/// Tells a target which rule to break; see `ci-cache-core/src/rules.rs`.
const PLANTED: &str = "CI_CACHE_PLANTED_DEFECT";
/// As cargo-fuzz builds: coverage of every edge and comparison, and the sanitizer.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
    -Zsanitizer=address -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing";
/// What a run may take: seconds per input, megabytes in one piece and altogether.
const LIMITS: [&str; 4] = [
    "-timeout=10",
    "-malloc_limit_mb=64",
    "-rss_limit_mb=2048",
    "-max_len=1024",
];
/// Inputs at random to begin with.
const DRAWN: u64 = 256;
/// How long a planted defect may hide, in seconds; each is found in a few.
const MOST_SECONDS_TO_NOTICE: u64 = 60;
/// The inputs that are worth committing, at most: beyond, they weigh more than they show.
const MOST_KEPT_BYTES: usize = 4_096;

/// Where the engine's tests have their inputs,
const ENGINE: &str = "crates/ci-cache-core/tests/fuzz/corpus";
/// and where those of everything else are.
const OTHERS: &str = "tests/fuzz/corpus";
/// How long `cargo xtask test --long` fuzzes each target, in seconds.
const LONG_SECONDS: u64 = 60;

/// A fuzz target.
struct Target {
    name: &'static str,
    /// The folder of its committed inputs.
    folder: &'static str,
    /// Whether `--keep` writes them; else a test does, beside what they are about.
    is_kept: bool,
    /// Rules that it must notice to be broken.
    defects: &'static [&'static str],
}

const TARGETS: [Target; 4] = [
    Target {
        name: "operations",
        folder: ENGINE,
        is_kept: true,
        defects: &[
            "JoinsOlderFlights",
            "RemovalForgetsFlights",
            "StampsAtPublication",
            "OverwritingKeepsTheDeadline",
            "ShrinksLater",
        ],
    },
    Target {
        name: "snapshot",
        folder: ENGINE,
        is_kept: true,
        defects: &["ReadsDamagedSnapshots", "TrustsCounts"],
    },
    Target {
        name: "tier",
        folder: OTHERS,
        is_kept: false,
        defects: &["TrustsCounts"],
    },
    Target {
        name: "parsers",
        folder: OTHERS,
        is_kept: true,
        defects: &[
            "TakesAnyChecksum",
            "TakesCapitals",
            "KeysForgetDeleted",
            "KeysForgetTheTenant",
            "ReadsDamagedFiles",
            "LogsForgetTheTenant",
            "LosesTokens",
            "HandlersPanic",
            "RefusesInPlainText",
        ],
    },
];

impl Target {
    /// The committed inputs, which the ordinary tests replay.
    fn committed(&self, root: &Path) -> PathBuf {
        root.join(format!("{}/{}.txt", self.folder, self.name))
    }

    /// The program.
    fn program(&self, dir: &Path) -> Command {
        Command::new(
            dir.join(TRIPLE)
                .join("release")
                .join(format!("fuzz-{}", self.name)),
        )
    }

    /// The inputs found so far, the committed ones among them.
    fn corpus(&self, root: &Path, dir: &Path) -> anyhow::Result<PathBuf> {
        let corpus = dir.join("corpus").join(self.name);
        std::fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        let committed = self.committed(root);
        let text = std::fs::read_to_string(&committed)
            .with_context(|| format!("cannot read {}", committed.display()))?;
        for (number, line) in text.lines().filter(|line| !line.starts_with('#')).enumerate() {
            let input =
                from_hex(line).with_context(|| format!("{} is not hexadecimal", committed.display()))?;
            std::fs::write(corpus.join(format!("committed-{number:03}")), input)?;
        }
        for number in 0..DRAWN {
            std::fs::write(corpus.join(format!("drawn-{number:03}")), drawn(number))?;
        }
        Ok(corpus)
    }
}

/// Bytes that look random, the same in each run: some hundred operations in one go, which the fuzzer would be long in putting together.
fn drawn(number: u64) -> Vec<u8> {
    let mut state = number + 1;
    let mut roll = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()[0]
    };
    let warm_up = (0..8).map(|_| roll()).fold(0, |_, byte| byte);
    (0..64 + usize::from(warm_up)).map(|_| roll()).collect()
}

/// Runs every target for its share of the time, after it has noticed each defect that it must.
pub(crate) fn fuzz(root: &Path, seconds: u64, keep: bool, counts: &mut Counts) -> anyhow::Result<()> {
    has_compiler()?;
    let dir = target_dir(root).join("fuzz");
    let mut build = process::cargo(root);
    build
        .args([
            "build",
            "--package",
            PACKAGE,
            "--bins",
            "--release",
            "--target",
            TRIPLE,
        ])
        .env("CARGO_TARGET_DIR", &dir)
        .env("RUSTFLAGS", COVERAGE)
        // What is optimised across crates takes long to link, for each program anew.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("RUSTC_BOOTSTRAP", "1");
    crate::test::expect_success(&mut build)?;
    for target in &TARGETS {
        for defect in target.defects {
            notices(root, &dir, target, defect)?;
            counts.passed += 1;
        }
    }
    for target in &TARGETS {
        explore(root, &dir, target, (seconds / TARGETS.len() as u64).max(1))?;
        counts.passed += 1;
        if keep && target.is_kept {
            write_corpus(root, &dir, target)?;
        }
    }
    Ok(())
}

/// Runs every target for as long as `cargo xtask test --long` does.
pub(crate) fn long(root: &Path, counts: &mut Counts) -> anyhow::Result<()> {
    fuzz(root, LONG_SECONDS * TARGETS.len() as u64, false, counts)
}

/// What must be installed besides the toolchain.
fn has_compiler() -> anyhow::Result<()> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    process::output_of(Command::new(&compiler).arg("--version")).with_context(|| {
        format!("libFuzzer needs a C++ compiler and {compiler} does not run: apt-get install g++")
    })?;
    Ok(())
}

/// Runs a target with a rule broken: a target that says nothing is no detector.
fn notices(root: &Path, dir: &Path, target: &Target, defect: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    // What it finds is thrown away.
    let scratch = tempfile::tempdir()?;
    let output = target
        .program(dir)
        .args(LIMITS)
        .args([
            format!("-max_total_time={MOST_SECONDS_TO_NOTICE}"),
            "-seed=1".to_owned(),
        ])
        .arg(format!("-artifact_prefix={}/", scratch.path().display()))
        .arg(scratch.path())
        .arg(target.corpus(root, dir)?)
        .env(PLANTED, defect)
        .output()
        .with_context(|| format!("cannot run the target {}", target.name))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let Some(symptom) = said.lines().find(|line| is_symptom(line)) else {
        bail!("{}: did not notice {defect}: {said}", target.name);
    };
    ensure!(
        !output.status.success(),
        "{}: noticed {defect} and went on",
        target.name
    );
    println!(
        "{}: noticed {defect} after {:.1} s: {}",
        target.name,
        start.elapsed().as_secs_f64(),
        symptom.trim()
    );
    Ok(())
}

/// A line by which a target says that the engine did wrong; a misspelt defect is none.
fn is_symptom(line: &str) -> bool {
    let panicked = line.contains("panicked at") && !line.contains("planted.rs");
    // By the fuzzer's limit, or before that by the sanitizer, which cannot have as much.
    let asked_for_much = ["libFuzzer: out-of-memory", "AddressSanitizer: out-of-memory"];
    panicked || asked_for_much.iter().any(|symptom| line.contains(symptom))
}

/// Goes on from the corpus for so many seconds.
fn explore(root: &Path, dir: &Path, target: &Target, seconds: u64) -> anyhow::Result<()> {
    let found = dir.join("found").join(target.name);
    std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let mut command = target.program(dir);
    command
        .args(LIMITS)
        .args([
            format!("-max_total_time={seconds}"),
            "-print_final_stats=1".to_owned(),
        ])
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(target.corpus(root, dir)?);
    println!("{}: fuzzing for {seconds} s", target.name);
    let status = process::run(&mut command)?;
    ensure!(
        status.success(),
        "{}: the input is in {}; as a line for {}:\n{}",
        target.name,
        found.display(),
        target.committed(root).display(),
        latest_as_hex(&found)?
    );
    Ok(())
}

/// The input written last, as the committed files want it.
fn latest_as_hex(found: &Path) -> anyhow::Result<String> {
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(found)? {
        let entry = entry?;
        inputs.push((entry.metadata()?.modified()?, entry.path()));
    }
    let latest = inputs.into_iter().max().map(|(_, path)| std::fs::read(path));
    Ok(to_hex(&latest.transpose()?.unwrap_or_default()))
}

/// Writes the few inputs that reach most into the committed file.
fn write_corpus(root: &Path, dir: &Path, target: &Target) -> anyhow::Result<()> {
    let least = tempfile::tempdir()?;
    let mut merge = target.program(dir);
    merge.args(LIMITS).args(["-merge=1", "-max_len=160"]);
    merge.arg(least.path()).arg(target.corpus(root, dir)?);
    crate::test::expect_success(&mut merge)?;
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(least.path())? {
        inputs.push(std::fs::read(entry?.path())?);
    }
    // The longest do most in one go; the rest is told apart by its bytes alone.
    inputs.sort_by_key(|input| (std::cmp::Reverse(input.len()), input.clone()));
    let mut text =
        "# Inputs of the fuzz target, in hexadecimal: written by `cargo xtask check fuzz --keep`.\n"
            .to_owned();
    let mut bytes = 0;
    for input in in_turn(inputs) {
        bytes += input.len();
        if bytes > MOST_KEPT_BYTES {
            break;
        }
        text += &to_hex(&input);
        text.push('\n');
    }
    let committed = target.committed(root);
    std::fs::write(&committed, text).with_context(|| format!("cannot write {}", committed.display()))
}

/// Lets inputs of different kinds take turns, each kind in its order: by the first byte a target chooses what the others are for, and none of
/// that is to be left out.
fn in_turn(inputs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    const KINDS: usize = 8;
    let mut kinds = vec![Vec::new(); KINDS];
    for input in inputs {
        let kind = input.first().map_or(0, |byte| usize::from(*byte) % KINDS);
        kinds[kind].push(input);
    }
    let mut kinds: Vec<_> = kinds.into_iter().map(Vec::into_iter).collect();
    let mut turns = Vec::new();
    loop {
        let before = turns.len();
        turns.extend(kinds.iter_mut().filter_map(Iterator::next));
        if turns.len() == before {
            return turns;
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn from_hex(line: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| {
        (digit as char)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pairs = line.as_bytes().chunks(2);
    pairs
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_survive_as_text() {
        let bytes = [0, 9, 0xAF, 0xFF];
        assert_eq!(to_hex(&bytes), "0009afff");
        assert_eq!(from_hex("0009afff"), Some(bytes.to_vec()));
        assert_eq!((from_hex("0"), from_hex("0g")), (None, None));
    }

    #[test]
    fn every_kind_of_input_is_kept_in_turn() {
        let turns = in_turn(vec![vec![1, 1], vec![9], vec![1], vec![2, 2], vec![]]);
        let kinds: Vec<_> = turns.iter().map(|input| input.first().copied()).collect();
        assert_eq!(kinds, [None, Some(1), Some(2), Some(9), Some(1)]);
    }

    #[test]
    fn a_misspelt_defect_is_no_symptom() {
        assert!(is_symptom(
            "thread '<unnamed>' panicked at tests/fuzz/harness/model.rs:1:2:"
        ));
        assert!(is_symptom("SUMMARY: libFuzzer: out-of-memory"));
        assert!(is_symptom(
            "SUMMARY: AddressSanitizer: out-of-memory (fuzz-tier+0x1de1a4) in malloc"
        ));
        assert!(!is_symptom(
            "thread '<unnamed>' panicked at tests/fuzz/src/planted.rs:1:2:"
        ));
        assert!(!is_symptom("#2 INITED cov: 3"));
    }
}
