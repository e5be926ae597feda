//! Rules about the text of files: how they open, how long they are, and what must not stay in them.

use super::source::has_word;
use super::{Report, Tree};

/// More lines than this and a file is two files.
const MAX_LINES: usize = 600;

/// Files that were longer when the rule came, with their length then. An entry may shrink and go; none may come.
const LONGER: &[(&str, usize)] = &[];

/// Every source file says in its first line what it is for.
pub(crate) fn opening_line(tree: &Tree, report: &mut Report) {
    for (file, _) in tree.sources() {
        let first = file.text.lines().next().unwrap_or_default();
        let said = first
            .strip_prefix("//!")
            .is_some_and(|text| !text.trim().is_empty());
        if !said {
            report.add(
                &file.path,
                1,
                "the file does not open with a `//!` line",
                "say what it is for, in one sentence",
            );
        }
    }
}

/// A file that needs a table of contents is two files.
pub(crate) fn length(tree: &Tree, report: &mut Report) {
    for (file, _) in tree.sources() {
        let lines = file.text.lines().count();
        let listed = LONGER
            .iter()
            .find(|(path, _)| *path == file.path)
            .map(|(_, lines)| *lines);
        judge_length(&file.path, lines, listed, report);
    }
    for (path, _) in LONGER.iter().filter(|(path, _)| !tree.has(path)) {
        report.add(
            path,
            1,
            "a listed long file is gone",
            "remove its entry from LONGER in xtask/src/tidy/text.rs",
        );
    }
}

fn judge_length(path: &str, lines: usize, listed: Option<usize>, report: &mut Report) {
    let limit = listed.unwrap_or(MAX_LINES);
    if lines > limit {
        report.add(
            path,
            limit + 1,
            format!("{lines} lines are more than {limit}"),
            "split it by idea",
        );
    } else if listed.is_some_and(|listed| lines < listed) {
        let cure =
            "lower (or remove) its number in LONGER in xtask/src/tidy/text.rs, so that it cannot grow back";
        report.add(
            path,
            lines.max(1),
            format!("{lines} lines now, but {limit} are listed"),
            cure,
        );
    }
}

/// Marks of unfinished work and of debugging.
pub(crate) fn leftovers(tree: &Tree, report: &mut Report) {
    for (file, source) in tree.sources() {
        for piece in &source.comments {
            leftover_mark(&file.path, piece.line, &piece.text, report);
        }
        for (line, code) in source.numbered() {
            if code.contains("dbg!(") {
                report.add(
                    &file.path,
                    line,
                    "`dbg!` is left over",
                    "remove it, or trace an event",
                );
            }
            let ignored =
                code.contains("#[ignore") || (code.contains("cfg_attr(") && has_word(code, "ignore"));
            if ignored {
                report.add(
                    &file.path,
                    line,
                    "an ignored test proves nothing",
                    "make it run, or delete it",
                );
            }
        }
    }
    for file in tree
        .files()
        .filter(|file| [".sql", ".toml"].iter().any(|end| file.path.ends_with(end)))
    {
        for (index, line) in file.text.lines().enumerate() {
            leftover_mark(&file.path, index + 1, line, report);
        }
    }
}

fn leftover_mark(path: &str, line: usize, text: &str, report: &mut Report) {
    for mark in ["TODO", "FIXME", "XXX"] {
        if has_word(text, mark) {
            report.add(
                path,
                line,
                format!("{mark} is left over"),
                "do it now, or open an issue and say why not here",
            );
        }
    }
}

/// Tests drive time; waiting for it makes them slow and, some day, wrong.
pub(crate) fn sleeping(tree: &Tree, report: &mut Report) {
    const WORDS: &[&str] = &["sleep", "sleep_until", "sleep_ms"];
    for (file, source) in tree.sources() {
        for (line, code) in source.numbered().filter(|(line, _)| file.is_test_line(*line)) {
            if WORDS.iter().any(|word| has_word(code, word)) {
                let cure = "drive a test clock, or wait for the event itself (a channel, a join, a barrier)";
                report.add(&file.path, line, "a test sleeps", cure);
            }
        }
    }
}

/// The one file that may: each block in it comes with its proof, and models check it.
const UNSAFE_FILE: &str = "crates/ci-cache-core/src/raw.rs";

/// `unsafe` stays in one file. The compiler's lint is only `deny`, so that this file can allow it; this rule is what forbids it
/// everywhere else.
pub(crate) fn unchecked_blocks(tree: &Tree, report: &mut Report) {
    for (file, source) in tree.sources().filter(|(file, _)| file.path != UNSAFE_FILE) {
        for (line, code) in source.numbered() {
            if has_word(code, "unsafe") || code.contains("(unsafe_code") {
                let cure = "write it in safe code; if a large gain was measured and models cover it, it belongs in raw.rs";
                report.add(&file.path, line, format!("`unsafe` outside {UNSAFE_FILE}"), cure);
            }
        }
    }
}

