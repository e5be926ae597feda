//! A world around the toy source: writers, loads, readers and a feed, one step at a time, and what must hold of every hit.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::programs::questions;
use super::toy::{Answer, Change, Columns, Compare, Event, Key, Seen, Table, Toy, meanwhile};
use ci_cache_core::coherence::{
    Batch, CoherenceOptions, CoherenceStats, Coherent, CoherentLeader, Course, Loaded, Mark, Published,
    Shared, Version as _,
};
use ci_cache_core::{
    Cache, CacheBuilder, Error, Lookup, LookupOptions, ManualClock, Outcome, Scope, Tick, Waiter,
};

pub(crate) type ToyCache = Coherent<Key, Answer, Toy, ()>;
pub(crate) type ToyBuilder = CacheBuilder<Key, Shared<Answer, Toy>>;
type ToyLeader = CoherentLeader<Key, Answer, Toy, ()>;
type ToyEntry = Shared<Answer, Toy>;

/// How a world is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Laws {
    pub(crate) compare: Compare,
    /// Transactions at a time.
    pub(crate) writers: usize,
    /// The feed asks for numbers greater than the last, instead of for what was not visible.
    pub(crate) feed_by_number: bool,
    /// Readers look up before they read the mark.
    pub(crate) mark_after_lookup: bool,
    /// Builds the cache.
    pub(crate) build: fn(ToyBuilder, Toy, &CoherenceOptions) -> Result<ToyCache, Error>,
}

impl Laws {
    /// A database with snapshots, several writers at a time.
    pub(crate) const SNAPSHOTS: Self = Self {
        compare: Compare::Sets,
        writers: 3,
        feed_by_number: false,
        mark_after_lookup: false,
        build: Coherent::new,
    };
    /// A database with one writer at a time, whose changes are numbered.
    pub(crate) const NUMBERS: Self = Self {
        compare: Compare::Numbers,
        writers: 1,
        ..Self::SNAPSHOTS
    };
}

/// One write of a transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write {
    Put(u8, u8, Columns),
    Delete(u8, u8),
    /// Puts two rows, and tells of it as a bulk change.
    Bulk(u8, Columns),
    Truncate,
}

/// One step. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Begin(Vec<Write>),
    Commit(usize),
    Rollback(usize),
    /// Reads the mark, lets others go on, and looks up.
    Read(Key, Vec<Step>),
    /// Looks up; a load sees the state of so many commits ago.
    Load(Key, usize),
    /// Publishes a load; others go on during the check.
    Publish(usize, Vec<Step>),
    Abandon(usize),
    /// Applies what is new; readers look up in the middle.
    Poll(Vec<Key>),
    /// Reads what is new, and never applies it.
    Lose,
    /// Applies the last batch once more.
    Again,
    /// Loses what is new, and goes on from now, perhaps in a new epoch.
    Reset(bool),
    Suspend,
    Resume,
    Remove(Key),
    Wait,
}

#[derive(Debug, Clone, Default)]
struct Transaction {
    number: u32,
    writes: Vec<((u8, u8), Option<Columns>)>,
    truncates: bool,
    events: Vec<Event>,
}

/// The database.
#[derive(Debug)]
struct Source {
    committed: Vec<Transaction>,
    open: Vec<Transaction>,
    begun: u32,
    /// What was visible after each commit.
    states: Vec<u128>,
    /// Where the feed is.
    fed: u128,
    fed_up_to: u32,
    epoch: u64,
    polls: u64,
    last: Option<Batch<Toy>>,
}

/// What a program met. Not every user of this file looks.
#[derive(Debug)]
#[allow(dead_code, reason = "the mutants' tests only ask whether something was wrong")]
pub(crate) struct Tally {
    pub(crate) hits: u64,
    pub(crate) evictions: u64,
    pub(crate) stats: CoherenceStats,
}

