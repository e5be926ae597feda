//! What a campaign saw, in numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ci_runner::{Level, Source};

use super::campaign::Plan;
use super::fault::Fault;
use super::pool::Pool;
use super::record::Read;

/// Counts of a campaign that came to its end: the first wrong answer, and the first violation that a node's auditor tells or logs, end it without a report.
#[derive(Debug, Default)]
pub(crate) struct Report {
    seed: u64,
    nodes: usize,
    readers: u64,
    set: Vec<String>,
    pub(crate) rounds: u64,
    /// Answers that came.
    pub(crate) received: u64,
    /// Those that were checked and found true.
    pub(crate) checked: u64,
    /// Answers of an epoch that nobody noticed, in a round with several eras.
    pub(crate) unplaced: u64,
    /// Answers of eras that ended in their round, and of those that began in it.
    pub(crate) across: u64,
    pub(crate) worked_out: u64,
    /// Audits of the nodes, as they told at the end of each round since they were started.
    pub(crate) audited: u64,
    pub(crate) writes: u64,
    pub(crate) commits: u64,
    pub(crate) errors: u64,
    pub(crate) seconds: f64,
    pub(crate) checking: f64,
    pub(crate) faults: BTreeMap<Fault, u64>,
    /// The longest time until all nodes were ready and hitting again.
    pub(crate) recovery: BTreeMap<Fault, Duration>,
    /// The longest time after the faults of a round until every node had used the shared tier again.
    pub(crate) shared_again: Duration,
    /// What the nodes said of values that they asked the tier for, as far as they told at the end of a round.
    pub(crate) shared: BTreeMap<String, u64>,
    /// And of the loads that the standby might answer.
    pub(crate) copied: BTreeMap<String, u64>,
    pub(crate) levels: BTreeMap<&'static str, u64>,
    pub(crate) sources: BTreeMap<&'static str, u64>,
    kinds: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            seed: plan.seed,
            nodes: plan.nodes,
            readers: plan.readers,
            set: plan.settings.set.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn count<'a>(&mut self, pool: &Pool, reads: impl Iterator<Item = &'a Read>) {
        for read in reads {
            self.received += 1;
            let level = match &read.level {
                Level::Cached { .. } => "cached",
                Level::AtLeast(_) => "at least",
                Level::Strong => "strong",
                _ => "bypass",
            };
            let source = match read.source {
                Source::Hit => "l1",
                Source::Tier => "l2",
                Source::Bypass => "bypass",
                _ => "load",
            };
            *self.levels.entry(level).or_default() += 1;
            *self.sources.entry(source).or_default() += 1;
            *self.kinds.entry(pool.all[read.asked].kind()).or_default() += 1;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |map: &BTreeMap<&'static str, u64>| {
            let all = map.iter().map(|(name, count)| format!("{name} {count}"));
            all.collect::<Vec<_>>().join(", ")
        };
        writeln!(
            f,
            "{} nodes: {} checked reads, ended at the first wrong answer: none; seed {}; {} rounds, {:.0} s, of which {:.0} s checking; {} answers worked out; \
             {} questions ended in an error; {} answers in rounds with several eras, {} answers of unnoticed epochs left out; {} audits by the nodes, ended at the first violation: none",
            self.nodes,
            self.checked,
            self.seed,
            self.rounds,
            self.seconds,
            self.checking,
            self.worked_out,
            self.errors,
            self.across,
            self.unplaced,
            self.audited
        )?;
        let seconds = Duration::from_secs_f64(self.seconds).as_secs().max(1);
        let build = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        writeln!(
            f,
            "  {build} build, {cores} cores for everything, {} readers: {} checked reads a second of the whole time",
            self.readers,
            self.checked / seconds
        )?;
        if !self.set.is_empty() {
            writeln!(f, "  settings: {}", self.set.join(", "))?;
        }
        writeln!(f, "  levels: {}", counts(&self.levels))?;
        writeln!(f, "  sources: {}", counts(&self.sources))?;
        writeln!(f, "  kinds: {}", counts(&self.kinds))?;
        writeln!(
            f,
            "  writes: {} acknowledged by nodes, {} transactions of other programs",
            self.writes, self.commits
        )?;
        let faults = self.faults.iter().map(|(fault, count)| {
            let longest = self.recovery.get(fault).copied().unwrap_or_default();
            format!("{fault:?} {count} ({:.2} s)", longest.as_secs_f64())
        });
        write!(
            f,
            "  faults, with the longest time until all nodes were ready and hit again: {}",
            faults.collect::<Vec<_>>().join(", ")
        )?;
        let listed = |counts: &BTreeMap<String, u64>| {
            let each = counts.iter().map(|(name, count)| format!("{name} {count}"));
            each.collect::<Vec<_>>().join(", ")
        };
        write!(
            f,
            "\n  shared tier: used again by every node within {:.2} s of the end of each round's faults; what nodes asked it for: {}",
            self.shared_again.as_secs_f64(),
            listed(&self.shared)
        )?;
        write!(
            f,
            "\n  standby, which all nodes but the first load from: {}",
            listed(&self.copied)
        )
    }
}
