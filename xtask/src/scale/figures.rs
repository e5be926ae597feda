//! What the model of scale is fed with, and where each figure comes from: measured (and then the page is looked up), or assumed.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

/// The page with what was measured by criterion and by hand.
const MEASUREMENTS: &str = "docs/measurements.md";
/// The folder of the run file that docs/performance.md is rendered from.
const RUNS: &str = "docs/runs";

/// Where a figure comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    /// Numbers of a page, each in a piece of its text that is there once: `{}` stands for the number.
    Page(&'static str, Vec<&'static str>),
    /// A figure of the run file, by the beginning of its line.
    Run(&'static str),
    /// What the code does; where is told.
    Code(&'static str),
    /// Measured once by hand; how is told.
    Probe(&'static str),
    /// Nobody measured it.
    Assumed(&'static str),
}

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) origin: Origin,
}

/// All figures the model uses. Times are in microseconds, sizes in bytes, rates per second.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) empty_poll: Figure,
    pub(crate) poll_with_one: Figure,
    pub(crate) polled_change: Figure,
    pub(crate) load: Figure,
    pub(crate) write: Figure,
    pub(crate) match_10k: Figure,
    pub(crate) match_100k: Figure,
    pub(crate) hit: Figure,
    pub(crate) entry: Figure,
    pub(crate) change_row: Figure,
    pub(crate) touched: Figure,
    pub(crate) tier_value: Figure,
    pub(crate) tier_stored: Figure,
    pub(crate) tier_beside: Figure,
    pub(crate) tier_load: Figure,
    pub(crate) tier_confirmed: Figure,
    pub(crate) tier_gets: Figure,
    pub(crate) pace: Figure,
    pub(crate) doorbell_pace: Figure,
    pub(crate) long_pace: Figure,
    pub(crate) retention: Figure,
    pub(crate) ttl: Figure,
    pub(crate) tier_ttl: Figure,
    pub(crate) log: Figure,
    pub(crate) reads: Figure,
    pub(crate) changes_per_ci: Figure,
    pub(crate) questions_per_ci: Figure,
    pub(crate) exponent: Figure,
    pub(crate) capacity: Figure,
    pub(crate) database_cores: Figure,
    pub(crate) tier_memory: Figure,
    pub(crate) tier_network: Figure,
    pub(crate) tier_processes: Figure,
    pub(crate) tier_machines: Figure,
    pub(crate) partitions: Figure,
    pub(crate) replicas: Figure,
}

