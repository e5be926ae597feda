//! Hit ratios: every trace at several sizes, against the optimum, exact LRU and all peers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use crate::contender::{Setup, Writes};
use crate::field::{Builder, peers};
use crate::key::keys;
use crate::optimum::{belady, lru};
use crate::options::Run;
use crate::ours::{self, Ours};
use crate::report::{Cell, Section, plain_table};
use crate::trace::{self, Trace};
use ci_measure::number::real;
use ci_measure::random::{Random, mean};
use ci_measure::rounds::Series;

/// The section's name.
pub(crate) const NAME: &str = "hit-ratio";

/// The optimum's name in tables.
pub(crate) const OPTIMUM: &str = "optimum";
/// The reference LRU's.
pub(crate) const LRU: &str = "exact LRU";

/// Sizes in objects of a thousand, and their names.
const SIZES: [(usize, &str); 4] = [(1, "0.1 %"), (10, "1 %"), (30, "3 %"), (100, "10 %")];

/// Replays a trace over any cache.
trait Replay {
    /// Asks for every request, inserts on a miss, and counts the hits.
    fn replay(&self, keys: &[u64], requests: &[u32]) -> usize;
}

impl<C: Writes<u64, u32>> Replay for C {
    fn replay(&self, keys: &[u64], requests: &[u32]) -> usize {
        let mut hits = 0;
        for &object in requests {
            let key = keys[object as usize];
            if self.get(&key).is_some() {
                hits += 1;
            } else {
                self.insert(key, object);
            }
            self.settle();
        }
        hits
    }
}

/// Caches this small depend on how their keys are hashed: they replay often enough for the chance to even out.
const SMALL: usize = 100;
const REPEATS: usize = 5;

type Player = Box<dyn Fn(&Job<'_>) -> anyhow::Result<usize> + Send + Sync>;

/// One trace at one size.
struct Job<'a> {
    trace: &'a Trace,
    keys: &'a [u64],
    capacity: usize,
    size: &'static str,
}

impl Job<'_> {
    /// The mean hits in a hundred requests of as many fresh caches as the size asks for.
    fn hits(&self, player: &Player) -> anyhow::Result<f64> {
        let repeats = if self.capacity <= SMALL { REPEATS } else { 1 };
        let hits: Vec<f64> = (0..repeats)
            .map(|_| Ok(real(player(self)?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(100.0 * mean(&hits) / real(self.trace.requests.len().max(1)))
    }
}

/// Everyone whose hits are counted.
fn players() -> Vec<(&'static str, Player)> {
    let mut players: Vec<(&'static str, Player)> = vec![
        (
            OPTIMUM,
            Box::new(|job| Ok(belady(&job.trace.requests, job.trace.objects, job.capacity))),
        ),
        (
            LRU,
            Box::new(|job| Ok(lru(&job.trace.requests, job.trace.objects, job.capacity))),
        ),
    ];
    for &(name, policy) in ours::POLICIES {
        let play = move |job: &Job<'_>| {
            let cache = Ours::<u64, u32>::new(Setup::tight(job.capacity), policy)?;
            Ok(cache.replay(job.keys, &job.trace.requests))
        };
        players.push((name, Box::new(play)));
    }
    for (name, build) in peers!(dyn Replay, u64, u32) {
        let build: Builder<dyn Replay> = build;
        let play = move |job: &Job<'_>| {
            let cache = build(Setup::tight(job.capacity).in_one_shard())?;
            Ok(cache.replay(job.keys, &job.trace.requests))
        };
        players.push((name, Box::new(play)));
    }
    players
}

/// Replays every trace at every size over everyone.
pub(crate) fn measure(run: &Run) -> anyhow::Result<Section> {
    let limit = if run.quick { 200_000 } else { usize::MAX };
    let traces = trace::read_all(&run.traces(), limit)?;
    let most = traces.iter().map(|trace| trace.objects).max().unwrap_or(0);
    let keys: Vec<u64> = keys(most, &mut Random::new(run.seed));
    let mut jobs = Vec::new();
    for trace in &traces {
        for (thousandths, size) in SIZES {
            let capacity = trace.objects * thousandths / 1_000;
            if capacity > 0 {
                jobs.push(Job {
                    trace,
                    keys: &keys,
                    capacity,
                    size,
                });
            }
        }
    }
    let cells = play(&jobs, &players())?;
    Ok(Section {
        name: NAME,
        note: format!(
            "{} traces at 0.1, 1, 3 and 10 % of their objects, {} cells (those without room for one entry are left out); \
             peers that let one choose in a single shard, ours as it comes; moka and mini-moka run their pending tasks \
             at each access; up to 100 entries, the mean of five fresh caches; stretto takes no part, for its insertions are asynchronous",
            traces.len(),
            cells.len()
        ),
        unit: "hits in a hundred requests",
        text: Some(text(&cells)),
        cells,
    })
}

