//! What it costs to find the cached searches that a change touches: `cargo run --release -p ci-cache-core --example matching`.
//!
//! A toy search domain: a search has a keyword, filed under its rarest trigram, and perhaps a type and a status; a change has the old and
//! the new text of a row of some sixty characters. Times are of one change, both images, to the last verified search.
#![expect(clippy::print_stdout, reason = "it prints what it measures")]
#![expect(clippy::cast_precision_loss, reason = "figures of three digits")]

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use ci_cache_core::coherence::{
    Anchor, Batch, CoherenceOptions, Coherent, Domain, Loaded, Rarity, Reach, Version,
};
use ci_cache_core::{CacheBuilder, Lookup, LookupOptions, ManualClock, Tick};

#[derive(Debug, Clone, Copy)]
struct UpTo(u64);

impl Version for UpTo {
    type Origin = u64;

    fn covers(&self, number: u64) -> bool {
        number <= self.0
    }

    fn includes(&self, other: &Self) -> bool {
        other.0 <= self.0
    }
}

#[derive(Debug, Clone)]
struct Row {
    text: String,
    kind: u8,
    status: u8,
}

#[derive(Debug, Clone)]
struct Change {
    number: u64,
    tenant: u32,
    old: Row,
    new: Row,
}

#[derive(Debug)]
struct Search {
    tenant: u32,
    keyword: String,
    kind: Option<u8>,
    status: Option<u8>,
}

impl Search {
    fn matches(&self, row: &Row) -> bool {
        self.kind.is_none_or(|kind| kind == row.kind)
            && self.status.is_none_or(|status| status == row.status)
            && row.text.contains(&self.keyword)
    }
}

fn anchor(of: impl Hash) -> Anchor {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    Anchor(hasher.finish())
}

fn trigram(tenant: u32, three: &[u8]) -> Anchor {
    let letters = three
        .iter()
        .fold(u64::from(tenant), |sum, byte| sum << 8 | u64::from(*byte));
    let mixed = letters.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Anchor(mixed ^ mixed >> 29)
}

#[derive(Debug)]
struct Searches {
    /// Tell the index what else a change must have.
    marks: bool,
}

impl Domain for Searches {
    type Version = UpTo;
    type Change = Change;
    type Dependency = Search;
    type Group = u32;
    type Hint = ();
    type Sight = ();
    type Reason = ();

    fn origin(&self, change: &Change) -> u64 {
        change.number
    }

    fn reach<'a>(&self, change: &'a Change) -> Reach<'a, u32> {
        Reach::Some(&change.tenant)
    }

    fn group<'a>(&self, search: &'a Search) -> &'a u32 {
        &search.tenant
    }

    fn file(&self, search: &Search, rarity: &Rarity, anchors: &mut Vec<Anchor>) {
        let trigrams = search.keyword.as_bytes().windows(3);
        let trigrams = trigrams.map(|three| trigram(search.tenant, three));
        let rarest = trigrams.min_by_key(|anchor| rarity.estimate(*anchor));
        anchors.push(rarest.unwrap_or_else(|| anchor((search.tenant, "any"))));
    }

    fn also(&self, search: &Search, rarity: &Rarity, anchors: &mut Vec<Anchor>) {
        if self.marks {
            // Filters first: the trigrams of one word come together.
            let kind = search.kind.map(|kind| anchor((search.tenant, "kind", kind)));
            let status = search
                .status
                .map(|status| anchor((search.tenant, "status", status)));
            anchors.extend(kind.into_iter().chain(status));
            let filters = anchors.len();
            let trigrams = search.keyword.as_bytes().windows(3);
            anchors.extend(trigrams.map(|three| trigram(search.tenant, three)));
            anchors[filters..].sort_by_key(|anchor| rarity.estimate(*anchor));
        }
    }

    fn probe(&self, change: &Change, anchors: &mut Vec<Anchor>) {
        anchors.push(anchor((change.tenant, "any")));
        for row in [&change.old, &change.new] {
            anchors.push(anchor((change.tenant, "kind", row.kind)));
            anchors.push(anchor((change.tenant, "status", row.status)));
            anchors.extend(
                row.text
                    .as_bytes()
                    .windows(3)
                    .map(|three| trigram(change.tenant, three)),
            );
        }
        anchors.sort_unstable();
        anchors.dedup();
    }

    fn touches(&self, change: &Change, search: &Search) -> Option<()> {
        (search.matches(&change.old) || search.matches(&change.new)).then_some(())
    }
}

