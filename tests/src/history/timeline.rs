//! Which of the record a version includes: places on one line, because the states that anybody can see follow each other.

use std::collections::HashMap;

use ci_model::{Origin, Version};

use super::audit::{Audited, Deed};
use super::state::State;

/// A state that somebody saw.
#[derive(Debug, Clone)]
pub enum Place {
    /// The database's own version.
    Version(Version),
    /// Everything up to a row of the record.
    Row(i64),
}

/// The places that a version may stand for: mostly one, as a number of recorded rows.
///
/// While the triggers of the feed are gone, SQLite's versions do not tell the states apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The earliest.
    pub from: usize,
    /// The latest.
    pub to: usize,
}

/// The record, of which the beginning is played already.
#[derive(Debug, Default)]
pub struct Timeline {
    base: State,
    /// Rows that are played into the base.
    played: usize,
    rows: Vec<Audited>,
    /// The number of the last row, played or not.
    last: i64,
    /// For each row whether it was made while the feed's triggers were gone.
    blind: Vec<bool>,
    /// PostgreSQL: transactions of the rows, each with its number of rows.
    transactions: Vec<(u64, usize)>,
}

impl Timeline {
    /// Adds what was recorded since.
    pub fn extend(&mut self, rows: Vec<Audited>) {
        let mut counts: HashMap<u64, usize> = HashMap::new();
        let mut blind = self.blind.last().copied().unwrap_or(false);
        if matches!(self.rows.last().map(|row| &row.deed), Some(Deed::Blind(false))) {
            blind = false;
        }
        for row in &rows {
            if let Origin::Transaction(xid) = row.origin {
                *counts.entry(xid).or_default() += 1;
            }
            if let Deed::Blind(begins) = row.deed {
                // The row that ends it is still within.
                self.blind.push(true);
                blind = begins;
            } else {
                self.blind.push(blind);
            }
        }
        self.last = rows.last().map_or(self.last, |row| row.n);
        self.rows.extend(rows);
        for (xid, count) in counts {
            match self.transactions.iter_mut().find(|(known, _)| *known == xid) {
                Some((_, sum)) => *sum += count,
                None => self.transactions.push((xid, count)),
            }
        }
    }

    /// The last row's number.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// The rows that are not played yet.
    pub fn rows(&self) -> &[Audited] {
        &self.rows
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.played + self.rows.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Plays the first rows for good: no version that is older is asked about any more.
    pub fn forget(&mut self, rows: usize) {
        let rows = rows.min(self.rows.len());
        for row in self.rows.drain(..rows) {
            self.base.play(&row.deed);
        }
        self.blind.drain(..rows);
        self.played += rows;
        self.transactions.clear();
        let mut counts: HashMap<u64, usize> = HashMap::new();
        for row in &self.rows {
            if let Origin::Transaction(xid) = row.origin {
                *counts.entry(xid).or_default() += 1;
            }
        }
        self.transactions.extend(counts);
    }

    /// Where a state is.
    pub fn span(&self, place: &Place) -> Span {
        let at = match place {
            Place::Row(n) => self.rows.partition_point(|row| row.n <= *n),
            Place::Version(version @ Version::Snapshot(_)) => {
                let covered = |(xid, _): &&(u64, usize)| version.covers(Origin::Transaction(*xid));
                self.transactions
                    .iter()
                    .filter(covered)
                    .map(|(_, count)| count)
                    .sum()
            }
            Place::Version(version) => {
                let to = self.rows.partition_point(|row| version.covers(row.origin));
                return Span {
                    from: self.played + self.first_unnumbered(to),
                    to: self.played + to,
                };
            }
        };
        Span {
            from: self.played + at,
            to: self.played + at,
        }
    }

    /// The places from this one on at which the feed's triggers are gone (SQLite); none if they are there throughout.
    pub fn blind_from(&self, place: usize) -> Option<Span> {
        // At place p the last row that is included is p - 1; the row that ends the blindness is not blind itself any more.
        let is_blind = |place: &usize| {
            place
                .checked_sub(self.played + 1)
                .is_some_and(|row| self.is_blind(row))
        };
        let mut places = (place..=self.len()).filter(is_blind);
        let from = places.next()?;
        Some(Span {
            from,
            to: places.next_back().unwrap_or(from),
        })
    }

    fn is_blind(&self, row: usize) -> bool {
        let numbered = matches!(self.rows[row].origin, Origin::Sequence(_));
        numbered && self.blind[row] && !matches!(self.rows[row].deed, Deed::Blind(false))
    }

    /// The first place that has the same number as this one.
    fn first_unnumbered(&self, to: usize) -> usize {
        let Some(mark) = to.checked_sub(1).map(|last| self.rows[last].origin) else {
            return to;
        };
        let same = (0..to)
            .rev()
            .take_while(|at| self.blind[*at] && self.rows[*at].origin == mark);
        same.last().unwrap_or(to)
    }

    /// Where a row of the record is included, at the earliest.
    pub fn place_of(&self, found: impl Fn(&Audited) -> bool) -> Option<&Audited> {
        self.rows.iter().find(|row| found(row))
    }

    /// What was there before the first row.
    pub fn base(&self) -> &State {
        &self.base
    }

    /// Begins to play from the base on.
    pub fn player(&self) -> Player<'_> {
        Player {
            line: self,
            state: self.base.clone(),
            done: vec![false; self.rows.len()],
            at: self.played,
        }
    }
}

/// Goes along the line.
#[derive(Debug)]
pub struct Player<'a> {
    line: &'a Timeline,
    state: State,
    done: Vec<bool>,
    at: usize,
}

impl Player<'_> {
    /// The state where it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Where it is.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes to a number of rows, in their order (SQLite).
    pub fn go_to(&mut self, place: usize) {
        while self.at < place {
            let row = self.at - self.line.played;
            self.state.play(&self.line.rows[row].deed);
            self.done[row] = true;
            self.at += 1;
        }
    }

    /// Goes to what a snapshot includes, of one of several servers that show the same history in orders of their own (PostgreSQL with a standby); says whether
    /// it had to begin anew for that.
    ///
    /// ```text
    /// primary                         standby
    ///                                 shows 8, whose end is first in the log
    /// shows 7, whose end is seen first
    /// ```
    pub fn go_to_any(&mut self, version: &Version) -> bool {
        if self.go_to_version(version).is_ok() {
            return false;
        }
        *self = self.line.player();
        let again = self.go_to_version(version);
        debug_assert!(again.is_ok(), "nothing was included before");
        true
    }

    /// Goes to what a snapshot includes (PostgreSQL).
    ///
    /// # Errors
    /// When something is not included that an earlier one included: no two moments of one database are like that.
    pub fn go_to_version(&mut self, version: &Version) -> Result<(), String> {
        for (at, row) in self.line.rows.iter().enumerate() {
            match (version.covers(row.origin), self.done[at]) {
                (true, false) => {
                    self.state.play(&row.deed);
                    self.done[at] = true;
                    self.at += 1;
                }
                (false, true) => {
                    return Err(format!(
                        "{version} does not include {:?}, as an older version does",
                        row.origin
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