struct Load {
    leader: ToyLeader,
    key: Key,
    loaded: Loaded<Seen>,
    answer: Answer,
}

/// A look-up that waits: what it knew before, and by which mark it judges.
struct Waiting {
    key: Key,
    known: Option<Seen>,
    mark: Option<Mark<Seen>>,
    waiter: Waiter<ToyEntry, ()>,
}

pub(crate) struct World {
    laws: Laws,
    clock: Arc<ManualClock>,
    pub(crate) cache: ToyCache,
    source: RefCell<Source>,
    loads: RefCell<Vec<Load>>,
    waiters: RefCell<Vec<Waiting>>,
    /// The newest state that an answer of each key was true at.
    given: RefCell<HashMap<Key, Seen>>,
    /// What look-ups join flights under: those from before a change was applied are joined by nobody.
    flights: Scope,
    pub(crate) wrong: RefCell<Option<String>>,
    pub(crate) hits: Cell<u64>,
    /// A batch was lost since the last one that was applied.
    lost: Cell<bool>,
}

/// How long entries live.
const TTL: Duration = Duration::from_secs(10);

impl World {
    pub(crate) fn new(laws: Laws) -> Rc<Self> {
        let clock = Arc::new(ManualClock::new());
        let builder = Cache::<Key, ToyEntry>::builder(6, clock.clone()).default_ttl(TTL);
        let options = CoherenceOptions::new()
            .log_changes(10)
            .bulk(3)
            .history(4)
            .compare(true);
        let cache = (laws.build)(builder, Toy, &options).expect("the settings are good");
        let source = Source {
            committed: Vec::new(),
            open: Vec::new(),
            begun: 0,
            states: vec![0],
            fed: 0,
            fed_up_to: 0,
            epoch: 1,
            polls: 0,
            last: None,
        };
        cache.reset(1, laws.seen(0), Tick::default());
        Rc::new(Self {
            laws,
            clock,
            cache,
            source: RefCell::new(source),
            loads: RefCell::default(),
            waiters: RefCell::default(),
            given: RefCell::default(),
            flights: Scope::new(),
            wrong: RefCell::default(),
            hits: Cell::default(),
            lost: Cell::default(),
        })
    }

    fn objects(&self, what: impl FnOnce() -> String) {
        self.wrong.borrow_mut().get_or_insert_with(what);
    }

    pub(crate) fn run(self: &Rc<Self>, steps: &[Step]) {
        steps.iter().for_each(|step| self.step(step));
    }

    fn step(self: &Rc<Self>, step: &Step) {
        match step {
            Step::Begin(writes) => self.source.borrow_mut().begin(writes, self.laws.writers),
            Step::Commit(which) => self.source.borrow_mut().commit(*which),
            Step::Rollback(which) => {
                let mut source = self.source.borrow_mut();
                if let Some(at) = choose(*which, source.open.len()) {
                    source.open.swap_remove(at);
                }
            }
            Step::Read(key, between) => self.read(*key, between),
            Step::Load(key, ago) => self.load(*key, *ago),
            Step::Publish(which, during) => self.publish(*which, during),
            Step::Abandon(which) => {
                let at = choose(*which, self.loads.borrow().len());
                let load = at.map(|at| self.loads.borrow_mut().swap_remove(at));
                drop(load);
            }
            Step::Poll(during) => self.poll(during),
            Step::Lose => {
                self.source.borrow_mut().poll(self.laws);
                self.lost.set(true);
            }
            Step::Again => {
                let last = self.source.borrow().last.clone();
                if let Some(batch) = last {
                    self.cache.apply(batch);
                }
            }
            Step::Reset(new_epoch) => {
                let (epoch, position) = self.source.borrow_mut().restart(*new_epoch);
                if *new_epoch {
                    self.given.borrow_mut().clear();
                }
                self.cache.reset(epoch, self.laws.seen(position), self.tick());
            }
            Step::Suspend => self.cache.suspend("told to"),
            Step::Resume => self.cache.resume(),
            Step::Remove(key) => {
                // Nothing is promised about the order of loads that this detaches.
                drop(self.cache.cache().remove(key));
                self.given.borrow_mut().remove(key);
            }
            Step::Wait => self.clock.advance(TTL / 3),
        }
    }