/// Somebody's home folder is of no use to anybody else.
pub(crate) fn home_paths(tree: &Tree, report: &mut Report) {
    // In pieces, so that this file does not find itself.
    let homes = [
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/ro", "ot/"),
        concat!("C:\\Us", "ers\\"),
    ];
    for file in tree.files() {
        for (index, line) in file.text.lines().enumerate() {
            if homes.iter().any(|home| starts_a_path(line, home)) {
                let cure = "use a relative path, or a placeholder such as DIR";
                report.add(
                    &file.path,
                    index + 1,
                    "an absolute path of somebody's machine",
                    cure,
                );
            }
        }
    }
}

/// Whether `prefix` occurs where a path starts: a web address or a longer path may contain the same letters.
fn starts_a_path(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + prefix.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/}".contains(c))
            && after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;

    #[test]
    fn finds_files_that_do_not_say_what_they_are() {
        let bad = [
            ("a.rs", "use x;\n//! late\n"),
            ("b.rs", ""),
            ("c.rs", "//!\n"),
            ("d.rs", "//! Said.\n"),
            ("e.md", "prose"),
        ];
        assert_eq!(places(opening_line, &bad), ["a.rs:1", "b.rs:1", "c.rs:1"]);
    }

    #[test]
    fn finds_long_files() {
        let (long, fits) = ("x\n".repeat(MAX_LINES + 1), "x\n".repeat(MAX_LINES));
        assert_eq!(
            places(length, &[("a.rs", &long), ("b.rs", &fits), ("c.md", &long)]),
            ["a.rs:601"]
        );
    }

    #[test]
    fn an_exception_may_only_shrink() {
        let judge = |lines, listed| {
            let mut report = Report::default();
            judge_length("a.rs", lines, listed, &mut report);
            report.0.len()
        };
        assert_eq!(judge(700, Some(700)), 0, "as long as it was");
        assert_eq!(judge(701, Some(700)), 1, "it grew");
        assert_eq!(judge(699, Some(700)), 1, "it shrank, the number must too");
        assert_eq!(judge(600, None), 0);
    }

    #[test]
    fn finds_unsafe_outside_its_file() {
        let text = "//! unsafe\nfn a() { unsafe { b() } }\nlet unsafe_code_of = \"unsafe\";\n#[allow(unsafe_code)]\n";
        assert_eq!(places(unchecked_blocks, &[("a.rs", text)]), ["a.rs:2", "a.rs:4"]);
        assert_eq!(
            places(unchecked_blocks, &[(UNSAFE_FILE, text)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn finds_leftovers_only_where_they_are_meant() {
        let text = "//! A\n// TODO: later\nlet s = \"TODO\";\n/* x\n FIXME */\n#[ignore = \"slow\"]\ndbg!(1);\n// TODOS\n";
        assert_eq!(
            places(leftovers, &[("a.rs", text)]),
            ["a.rs:2", "a.rs:5", "a.rs:6", "a.rs:7"]
        );
        assert_eq!(
            places(leftovers, &[("a.rs", "#[cfg_attr(windows, ignore)]\n")]),
            ["a.rs:1"]
        );
        assert_eq!(
            places(leftovers, &[("a.sql", "-- ok\n-- FIXME\n"), ("b.md", "TODO")]),
            ["a.sql:2"]
        );
    }

    #[test]
    fn finds_tests_that_sleep() {
        let unit =
            "fn a() { tokio::time::sleep(d).await }\n#[cfg(test)]\nmod tests {\n  fn b() { sleep(d) }\n}\n";
        assert_eq!(
            places(sleeping, &[("crates/a/src/a.rs", unit)]),
            ["crates/a/src/a.rs:4"]
        );
        let whole = "use std::thread;\nfn a() { thread::sleep(d) }\n// sleep\nlet x = \"sleep\";\n";
        assert_eq!(
            places(sleeping, &[("tests/tests/a.rs", whole)]),
            ["tests/tests/a.rs:2"]
        );
    }

    #[test]
    fn finds_paths_of_somebodys_machine() {
        let home = concat!("/ho", "me/");
        let bad =
            format!("cd {home}ann/x\nhttps://example.org{home}page\n`{home}`\n\"{home}bob\"\n$DIR{home}x\n");
        assert_eq!(
            places(home_paths, &[("README.md", &bad)]),
            ["README.md:1", "README.md:4"]
        );
    }
}