/// The time that this thread has run, in nanoseconds, where the system tells: a busy machine then tells the same as an idle one.
fn now() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|text| text.split(' ').next()?.parse().ok());
    told.unwrap_or_else(|| START.elapsed().as_nanos() as f64)
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn small(&mut self, limit: u8) -> u8 {
        u8::try_from(self.below(limit.into())).unwrap_or_default()
    }

    /// Words of a language of 5,000, the frequent more often.
    fn word(&mut self) -> String {
        let rank = self.below(5_000) * self.below(5_000) / 5_000;
        let mut word = Random(rank.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let len = 4 + word.below(5);
        (0..len + 3).map(|_| char::from(b'a' + word.small(20))).collect()
    }

    fn row(&mut self) -> Row {
        let words: Vec<String> = (0..6).map(|_| self.word()).collect();
        Row {
            text: words.join(" "),
            kind: self.small(20),
            status: self.small(5),
        }
    }

    /// A row gets another status and a word more.
    fn change(&mut self, number: u64) -> Change {
        let old = self.row();
        let mut new = old.clone();
        new.status = self.small(5);
        new.text.push_str(&self.word());
        Change {
            number,
            tenant: 1,
            old,
            new,
        }
    }
}

fn main() {
    for searches in [10_000, 100_000] {
        for marks in [false, true] {
            measure(searches, marks);
        }
    }
}

fn measure(searches: usize, marks: bool) {
    let mut random = Random(88_172_645_463_325_252);
    let builder = CacheBuilder::new(searches * 2, Arc::new(ManualClock::new()));
    let options = CoherenceOptions::new().history(0);
    let Ok(cache) = Coherent::<u32, u32, Searches>::new(builder, Searches { marks }, &options) else {
        return;
    };
    cache.reset(1, UpTo(0), Tick::default());
    for _ in 0..20_000 {
        let row = random.row();
        cache.observe(row.text.as_bytes().windows(3).map(|three| trigram(1, three)));
        cache.observe([
            anchor((1_u32, "kind", row.kind)),
            anchor((1_u32, "status", row.status)),
        ]);
    }
    let start = now();
    for key in 0..u32::try_from(searches).unwrap_or(u32::MAX) {
        let search = Search {
            tenant: 1,
            keyword: random.word(),
            kind: (random.below(2) == 0).then(|| random.small(20)),
            status: (random.below(4) == 0).then(|| random.small(5)),
        };
        if let Lookup::Lead(leader) = cache.lookup(&key, LookupOptions::new()) {
            let loaded = Loaded {
                epoch: 1,
                version: UpTo(0),
            };
            cache.publish(leader, key, loaded, search);
        }
    }
    let publish = (now() - start) / searches as f64;
    let changes: Vec<Change> = (0..2_000).map(|number| random.change(number + 1)).collect();
    let per_change = |run: &dyn Fn(&Change) -> usize, changes: &[Change]| {
        let start = now();
        let touched: usize = changes.iter().map(run).sum();
        let each = (now() - start) / changes.len() as f64;
        (each / 1_000.0, touched)
    };
    let by_index = |change: &Change| cache.count_touched(change);
    let by_force = |change: &Change| cache.count_touched_by_force(change);
    let before = cache.stats();
    let _ = per_change(&by_index, &changes);
    let after = cache.stats();
    let mut times: Vec<f64> = (0..9).map(|_| per_change(&by_index, &changes).0).collect();
    times.sort_by(f64::total_cmp);
    let few = &changes[..50];
    let (forced, touched) = per_change(&by_force, few);
    assert_eq!(per_change(&by_index, few).1, touched);
    let candidates = (after.candidates - before.candidates) as f64 / changes.len() as f64;
    let probes = changes.iter().map(|change| {
        let mut anchors = Vec::new();
        cache.domain().probe(change, &mut anchors);
        anchors.len()
    });
    let anchors = probes.sum::<usize>() as f64 / changes.len() as f64;
    let (probe, _) = per_change(
        &|change| {
            let mut anchors = Vec::with_capacity(256);
            cache.domain().probe(change, &mut anchors);
            black_box(anchors.len())
        },
        &changes,
    );
    println!(
        "{searches} searches, marks {marks}: index {:.2} us (best {:.2}), of that making {anchors:.0} anchors {probe:.2} us; {candidates:.1} candidates; by force {forced:.0} us",
        times[4], times[0]
    );
    let bytes = after.index_bytes as f64 / searches as f64;
    println!("  {bytes:.0} bytes of index a registration, {publish:.0} ns a look-up and publication");
    let start = now();
    let mut dropped = 0;
    for change in changes {
        let number = change.number;
        let applied = cache.apply(Batch {
            epoch: 1,
            since: UpTo(number - 1),
            changes: vec![change],
            position: UpTo(number),
            polled_at: Tick::from_micros(number),
        });
        dropped += applied.dropped;
    }
    let each = (now() - start) / 2_000.0 / 1_000.0;
    println!("  applied with drops: {each:.2} us a change and batch, {dropped} dropped");
    let start = now();
    for _ in 0..1_000_000 {
        black_box(cache.mark());
    }
    println!("  mark: {:.1} ns", (now() - start) / 1e6);
}
