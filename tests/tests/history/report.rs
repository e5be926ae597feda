//! What a campaign saw, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use ci_runner::{Level, Source, Why};

use super::fault::Fault;
use super::pool::Pool;
use super::record::Read;
use super::scene::Scene;

/// What the feed says while triggers are away.
const BLIND: &str = "changes are not recorded";

/// Counts of a campaign.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) backend: &'static str,
    pub(crate) seed: u64,
    pub(crate) checked: u64,
    pub(crate) worked_out: u64,
    pub(crate) recorded: usize,
    pub(crate) errors: u64,
    pub(crate) writes: usize,
    pub(crate) commits: u64,
    pub(crate) rollbacks: u64,
    pub(crate) refusals: u64,
    pub(crate) seconds: f64,
    pub(crate) checking: f64,
    pub(crate) levels: BTreeMap<&'static str, u64>,
    pub(crate) sources: BTreeMap<&'static str, u64>,
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    pub(crate) ways: BTreeMap<&'static str, u64>,
    pub(crate) faults: BTreeMap<Fault, u64>,
    /// What has to happen now and then.
    pub(crate) sometimes: BTreeMap<String, u64>,
}

impl Report {
    pub(crate) fn count(&mut self, pool: &Pool, reads: &[Read]) {
        self.checked += reads.len() as u64;
        for read in reads {
            let level = match &read.level {
                Level::Cached { .. } => "cached",
                Level::AtLeast(_) => "at least",
                Level::Strong => "strong",
                _ => "bypass",
            };
            let source = match read.source {
                Source::Hit => "hit",
                Source::Tier => "tier",
                Source::Coalesced => "coalesced",
                Source::Miss => "miss",
                Source::Bypass => "bypass",
            };
            let way = match read.way {
                super::record::Way::Alone => "alone",
                super::record::Way::Page => "page",
                super::record::Way::Batch => "batch",
            };
            *self.levels.entry(level).or_default() += 1;
            *self.sources.entry(source).or_default() += 1;
            *self.ways.entry(way).or_default() += 1;
            *self.kinds.entry(pool.all[read.asked].kind()).or_default() += 1;
        }
    }

    pub(crate) fn faults(&mut self, caused: Vec<Fault>) {
        for fault in caused {
            *self.faults.entry(fault).or_default() += 1;
        }
    }

    /// What was never seen.
    pub(crate) fn missing(&self, wanted: &[&'static str]) -> Vec<&'static str> {
        let seen = |name: &&str| self.sometimes.get(*name).copied().unwrap_or(0) > 0;
        wanted.iter().copied().filter(|name| !seen(name)).collect()
    }

    /// What the runner and its feed counted: all of it, however short a while it lasted.
    pub(crate) fn runner(&mut self, scene: &Scene) {
        let (runner, told) = (&scene.runner, scene.meddling.told());
        let (stats, feed, reasons) = (runner.stats(), runner.feed(), runner.drop_reasons());
        let blind = told.iter().filter(|(words, _)| words.starts_with(BLIND));
        let (coherence, engine) = (&stats.coherence, &stats.cache.engine);
        let counted = [
            ("hit", engine.hits),
            ("coalesced", engine.coalesced),
            ("load failed", engine.load_failures),
            ("evicted", engine.evictions),
            ("changes applied", coherence.changes),
            ("dropped one by one", coherence.dropped),
            ("poisoned", coherence.poisoned),
            ("included already", coherence.included),
            ("group floor", coherence.group_floors),
            ("everything dropped", coherence.resets),
            // Of a load that a change overtook, whoever is first: the log, or a later look-up that left it behind.
            (
                "refused: overtaken",
                coherence.refused_overtaken + coherence.refused_detached,
            ),
            ("refused: floor", coherence.refused_floor),
            ("refused: epoch", coherence.refused_epoch),
            ("past the cache", stats.through),
            ("looked up again", stats.again),
            ("poll failed", feed.failures),
            ("new epoch or gap", feed.epochs),
            // Each poll ends in a state.
            ("feed Live", feed.polls.saturating_sub(feed.epochs)),
            ("feed CatchingUp", feed.failures),
            ("feed Stopped", blind.map(|(_, count)| count).sum()),
        ];
        for (name, count) in counted {
            *self.sometimes.entry(name.to_owned()).or_default() += count;
        }
        for (words, count) in told {
            *self.sometimes.entry(words).or_default() += count;
        }
        for (outcome, count) in stats.replica.iter().flat_map(|replica| &replica.loads) {
            let name = format!("replica: {}", outcome.as_str());
            *self.sometimes.entry(name).or_default() += count;
        }
        for (why, count) in reasons {
            let name = match why {
                Why::Touches(reason) => format!("reason: {reason}"),
                Why::Group => "reason: group".to_owned(),
                Why::Everything => "reason: everything".to_owned(),
                Why::Fault => "reason: fault".to_owned(),
            };
            *self.sometimes.entry(name).or_default() += count;
        }
    }
}

fn list<K: fmt::Debug>(counts: &BTreeMap<K, u64>) -> String {
    let each = counts
        .iter()
        .map(|(name, count)| format!("{} {count}", format!("{name:?}").replace('"', "")));
    each.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} checked reads, 0 wrong; seed {}; {:.1} s, of which {:.1} s checking; {} answers worked out from {} \
             recorded rows; {} questions ended in an error",
            self.backend,
            self.checked,
            self.seed,
            self.seconds,
            self.checking,
            self.worked_out,
            self.recorded,
            self.errors
        )?;
        writeln!(f, "  levels: {}", list(&self.levels))?;
        writeln!(f, "  sources: {}", list(&self.sources))?;
        writeln!(f, "  kinds: {}; {}", list(&self.kinds), list(&self.ways))?;
        writeln!(
            f,
            "  writes: {} through the runner; other programs: {} committed, {} rolled back, {} refused",
            self.writes, self.commits, self.rollbacks, self.refusals
        )?;
        writeln!(f, "  faults: {}", list(&self.faults))?;
        write!(f, "  sometimes: {}", list(&self.sometimes))
    }
}