impl Figures {
    /// Reads the measured figures of this tree.
    ///
    /// # Errors
    /// When a page has not the line any more that a figure was taken from: then the figure has to be looked at again.
    #[expect(clippy::too_many_lines, reason = "a table, a figure after the other")]
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let entry = Origin::Run(
            r#""section":"memory","workload":"searches of ten rows","database":"","arm":"runner","at":"4000 entries","metric":"an entry""#,
        );
        let of_entry = of_run(root, &entry)?;
        let figure = |name, value, unit, origin| Figure {
            name,
            unit,
            value,
            origin,
        };
        let assumed = |name, value, unit, why| figure(name, value, unit, Origin::Assumed(why));
        let text = fs::read_to_string(root.join(MEASUREMENTS))
            .with_context(|| format!("cannot read {MEASUREMENTS}"))?;
        // A figure that the page has, so many times.
        let on_page = |name, times: f64, unit, piece| -> anyhow::Result<Figure> {
            let origin = Origin::Page(MEASUREMENTS, vec![piece]);
            Ok(figure(name, number(&text, piece)? * times, unit, origin))
        };
        let hits_a_second = "| a search of ten | 2,801 | {} | 96,100 |";
        let [dropped, cis, answers, writes] = TOUCHED;
        let touched =
            number(&text, dropped)? / number(&text, writes)? / number(&text, answers)? * number(&text, cis)?;
        Ok(Self {
            empty_poll: on_page(
                "a poll that finds nothing",
                1e3,
                "us",
                "| a poll that finds nothing | 0.075 ms | {} ms |",
            )?,
            poll_with_one: on_page(
                "a poll that finds one upsert",
                1e3,
                "us",
                "| a poll that finds one upsert | 0.28 ms | {} ms |",
            )?,
            polled_change: figure(
                "each further change of a poll",
                CHANGE_US,
                "us",
                Origin::Probe(PROBED_POLL),
            ),
            load: on_page(
                "a load: a search through the runner with nothing cached",
                1.0,
                "us",
                "| search | 489, 569 us (+80 us, 16 %) | 1,467, {} us (+",
            )?,
            write: on_page(
                "one upsert, with its triggers",
                1e3,
                "us",
                "| one upsert of a CI with tags and attributes (both change) | 0.80 ms (0.76-0.84) | 0.74 ms (0.72-0.76) | {} ms (",
            )?,
            match_10k: on_page(
                "matching a change against 10,000 searches",
                1.0,
                "us",
                "| 10,000 | {} us | 990 us |",
            )?,
            match_100k: on_page(
                "matching a change against 100,000 searches",
                1.0,
                "us",
                "| 100,000 | {} us | 21.4 ms |",
            )?,
            hit: figure(
                "a hit over HTTP: a search of ten, one of 62,200 a second on two cores",
                2e6 / number(&text, hits_a_second)?,
                "us of a core",
                Origin::Page(MEASUREMENTS, vec![hits_a_second]),
            ),
            entry: figure(
                "an entry in memory, a search of ten rows",
                of_entry,
                "bytes",
                entry,
            ),
            change_row: figure(
                "a changed CI in the change table",
                ROW_BYTES,
                "bytes",
                Origin::Probe(PROBED_ROW),
            ),
            touched: figure(
                "changed CIs after which a cached answer is another: 107 drops of 3,000 answers in 600 writes to 63,665 CIs",
                touched,
                "of all CIs",
                Origin::Page(MEASUREMENTS, TOUCHED.to_vec()),
            ),
            tier_value: on_page(
                "an answer in the tier, a search of ten rows: binary, and compressed from 1 KiB on",
                1.0,
                "bytes",
                "A search of ten rows is a value of {} bytes",
            )?,
            tier_stored: on_page(
                "the same in Redis 7.0, with its name and its time to live",
                1.0,
                "bytes",
                "in Redis 7.0 it takes {} bytes",
            )?,
            tier_beside: assumed(
                "each operation of the tier besides values",
                150.0,
                "bytes",
                "a name of some 50 bytes, the command and the answer; headers of the network come on top",
            ),
            tier_load: figure(
                "operations of the tier for a load: get, take the lease, set, give the lease back",
                4.0,
                "",
                Origin::Code("`once.rs` and `write.rs` in [`tier`](../crates/ci-runner/src/tier/mod.rs)"),
            ),
            tier_confirmed: figure(
                "values that one node of the fleet confirms",
                1_000.0 / 60.0,
                "a second",
                Origin::Code(
                    "the defaults of `tier_refresh_every` and of what is confirmed at a time, 1,000, if its node has so many",
                ),
            ),
            tier_gets: figure(
                "gets and sets of one Redis process",
                50_000.0,
                "a second",
                Origin::Probe(
                    "`redis-benchmark -d 1300 -c 32` over a Unix socket: 52,700 gets a second while six other processes wanted the same two cores; a machine of its own does more",
                ),
            ),
            pace: assumed(
                "time between two polls while somebody asks",
                3e3,
                "us",
                "the default of `poll_every`",
            ),
            doorbell_pace: assumed(
                "the same with a doorbell",
                1e6,
                "us",
                "as a backstop; what nobody rings for is seen so late",
            ),
            long_pace: assumed(
                "the same where polls are set to be longer",
                1e5,
                "us",
                "`poll_every = 100ms`; a write through a node still polls at once",
            ),
            retention: assumed("changes are kept", 600.0, "s", "the default of `retention`"),
            ttl: assumed(
                "an answer lives at most",
                300.0,
                "s",
                "the default time to live of a search with filters",
            ),
            tier_ttl: assumed(
                "an answer lives in the tier at most",
                3_600.0,
                "s",
                "the default of `tier_ttl`; what is not confirmed is of use only while the readers' change logs reach back to it",
            ),
            log: assumed(
                "changes that a node's log holds",
                65_536.0,
                "",
                "the default of `log_changes`",
            ),
            reads: assumed(
                "questions a node is asked",
                500.0,
                "a second",
                "a busy desk; the measured limit of one process is above 60,000",
            ),
            changes_per_ci: assumed(
                "a CI changes",
                1.0 / 86_400.0,
                "a second",
                "once a day, as by a nightly inventory spread over the day",
            ),
            questions_per_ci: assumed(
                "different questions that are asked",
                0.2,
                "for each CI",
                "most CIs are never looked at",
            ),
            exponent: assumed(
                "popularity of the k-th question: 1/k to the power of",
                1.0,
                "",
                "Zipf's law, as the workloads of the benchmark draw",
            ),
            capacity: assumed(
                "entries a node has room for",
                1e5,
                "",
                "some 460 MB by the entry above; the default is less",
            ),
            database_cores: assumed(
                "cores of the database's machine",
                32.0,
                "",
                "a large single server",
            ),
            tier_memory: assumed("memory of the tier", 64e9, "bytes", "one large server"),
            tier_network: assumed("network of the tier", 1.25e9, "bytes a second", "10 Gbit/s"),
            tier_processes: assumed(
                "processes of a tier that is a cluster",
                16.0,
                "",
                "keys are independent",
            ),
            tier_machines: assumed(
                "machines they run on",
                4.0,
                "",
                "with the memory and the network above each",
            ),
            partitions: assumed(
                "groups of tenants that nodes are divided by",
                16.0,
                "",
                "each node serves, polls and caches one group",
            ),
            replicas: assumed("standbys that loads are sent to", 4.0, "", ""),
        })
    }

    /// The same with so many times as many changes.
    pub(crate) fn with_changes(&self, times: f64) -> Self {
        let mut figures = self.clone();
        figures.changes_per_ci.value *= times;
        figures
    }

    /// Every figure, in the order of the page.
    pub(crate) fn all(&self) -> [&Figure; 36] {
        [
            &self.empty_poll,
            &self.poll_with_one,
            &self.polled_change,
            &self.load,
            &self.write,
            &self.match_10k,
            &self.match_100k,
            &self.hit,
            &self.entry,
            &self.change_row,
            &self.touched,
            &self.tier_value,
            &self.tier_stored,
            &self.tier_beside,
            &self.tier_load,
            &self.tier_confirmed,
            &self.tier_gets,
            &self.pace,
            &self.long_pace,
            &self.doorbell_pace,
            &self.retention,
            &self.ttl,
            &self.tier_ttl,
            &self.log,
            &self.reads,
            &self.changes_per_ci,
            &self.questions_per_ci,
            &self.exponent,
            &self.capacity,
            &self.database_cores,
            &self.tier_memory,
            &self.tier_network,
            &self.tier_processes,
            &self.tier_machines,
            &self.partitions,
            &self.replicas,
        ]
    }
}

