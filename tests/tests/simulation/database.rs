//! The simulated database: transactions whose commit and whose becoming visible are two steps, snapshots as PostgreSQL has them, the
//! table of changes, and what ends a history.
//!
//! ```text
//! begin                write              commit             visible
//! a number is taken    rows are locked    a log record       snapshots see it, locks go
//! ```
//!
//! Everything that ever was visible is kept by epoch, so that the judge can tell what any state held.

use std::collections::BTreeMap;

use ci_model::{Change, Epoch, Event, Origin, Token, TxSnapshot, Version};
use ci_store::{BlindReason, EpochReason, Polled, Start};
use ci_tests::store_contract::world::tenant;

use super::estate::{Estate, Table, Write};
use super::laws::Law;

/// A transaction under way.
#[derive(Debug)]
struct Open {
    writes: Vec<Write>,
    events: Vec<(u64, Event)>,
    /// Its place in the database's log, once it is committed.
    lsn: Option<u64>,
}

/// What the log says, in the order in which a standby replays it.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    /// A transaction is at work.
    Begun(u64),
    Committed(u64, Vec<Write>),
    Aborted(u64),
    /// A transaction has written down which epoch this is.
    Named(u64, u64),
}

/// A transaction that became visible.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) xid: u64,
    lsn: u64,
    pub(crate) visible_at: u64,
    writes: Vec<Write>,
    events: Vec<(u64, Event)>,
    /// Its changes are not in the table of changes any more.
    forgotten: bool,
    /// The epoch that it has written down.
    name: Option<u64>,
}

/// One uninterrupted history: an epoch.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) began: u64,
    pub(crate) base: Table,
    pub(crate) first_xid: u64,
    pub(crate) done: Vec<Done>,
    /// What was logged, and when.
    pub(crate) log: Vec<(u64, Record)>,
    pub(crate) from: Beginning,
}

/// Where a history comes from, for who replays the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beginning {
    pub(crate) timeline: u64,
    /// The epoch that is written down there.
    pub(crate) name: u64,
    /// The log of the history before goes on in it, and nothing of that is lost.
    pub(crate) goes_on: bool,
}

/// What a transaction that reads finds.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) epoch: u64,
    pub(crate) version: Version,
    pub(crate) table: Table,
    pub(crate) read_at: u64,
}

/// Where a node's feed is.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    epoch: u64,
    position: Version,
    /// The greatest number seen, for the broken rule that goes by it.
    last: u64,
}

impl Feed {
    /// The history that it follows, and up to where.
    pub(crate) fn position(&self) -> (u64, Version) {
        (self.epoch, self.position.clone())
    }
}

/// How a transaction tells its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    Rows,
    Tenant,
    Everything,
}

pub(crate) struct Database {
    pub(crate) up: bool,
    /// Whether the triggers are there.
    pub(crate) records: bool,
    law: Law,
    next_xid: u64,
    completed: u64,
    next_seq: u64,
    next_lsn: u64,
    table: Table,
    open: BTreeMap<u64, Open>,
    /// The epoch that is written down.
    name: u64,
    /// By epoch, from 1.
    pub(crate) histories: Vec<History>,
    backup: Option<(Table, u64, u64)>,
}

