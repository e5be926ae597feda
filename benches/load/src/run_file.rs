//! The run file: one run's figures as JSON, from which everything that the documentation shows is rendered.
//!
//! ```text
//! { "format": "ci-cache bench run", "version": 1,
//!   "date": "2026-11-28T13:00:00Z", "commit": "0123abc", "quick": false, "seed": 7, "note": "...",
//!   "machine": { "cores": 2, "cpu": "...", "os": "..." },
//!   "figures": [ { "section": "scenarios", "workload": "dashboard", "database": "sqlite", "arm": "runner", "at": "warm",
//!                  "metric": "p50", "unit": "us", "value": 5.8, "rounds": [5.7, 5.8, 6.0] } ] }
//! ```
//!
//! A figure's first five members and its metric name it: no two figures of a file have the same. `rounds` are the values of
//! the interleaved rounds, of which `value` is the median or (for percentiles) what all rounds give together; empty where there was
//! one round. The machine is described and not named. A version that is not known is refused: figures of another meaning would be
//! compared with each other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// What the file says it is.
const FORMAT: &str = "ci-cache bench run";
/// The version that is written and read.
const VERSION: u32 = 1;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFile {
    format: String,
    version: u32,
    /// When it began.
    pub date: String,
    /// What was measured, shortened; empty where nobody knows.
    pub commit: String,
    /// It measured less, and less exactly.
    pub quick: bool,
    /// What everything was drawn from.
    pub seed: u64,
    /// What else the reader should know, such as other work on the machine.
    pub note: String,
    /// Where it ran.
    pub machine: Machine,
    /// What it found.
    pub figures: Vec<Figure>,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The part of the report.
    pub section: String,
    /// What was asked.
    pub workload: String,
    /// Of which database; empty where none is concerned.
    pub database: String,
    /// Who answered.
    pub arm: String,
    /// Under which condition: a state, a write rate, a size, a number of threads.
    pub at: String,
    /// What was measured.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// The figure.
    pub value: f64,
    /// The values of the rounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<f64>,
}

impl Figure {
    /// What names it.
    pub fn name(&self) -> [&str; 6] {
        [
            &self.section,
            &self.workload,
            &self.database,
            &self.arm,
            &self.at,
            &self.metric,
        ]
    }
}

impl RunFile {
    /// A run without figures yet.
    pub fn new(date: String, commit: String, quick: bool, seed: u64, note: String, machine: Machine) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            date,
            commit,
            quick,
            seed,
            note,
            machine,
            figures: Vec::new(),
        }
    }

    /// Reads the text of a run file.
    ///
    /// # Errors
    /// For other text, another version, and two figures of one name.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let head: Head = serde_json::from_str(text).context("this is not a run file")?;
        ensure!(head.format == FORMAT, "this is not a run file of ci-cache");
        ensure!(
            head.version == VERSION,
            "this run file has version {}, and this program reads version {VERSION}",
            head.version
        );
        let run: Self = serde_json::from_str(text).context("a run file with unknown or missing parts")?;
        let mut names: Vec<[&str; 6]> = run.figures.iter().map(Figure::name).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.array_windows().find(|[one, next]| one == next) {
            anyhow::bail!("two figures are called {twice:?}");
        }
        Ok(run)
    }

    /// Reads a run file.
    ///
    /// # Errors
    /// As above, and when it cannot be read.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Writes a run file into a folder; its name is the date.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{}.json", self.date.replace(':', "-")));
        fs::write(&path, self.text()?).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The file's text: a figure a line, so that two runs can be read beside each other.
    ///
    /// # Errors
    /// Never for a run that can be read.
    pub fn text(&self) -> anyhow::Result<String> {
        let head = Self {
            figures: Vec::new(),
            ..self.clone()
        };
        let head = serde_json::to_string_pretty(&head)?;
        let head = head.strip_suffix("[]\n}").context("figures come last")?;
        let lines = self
            .figures
            .iter()
            .map(|figure| Ok(format!("    {}", serde_json::to_string(figure)?)))
            .collect::<anyhow::Result<Vec<String>>>()?;
        Ok(format!("{head}[\n{}\n  ]\n}}\n", lines.join(",\n")))
    }

    /// Finds a figure by what names it: section, workload, database, arm, condition, metric.
    pub fn find(&self, name: [&str; 6]) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name() == name)
    }
}

/// Four significant digits: more are noise, and make files large.
pub fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = 10_f64.powf(3.0 - value.abs().log10().floor());
    (value * digits).round() / digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(arm: &str, rounds: Vec<f64>) -> Figure {
        let text = |text: &str| text.to_owned();
        Figure {
            section: text("scenarios"),
            workload: text("dashboard"),
            database: text("sqlite"),
            arm: text(arm),
            at: text("warm"),
            metric: text("p50"),
            unit: text("us"),
            value: 5.75,
            rounds,
        }
    }

    fn run(figures: Vec<Figure>) -> RunFile {
        let machine = Machine {
            cores: 2,
            cpu: "a processor".to_owned(),
            os: "an os".to_owned(),
        };
        let date = "2026-11-28T13:00:00Z".to_owned();
        let mut run = RunFile::new(date, "abc".to_owned(), true, 7, String::new(), machine);
        run.figures = figures;
        run
    }

    #[test]
    fn reads_what_it_writes() {
        let run = run(vec![
            figure("runner", vec![5.0, 6.5]),
            figure("store", Vec::new()),
        ]);
        let text = run.text().expect("text");
        assert_eq!(RunFile::parse(&text).expect("a run file"), run);
        assert_eq!(text.lines().filter(|line| line.contains("\"metric\"")).count(), 2);
        let folder = tempfile::tempdir().expect("a folder");
        let path = run.write(folder.path()).expect("written");
        assert_eq!(path.file_name().expect("a name"), "2026-11-28T13-00-00Z.json");
        assert_eq!(RunFile::read(&path).expect("read"), run);
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let text = run(vec![figure("runner", Vec::new())]).text().expect("text");
        assert!(RunFile::parse("{}").is_err());
        let other = text.replace("\"version\": 1", "\"version\": 2");
        let error = format!("{:#}", RunFile::parse(&other).expect_err("another version"));
        assert!(error.contains("version 2"), "{error}");
        let twice = run(vec![figure("runner", Vec::new()), figure("runner", Vec::new())]);
        assert!(RunFile::parse(&twice.text().expect("text")).is_err());
    }

    #[test]
    fn four_digits_are_kept() {
        let text = [1_234_567.0, 0.000_123_456, 0.0, f64::NAN].map(|value| rounded(value).to_string());
        assert_eq!(text, ["1235000", "0.0001235", "0", "0"]);
    }
}
