//! `cargo xtask tidy`: the rules of the house that the compiler and clippy do not know.
//!
//! Each rule is a function from the [`Tree`] of the workspace's files to findings, and is tested with samples that break
//! it. A new rule is a new function in the table [`RULES`].

mod floors;
mod links;
mod manifests;
mod rooms;
mod source;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, bail};

use source::Source;

/// The rules in the order they are documented.
const RULES: &[fn(&Tree, &mut Report)] = &[
    text::opening_line,
    text::length,
    text::leftovers,
    text::sleeping,
    text::unchecked_blocks,
    text::home_paths,
    manifests::inheritance,
    floors::imports,
    floors::drivers,
    rooms::absences,
    rooms::sql,
    rooms::status_codes,
    rooms::mirrored_backends,
    links::resolve,
];

/// Files whose content the rules look at, by the end of their name.
const TEXT: &[&str] = &[
    ".rs", ".md", ".toml", ".sql", ".sh", ".yml", ".yaml", ".json", ".html", "/run",
];
/// Folders that are not the project's text: build output and version control.
const SKIPPED: &[&str] = &["target", ".git"];

/// One thing to put right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) cure: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            what,
            cure,
        } = self;
        write!(f, "{path}:{line}: {what}\n    cure: {cure}")
    }
}

/// The findings so far.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Finding>);

impl Report {
    pub(crate) fn add(&mut self, path: &str, line: usize, what: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Finding {
            path: path.to_owned(),
            line,
            what: what.into(),
            cure: cure.into(),
        });
    }
}

/// One text file.
#[derive(Debug)]
pub(crate) struct File {
    /// From the workspace's folder, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Its parts, when it is Rust.
    pub(crate) source: Option<Source>,
}

impl File {
    fn new(path: String, text: String) -> Self {
        let source = is_rust(&path).then(|| Source::new(&text));
        Self { path, text, source }
    }

    /// Whether all of the file is test code: it lies in a folder of tests or benches, or is a module of tests.
    pub(crate) fn is_test(&self) -> bool {
        let folder =
            |name| self.path.starts_with(&format!("{name}/")) || self.path.contains(&format!("/{name}/"));
        let is_module = ["/tests.rs", "_tests.rs"]
            .into_iter()
            .any(|end| self.path.ends_with(end));
        ["tests", "benches", "examples"].into_iter().any(folder) || is_module
    }

    /// Whether this line is test code.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.is_test() || self.source.as_ref().is_some_and(|source| source.is_test(line))
    }

    /// The crate's folder name for a file of `crates/NAME/src`.
    pub(crate) fn crate_source(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("crates/")?.split_once('/')?;
        rest.starts_with("src/").then_some(name)
    }
}

/// The workspace's files.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: Vec<File>,
    /// Every file and folder, also those that are not text.
    names: BTreeSet<String>,
}

impl Tree {
    /// Reads the workspace below `root`.
    fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, below: &str) -> anyhow::Result<()> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list ./{below}"))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list ./{below}"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{below}{name}");
            let kind = entry
                .file_type()
                .with_context(|| format!("cannot look at {path}"))?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
                self.names.insert(path);
            } else if kind.is_file() {
                self.read_file(&entry.path(), path)?;
            }
        }
        Ok(())
    }

    fn read_file(&mut self, file: &Path, path: String) -> anyhow::Result<()> {
        if TEXT.iter().any(|end| path.ends_with(end)) {
            match std::fs::read_to_string(file) {
                Ok(text) => self.files.push(File::new(path.clone(), text)),
                // Somebody saved or removed it while we looked; it is not there now.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
            }
        }
        self.names.insert(path);
        Ok(())
    }

    /// Every text file.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter()
    }

    /// Every Rust file with its parts.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&File, &Source)> {
        self.files
            .iter()
            .filter_map(|file| Some((file, file.source.as_ref()?)))
    }

    /// Every `Cargo.toml`.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &File> {
        self.files
            .iter()
            .filter(|file| file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml"))
    }

    /// Every file and folder, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether a file or folder of this name exists.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.names.contains(path)
    }

    /// A tree for a test of a rule.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.files.push(File::new((*path).to_owned(), (*text).to_owned()));
            tree.names.insert((*path).to_owned());
            for (at, _) in path.match_indices('/') {
                tree.names.insert(path[..at].to_owned());
            }
        }
        tree
    }
}

/// Runs one rule on a sample; the findings as `path:line` for short assertions.
#[cfg(test)]
pub(crate) fn places(rule: fn(&Tree, &mut Report), files: &[(&str, &str)]) -> Vec<String> {
    let mut report = Report::default();
    rule(&Tree::of(files), &mut report);
    report
        .0
        .into_iter()
        .map(|finding| format!("{}:{}", finding.path, finding.line))
        .collect()
}

fn is_rust(path: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "rs")
}

/// Checks the workspace below `root`; the findings come out sorted by file and line.
fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let tree = Tree::read(root)?;
    let mut report = Report::default();
    for rule in RULES {
        rule(&tree, &mut report);
    }
    report.0.sort();
    Ok(report.0)
}

/// `cargo xtask tidy`.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let findings = check(root)?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy has {} findings", findings.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_text_and_names_from_disk() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let put = |path: &str, text: &str| {
            let file = dir.path().join(path);
            std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
            std::fs::write(file, text).expect("a file");
        };
        put("crates/a/src/lib.rs", "fn no_opening_line() {}\n");
        put("docs/picture.png", "not text");
        put("target/debug/x.rs", "built");
        put(".ci/run", "#!/usr/bin/env bash\n");

        let tree = Tree::read(dir.path()).expect("a tree");
        let mut read: Vec<&str> = tree.files().map(|file| file.path.as_str()).collect();
        read.sort_unstable();
        assert_eq!(read, [".ci/run", "crates/a/src/lib.rs"]);
        assert!(tree.has("docs/picture.png") && tree.has("crates/a/src") && !tree.has("target/debug/x.rs"));

        let findings = check(dir.path()).expect("checked");
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].to_string().starts_with("crates/a/src/lib.rs:1: "));
        assert!(run(dir.path()).is_err(), "a finding is a failure");
    }

    #[test]
    fn knows_test_files() {
        let is_test = |path: &str| File::new(path.to_owned(), String::new()).is_test();
        assert!(is_test("tests/tests/a.rs") && is_test("benches/b.rs") && is_test("crates/a/tests/b.rs"));
        assert!(is_test("crates/a/src/b/tests.rs") && is_test("crates/a/src/b_tests.rs"));
        assert!(!is_test("crates/a/src/latests.rs") && !is_test("crates/contests/src/a.rs"));
    }
}