    fn tick(&self) -> Tick {
        Tick::from_micros(self.source.borrow().polls)
    }

    /// Reads like a caller, in the order that the laws say.
    fn read(self: &Rc<Self>, key: Key, between: &[Step]) {
        let known = self.known(key);
        if self.laws.mark_after_lookup {
            let entry = self.cache.get(&key);
            self.run(between);
            self.check(key, (known, self.cache.mark().as_ref()), entry);
        } else {
            let mark = self.cache.mark();
            self.run(between);
            self.check(key, (known, mark.as_ref()), self.cache.get(&key));
        }
    }

    /// The newest state that an answer of a key was true at.
    fn known(&self, key: Key) -> Option<Seen> {
        self.given.borrow().get(&key).copied()
    }

    /// An answer is given to somebody who may know of a state: it must not be older.
    fn give(&self, key: Key, known: Option<Seen>, state: Seen) {
        if let Some(known) = known
            && !state.includes(&known)
        {
            self.objects(|| format!("{key:?} as of {state:?} instead of {known:?} or later"));
        }
        let mut given = self.given.borrow_mut();
        let newest = given.entry(key).or_insert(state);
        if state.includes(newest) {
            *newest = state;
        }
    }

    /// A hit must equal what the source would have answered, and be no older than what was answered before.
    fn check(&self, key: Key, (known, mark): (Option<Seen>, Option<&Mark<Seen>>), entry: Option<ToyEntry>) {
        let Some(entry) = entry else { return };
        self.hits.set(self.hits.get() + 1);
        let as_of = mark.map_or(*entry.version(), |mark| *mark.as_of(&entry).1);
        let table = self.source.borrow().table(as_of);
        let truth = key.ask(&table);
        if *entry.value() != truth {
            self.objects(|| {
                format!(
                    "{key:?} as of {as_of:?}: {:?} of {:?} instead of {truth:?}",
                    entry.value(),
                    entry.version()
                )
            });
        }
        // Without a mark nobody is answered from memory.
        if mark.is_some_and(|mark| mark.epoch() == self.source.borrow().epoch) {
            self.give(key, known, as_of);
        }
    }

    fn load(self: &Rc<Self>, key: Key, ago: usize) {
        let (known, mark) = (self.known(key), self.cache.mark());
        match self.cache.lookup(&key, LookupOptions::new().scope(&self.flights)) {
            Lookup::Hit(found) => self.check(key, (known, mark.as_ref()), Some(found.value)),
            Lookup::Stale(..) => self.objects(|| "no window is open".to_owned()),
            Lookup::Wait(waiter) => self.waiters.borrow_mut().push(Waiting {
                key,
                known,
                mark,
                waiter,
            }),
            Lookup::Lead(leader) => {
                let source = self.source.borrow();
                let long_ago = self.laws.seen(source.state_of(ago));
                // A load that begins after an answer sees no older state than that.
                let is_possible = known.is_none_or(|known| long_ago.includes(&known));
                let version = if is_possible {
                    long_ago
                } else {
                    self.laws.seen(source.now())
                };
                let load = Load {
                    leader,
                    key,
                    loaded: Loaded {
                        epoch: source.epoch,
                        version,
                    },
                    answer: key.ask(&source.table(version)),
                };
                self.loads.borrow_mut().push(load);
            }
        }
    }

