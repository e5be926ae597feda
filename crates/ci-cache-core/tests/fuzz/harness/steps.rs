//! One step of the first target: an operation on the cache and on the reference, and the comparison.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::{Compute, Computed, Found, Freshness, InsertOptions, ManualClock, Scope, Stamp, Tick};

use super::Plant;
use super::flights::{Flights, Leading, Waiting};
use super::model::{Counts, Doing, Model, NEVER, Record, SCOPES, State, Wish};
use super::operations::{Act, Filter, Op, Options, Scoping};
use super::restore::Saved;
use super::subject::{Ledger, Setup, Subject, Token};

/// A cache and its reference under way.
pub(crate) struct Run {
    pub(super) cache: Subject,
    pub(super) model: Model,
    pub(super) ledger: Arc<Ledger>,
    clock: Arc<ManualClock>,
    pub(super) scopes: [Scope; SCOPES],
    held: Option<(Stamp, (usize, u64))>,
    pub(super) flights: Flights,
    pub(super) leading: Vec<Leading>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) saved: Saved,
    pub(super) numbers: u32,
}

impl Run {
    pub(crate) fn new(setup: Setup, plant: Plant<'_>) -> Self {
        let (clock, ledger) = (Arc::default(), Arc::default());
        Self {
            cache: setup.build(&clock, &ledger, plant),
            model: Model::new(setup),
            ledger,
            clock,
            scopes: std::array::from_fn(|_| Scope::new()),
            held: None,
            flights: Flights::default(),
            leading: Vec::new(),
            waiting: Vec::new(),
            saved: Saved::default(),
            numbers: 0,
        }
    }

    /// Runs one operation on both, and compares everything.
    pub(crate) fn step(&mut self, op: &Op) {
        self.apply(op);
        assert!(
            self.ledger.take().is_empty(),
            "something left that nobody asked about"
        );
        self.compare();
    }

    /// Ends everything under way; then no value may be left.
    pub(crate) fn finish(self) {
        let Self { cache, ledger, .. } = self;
        drop((cache, self.waiting, self.leading));
        assert_eq!(ledger.alive(), 0, "values are left over");
    }

    fn apply(&mut self, op: &Op) {
        let mask = self.model.setup.keys;
        match *op {
            Op::Get(key) => self.get(key & mask),
            Op::Found(key) => self.found(key & mask),
            Op::State(key) => self.freshness(key & mask),
            Op::Peek(key) => self.peek(key & mask),
            Op::Hammer(key) => (0..1_100).for_each(|_| self.get(key & mask)),
            Op::Insert(key) => self.insert(key & mask, None),
            Op::InsertWith(key, options) => self.insert(key & mask, Some(options)),
            Op::Remove(key) => self.remove(key & mask),
            Op::Compute(key, act) => self.compute(key & mask, act),
            Op::Lookup(key, options) => self.lookup(key & mask, options),
            Op::Publish(which, ttl) => self.publish(which, ttl),
            Op::Answer(which) => self.answer(which),
            Op::Fail(which) => self.fail(which),
            Op::Abandon(which) => self.abandon(which),
            Op::IsDetached(which) => {
                if let Some(at) = place(which, self.leading.len()) {
                    let Leading { flight, leader } = &self.leading[at];
                    let expected = self.flights.is_detached(&self.model, *flight);
                    assert_eq!(leader.is_detached(), expected);
                    self.settle(&Doing::Looking, Vec::new());
                }
            }
            Op::Poll(which) => self.poll(which),
            Op::Forget(which) => {
                if let Some(at) = place(which, self.waiting.len()) {
                    self.waiting.swap_remove(at);
                }
            }
            Op::Load(key, options, succeeds) => self.load(&[key & mask], options, succeeds, false),
            Op::LoadMany(keys, options, succeeds) => {
                let mut keys = keys.map(|key| key & mask).to_vec();
                keys.dedup();
                // The second of two equal keys waits for the first: one of each is enough here.
                if keys.first() == keys.last() {
                    keys.truncate(1);
                }
                self.load(&keys, options, succeeds, true);
            }
            Op::RemoveWhere(filter) => self.remove_where(filter, false),
            Op::Retain(filter) => self.remove_where(filter, true),
            Op::Clear => {
                self.cache.clear();
                self.model.clear();
                self.flights.attached.clear();
            }
            Op::Purge => {
                self.cache.purge();
                self.settle(&Doing::Looking, Vec::new());
                self.is_swept();
            }
            Op::Resize(capacity) => self.resize(capacity),
            Op::Invalidate(scope) => {
                let scope = usize::from(scope) % SCOPES;
                self.scopes[scope].invalidate();
                self.model.generations[scope] += 1;
            }
            Op::Stamp(scope) => {
                let scope = usize::from(scope) % SCOPES;
                let taken = (scope, self.model.generations[scope]);
                self.held = Some((self.scopes[scope].stamp(), taken));
            }
            Op::Advance(by) => {
                self.clock.advance(Duration::from_micros(by));
                self.model.now = self.model.now.saturating_add(by);
            }
            Op::List(limit) => {
                let listed = self.cache.entries(limit.into()).len();
                let fresh = self.fresh_records().count();
                assert_eq!(listed, fresh.min(limit.into()));
            }
            Op::Export(all) => self.export(all),
            Op::Import {
                elapsed,
                scope,
                skipped,
            } => self.import(elapsed, scope, skipped),
        }
    }

