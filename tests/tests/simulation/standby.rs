//! The simulated hot standby: it replays the primary's log in its order and at its own pace, and says of its state what PostgreSQL says of one.
//!
//! ```text
//! the log            the standby                            what it says
//! 7 begins           knows 7 as at work
//! 8 begins, commits  shows 8                                7:9: and names nobody
//!                                                           asked a moment later: 7 is at work, 8 is committed
//! 7 commits          shows 7
//! ```

use std::collections::{BTreeMap, BTreeSet};

use ci_model::{TxSnapshot, Version};

use super::database::{Database, Record};
use super::estate::{Table, Write};
use super::laws::Law;

/// Timelines from here on are of servers that are none of ours.
const ELSEWHERE: u64 = 1_000;

/// What became of a transaction, by the word of a standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Became {
    AtWork,
    Committed,
    Aborted,
    Unknown,
}

/// A snapshot that a statement took there, with what was read by it.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) run: u64,
    pub(crate) table: Table,
    xmin: u64,
    xmax: u64,
    follows: bool,
    timeline: Option<u64>,
    name: u64,
}

/// What it says of a state: the snapshot, and what became of the transactions that this leaves open, asked some time later.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) snapshot: Snapshot,
    pub(crate) between: Vec<(u64, Became)>,
}

impl Told {
    /// The state, if it can be told and is of an epoch: `known` were committed before the snapshot was taken.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn state(
        &self,
        epoch: u64,
        timeline: u64,
        known: &BTreeSet<u64>,
        law: Law,
    ) -> Result<Version, &'static str> {
        let snapshot = &self.snapshot;
        if !snapshot.follows {
            return Err("standby: promoted");
        }
        let streamed = snapshot.timeline.ok_or("standby: does not stream")?;
        let is_named = snapshot.name == epoch || law == Law::IgnoresStandbyName;
        if !is_named || (streamed != timeline && law != Law::IgnoresTimeline) {
            return Err("standby: another history");
        }
        let mut unseen = Vec::new();
        for (xid, became) in &self.between {
            match became {
                _ if law == Law::BelievesSnapshots => {}
                Became::AtWork => unseen.push(*xid),
                Became::Aborted => {}
                Became::Committed if known.contains(xid) || law == Law::GuessesMoments => {}
                Became::Committed | Became::Unknown => return Err("standby: blurred"),
            }
        }
        let exact = TxSnapshot::new(snapshot.xmin, snapshot.xmax, unseen);
        exact.map(Version::Snapshot).map_err(|_| "standby: failed")
    }
}

#[derive(Debug)]
pub(crate) struct Standby {
    pub(crate) up: bool,
    /// It replays nothing until then.
    pub(crate) paused_until: u64,
    /// Counts its lives: connections end with one.
    pub(crate) run: u64,
    /// Which history it shows, and how many records of its log.
    at: (u64, usize),
    /// When it replays the next record, if that is drawn.
    pub(crate) due: Option<u64>,
    /// When it replayed the last.
    replayed_at: u64,
    table: Table,
    completed: u64,
    at_work: BTreeSet<u64>,
    /// Which transactions have ended, and whether they were committed.
    ended: BTreeMap<u64, bool>,
    name: u64,
    streams: Option<u64>,
    follows: bool,
    /// It follows another server.
    pub(crate) is_away: bool,
}

impl Standby {
    pub(crate) fn new(database: &Database) -> Self {
        let mut standby = Self {
            up: true,
            paused_until: 0,
            run: 0,
            at: (1, 0),
            due: None,
            replayed_at: 0,
            table: Table::default(),
            completed: 0,
            at_work: BTreeSet::new(),
            ended: BTreeMap::new(),
            name: 0,
            streams: None,
            follows: true,
            is_away: false,
        };
        standby.rebuild(database);
        standby
    }

    /// Becomes a copy of the primary as it was at the beginning of its present history, and follows it from there.
    pub(crate) fn rebuild(&mut self, database: &Database) {
        self.run += 1;
        self.follows = true;
        self.is_away = false;
        self.enter(database, database.epoch());
    }

    /// Shows the beginning of a history.
    fn enter(&mut self, database: &Database, epoch: u64) {
        let Some(history) = history(database, epoch) else {
            return;
        };
        self.at = (epoch, 0);
        self.due = None;
        self.table = history.base;
        self.completed = history.first_xid - 1;
        self.at_work.clear();
        self.ended.clear();
        self.name = history.from.name;
        self.streams = Some(history.from.timeline);
    }

