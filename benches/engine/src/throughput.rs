//! Throughput: threads that share a cache, read and insert.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::contender::{INSERT, Setup};
use crate::field::{self, Named};
use crate::key::{Key, keys};
use crate::options::Run;
use crate::peers::quick;
use crate::report::{Cell, Section};
use ci_measure::number::real;
use ci_measure::random::{Random, Zipf};
use ci_measure::rounds::interleave;

/// The section's name.
pub(crate) const NAME: &str = "throughput";

const ENTRIES: u32 = 100_000;
const THREADS: [usize; 3] = [1, 2, 4];

/// A mix of look-ups and insertions, in insertions of a hundred operations.
#[derive(Debug, Clone, Copy)]
struct Mix {
    label: &'static str,
    inserts: u32,
}

const READS: Mix = Mix {
    label: "100/0",
    inserts: 0,
};
const MIXES: [Mix; 2] = [
    Mix {
        label: "95/5",
        inserts: 5,
    },
    Mix {
        label: "75/25",
        inserts: 25,
    },
];

/// Measures every kind of key, mix and number of threads.
pub(crate) fn measure(run: &Run) -> anyhow::Result<Section> {
    let mut cells = Vec::new();
    of_key::<String>(run, &mut cells)?;
    of_key::<u128>(run, &mut cells)?;
    Ok(Section {
        name: NAME,
        note: "100 k keys, zipf 0.99, value an Arc cloned out, expiry on for ours; threads start together and run a \
            fixed number of operations each; where insertions evict, the capacity is a tenth and a miss inserts \
            (without stretto: it evicts in milliseconds, on a thread of its own)"
            .to_owned(),
        unit: "million operations a second; ratio to quick_cache of the same round (middle half)",
        cells,
        text: None,
    })
}

fn of_key<K: Key>(run: &Run, cells: &mut Vec<Cell>) -> anyhow::Result<()> {
    let mut random = Random::new(run.seed);
    let keys: Vec<K> = keys(ENTRIES as usize, &mut random);
    let zipf = Zipf::new(ENTRIES, 0.99, &mut random);
    let work = |mix: Mix, random: &mut Random| operations(&zipf, mix, 100_000, random);

    let table = format!("{} keys, resident", K::LABEL);
    let plans = plans(READS, &mut random, work);
    let field = field::hits(&keys)?;
    for threads in THREADS {
        let column = format!("{} {threads}t", READS.label);
        let cell = cell(run, (&table, &column), &field, threads, |slice, thread| {
            slice.hits(&keys, &plans[thread]);
        });
        cells.push(cell);
    }
    drop(field);
    let fields = [
        ("resident", field::resident(&keys)?),
        ("insertions evict", field::caches(Setup::tight(keys.len() / 10))?),
    ];
    for (what, field) in fields {
        let table = format!("{} keys, {what}", K::LABEL);
        for mix in MIXES {
            let plans = self::plans(mix, &mut random, work);
            for threads in THREADS {
                let column = format!("{} {threads}t", mix.label);
                let cell = cell(run, (&table, &column), &field, threads, |slice, thread| {
                    slice.mixed(&keys, &plans[thread]);
                });
                cells.push(cell);
            }
        }
    }
    Ok(())
}

/// One plan of operations per thread.
fn plans(mix: Mix, random: &mut Random, work: impl Fn(Mix, &mut Random) -> Vec<u32>) -> Vec<Vec<u32>> {
    (0..THREADS[THREADS.len() - 1])
        .map(|_| work(mix, random))
        .collect()
}

fn operations(zipf: &Zipf, mix: Mix, length: usize, random: &mut Random) -> Vec<u32> {
    let operation = |random: &mut Random| {
        let inserts = random.below(100) < mix.inserts;
        zipf.draw(random) | if inserts { INSERT } else { 0 }
    };
    (0..length).map(|_| operation(random)).collect()
}

fn cell<S: ?Sized + Send + Sync>(
    run: &Run,
    (table, column): (&str, &str),
    field: &[Named<S>],
    threads: usize,
    work: impl Fn(&S, usize) + Sync,
) -> Cell {
    // A map without locks takes part where one thread reads.
    let field: Vec<_> = field
        .iter()
        .filter(|contender| threads == 1 || contender.shared)
        .collect();
    let names: Vec<&str> = field.iter().map(|contender| contender.name).collect();
    let series = interleave(&names, run.rounds(12), |index| {
        let seconds = timed(&*field[index].slice, threads, &work);
        real(threads * 100_000) / seconds / 1e6
    });
    Cell::of(table, column, quick::NAME, &series)
}

/// Seconds from the first thread's start to the last one's end.
fn timed<S: ?Sized + Send + Sync>(slice: &S, threads: usize, work: &(impl Fn(&S, usize) + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let spawn = |thread| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                let start = Instant::now();
                work(slice, thread);
                (start, Instant::now())
            })
        };
        let handles: Vec<_> = (0..threads).map(spawn).collect();
        handles
            .into_iter()
            .filter_map(|handle| handle.join().ok())
            .collect()
    });
    let start = spans.iter().map(|span| span.0).min();
    let end = spans.iter().map(|span| span.1).max();
    start
        .zip(end)
        .map_or(f64::NAN, |(start, end)| (end - start).as_secs_f64())
}