impl Database {
    pub(crate) fn new(law: Law) -> Self {
        let base = Table::default();
        Self {
            up: true,
            records: true,
            law,
            next_xid: 100,
            completed: 99,
            next_seq: 1,
            next_lsn: 1,
            table: base,
            open: BTreeMap::new(),
            name: 0,
            histories: vec![History {
                began: 0,
                base,
                first_xid: 100,
                done: Vec::new(),
                log: Vec::new(),
                from: Beginning {
                    timeline: 1,
                    name: 0,
                    goes_on: false,
                },
            }],
            backup: None,
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.histories.len() as u64
    }

    /// The state that is visible now.
    pub(crate) fn table(&self) -> Table {
        self.table
    }

    fn history(&mut self) -> &mut History {
        self.histories.last_mut().expect("there is one")
    }

    fn log(&mut self, now: u64, record: Record) {
        self.history().log.push((now, record));
    }

    /// Begins a transaction that writes what no other has locked; nothing when all is locked.
    pub(crate) fn begin(
        &mut self,
        estate: &Estate,
        wanted: &[Write],
        telling: Telling,
        now: u64,
    ) -> Option<u64> {
        let locked = |write: &Write| {
            let mut others = self.open.values().flat_map(|open| &open.writes);
            others.any(|other| other.lock() == write.lock())
        };
        let writes: Vec<Write> = wanted.iter().copied().filter(|write| !locked(write)).collect();
        if writes.is_empty() {
            return None;
        }
        let mut table = self.table;
        let mut told = Vec::new();
        for write in &writes {
            told.extend(estate.event(&table, *write));
            table.write(*write);
        }
        match telling {
            Telling::Rows => {}
            Telling::Tenant => told = vec![Event::Tenant(tenant())],
            Telling::Everything => told = vec![Event::Everything],
        }
        if !self.records {
            told.clear();
        }
        let seq = self.next_seq;
        self.next_seq += told.len() as u64;
        let xid = self.next_xid;
        self.next_xid += 1;
        let open = Open {
            writes,
            events: (seq..).zip(told).collect(),
            lsn: None,
        };
        self.open.insert(xid, open);
        self.log(now, Record::Begun(xid));
        Some(xid)
    }

    /// Commits: it is in the log, and nobody sees it yet.
    pub(crate) fn commit(&mut self, xid: u64, now: u64) {
        let lsn = self.next_lsn;
        if let Some(open) = self.open.get_mut(&xid) {
            open.lsn = Some(lsn);
            self.next_lsn += 1;
            let writes = open.writes.clone();
            self.log(now, Record::Committed(xid, writes));
        }
    }

    pub(crate) fn abort(&mut self, xid: u64, now: u64) {
        if self.open.remove(&xid).is_some() {
            self.completed = self.completed.max(xid);
            self.log(now, Record::Aborted(xid));
        }
    }

    /// Writes down the epoch that somebody takes for the present one, where it is not written yet, and tells the timeline; nothing when it is another.
    pub(crate) fn write_name(&mut self, epoch: u64, now: u64) -> Option<u64> {
        if epoch != self.epoch() {
            return None;
        }
        if self.name != epoch {
            let (xid, lsn) = (self.next_xid, self.next_lsn);
            self.next_xid += 1;
            self.next_lsn += 1;
            self.completed = self.completed.max(xid);
            self.name = epoch;
            self.log(now, Record::Named(xid, epoch));
            self.history().done.push(Done {
                xid,
                lsn,
                visible_at: now,
                writes: Vec::new(),
                events: Vec::new(),
                forgotten: false,
                name: Some(epoch),
            });
        }
        Some(self.history().from.timeline)
    }

    /// A committed transaction becomes visible; says whether it did.
    pub(crate) fn show(&mut self, xid: u64, now: u64) -> bool {
        let Some(open) = self.open.remove(&xid) else {
            return false;
        };
        self.completed = self.completed.max(xid);
        for write in &open.writes {
            self.table.write(*write);
        }
        self.history().done.push(Done {
            xid,
            lsn: open.lsn.unwrap_or_default(),
            visible_at: now,
            writes: open.writes,
            events: open.events,
            forgotten: false,
            name: None,
        });
        true
    }

    /// Takes a snapshot and reads.
    pub(crate) fn read(&self, now: u64) -> Found {
        Found {
            epoch: self.epoch(),
            version: self.version(),
            table: self.table,
            read_at: now,
        }
    }

    fn version(&self) -> Version {
        if self.law == Law::ComparesLogPositions {
            return Version::Sequence(self.next_lsn - 1);
        }
        let xmax = self.completed + 1;
        let in_progress: Vec<u64> = self.open.keys().copied().filter(|xid| *xid < xmax).collect();
        let xmin = self.open.keys().next().copied().unwrap_or(xmax).min(xmax);
        Version::Snapshot(TxSnapshot::new(xmin, xmax, in_progress).expect("a snapshot"))
    }

    fn origin(&self, done: &Done) -> Origin {
        if self.law == Law::ComparesLogPositions {
            Origin::Sequence(done.lsn)
        } else {
            Origin::Transaction(done.xid)
        }
    }

    /// What a state held; nothing when there never was such a history.
    pub(crate) fn state_of(&self, epoch: u64, version: &Version) -> Option<Table> {
        let at = usize::try_from(epoch).ok()?.checked_sub(1)?;
        let history = self.histories.get(at)?;
        let mut table = history.base;
        for done in history
            .done
            .iter()
            .filter(|done| version.covers(self.origin(done)))
        {
            done.writes.iter().for_each(|write| table.write(*write));
        }
        Some(table)
    }

    /// Tells whether a state includes nothing of its history that is still to become visible.
    pub(crate) fn has_shown(&self, epoch: u64, version: &Version) -> bool {
        let is_seen = |xid: &u64| version.covers(Origin::Transaction(*xid));
        let is_told = epoch == self.epoch() && self.law != Law::ComparesLogPositions;
        !(is_told && self.open.keys().any(is_seen))
    }

    /// Tells whether a state includes a transaction of its history.
    pub(crate) fn includes(&self, version: &Version, done: &Done) -> bool {
        version.covers(self.origin(done))
    }

    /// Until when a state includes all that was visible, at most until now.
    pub(crate) fn complete_until(&self, epoch: u64, version: &Version, now: u64) -> u64 {
        let at = usize::try_from(epoch).unwrap_or(usize::MAX);
        let done = at.checked_sub(1).and_then(|at| self.histories.get(at));
        let missing = done
            .iter()
            .flat_map(|history| &history.done)
            .filter(|done| !self.includes(version, done))
            .map(|done| done.visible_at);
        let next = self.histories.get(at).map(|history| history.began);
        let first = missing.chain(next).min();
        first.map_or(now, |first| now.min(first.saturating_sub(1)))
    }

    /// Begins to follow.
    pub(crate) fn start(&self) -> (Feed, Start) {
        let feed = Feed {
            epoch: self.epoch(),
            position: self.version(),
            last: self.next_seq - 1,
        };
        let start = Start {
            epoch: Epoch(feed.epoch),
            position: feed.position.clone(),
        };
        (feed, start)
    }

    /// What a poll finds, and where the feed is afterwards.
    pub(crate) fn poll(&self, feed: &Feed) -> (Feed, Polled) {
        let (mut next, start) = self.start();
        let anew = |why| Polled::NewEpoch {
            why,
            epoch: start.epoch,
            position: start.position.clone(),
        };
        if !self.records {
            return (
                feed.clone(),
                Polled::Blind {
                    why: BlindReason::Triggers,
                },
            );
        }
        if feed.epoch != self.epoch() {
            if self.law != Law::MixesEpochs {
                return (next, anew(EpochReason::Restarted));
            }
            next.epoch = feed.epoch;
        }
        let done = &self.histories[self.histories.len() - 1].done;
        let mut new: Vec<&Done> = match self.law {
            Law::AsksForGreaterNumbers => {
                let is_new = |done: &&Done| done.events.iter().any(|(seq, _)| *seq > feed.last);
                done.iter().filter(is_new).collect()
            }
            _ => done
                .iter()
                .filter(|done| !self.includes(&feed.position, done))
                .collect(),
        };
        if new.iter().any(|done| done.forgotten) {
            return (next, anew(EpochReason::Gap));
        }
        new.sort_by_key(|done| done.events.first().map(|(seq, _)| *seq));
        let seen = new
            .iter()
            .flat_map(|done| done.events.iter().map(|(seq, _)| *seq));
        next.last = seen.max().unwrap_or(feed.last);
        let mut changes: Vec<Change> = Vec::new();
        for done in new {
            let origin = self.origin(done);
            changes.extend(done.events.iter().map(|(_, event)| Change {
                origin,
                event: event.clone(),
            }));
        }
        if self.law == Law::ComparesLogPositions {
            changes.extend(self.committed_unseen(&feed.position));
        }
        let since = Token {
            epoch: Epoch(feed.epoch),
            version: feed.position.clone(),
        };
        let polled = Polled::Changes {
            since,
            changes,
            position: next.position.clone(),
        };
        (next, polled)
    }

    /// Changes that are in the log and not visible: a consumer of the log sees them before any reader does.
    fn committed_unseen(&self, position: &Version) -> Vec<Change> {
        let committed = self.open.values().filter_map(|open| Some((open.lsn?, open)));
        let new = committed.filter(|(lsn, _)| !position.covers(Origin::Sequence(*lsn)));
        new.flat_map(|(lsn, open)| {
            open.events.iter().map(move |(_, event)| Change {
                origin: Origin::Sequence(lsn),
                event: event.clone(),
            })
        })
        .collect()
    }

    /// Retention: changes from before a moment are deleted.
    pub(crate) fn forget(&mut self, before: u64) {
        let done = self.history().done.iter_mut();
        done.filter(|done| done.visible_at < before)
            .for_each(|done| done.forgotten = true);
    }

    /// Copies the state, to be restored later.
    pub(crate) fn back_up(&mut self) {
        self.backup = Some((self.table, self.next_xid, self.name));
    }

    /// The epoch that is written down in the copy.
    pub(crate) fn name_of_copy(&self) -> Option<u64> {
        self.backup.map(|(.., name)| name)
    }

    /// Goes back to the copy, if there is one: numbers are used again. Files that are put back go on with the timeline that they are of, a recovery begins another.
    pub(crate) fn restore(&mut self, now: u64, recovers: bool) -> bool {
        let Some((table, next_xid, name)) = self.backup else {
            return false;
        };
        let from = Beginning {
            timeline: self.history().from.timeline + u64::from(recovers),
            name,
            goes_on: false,
        };
        self.begin_history(table, next_xid, now, from);
        true
    }

    /// Crashes and recovers, or another server takes over: what is under way is lost, and so are the last `lost` transactions that
    /// were visible. What is in the log survives when nothing is lost.
    pub(crate) fn recover(&mut self, lost: usize, now: u64) {
        if lost == 0 {
            let mut committed: Vec<(u64, u64)> = self
                .open
                .iter()
                .filter_map(|(xid, open)| Some((open.lsn?, *xid)))
                .collect();
            committed.sort_unstable();
            for (_, xid) in committed {
                self.show(xid, now);
            }
            return self.go_on(now);
        }
        let history = self.history();
        let kept = history.done.len().saturating_sub(lost);
        let (mut table, mut next_xid) = (history.base, history.first_xid);
        let mut named = history.done[..kept].iter().rev().filter_map(|done| done.name);
        let from = Beginning {
            timeline: history.from.timeline + 1,
            name: named.next().unwrap_or(history.from.name),
            goes_on: false,
        };
        for done in &history.done[..kept] {
            done.writes.iter().for_each(|write| table.write(*write));
            next_xid = next_xid.max(done.xid + 1);
        }
        self.begin_history(table, next_xid, now, from);
    }

    /// Triggers are made again: a new epoch. Making one waits for the writers under way; here they give up.
    pub(crate) fn record_again(&mut self, now: u64) {
        self.records = true;
        self.go_on(now);
    }

    /// A new epoch in the same log.
    fn go_on(&mut self, now: u64) {
        let from = Beginning {
            timeline: self.history().from.timeline,
            name: self.name,
            goes_on: true,
        };
        self.begin_history(self.table, self.next_xid, now, from);
    }

    fn begin_history(&mut self, base: Table, next_xid: u64, now: u64, from: Beginning) {
        self.open.clear();
        self.table = base;
        self.name = from.name;
        self.next_xid = next_xid;
        self.completed = next_xid - 1;
        self.histories.push(History {
            began: now,
            base,
            first_xid: next_xid,
            done: Vec::new(),
            log: Vec::new(),
            from,
        });
    }
}