    /// Compares the cache with the reference and with itself.
    fn compare(&self) {
        let Self { cache, model, .. } = self;
        if let Err(wrong) = cache.validate() {
            panic!("not sound: {wrong}");
        }
        assert_eq!(cache.len(), model.residents.len());
        assert_eq!(cache.weight(), model.weight());
        assert!(cache.weight() <= model.capacity && cache.capacity() as u64 == model.capacity);
        assert_eq!(cache.in_flight(), self.flights.attached.len());
        assert_eq!(Counts::of(&cache.stats()), model.counts);
        assert_eq!(cache.now().as_micros(), model.now);
        let mut listed = 0;
        for entry in cache.entries(usize::MAX) {
            let id = entry.value.id();
            let Some(record) = model.residents.get(&id) else {
                panic!("lists {id}, which is not there")
            };
            assert_eq!(
                (entry.key, model.state(record)),
                (record.key, State::Fresh),
                "{record:?}"
            );
            is_told(&entry.meta, record);
            listed += 1;
        }
        assert_eq!(listed, self.fresh_records().count(), "entries listed");
    }

    pub(super) fn fresh_records(&self) -> impl Iterator<Item = &Record> {
        let fresh = |record: &&Record| self.model.state(record) == State::Fresh;
        self.model.residents.values().filter(fresh)
    }

    /// Takes in what the last operation made leave; tells whether the last newcomer was kept.
    pub(super) fn settle(&mut self, doing: &Doing<'_>, newcomers: Vec<Record>) -> bool {
        let heard = self.ledger.take();
        self.model.settle(&heard, doing, newcomers)
    }

    /// After a walk over everything nothing is left that is dead or cleared.
    fn is_swept(&self) {
        let Model {
            residents, cleared, ..
        } = &self.model;
        assert!(cleared.is_empty(), "cleared, and not dropped yet: {cleared:?}");
        for record in residents.values() {
            assert!(
                !self.model.state(record).is_dead(),
                "dead, and still there: {record:?}"
            );
        }
    }

    pub(super) fn token(&mut self, key: u8) -> Token {
        self.numbers += 1;
        // What a weigher says: mostly a few units.
        let weight = self.numbers.wrapping_mul(2_654_435_761) >> 28;
        Token::new(&self.ledger, key, self.numbers, weight)
    }

    fn get(&mut self, key: u8) {
        let expected = self.model.hit(key);
        if expected.is_none() {
            self.model.counts.misses += 1;
        }
        assert_eq!(self.cache.get_with(&key, Token::id), expected, "get {key}");
        self.settle(&Doing::Looking, Vec::new());
    }