/// Plays all jobs for all players, on as many threads as there are processors.
fn play(jobs: &[Job<'_>], players: &[(&'static str, Player)]) -> anyhow::Result<Vec<Cell>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; jobs.len() * players.len()]);
    let work = || -> anyhow::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number / players.len()) else {
                return Ok(());
            };
            let hits = job.hits(&players[number % players.len()].1)?;
            if let Ok(mut results) = results.lock() {
                results[number] = Some(hits);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended: Vec<_> = handles.into_iter().map(ScopedJoinHandle::join).collect();
        ended
            .into_iter()
            .try_for_each(|ended| ended.unwrap_or_else(|_| anyhow::bail!("a replay panicked")))
    })?;
    let results = results.into_inner().unwrap_or_default();
    let cell = |(job, hits): (&Job<'_>, &[Option<f64>])| {
        let series: Vec<Series> = players
            .iter()
            .zip(hits)
            .map(|((name, _), hits)| Series {
                contender: (*name).to_owned(),
                values: hits.iter().copied().collect(),
            })
            .collect();
        Cell::of(&job.trace.name, job.size, OPTIMUM, &series)
    };
    Ok(jobs.iter().zip(results.chunks(players.len())).map(cell).collect())
}

/// Whether a name is a peer's: neither ours nor a reference.
pub(crate) fn is_peer(name: &str) -> bool {
    name != OPTIMUM && name != LRU && ours::POLICIES.iter().all(|(ours, _)| *ours != name)
}

/// The mean share of the optimum over the cells where the optimum hits at all.
pub(crate) fn mean_share<'a>(cells: impl IntoIterator<Item = &'a Cell>, contender: &str) -> f64 {
    let shares: Vec<f64> = cells
        .into_iter()
        .filter_map(|cell| cell.ratio(contender, OPTIMUM))
        .collect();
    mean(&shares)
}

/// The best peer of a cell and its hits in a hundred requests.
pub(crate) fn best_peer(cell: &Cell) -> Option<(&str, f64)> {
    let peers = cell.figures.iter().filter(|figure| is_peer(&figure.contender));
    peers
        .map(|figure| (figure.contender.as_str(), figure.value.median))
        .max_by(|one, other| one.1.total_cmp(&other.1))
}

/// Names whoever hits more often than the optimum, which is possible only beyond the capacity.
fn cheats(cells: &[Cell]) -> String {
    let mut text = String::new();
    for cell in cells {
        let optimum = cell.figure(OPTIMUM).map_or(0.0, |figure| figure.value.median);
        let above = cell
            .figures
            .iter()
            .filter(|figure| figure.value.median > optimum + 1e-9);
        text.extend(above.map(|figure| {
            let (name, hits) = (&figure.contender, figure.value.median);
            format!(
                "{name} holds more than its capacity at {}: {hits:.2} above the optimum's {optimum:.2}\n",
                cell.name()
            )
        }));
    }
    text
}

fn text(cells: &[Cell]) -> String {
    format!(
        "\nmean share of the optimum\n{}\n\nour default against the best peer, hits in a hundred requests\n{}\n{}",
        shares(cells),
        points(cells),
        cheats(cells)
    )
}

fn shares(cells: &[Cell]) -> comfy_table::Table {
    let sizes = SIZES.iter().map(|(_, size)| (*size).to_owned());
    let header = std::iter::once(String::new())
        .chain(sizes)
        .chain(["all".to_owned()]);
    let mut table = plain_table(header.collect());
    let names = cells.first().into_iter().flat_map(|cell| &cell.figures);
    let mut rows: Vec<(f64, Vec<String>)> = names
        .map(|figure| {
            let name = figure.contender.as_str();
            let of_size = |size: &str| mean_share(cells.iter().filter(|cell| cell.column == size), name);
            let all = mean_share(cells, name);
            let sizes = SIZES.iter().map(|(_, size)| format!("{:.3}", of_size(size)));
            let row = std::iter::once(name.to_owned())
                .chain(sizes)
                .chain([format!("{all:.3}")]);
            (all, row.collect())
        })
        .collect();
    rows.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (_, row) in rows {
        table.add_row(row);
    }
    table
}

fn points(cells: &[Cell]) -> comfy_table::Table {
    let header = ["", "size", OPTIMUM, LRU, ours::NAME, "best peer", "", "points"];
    let mut table = plain_table(header.map(str::to_owned).to_vec());
    for cell in cells {
        let of = |name| cell.figure(name).map_or(0.0, |figure| figure.value.median);
        let Some((peer, best)) = best_peer(cell) else {
            continue;
        };
        let numbers = [of(OPTIMUM), of(LRU), of(ours::NAME)].map(|value| format!("{value:.2}"));
        let mut row = vec![cell.table.clone(), cell.column.clone()];
        row.extend(numbers);
        row.extend([
            format!("{best:.2}"),
            peer.to_owned(),
            format!("{:+.2}", of(ours::NAME) - best),
        ]);
        table.add_row(row);
    }
    table
}