    /// When the record that it replays next was logged, or could be replayed at the earliest; none when there is none.
    pub(crate) fn waits_since(&mut self, database: &Database) -> Option<u64> {
        if self.is_away {
            return None;
        }
        while let Some(shown) = history(database, self.at.0) {
            if let Some((logged, _)) = shown.log.get(self.at.1) {
                return Some(self.replayed_at.max(*logged));
            }
            let goes_on = history(database, self.at.0 + 1).is_some_and(|next| next.from.goes_on);
            if !goes_on {
                return None;
            }
            self.enter(database, self.at.0 + 1);
        }
        None
    }

    /// Replays the next record.
    pub(crate) fn replay(&mut self, database: &Database, now: u64) {
        let record = history(database, self.at.0).and_then(|history| history.log.get(self.at.1));
        if let Some((_, record)) = record {
            self.at.1 += 1;
            self.replayed_at = now;
            self.due = None;
            self.apply(record);
        }
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::Begun(xid) => drop(self.at_work.insert(*xid)),
            Record::Committed(xid, writes) => {
                writes.iter().for_each(|write| self.table.write(*write));
                self.end(*xid, true);
            }
            Record::Aborted(xid) => self.end(*xid, false),
            Record::Named(xid, epoch) => {
                self.name = *epoch;
                self.end(*xid, true);
            }
        }
    }

    fn end(&mut self, xid: u64, committed: bool) {
        self.at_work.remove(&xid);
        self.ended.insert(xid, committed);
        self.completed = self.completed.max(xid);
    }

    /// It has crashed, and shows an older state when it is back.
    pub(crate) fn crash(&mut self, database: &Database, back: usize) -> bool {
        if !self.up {
            return false;
        }
        self.up = false;
        self.run += 1;
        if !self.is_away {
            let (epoch, replayed) = self.at;
            let (streams, follows) = (self.streams, self.follows);
            self.enter(database, epoch);
            self.streams = streams;
            self.follows = follows;
            let log = history(database, epoch).map_or(&[][..], |history| &history.log);
            for (_, record) in log.iter().take(replayed.saturating_sub(back)) {
                self.at.1 += 1;
                self.apply(record);
            }
        }
        true
    }

    /// The primary's history has ended, and what comes after does not go on in its log: it stays where it is, and streams what it gets. One that follows another
    /// server goes on with that: no timeline is lower than that of what is shown.
    pub(crate) fn is_left_behind(&mut self, streams: Option<u64>) {
        if !self.is_away {
            self.streams = streams;
        }
    }

    /// Which timeline it streams.
    pub(crate) fn streams(&self) -> Option<u64> {
        self.streams
    }

    /// It follows another server from here on, one that was promoted and has a timeline of its own; or it is promoted itself.
    pub(crate) fn leave(&mut self, is_promoted: bool) {
        self.is_away = true;
        self.due = None;
        let (follows, timeline) = (!is_promoted, ELSEWHERE + self.run);
        self.follows = follows;
        self.streams = follows.then_some(timeline);
        for xid in std::mem::take(&mut self.at_work) {
            self.end(xid, false);
        }
    }

    /// Something is written on that other server, under a number that the primary gives as well.
    pub(crate) fn replay_elsewhere(&mut self, write: Write) {
        self.table.write(write);
        self.end(self.completed + 1, true);
    }

    /// A statement takes its snapshot there.
    pub(crate) fn look(&self) -> Snapshot {
        let xmax = self.completed + 1;
        Snapshot {
            run: self.run,
            table: self.table,
            xmin: self.at_work.first().copied().unwrap_or(xmax).min(xmax),
            xmax,
            follows: self.follows,
            timeline: self.streams,
            name: self.name,
        }
    }

    /// The same statement asks what became of the transactions that its snapshot leaves open.
    ///
    /// Whom it follows is asked after that, by the same statement: one that leaves ends what was at work, and whoever asked before would take that for seen.
    ///
    /// ```text
    /// a statement                     the standby
    /// takes a snapshot, 7 is at work
    /// asks whom it follows
    ///                                 is promoted, 7 is rolled back there; on the primary it goes on
    /// asks what became of 7: aborted
    /// ```
    pub(crate) fn tell(&self, mut snapshot: Snapshot, law: Law) -> Told {
        if law != Law::AsksTimelineFirst {
            (snapshot.follows, snapshot.timeline) = (self.follows, self.streams);
        }
        let became = |xid: &u64| match self.ended.get(xid) {
            _ if self.at_work.contains(xid) => Became::AtWork,
            Some(true) => Became::Committed,
            Some(false) => Became::Aborted,
            None => Became::Unknown,
        };
        let between = (snapshot.xmin..snapshot.xmax).map(|xid| (xid, became(&xid)));
        Told {
            between: between.collect(),
            snapshot,
        }
    }
}

fn history(database: &Database, epoch: u64) -> Option<&super::database::History> {
    let at = usize::try_from(epoch).ok()?.checked_sub(1)?;
    database.histories.get(at)
}
