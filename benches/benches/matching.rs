//! What does one change cost against many cached searches: through the index of dependencies, and by judging each?
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]
#![allow(clippy::print_stdout, reason = "counts that explain the figures")]

use std::cell::Cell;
use std::collections::HashSet;
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use ci_benches::tenant;
use ci_cache_core::ci::matching::{Answered, CiDomain, Dependency};
use ci_cache_core::coherence::{CoherenceOptions, Coherent, Domain as _, Loaded};
use ci_cache_core::{CacheBuilder, Lookup, LookupOptions, SystemClock, Tick};
use ci_model::{
    Change, CiChange, CiDraft, CiId, CiSummary, Event, Filter, Image, Key, Origin, Question, Search,
    TenantId, Version,
};
use criterion::{Criterion, criterion_group, criterion_main};

/// CIs of the estate.
const CIS: u64 = 20_000;
/// CIs that answers are made of: enough to fill most windows.
const ANSWERED: usize = 4_000;
/// Cached searches.
const SEARCHES: [usize; 2] = [10_000, 100_000];
/// Different changes, taken in turn.
const CHANGES: usize = 512;

type Searches = Coherent<Key, (), CiDomain, Infallible>;

/// SplitMix64 (Steele, Lea, Flood).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[expect(clippy::cast_possible_truncation, reason = "below `below`")]
    fn below(&mut self, below: usize) -> usize {
        (self.next() % below as u64) as usize
    }

    /// A rank by Zipf's law with exponent 1: the logarithm of the rank is uniform.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a number between 0 and `count`"
    )]
    fn zipf(&mut self, count: usize) -> usize {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (((count as f64).ln() * uniform).exp() as usize).min(count) - 1
    }
}

fn row(draft: &CiDraft) -> (CiId, Image) {
    let record = draft.clone().check(&tenant()).unwrap();
    let mut image = Image::new(
        draft.ci_code.clone(),
        draft.ci_name.clone(),
        draft.ci_type.clone(),
    );
    image.subtype.clone_from(&record.subtype);
    image.category.clone_from(&record.category);
    image.status.clone_from(&record.status);
    image.location.clone_from(&record.location);
    image.owner.clone_from(&record.owner);
    image.criticality = record.criticality.map(ci_model::Criticality::get);
    image.created_at = "2026-01-31".parse().ok();
    image.updated_at = image.created_at;
    image.tags = Some(record.tags.clone());
    image.attributes = Some(record.attributes.clone());
    image.fold();
    (record.insert_id(), image)
}

/// What people type about a popular CI: its code, the part of the code that tells it from others, words of its name, one
/// of them with a word of its kind; now and then with a filter that it passes.
fn search(draw: &mut Draw, rows: &[(CiId, Image)], popular: &[usize]) -> Search {
    let row = &rows[popular[draw.zipf(rows.len())]].1;
    let words: Vec<&str> = row
        .name
        .split_whitespace()
        .filter(|word| word.chars().nth(2).is_some())
        .collect();
    let tail = row
        .code
        .split_once('-')
        .map_or(row.code.as_str(), |(_, tail)| tail);
    let word = |draw: &mut Draw| {
        words
            .get(draw.below(words.len().max(1)))
            .map_or("server", |word| *word)
    };
    let keywords = match draw.below(10) {
        0..=3 => vec![row.code.as_str()],
        4 | 5 => vec![tail],
        6 | 7 => vec![tail, word(draw)],
        8 => vec![word(draw), word(draw)],
        _ => vec![word(draw)],
    };
    let filter = |field: &str, value: &Option<String>| {
        let value = value.as_ref()?;
        Filter::new(field, "=", &[value]).ok()
    };
    let filter = match draw.below(12) {
        0 => filter("status", &row.status),
        1 => filter("ci_type", &Some(row.ci_type.clone())),
        2 => filter("owner", &row.owner),
        3 => filter("location", &row.location),
        _ => None,
    };
    let search = Search::builder().keywords(keywords).filters(filter);
    search.limit([10, 10, 10, 50][draw.below(4)]).build().unwrap()
}

fn summary((id, row): &(CiId, Image)) -> CiSummary {
    CiSummary {
        ci_id: *id,
        ci_code: ci_model::CiCode::new(&row.code).unwrap(),
        ci_name: row.name.clone(),
        ci_type: row.ci_type.clone(),
        ci_subtype: row.subtype.clone(),
        ci_category: row.category.clone(),
        status: row.status.clone(),
        location: row.location.clone(),
        owner: row.owner.clone(),
    }
}

/// The answer over some of the rows, which are in the order of their codes.
fn answer(search: &Search, rows: &[(CiId, Image)]) -> Vec<CiSummary> {
    let found = rows.iter().filter(|(_, row)| search.selection().matches(row));
    found.take(search.limit() as usize).map(summary).collect()
}

fn change(id: CiId, old: Option<Image>, new: Option<Image>) -> Change {
    Change {
        origin: Origin::Sequence(2),
        event: Event::Ci(Box::new(CiChange {
            tenant: tenant(),
            id,
            old,
            new,
            neighbours: Some(Vec::new()),
        })),
    }
}