/// Bytes of a row of the change table, and how that was found.
const ROW_BYTES: f64 = 1_110.0;
const PROBED_ROW: &str = "5,000 generated CIs with documents, new, made 10,000 rows of 5.55 MB with their indexes on PostgreSQL 15; an update has two images and \
    takes up to twice that";
/// Microseconds of a further change in one poll, and how that was found.
const CHANGE_US: f64 = 130.0;
const PROBED_POLL: &str = "polls of 1,000 changes on PostgreSQL by a build without optimisation beside other work: median of 15 130 ms, least 114; an upper bound";

/// How many of how many answers were dropped by how many writes to how many CIs.
const TOUCHED: [&str; 4] = [
    "| PostgreSQL | by what a change matters to | {} | 107 |",
    "the real graph ({} CIs, 294,016 relations), 3,000 zipf",
    "relations), {} zipf-distributed searches",
    "gets and expansions, {} writes (a minute",
];

/// Reads the number that stands for `{}` in a piece of a text.
///
/// # Errors
/// When the piece is not there, or more than once: then the figure has to be looked at again.
fn number(text: &str, piece: &str) -> anyhow::Result<f64> {
    let (before, after) = piece.split_once("{}").context("a piece has a number")?;
    let mut found = text.match_indices(before).filter_map(|(at, _)| {
        let rest = &text[at + before.len()..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ',' && c != '.')?;
        let digits = rest[..end].replace(',', "");
        rest[end..].starts_with(after).then_some(digits)
    });
    let first = found.next();
    ensure!(
        found.next().is_none(),
        "{MEASUREMENTS} says {piece:?} more than once"
    );
    let number = first.and_then(|digits| digits.parse().ok());
    number.with_context(|| {
        format!("{MEASUREMENTS} does not say {piece:?} any more: say in xtask/src/scale/figures.rs where the figure is now")
    })
}

/// Reads a figure of the run file.
fn of_run(root: &Path, origin: &Origin) -> anyhow::Result<f64> {
    let Origin::Run(start) = origin else {
        anyhow::bail!("{origin:?} is no figure of a run file");
    };
    let mut files = Vec::new();
    for file in fs::read_dir(root.join(RUNS)).with_context(|| format!("cannot read {RUNS}"))? {
        files.push(file?.path());
    }
    let [file] = &files[..] else {
        anyhow::bail!("{RUNS} has {} run files, not one", files.len());
    };
    let text = fs::read_to_string(file)?;
    let line = text.lines().find(|line| line.contains(start));
    let value = line.and_then(|line| {
        let (_, rest) = line.split_once(r#""value":"#)?;
        rest.split([',', '}']).next()?.parse().ok()
    });
    value.with_context(|| format!("no figure of {RUNS} begins with {start}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_where_it_stands() {
        let text = "| a | 1,234.5 us | 7 |\n| b | 1 us | 8 |\n| b | 2 ms | 8 |\n";
        assert_eq!(number(text, "| a | {} us |").ok(), Some(1_234.5));
        assert_eq!(number(text, "| b | {} ms |").ok(), Some(2.0));
        for (piece, why) in [
            ("| c | {} us |", "any more"),
            ("| a | {} ms |", "any more"),
            (" | {} |", "more than once"),
            ("| a |", "a piece has"),
        ] {
            let error = number(text, piece).expect_err(piece).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