    fn publish(self: &Rc<Self>, which: usize, during: &[Step]) {
        let Some(at) = choose(which, self.loads.borrow().len()) else {
            return;
        };
        let load = self.loads.borrow_mut().swap_remove(at);
        let (key, loaded) = (load.key, load.loaded.clone());
        let (world, steps) = (Rc::clone(self), during.to_vec());
        meanwhile((!steps.is_empty()).then(|| Box::new(move || world.run(&steps)) as Box<dyn FnOnce()>));
        let done = self
            .cache
            .publish(load.leader, load.answer, load.loaded, load.key);
        meanwhile(None);
        if let Published::Unfiled = done.ending {
            self.objects(|| format!("{key:?} could not be filed"));
        }
        if loaded.epoch == self.source.borrow().epoch && done.ending != Published::Detached {
            self.give(key, None, loaded.version);
        }
    }

    fn poll(self: &Rc<Self>, during: &[Key]) {
        let batch = self.source.borrow_mut().poll(self.laws);
        if !batch.changes.is_empty() {
            self.flights.invalidate();
        }
        let world = Rc::clone(self);
        let during = during.to_vec();
        // In the middle of applying: these readers take no lock of coherence.
        let act = move || during.iter().for_each(|key| world.read(*key, &[]));
        meanwhile(Some(Box::new(act)));
        let applied = self.cache.apply(batch);
        meanwhile(None);
        let lost = self.lost.take();
        if applied.course == Course::Gap && lost {
            self.step(&Step::Reset(false));
        } else if applied.course == Course::Gap || applied.course == Course::OtherEpoch {
            self.objects(|| format!("a batch of the feed's ended in {:?}", applied.course));
        }
    }

    /// Ends everything that is under way and checks what is left.
    pub(crate) fn settle(self: &Rc<Self>) -> Result<Tally, String> {
        self.loads.take().into_iter().for_each(drop);
        for waiting in self.waiters.take() {
            let key = waiting.key;
            match waiting.waiter.wait_blocking() {
                Outcome::Loaded(entry) => {
                    let mark = waiting.mark.filter(|mark| entry.is_as_new_as(mark));
                    self.check(key, (waiting.known, mark.as_ref()), Some(entry));
                }
                Outcome::Abandoned => {}
                other => self.objects(|| format!("nobody failed: {other:?}")),
            }
        }
        self.poll(&[]);
        self.cache.resume();
        for tenant in 0..2 {
            for question in questions() {
                self.read(Key { tenant, question }, &[]);
            }
        }
        let stats = self.cache.stats();
        let missed = stats.missed;
        if missed > 0 {
            self.objects(|| format!("the index did not lead to {missed} registrations"));
        }
        let valid = self.cache.validate();
        match (self.wrong.take(), valid) {
            (Some(wrong), _) | (None, Err(wrong)) => Err(wrong),
            (None, Ok(())) => Ok(Tally {
                hits: self.hits.get(),
                evictions: self.cache.cache().stats().evictions,
                stats,
            }),
        }
    }
}

impl Laws {
    fn seen(self, bits: u128) -> Seen {
        Seen {
            bits,
            compare: self.compare,
        }
    }
}

fn choose(which: usize, among: usize) -> Option<usize> {
    (among > 0).then(|| which % among)
}

impl Source {
    fn begin(&mut self, writes: &[Write], at_a_time: usize) {
        if self.open.len() >= at_a_time || self.begun >= 127 {
            return;
        }
        // A number is taken when the transaction begins, and it becomes visible when it ends: in another order.
        let mut transaction = Transaction {
            number: self.begun,
            ..Transaction::default()
        };
        self.begun += 1;
        for write in writes {
            self.write(&mut transaction, *write);
        }
        self.open.push(transaction);
    }

