//! A node: the cache as it ships, its clock, and where its feed is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ci_cache_core::ci::{CiCacheConfig, CiShared, CoherentCiCache, CoherentCiLeader};
use ci_cache_core::coherence::{CoherenceOptions, Mark};
use ci_cache_core::{Clock as _, ManualClock, Tick, Waiter};
use ci_model::{Token, Version};
use ci_runner::Level;

use super::copying::Copying;
use super::database::{Feed, Found};
use super::estate::Shown;
use super::laws::Law;
use super::leasing::Leasing;
use super::queueing::{Call, Job};
use super::standby::{Became, Told};
use super::tier::Stored;

pub(crate) type Cache = CoherentCiCache<Shown, ()>;
pub(crate) type Lead = CoherentCiLeader<Shown, ()>;
pub(crate) type Wait = Waiter<CiShared<Shown>, ()>;

/// A write that returned here: the epoch, the transaction, and when it returned.
pub(crate) type Acknowledged = (u64, u64, u64);

pub(crate) struct Node {
    /// Counts its lives; messages to an earlier one are lost.
    pub(crate) life: u64,
    pub(crate) alive: bool,
    pub(crate) paused_until: u64,
    clock: Arc<ManualClock>,
    /// Its clock shows another time than others'.
    offset: u64,
    pub(crate) cache: Cache,
    /// None before the first good start.
    pub(crate) feed: Option<Feed>,
    pub(crate) polling: bool,
    /// Polls that have begun.
    pub(crate) begun: u64,
    /// The last poll that had begun when a write could not be followed.
    pub(crate) doubt: u64,
    /// Polls that failed in a row.
    pub(crate) failed: u32,
    /// Names the next poll that is due: only the latest counts.
    pub(crate) due: u64,
    /// Who waits for a good poll: from which number on.
    pub(crate) pollers: Vec<(u64, u64)>,
    /// Drops that were told to the tier.
    pub(crate) told: u64,
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// The last mark that was seen.
    pub(crate) mark: Option<(u64, Version)>,
    /// It waits for a bookmark of the tier, and does not follow yet.
    pub(crate) joining: bool,
    /// What it has of what the tier has: the states at which it keeps it, and at which it was loaded.
    pub(crate) known: BTreeMap<usize, (Version, Version)>,
    /// What it has to do at the tier.
    pub(crate) todo: Todo,
    /// When answers were found wrong, by question.
    pub(crate) withdrawn_at: BTreeMap<usize, u64>,
    pub(crate) forgotten: Forgotten,
    /// When it forgot by hand last, by its own clock.
    forgot: Option<Tick>,
    /// The epoch that the primary has written down for it, and the timeline.
    pub(crate) named: Option<(u64, u64)>,
    /// Of a run of the standby, transactions that were found to be committed.
    pub(crate) committed: (u64, BTreeSet<u64>),
    /// When it forgot by hand last, in truth.
    pub(crate) forgotten_at: u64,
}

/// What a node has to do at the tier.
#[derive(Default)]
pub(crate) struct Todo {
    pub(crate) jobs: VecDeque<Job>,
    /// What of it is next.
    pub(crate) calls: VecDeque<Call>,
    /// Somebody is at it.
    pub(crate) is_busy: bool,
    /// Deletes of wrong values that are still to be done.
    pub(crate) owed: u64,
}

/// The state up to which answers were forgotten by hand.
#[derive(Debug, Default)]
pub(crate) enum Forgotten {
    /// None ever were.
    #[default]
    Never,
    /// At this moment: what includes all that was seen by then is known by the first poll that begins later.
    Since(Tick),
    /// What was loaded at this state of this history or before.
    At(u64, Version),
}

/// How many changes a node's log holds.
pub(crate) fn options(log: usize, bulk: usize) -> CoherenceOptions {
    CoherenceOptions::new().log_changes(log).bulk(bulk).compare(true)
}

impl Node {
    pub(crate) fn new(offset: u64, life: u64, law: Law, options: &CoherenceOptions) -> Self {
        let clock = Arc::new(ManualClock::new());
        let config = CiCacheConfig::new().max_size(64);
        let cache = Cache::planted(config, options, clock.clone(), law.engine()).unwrap();
        Self {
            life,
            alive: true,
            paused_until: 0,
            clock,
            offset,
            cache,
            feed: None,
            polling: false,
            begun: 0,
            doubt: 0,
            failed: 0,
            due: 0,
            pollers: Vec::new(),
            told: 0,
            acknowledged: Vec::new(),
            mark: None,
            joining: false,
            known: BTreeMap::new(),
            todo: Todo::default(),
            withdrawn_at: BTreeMap::new(),
            forgotten: Forgotten::Never,
            forgot: None,
            named: None,
            committed: Default::default(),
            forgotten_at: 0,
        }
    }

    /// Forgets everything by hand.
    pub(crate) fn forget(&mut self, now: u64, law: Law) {
        self.forget_elsewhere(now, law);
        self.cache.clear();
        self.forgotten_at = now;
    }