    fn found(&mut self, key: u8) {
        let expected = self.model.hit(key);
        if expected.is_none() {
            self.model.counts.misses += 1;
        }
        let found = self.cache.get_found(&key);
        assert_eq!(
            found.as_ref().map(|found| found.value.id()),
            expected,
            "get {key}"
        );
        if let Some(found) = found {
            self.is_told_of(&found);
        }
        self.settle(&Doing::Looking, Vec::new());
    }

    fn freshness(&mut self, key: u8) {
        let expected = self.model.hit(key);
        let stale = self.model.value_in(key, &[State::Stale]);
        match (expected, stale) {
            (Some(_), _) => {}
            (None, Some(_)) => self.model.counts.stale_hits += 1,
            (None, None) => self.model.counts.misses += 1,
        }
        let (fresh, is_fresh) = match self.cache.get_state(&key) {
            Freshness::Fresh(found) => (Some(found), true),
            Freshness::Stale(found) => (Some(found), false),
            Freshness::Absent => (None, false),
        };
        let id = fresh.as_ref().map(|found| found.value.id());
        assert_eq!(
            (id, is_fresh),
            (expected.or(stale), expected.is_some()),
            "state of {key}"
        );
        if let Some(found) = fresh {
            self.is_told_of(&found);
        }
        self.settle(&Doing::Looking, Vec::new());
    }

    pub(super) fn is_told_of(&self, found: &Found<Token>) {
        is_told(&found.meta, &self.model.residents[&found.value.id()]);
    }

    fn peek(&mut self, key: u8) {
        let expected = self.model.fresh(key);
        assert_eq!(
            self.cache.peek(&key).map(|token| token.id()),
            expected,
            "peek {key}"
        );
        assert_eq!(self.cache.contains(&key), expected.is_some());
    }

    fn insert(&mut self, key: u8, options: Option<Options>) {
        let token = self.token(key);
        let (options, wish) = self.insertion(options);
        let record = self.model.record(key, token.id(), token.weight(), &wish);
        self.flights.attached.remove(&key);
        let kept = self.cache.insert_with(key, token, options);
        assert_eq!(self.settle(&Doing::Storing, vec![record]), kept, "insert {key}");
    }

    /// Makes of decoded options what the cache and what the reference want.
    fn insertion(&self, options: Option<Options>) -> (InsertOptions, Wish) {
        let Some(options) = options else {
            return (InsertOptions::new(), Wish::default());
        };
        let mut wish = wish_of(&options);
        let mut insertion = InsertOptions::new().ttl(options.ttl).cost(options.cost);
        let time = Duration::from_micros;
        if let Some(idle) = options.idle {
            insertion = insertion.idle(time(idle));
        }
        if let Some(window) = options.revalidate {
            insertion = insertion.stale_while_revalidate(time(window));
        }
        if let Some(window) = options.error {
            insertion = insertion.stale_if_error(time(window));
        }
        if let Some(weight) = options.weight {
            insertion = insertion.weight(weight);
        }
        match options.scoping {
            Scoping::None => {}
            Scoping::Now(scope) => {
                let scope = usize::from(scope) % SCOPES;
                wish.stamp = Some((scope, self.model.generations[scope]));
                insertion = insertion.scope(&self.scopes[scope]);
            }
            Scoping::Held => {
                if let Some((stamp, mark)) = &self.held {
                    wish.stamp = Some(*mark);
                    insertion = insertion.stamped(stamp.clone());
                }
            }
        }
        (insertion, wish)
    }

    fn remove(&mut self, key: u8) {
        let expected = self.model.fresh(key);
        self.flights.attached.remove(&key);
        let removed = self.cache.remove(&key).map(|token| token.id());
        assert_eq!(removed, expected, "remove {key}");
        self.settle(&Doing::Removing(&|other, _| other == key), Vec::new());
        assert!(self.model.resident(key).is_none(), "{key} was removed");
    }