    /// Writes like a database with row locks: rows that another open transaction has written are left alone.
    fn write(&self, transaction: &mut Transaction, write: Write) {
        let locked = |row: &(u8, u8)| {
            let mut others = self.open.iter();
            others.any(|other| other.truncates || other.writes.iter().any(|(id, _)| id == row))
        };
        let mut table = self.table_of(self.now());
        transaction.alter(&mut table);
        let rows: Vec<((u8, u8), Option<Columns>)> = match write {
            Write::Put(tenant, id, columns) => vec![((tenant, id), Some(columns))],
            Write::Delete(tenant, id) => vec![((tenant, id), None)],
            Write::Bulk(tenant, columns) => vec![((tenant, 0), Some(columns)), ((tenant, 1), Some(columns))],
            Write::Truncate if self.open.is_empty() => {
                transaction.truncates = true;
                transaction.writes.clear();
                transaction.events.push(Event::Everything);
                return;
            }
            Write::Truncate => return,
        };
        if rows.iter().any(|(row, _)| locked(row)) {
            return;
        }
        for &(row, new) in &rows {
            let old = table.get(&row).copied();
            if let Write::Put(..) | Write::Delete(..) = write
                && old != new
            {
                let (tenant, id) = row;
                transaction.events.push(Event::Row { tenant, id, old, new });
            }
        }
        if let Write::Bulk(tenant, _) = write {
            transaction.events.push(Event::Bulk { tenant });
        }
        transaction.writes.extend(rows);
    }

    fn commit(&mut self, which: usize) {
        if let Some(at) = choose(which, self.open.len()) {
            let transaction = self.open.swap_remove(at);
            self.states.push(self.now() | 1 << transaction.number);
            self.committed.push(transaction);
        }
    }

    fn now(&self) -> u128 {
        self.state_of(0)
    }

    fn state_of(&self, ago: usize) -> u128 {
        self.states[self.states.len().saturating_sub(1 + ago)]
    }

    fn table(&self, seen: Seen) -> Table {
        self.table_of(seen.bits)
    }

    /// What the source holds at a state, in the order of commits.
    fn table_of(&self, bits: u128) -> Table {
        let mut table = Table::new();
        let visible = self.committed.iter().filter(|one| bits >> one.number & 1 == 1);
        visible.for_each(|one| one.alter(&mut table));
        table
    }

    fn poll(&mut self, laws: Laws) -> Batch<Toy> {
        self.polls += 1;
        let (now, fed, fed_up_to) = (self.now(), self.fed, self.fed_up_to);
        let is_new = |one: &&Transaction| {
            if laws.feed_by_number {
                one.number >= fed_up_to
            } else {
                fed >> one.number & 1 == 0
            }
        };
        let changes: Vec<Change> = self
            .committed
            .iter()
            .filter(is_new)
            .flat_map(|one| {
                let number = one.number;
                one.events.iter().map(move |&event| Change { number, event })
            })
            .collect();
        let highest = self
            .committed
            .iter()
            .filter(is_new)
            .map(|one| one.number + 1)
            .max();
        self.fed_up_to = fed_up_to.max(highest.unwrap_or(0));
        self.fed = now;
        let batch = Batch {
            epoch: self.epoch,
            since: laws.seen(fed),
            changes,
            position: laws.seen(now),
            polled_at: Tick::from_micros(self.polls),
        };
        self.last = Some(batch.clone());
        batch
    }

    fn restart(&mut self, new_epoch: bool) -> (u64, u128) {
        self.epoch += u64::from(new_epoch);
        self.fed = self.now();
        self.fed_up_to = 128 - self.fed.leading_zeros();
        (self.epoch, self.fed)
    }
}

impl Transaction {
    fn alter(&self, table: &mut Table) {
        if self.truncates {
            table.clear();
        }
        for &(row, new) in &self.writes {
            match new {
                Some(columns) => drop(table.insert(row, columns)),
                None => drop(table.remove(&row)),
            }
        }
    }
}

/// Runs a program in a world; says what was wrong, or what was met.
pub(crate) fn run(laws: Laws, program: &[Step]) -> Result<Tally, String> {
    let world = World::new(laws);
    world.run(program);
    world.settle()
}
