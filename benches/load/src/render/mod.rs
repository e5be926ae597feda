//! From a run file to what people read: docs/performance.md, its charts, and the README's table.
//!
//! Everything is made of the run file and of the words here, and of nothing else: a test renders the committed run again and compares,
//! so no figure of the documentation can come from anywhere else. What was measured in other ways, by hand or by criterion, is in
//! docs/measurements.md.

mod charts;
mod drawings;
mod page;
mod text;
mod wanted;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::arms::names;
use crate::measure::is_part_of_every_run;
use crate::run_file::RunFile;
use drawings::drawn;
use page::Page;
use text::{Table, micros};

/// Where the report lies in a workspace.
const REPORT: &str = "docs/performance.md";
/// Where its charts lie.
const CHARTS: &str = "docs/charts";
/// Where the run lies that it is rendered from.
const RUNS: &str = "docs/runs";
/// Between these lines of the README stands its table.
const BEGIN: &str = "<!-- rendered by `cargo xtask bench render`: begin -->\n";
const END: &str = "<!-- rendered by `cargo xtask bench render`: end -->\n";

/// Renders a run into a workspace, and keeps its file there in place of the one before.
///
/// # Errors
/// When a file cannot be written, or the README has lost its marks.
pub fn into(run: &RunFile, root: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        !run.quick
            && crate::measure::SECTIONS
                .iter()
                .filter(|part| is_part_of_every_run(part))
                .all(|part| run.figures.iter().any(|figure| figure.section == *part)),
        "the documentation shows whole runs only, and this one is quick or lacks a part: nothing was written"
    );
    let runs = root.join(RUNS);
    let before = kept(root)?;
    let path = run.write(&runs)?;
    for old in before.iter().filter(|old| **old != path) {
        fs::remove_file(old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    let name = path
        .file_name()
        .context("a run file has a name")?
        .to_string_lossy();
    for (file, text) in files(run, &name)? {
        let path = root.join(file);
        let folder = path.parent().context("it lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let readme = root.join("README.md");
    let text = fs::read_to_string(&readme).context("cannot read README.md")?;
    fs::write(&readme, with_table(&text, run)?).context("cannot write README.md")
}

/// The run files of a workspace's documentation.
///
/// # Errors
/// When the folder cannot be read.
pub fn kept(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(root.join(RUNS)) else {
        return Ok(Vec::new());
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// The files of the documentation, by their paths in a workspace; `name` is the run file's.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn files(run: &RunFile, name: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = vec![(REPORT.to_owned(), report(run, name))];
    for (chart, svg) in drawn(Page(run))? {
        files.push((format!("{CHARTS}/{chart}.svg"), svg));
    }
    Ok(files)
}

/// A README with the table of a run.
///
/// # Errors
/// When its marks are not there.
pub fn with_table(readme: &str, run: &RunFile) -> anyhow::Result<String> {
    let Some((before, rest)) = readme.split_once(BEGIN) else {
        bail!("README.md has lost the line {BEGIN}");
    };
    let Some((_, after)) = rest.split_once(END) else {
        bail!("README.md has lost the line {END}");
    };
    Ok(format!("{before}{BEGIN}{}{END}{after}", summary(Page(run))))
}

/// All tables, for a terminal.
pub fn tables(run: &RunFile) -> String {
    report(run, "this run")
}

/// The README's table.
fn summary(page: Page<'_>) -> String {
    let mut table = Table::new([
        "operation",
        "predecessor's way",
        "runner, nothing cached",
        "runner, cached",
    ]);
    for (scenario, what) in [
        ("dashboard", "a dashboard (15 statements step by step)"),
        ("traversal", "a traversal with its CIs (about 25)"),
        ("related", "five related look-ups"),
    ] {
        for (database, shown) in [("sqlite", "SQLite"), ("postgres", "PostgreSQL")] {
            let of = |arm, at| {
                page.value(["scenarios", scenario, database, arm, at, "p50"])
                    .map_or_else(|| "-".to_owned(), micros)
            };
            table.row(vec![
                format!("{what}, {shown}"),
                of(names::PREDECESSOR, "cold"),
                of(names::RUNNER, "cold"),
                of(names::RUNNER, "warm"),
            ]);
        }
    }
    let hit = |step| {
        page.value(["steps", "hit", "", step, "", "time"])
            .map_or_else(|| "-".to_owned(), |time| micros(time / 1e3))
    };
    format!(
        "\n{}\nMedians of one run ([how, and the rest](docs/performance.md)). A cached search takes {}, a cached get {}.\n\n",
        table.markdown(),
        hit("a search through the runner"),
        hit("a get through the runner")
    )
}

/// Tables with charts behind them; nothing where there are no tables.
fn with_charts(tables: String, charts: &[(&str, &str)]) -> String {
    if tables.is_empty() {
        return tables;
    }
    charts.iter().fold(tables, |text, (name, what)| {
        format!("{text}\n![{what}](charts/{name}.svg)\n")
    })
}

fn report(run: &RunFile, name: &str) -> String {
    let page = Page(run);
    let mut text = String::new();
    let mut part = |title: &str, words: &str, tables: String| {
        // A section that was not measured is left out.
        if !tables.is_empty() {
            text.extend([format!("\n## {title}\n\n{words}\n\n{}\n", tables.trim())]);
        }
    };
    part("What was wanted, and what was measured", GOALS, page.goals());
    let faster = page.speed_up_table();
    let scenarios = if faster.is_empty() {
        String::new()
    } else {
        page.scenarios() + "\n### How many times faster\n\n" + &faster
    };
    part(
        "The three scenarios",
        SCENARIOS,
        with_charts(scenarios, &[("scenarios", "speed-up of the scenarios")]),
    );
    let charts = [
        ("latency", "distribution of latencies"),
        ("staleness", "stale answers against the write rate"),
        ("hit-rate", "hit rate against the write rate"),
    ];
    part(
        "A desk's day, while CIs are written",
        MIXES,
        with_charts(page.mixes(), &charts),
    );
    part("Where the time of a hit and of a miss goes", STEPS, page.steps());
    part("Method by method beside the predecessor", METHODS, page.methods());
    part(
        "Restart, stampede, scan, a noisy tenant",
        SITUATIONS,
        page.by_condition("situations"),
    );
    part("A recorded day, asked again", REPLAY, page.replay());
    let charts = [("threads", "hits a second against threads")];
    part("Threads", THREADS, with_charts(page.threads(), &charts));
    let charts = [("memory", "bytes of an entry")];
    part("Memory", MEMORY, with_charts(page.memory(), &charts));
    let charts = [("sizes", "cost against data size")];
    part(
        "Cost against data size",
        SIZES,
        with_charts(page.sizes(), &charts),
    );
    part("A fleet over a shared tier", FLEET, page.by_condition("fleet"));
    format!(
        "<!-- Rendered by `cargo xtask bench render` from runs/{name}; what is changed here by hand is lost. -->\n\n# Performance\n\n{INTRODUCTION}\n{}{text}",
        page.origin()
    )
}

const INTRODUCTION: &str = "Every figure here comes from one run of `cargo xtask bench`, whose file lies in [runs/](runs/); `cargo xtask bench render RUN.json` makes \
this page and its charts of it, and a test compares the two. `cargo xtask bench` on another machine makes them anew with one command; `cargo xtask bench compare A B` \
tells what changed between two runs beyond noise. What was measured by criterion or by hand is in [measurements.md](measurements.md), the engine against other engines in \
[engine-benchmarks.md](engine-benchmarks.md). Machines differ and are noisy: ratios within the run count, absolute times less.\n";

const GOALS: &str = "The goals are the issue's, and were set before anything was measured; how each is measured was settled while the benchmark was written, and these choices were made with first figures at hand: that each operation of a mix has been asked \
once before (see there), the second line on memory, and what a miss is compared with: the faster of the store's two ways to answer one question, where it had been a transaction without a version, because the store learned the other way after that.";

const FLEET: &str = "Runners of one process over PostgreSQL and Redis, each with a connection of its own. Three nodes, each asked everything before, answer 100 searches a second each while another program writes 5 times a second; then a fourth joins and is asked as often. Its hit rate is of \
windows of half a second, and counts what the tier answers; the most statements are those of any second of the whole fleet. In trouble, one node asks for CIs that nobody asked for before, and for each once more: the tier is away (connections are closed), or each of its answers takes 200 ms, where \
a miss waits 25 ms at most.";

const SCENARIOS: &str = "One operation after the other; all arms in turns over the same data and the same operations: the real graph of Debian's packages where it lies beside the repository, else a generated estate of 60,000 CIs. The predecessor's traversal brings CIs without the relations between them, and which CIs come first is \
chance; ours brings every relation, and the first CIs by code. Its SQLite has the driver's settings, our store's 16 MiB of cache and a mapped file. Cold: nothing of it is cached. Warm: it was asked before. \
\"predecessor\" is its way over a pool of connections, which it did not have, with one statement a step and a sequential scan of five columns; \"connecting\" opens a connection for each statement, \
as it did. Its graph database is played by the relations' table with its indexes. \"store\" is our store without a cache; \"moka\" and \"redis\" are caches with times to live over our store, so what they gain cold over the \
predecessor is the store's. Server and client share one machine: over a network each statement costs a round trip besides.";

const MIXES: &str = "10,000 generated CIs, rounds of some seconds: a cache that lives for 60 s never forgets by age within one, so it hits more, and is stale less, than over an hour; the runner's hit rate is that shortly after everything was asked. 200 operations a second (the predecessor: 20, because it could not keep up), at random moments that are fixed before (Poisson); latencies are from the moment at which an operation was to begin, so that waiting counts (no \
coordinated omission); from its beginning beside it. Of 100 operations 70 are searches, 15 gets, 5 traversals, 5 related look-ups, 5 dashboards, counts and lists, with zipf's popularity (exponent 0.99). \
Each operation has been asked once before: this is a cache in the middle of its day. The choice matters and was made after a first quick run, whose shorter warm-up had not asked for everything; there the runner missed the goal for \
statements, because what nobody has asked before costs a load whoever caches (the recorded day below begins empty). The predecessor's figures are of the first tenth of the operations, so its statements an operation vary more. An answer is stale if a write was acknowledged before its question began and the answer does not include it. In `desk` the service that answers writes, \
one write after the other, and drops what such a service can know of (the CI's own entry); in the other another program writes, and nobody is told: there the runner promises to be at most 1 s behind and is usually a few \
milliseconds. Statements are those of questions; the runner also reads the version of each state that it loads, and polls for changes while it is asked. Processor time is that of this process with its load, not that of \
a database server.";

const STEPS: &str = "Single thread, everything in memory; medians of many batches. What a search through the runner takes more than its key and its look-up is the mark of the change feed, the level's check, counters, the span and the answer itself. \
For a miss the floor is a round trip. The store has two ways to answer one question: in a transaction, for those who want several of one state, and as one statement that also reads its own version; a miss is compared with the faster.";

const METHODS: &str = "The predecessor's figures were measured on it, once, on another machine, and are constants here; ours are of the engine's CI face in this run. Pattern invalidation drops what has a keyword.";

const SITUATIONS: &str = "After a restart the first operations of the same day are asked again, without and with the file that the runner before had written. A stampede asks for one dashboard that nobody has; those who failed got no connection to the database within 5 s. \
The scan and the noisy tenant have caches with room for 500 answers, and are asked a few at a time.";

const REPLAY: &str = "A desk's day is recorded by the runner's own recorder (`RunnerBuilder::record`), and the log is asked again from an empty cache, one request after the other. `cargo xtask bench load --replay LOG \
--database URL` does the same with the log of a service and a copy of its database.";

const THREADS: &str = "Warm gets of 1,000 CIs through one runner, as many as there is time for; medians of rounds. Threads need processors to themselves: where other work runs beside them (see the note above) this says little.";

const MEMORY: &str = "Bytes asked of Rust's allocator, in a process of its own. Rows are not shared between answers. The runner's entry has what it depends on and the index by which changes find it; the others' have neither. Redis's are what its server says it has allocated more, for rows as JSON. The predecessor and the store keep nothing.";

const SIZES: &str = "Generated estates, without relations. \"Cold\" is the runner with nothing cached; the databases have their pages in memory.";

#[cfg(test)]
mod tests;