/// Updates as they come: mostly of one column, now and then a new name.
fn changes(draw: &mut Draw, rows: &[(CiId, Image)]) -> Vec<Change> {
    let one = |draw: &mut Draw| {
        let (id, old) = rows[draw.below(rows.len())].clone();
        let mut new = old.clone();
        match draw.below(4) {
            0 => new.status = Some("maintenance".into()),
            1 => new.owner = Some("Another Team".into()),
            2 => new.criticality = Some(1),
            _ => new.name = format!("{} (renamed {})", old.name, draw.below(1_000)),
        }
        new.fold();
        change(id, Some(old), Some(new))
    };
    (0..CHANGES).map(|_| one(draw)).collect()
}

fn keep(cache: &Searches, tenant: &TenantId, search: Search, rows: &[(CiId, Image)]) {
    let found = answer(&search, rows);
    let question = Question::from(search);
    let key = Key::new(tenant, &question);
    let Lookup::Lead(leader) = cache.lookup(&key, LookupOptions::new()) else {
        panic!("the search is new");
    };
    let loaded = Loaded {
        epoch: 1,
        version: Version::Sequence(1),
    };
    let dependency = Dependency::new(tenant, question, Answered::Rows(&found)).unwrap();
    let published = cache.publish(leader, (), loaded, dependency);
    assert!(cache.get(&key).is_some(), "{published:?}");
}

fn cached(draw: &mut Draw, count: usize, rows: &[(CiId, Image)]) -> Searches {
    let builder = CacheBuilder::new(2 * count, Arc::new(SystemClock::new()));
    let domain = CiDomain::new();
    let cache = Searches::new(builder, domain.clone(), &CoherenceOptions::new()).unwrap();
    cache.reset(1, Version::Sequence(1), Tick::default());
    // What is rare is known from the rows that loads brought, as in a service that has run for a while.
    for (id, row) in rows {
        let mut anchors = Vec::new();
        domain.probe(&change(*id, None, Some(row.clone())), &mut anchors);
        cache.observe(anchors);
    }
    let mut popular: Vec<usize> = (0..rows.len()).collect();
    for at in (1..popular.len()).rev() {
        popular.swap(at, draw.below(at + 1));
    }
    let mut by_code: Vec<(CiId, Image)> = rows.iter().step_by(rows.len() / ANSWERED).cloned().collect();
    by_code.sort_by(|one, other| one.1.code.cmp(&other.1.code));
    let (tenant, mut seen) = (tenant(), HashSet::new());
    while seen.len() < count {
        let search = search(draw, rows, &popular);
        if seen.insert(search.clone()) {
            keep(&cache, &tenant, search, &by_code);
        }
    }
    cache
}

fn benchmark(criterion: &mut Criterion) {
    let estate = ci_bench::Estate::new(7, CIS);
    let rows: Vec<(CiId, Image)> = estate.cis().map(|draft| row(&draft)).collect();
    let changes = changes(&mut Draw(1), &rows);
    let next = Cell::new(0);
    let turn = || {
        next.set((next.get() + 1) % changes.len());
        &changes[next.get()]
    };
    let mut group = criterion.benchmark_group("one change of a CI, both images");
    group
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4));
    let (domain, mut anchors) = (CiDomain::new(), Vec::new());
    let probed: usize = changes
        .iter()
        .map(|change| {
            anchors.clear();
            domain.probe(change, &mut anchors);
            anchors.len()
        })
        .sum();
    println!("{} anchors a change", probed / changes.len());
    group.bench_function("its anchors alone", |bencher| {
        bencher.iter(|| {
            anchors.clear();
            domain.probe(turn(), &mut anchors);
            black_box(anchors.len())
        });
    });
    for count in SEARCHES {
        let cache = cached(&mut Draw(2), count, &rows);
        let before = cache.stats();
        let found: usize = changes.iter().map(|change| cache.count_touched(change)).sum();
        let forced = changes.iter().take(64);
        let [by_index, by_force] = forced.fold([0, 0], |sums, change| {
            [
                sums[0] + cache.count_touched(change),
                sums[1] + cache.count_touched_by_force(change),
            ]
        });
        assert_eq!(
            by_index, by_force,
            "the index finds what looking at everything finds"
        );
        let after = cache.stats();
        println!(
            "{count} searches: {:.1} looked at and {:.1} touched a change; {} bytes of index a search",
            per(after.candidates - before.candidates, CHANGES + 64),
            per(found as u64, CHANGES),
            after.index_bytes / count
        );
        group.bench_function(format!("{count} cached searches, by index"), |bencher| {
            bencher.iter(|| black_box(cache.count_touched(turn())));
        });
        group.sample_size(10);
        group.bench_function(format!("{count} cached searches, judging each"), |bencher| {
            bencher.iter(|| black_box(cache.count_touched_by_force(turn())));
        });
        group.sample_size(30);
    }
    group.finish();
}

#[expect(clippy::cast_precision_loss, reason = "a mean for people")]
fn per(sum: u64, count: usize) -> f64 {
    sum as f64 / count as f64
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