    fn compute(&mut self, key: u8, act: Act) {
        let shown = self.model.fresh(key);
        let token = self.token(key);
        let (options, wish) = match act {
            Act::PutWith(options) => self.insertion(Some(options)),
            _ => self.insertion(None),
        };
        let record = self.model.record(key, token.id(), token.weight(), &wish);
        let computed = self.cache.compute(key, |seen| {
            assert_eq!(seen.map(Token::id), shown, "compute {key}");
            match act {
                Act::Keep => Compute::Keep,
                Act::Put => Compute::Put(token),
                Act::PutWith(_) => Compute::PutWith(token, options),
                Act::Remove => Compute::Remove,
            }
        });
        let ids = |value: Option<Token>| value.map(|token| token.id());
        if let Act::Keep = act {
            assert!(matches!(computed, Computed::Unchanged), "{computed:?}");
            self.settle(&Doing::Looking, Vec::new());
            return;
        }
        self.flights.attached.remove(&key);
        let (before, kept) = match computed {
            Computed::Stored(before) => (ids(before), Some(true)),
            Computed::Refused(before) => (ids(before), Some(false)),
            Computed::Removed(before) => (ids(before), None),
            other => panic!("{act:?} of {key}: {other:?}"),
        };
        assert_eq!(before, shown, "{act:?} of {key} gives what was before");
        if let Act::Remove = act {
            assert_eq!(kept, None);
            self.settle(&Doing::Removing(&|other, _| other == key), Vec::new());
        } else {
            let stays = self.settle(&Doing::Storing, vec![record]);
            assert_eq!(kept, Some(stays), "{act:?} of {key}");
        }
    }

    fn remove_where(&mut self, filter: Filter, is_retained: bool) {
        let goes = |key, value: Option<u32>| {
            if is_retained {
                value.is_none_or(|id| !filter.matches(key, Some(id)))
            } else {
                filter.matches(key, value)
            }
        };
        let fresh = self
            .fresh_records()
            .filter(|record| goes(record.key, Some(record.id)))
            .count();
        self.flights.attached.retain(|&key, _| !goes(key, None));
        let gone = if is_retained {
            self.cache
                .retain(|&key, token| filter.matches(key, Some(token.id())))
        } else {
            self.cache
                .remove_where(|&key, token| filter.matches(key, token.map(Token::id)))
        };
        assert_eq!(gone, fresh);
        self.settle(&Doing::Removing(&|key, id| goes(key, Some(id))), Vec::new());
        self.is_swept();
        let left = self
            .model
            .residents
            .values()
            .find(|record| goes(record.key, Some(record.id)));
        assert!(left.is_none(), "matches, and is still there: {left:?}");
    }

    fn resize(&mut self, capacity: u8) {
        let resized = self.cache.resize(capacity.into());
        let is_valid = u64::from(capacity) >= self.model.setup.shards as u64;
        assert_eq!(resized.is_ok(), is_valid, "resize to {capacity}");
        if is_valid {
            self.model.capacity = capacity.into();
            self.settle(&Doing::Shrinking, Vec::new());
            assert!(self.model.cleared.is_empty());
        }
    }
}

pub(super) fn wish_of(options: &Options) -> Wish {
    Wish {
        ttl: options.ttl,
        idle: options.idle,
        revalidate: options.revalidate,
        error: options.error,
        weight: options.weight,
        cost: options.cost,
        stamp: None,
    }
}

/// One of so many, if there is any.
pub(super) fn place(which: u8, of: usize) -> Option<usize> {
    usize::from(which).checked_rem(of)
}

/// Whether the cache tells of an entry what is true.
fn is_told(meta: &ci_cache_core::Meta, record: &Record) {
    let deadline = record.deadline();
    let expires = (deadline != NEVER).then_some(deadline);
    assert_eq!(meta.expires.map(Tick::as_micros), expires, "{record:?}");
    assert_eq!(meta.weight, record.weight, "{record:?}");
    let created = record.detailed.then_some(record.created);
    assert_eq!(meta.created.map(Tick::as_micros), created, "{record:?}");
    assert_eq!(meta.hits, record.detailed.then_some(record.hits), "{record:?}");
}