    /// What the tier or the standby has from before does not come back.
    pub(crate) fn forget_elsewhere(&mut self, now: u64, law: Law) {
        self.forgotten = match self.cache.mark() {
            Some(mark) if law == Law::ForgetsUpToMark => Forgotten::At(mark.epoch(), mark.version().clone()),
            _ => Forgotten::Since(self.tick(now)),
        };
        self.forgot = Some(self.tick(now));
    }

    /// What an answer of the standby has to include; none if that is not known, as when it is from before answers were forgotten by hand.
    pub(crate) fn floor(&self, law: Law) -> Option<Mark<Version>> {
        let is_late = |mark: &Mark<Version>| self.forgot.is_none_or(|at| mark.polled_at() > at);
        let mark = self.cache.mark();
        mark.filter(|mark| is_late(mark) || law == Law::CopiesForgotten)
    }

    /// Notes what the standby says is committed, of those that its snapshot left open.
    pub(crate) fn note_committed(&mut self, told: &Told) {
        let Some((first, _)) = told.between.first() else {
            return self.committed.1.clear();
        };
        self.committed.1.retain(|xid| xid >= first);
        let committed = told
            .between
            .iter()
            .filter(|(_, became)| *became == Became::Committed);
        self.committed.1.extend(committed.map(|(xid, _)| *xid));
    }

    /// Tells whether what was loaded at a state of the mark's history was forgotten by hand.
    pub(crate) fn is_forgotten(&mut self, loaded: &Version, mark: &Mark<Version>) -> bool {
        if matches!(self.forgotten, Forgotten::Since(at) if mark.polled_at() > at) {
            self.forgotten = Forgotten::At(mark.epoch(), mark.version().clone());
        }
        match &self.forgotten {
            Forgotten::Never => false,
            Forgotten::Since(_) => true,
            Forgotten::At(epoch, at) => *epoch == mark.epoch() && (loaded == at || !loaded.includes(at)),
        }
    }

    /// The time by its own clock, when it is so late in truth.
    pub(crate) fn tick(&self, now: u64) -> Tick {
        self.clock.advance_to(Tick::from_micros(now + self.offset));
        self.clock.now()
    }

    pub(crate) fn lag(&self, mark: &Mark<Version>, now: u64) -> u64 {
        let lag = self.tick(now).saturating_since(mark.polled_at());
        u64::try_from(lag.as_micros()).unwrap_or(u64::MAX)
    }

    /// Tells whether hits may be served by a mark at a level, as the runner does.
    pub(crate) fn suffices(&self, level: &Level, mark: &Mark<Version>, now: u64, law: Law) -> bool {
        match level {
            Level::Cached { max_lag } => u128::from(self.lag(mark, now)) <= max_lag.as_micros(),
            Level::AtLeast(token) if token.epoch.0 == mark.epoch() => mark.version().includes(&token.version),
            Level::AtLeast(_) => law == Law::CoversForeignTokens,
            _ => false,
        }
    }
}

/// A question under way.
pub(crate) struct Read {
    pub(crate) node: usize,
    pub(crate) query: usize,
    pub(crate) level: Level,
    pub(crate) session: Option<usize>,
    pub(crate) asked_at: u64,
    pub(crate) tries: u32,
    pub(crate) mark: Option<Mark<Version>>,
    pub(crate) leader: Option<Lead>,
    pub(crate) waiter: Option<Wait>,
    /// When its own load began.
    pub(crate) begun: u64,
    pub(crate) found: Option<Found>,
    /// What the tier had, while it is proven.
    pub(crate) proving: Option<Proving>,
    /// The tier's generation at the miss.
    pub(crate) lease: Option<u64>,
    /// How it waits for the load of another node, and until when it has the lease itself.
    pub(crate) leasing: Option<Leasing>,
    pub(crate) held: Option<u64>,
    /// Its load from the standby.
    pub(crate) copying: Option<Box<Copying>>,
    /// After the fleet was healed: the answer has to come from memory.
    pub(crate) must_hit: bool,
}

/// A value of the tier between the steps of its proof.
pub(crate) struct Proving {
    pub(crate) stored: Stored,
    /// Read before the check.
    pub(crate) mark: Mark<Version>,
}

/// A write under way on a node, committed and told to it.
pub(crate) struct Written {
    pub(crate) node: usize,
    pub(crate) epoch: u64,
    pub(crate) xid: u64,
    pub(crate) session: Option<usize>,
}

/// What is under way.
pub(crate) enum Task {
    Read(Box<Read>),
    Write(Written),
}

impl Task {
    pub(crate) fn node(&self) -> usize {
        match self {
            Self::Read(read) => read.node,
            Self::Write(write) => write.node,
        }
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Memory,
    Coalesced,
    Tier,
    Load,
    Standby,
    Past,
}

/// A caller that passes tokens on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    pub(crate) token: Option<Token>,
}
