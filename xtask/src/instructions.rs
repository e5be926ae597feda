//! Instruction counts of the engine's hot paths: what callgrind counts now, beside what the repository has.
//!
//! Times differ by a tenth from minute to minute on a shared machine; counts do not. A path that takes more than a tenth more than
//! is written down fails the test run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::check::target_dir;
use crate::packages::{self, Package};
use crate::process;
use crate::test::expect_success;

const PACKAGE: Package = Package {
    what: "Valgrind, which counts instructions,",
    apt: &["valgrind"],
    dnf: &["valgrind"],
    apk: &["valgrind"],
    pacman: &["valgrind"],
    zypper: &["valgrind"],
    brew: &["valgrind"],
    elsewhere: "https://valgrind.org/downloads/",
};

/// The program that runs one path, and its package.
const PROGRAM: &str = "hot-paths";
const OF: &str = "ci-hot-paths";
/// How it is built: as what ships, without what linking adds. That costs a quarter of the build, and all that is wanted of a count is that the same
/// code has the same one.
const PROFILE: &str = "counts";
/// What is written down.
const COMMITTED: &str = "benches/paths/instructions.toml";
/// Times of the shorter of two runs; the longer has twice as many, and their difference leaves out what is done once.
const TIMES: u32 = 5_000;
/// So much more than is written down fails.
const BOUND: f64 = 1.10;

const HEADER: &str = "\
# Instructions of the engine's hot paths, by callgrind (benches/paths/src/main.rs says what each is), of the profile `counts`: without what is
# optimised when linking, so that they are somewhat more than in what ships.
# `cargo xtask test` fails when one takes more than 10 % more; `cargo xtask check instructions --keep` writes them anew.
";

/// Counts every path and compares it, or writes the counts down.
pub(crate) fn check(root: &Path, keep: bool) -> anyhow::Result<()> {
    let valgrind = packages::find_or_install(&PACKAGE, || packages::on_path("valgrind"))?;
    let mut build = process::cargo(root);
    build.args(["build", "--quiet", "--profile", PROFILE, "--package", OF]);
    // Without what an earlier build left: parts that are kept are cut differently, and counted differently.
    expect_success(build.env("CARGO_INCREMENTAL", "0"))?;
    let program = target_dir(root).join(PROFILE).join(PROGRAM);
    let names = process::output_of(&mut Command::new(&program))?;
    let mut counts = BTreeMap::new();
    for name in names.lines() {
        let of = |times| counted(&valgrind, &program, name, times);
        let count = f64::from(u32::try_from(of(2 * TIMES)? - of(TIMES)?)?) / f64::from(TIMES);
        counts.insert(name.to_owned(), count);
    }
    let file = root.join(COMMITTED);
    if keep {
        return fs::write(&file, rendered(&counts)).with_context(|| format!("cannot write {COMMITTED}"));
    }
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {COMMITTED}"))?;
    let committed = read(&text)?;
    for (name, count) in &counts {
        let before = committed.get(name).copied().unwrap_or_default();
        println!("{name}: {count:.0} instructions, {before:.0} written down");
    }
    let objections = objections(&committed, &counts);
    ensure!(
        objections.is_empty(),
        "{}; if that is meant, `cargo xtask check instructions --keep` writes the counts down",
        objections.join("; ")
    );
    Ok(())
}

/// What callgrind counts while a path is run so many times.
fn counted(valgrind: &PathBuf, program: &Path, name: &str, times: u32) -> anyhow::Result<u64> {
    let mut command = Command::new(valgrind);
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([name, &times.to_string()]);
    let output = command.output().context("cannot start valgrind")?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name} failed under valgrind: {}", told.trim());
    }
    collected(&told).with_context(|| format!("callgrind told no count of {name}"))
}

/// The number in callgrind's line `Collected : N`.
fn collected(told: &str) -> Option<u64> {
    let line = told.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

/// Why counts are not as they should be.
fn objections(committed: &BTreeMap<String, f64>, counts: &BTreeMap<String, f64>) -> Vec<String> {
    let known = counts
        .iter()
        .filter_map(|(name, count)| match committed.get(name) {
            None => Some(format!("{name} is not written down")),
            Some(before) if *count > before * BOUND => {
                let more = (count / before - 1.0) * 100.0;
                Some(format!(
                    "{name} takes {more:.1} % more instructions than is written down"
                ))
            }
            Some(_) => None,
        });
    let gone = committed.keys().filter(|name| !counts.contains_key(*name));
    known
        .chain(gone.map(|name| format!("{name} is written down and not counted")))
        .collect()
}

fn rendered(counts: &BTreeMap<String, f64>) -> String {
    let mut text = HEADER.to_owned();
    for (name, count) in counts {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{name} = {count:.1}");
    }
    text
}

/// Reads what [`rendered`] writes: a name, an equals sign and a number a line.
fn read(text: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let (name, count) = line
                .split_once('=')
                .with_context(|| format!("no count: {line}"))?;
            let count = count
                .trim()
                .parse()
                .with_context(|| format!("no number: {line}"))?;
            Ok((name.trim().to_owned(), count))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
        of.iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn more_than_a_tenth_more_is_an_objection_and_so_is_what_is_not_known() {
        let committed = counts(&[("hit", 100.0), ("key", 50.0)]);
        assert!(objections(&committed, &counts(&[("hit", 110.0), ("key", 10.0)])).is_empty());
        for (now, why) in [
            (counts(&[("hit", 110.1), ("key", 50.0)]), "hit takes 10.1 % more"),
            (counts(&[("hit", 100.0)]), "key is written down and not counted"),
            (
                counts(&[("hit", 100.0), ("key", 50.0), ("set", 1.0)]),
                "set is not written down",
            ),
        ] {
            let objections = objections(&committed, &now);
            assert!(
                matches!(&objections[..], [one] if one.contains(why)),
                "{objections:?}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let some = counts(&[("hit", 100.5), ("key", 50.0)]);
        assert_eq!(read(&rendered(&some)).expect("counts"), some);
        assert!(read("hit").is_err() && read("hit = many").is_err());
        assert_eq!(collected("==1== Collected : 1234"), Some(1_234));
        assert_eq!(collected("nothing"), None);
    }
}
