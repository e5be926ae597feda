//! The smallest source there is, for models of coherence: one row that holds the number of the last change.

use std::sync::Arc;

use super::{Fixed, planted};
use crate::coherence::{
    Anchor, Batch, CoherenceOptions, Coherent, CoherentLeader, Domain, Loaded, Mark, ProtocolRules,
    Publication, Rarity, Reach, Shared, Version,
};
use crate::shim::{AtomicU64, Mutex, Ordering, lock};
use crate::{CacheBuilder, Eviction, Lookup, LookupOptions, ManualClock, Tick};

/// All changes up to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UpTo(pub(super) u64);

impl Version for UpTo {
    type Origin = u64;

    fn covers(&self, number: u64) -> bool {
        number <= self.0
    }

    fn includes(&self, other: &Self) -> bool {
        other.0 <= self.0
    }
}

/// A change: its number, and whether it is one of everything in the group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) bulk: bool,
}

/// Each change touches everything.
#[derive(Debug)]
pub(super) struct OneRow;

impl Domain for OneRow {
    type Version = UpTo;
    type Change = Numbered;
    type Dependency = ();
    type Group = ();
    type Hint = ();
    type Sight = ();
    type Reason = ();

    fn origin(&self, change: &Numbered) -> u64 {
        change.number
    }

    fn reach<'a>(&self, change: &'a Numbered) -> Reach<'a, ()> {
        if change.bulk {
            Reach::Group(&())
        } else {
            Reach::Some(&())
        }
    }

    fn group<'a>(&self, dependency: &'a ()) -> &'a () {
        dependency
    }

    fn file(&self, (): &(), _: &Rarity, anchors: &mut Vec<Anchor>) {
        anchors.push(Anchor(7));
    }

    fn probe(&self, _: &Numbered, anchors: &mut Vec<Anchor>) {
        anchors.push(Anchor(7));
    }

    fn touches(&self, _: &Numbered, (): &()) -> Option<()> {
        Some(())
    }
}

/// A cache of that row under any key: what it holds for a version is the version's number.
pub(super) type RowCache = Coherent<u8, u64, OneRow, (), Fixed>;
pub(super) type RowLeader = CoherentLeader<u8, u64, OneRow, ()>;

/// The source, the cache, and the feed between them.
pub(super) struct Source {
    pub(super) cache: RowCache,
    /// The last change that was committed.
    committed: AtomicU64,
    /// The last change that the feed has read; the feed is polled by one at a time.
    fed: Mutex<u64>,
    bulk: bool,
}

impl Source {
    /// A cache of one shard, with the rule broken that this process is to break.
    pub(super) fn new(capacity: usize, bulk: bool) -> Arc<Self> {
        let broken = [
            ProtocolRules::KeepsAlways,
            ProtocolRules::GenerationOnly,
            ProtocolRules::RegistersAfterCheck,
            ProtocolRules::ForgetsPoison,
            ProtocolRules::IgnoresFloor,
            ProtocolRules::InsertsUnlocked,
            ProtocolRules::RaisesMarkFirst,
        ];
        let broken = broken
            .into_iter()
            .find(|rules| planted() == Some(format!("{rules:?}").as_str()));
        let builder = CacheBuilder::new(capacity, Arc::new(ManualClock::new()))
            .shards(1)
            .eviction(Eviction::Sieve)
            .hasher(Fixed);
        let options = CoherenceOptions::new();
        let cache = Coherent::with_rules(
            builder,
            OneRow,
            &options,
            broken.unwrap_or(ProtocolRules::SHIPPED),
        );
        let cache = cache.unwrap();
        cache.reset(1, UpTo(0), Tick::default());
        Arc::new(Self {
            cache,
            committed: AtomicU64::new(0),
            fed: Mutex::new(0),
            bulk,
        })
    }

    /// Commits one change; nobody is told.
    pub(super) fn commit(&self) -> u64 {
        self.committed.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Lets the feed read and apply what is new.
    pub(super) fn poll(&self) {
        let mut fed = lock(&self.fed);
        let now = self.committed.load(Ordering::SeqCst);
        let changes = (*fed + 1..=now).map(|number| Numbered {
            number,
            bulk: self.bulk,
        });
        self.cache.apply(Batch {
            epoch: 1,
            since: UpTo(*fed),
            changes: changes.collect(),
            position: UpTo(now),
            polled_at: Tick::from_micros(now),
        });
        *fed = now;
    }

    /// Loses what is new, and goes on from now.
    pub(super) fn gap(&self) {
        let mut fed = lock(&self.fed);
        let now = self.committed.load(Ordering::SeqCst);
        self.cache.reset(1, UpTo(now), Tick::from_micros(now));
        *fed = now;
    }

    /// Reads the row and its version in one transaction.
    pub(super) fn snapshot(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    pub(super) fn lookup(&self, key: u8) -> Lookup<u8, Shared<u64, OneRow>, ()> {
        self.cache.lookup(&key, LookupOptions::new())
    }

    pub(super) fn lead(&self, key: u8) -> RowLeader {
        match self.lookup(key) {
            Lookup::Lead(leader) => leader,
            other => panic!("nobody else looks up yet: {other:?}"),
        }
    }

    /// Publishes what was read at a snapshot.
    pub(super) fn publish(&self, leader: RowLeader, snapshot: u64) -> Publication<u64, UpTo, ()> {
        let loaded = Loaded {
            epoch: 1,
            version: UpTo(snapshot),
        };
        self.cache.publish(leader, snapshot, loaded, ())
    }

    /// Reads like a caller; what is found must be true at the mark.
    pub(super) fn read(&self, key: u8) -> Option<u64> {
        let mark = self.cache.mark();
        let entry = self.cache.get(&key)?;
        Self::check(mark.as_ref(), &entry);
        Some(*entry.value())
    }

    pub(super) fn check(mark: Option<&Mark<UpTo>>, entry: &Shared<u64, OneRow>) {
        let as_of = mark.map_or(*entry.version(), |mark| *mark.as_of(entry).1);
        assert_eq!(UpTo(*entry.value()), as_of, "an untrue hit");
    }

    /// Checks what holds when all threads have ended.
    pub(super) fn check_at_rest(&self, keys: u8) {
        assert_eq!(self.cache.cache().in_flight(), 0, "a flight is left");
        for key in 0..keys {
            self.read(key);
        }
        self.cache.validate().unwrap();
    }
}
