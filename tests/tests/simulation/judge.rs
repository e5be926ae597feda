//! What must hold of every answer.

use std::borrow::Cow;

use ci_model::{Token, Version};
use ci_runner::Level;
use ci_tests::matching::Answer;

use super::database::Database;
use super::estate::Estate;
use super::node::{Acknowledged, Source};

/// An answer as a caller gets it.
pub(crate) struct Answered<'a> {
    pub(crate) query: usize,
    pub(crate) value: &'a Answer,
    pub(crate) epoch: u64,
    pub(crate) version: &'a Version,
    /// A state of the same history, neither included in that one nor including it: the answer is to be true at both together.
    pub(crate) beside: Option<&'a Version>,
    pub(crate) level: &'a Level,
    pub(crate) source: Source,
    pub(crate) asked_at: u64,
    pub(crate) now: u64,
    pub(crate) lag: u64,
    pub(crate) acknowledged: &'a [Acknowledged],
    pub(crate) session: Option<&'a Token>,
    /// When the database was read for it.
    pub(crate) loaded_at: u64,
    /// When its node forgot by hand last; at 0, never.
    pub(crate) forgotten_at: u64,
}

/// The truth, to hold answers against.
pub(crate) struct Judge<'a> {
    pub(crate) database: &'a Database,
    pub(crate) estate: &'a Estate,
}

impl Answered<'_> {
    /// All that the answer includes: what its token tells.
    pub(crate) fn included(&self) -> Cow<'_, Version> {
        let both = self.beside.and_then(|beside| self.version.union(beside));
        both.map_or(Cow::Borrowed(self.version), Cow::Owned)
    }
}

impl Judge<'_> {
    /// Holds an answer against what it promises.
    ///
    /// # Errors
    /// Says which promise is broken.
    pub(crate) fn check(&self, answer: &Answered<'_>) -> Result<(), String> {
        let included = answer.included();
        let promises: [(&str, bool); 9] = [
            (
                "not the database's, that was asked past the cache",
                answer.source == Source::Past || *answer.level != Level::Bypass,
            ),
            (
                "of a state that the database has not shown",
                self.database.has_shown(answer.epoch, answer.version),
            ),
            ("untrue at its own state", self.is_true(answer, answer.version)),
            (
                "untrue at its own state and its reader's mark together",
                self.is_true(answer, &included),
            ),
            ("older than its level allows", self.keeps_level(answer, &included)),
            (
                "staler than its lag",
                self.includes_all(answer, &included, answer.now.saturating_sub(answer.lag)),
            ),
            (
                "older than the session has seen",
                Self::keeps_session(answer, &included),
            ),
            (
                "older than a write that returned here",
                self.keeps_writes(answer, &included),
            ),
            ("what was forgotten by hand", Self::is_not_forgotten(answer)),
        ];
        match promises.iter().find(|(_, kept)| !kept) {
            None => Ok(()),
            Some((broken, _)) => Err(format!(
                "an answer to question {} from {:?} is {broken}: level {:?}, as of {}/{}, lag {} us, asked at {}, answered at {}",
                answer.query,
                answer.source,
                answer.level,
                answer.epoch,
                answer.version,
                answer.lag,
                answer.asked_at,
                answer.now,
            )),
        }
    }

    fn is_true(&self, answer: &Answered<'_>, version: &Version) -> bool {
        let state = self.database.state_of(answer.epoch, version);
        state.is_some_and(|table| *self.estate.ask(&table, answer.query) == *answer.value)
    }

    fn keeps_level(&self, answer: &Answered<'_>, included: &Version) -> bool {
        let at = match answer.level {
            Level::Cached { max_lag } => {
                let lag = u64::try_from(max_lag.as_micros()).unwrap_or(u64::MAX);
                answer.asked_at.saturating_sub(lag)
            }
            Level::AtLeast(token) if token.epoch.0 == answer.epoch => {
                return included.includes(&token.version);
            }
            // A token of another history is no use for comparing.
            _ => answer.asked_at,
        };
        self.includes_all(answer, included, at)
    }

    /// Tells whether an answer's state includes all that was visible at a moment.
    fn includes_all(&self, answer: &Answered<'_>, included: &Version, at: u64) -> bool {
        let begun = self
            .database
            .histories
            .iter()
            .filter(|history| history.began <= at);
        let epoch = begun.count();
        if answer.epoch != epoch as u64 {
            return answer.epoch > epoch as u64;
        }
        let done = &self.database.histories[epoch - 1].done;
        let mut visible = done.iter().filter(|done| done.visible_at <= at);
        visible.all(|done| self.database.includes(included, done))
    }

    fn keeps_session(answer: &Answered<'_>, included: &Version) -> bool {
        answer.session.is_none_or(|token| {
            if token.epoch.0 == answer.epoch {
                included.includes(&token.version)
            } else {
                answer.epoch > token.epoch.0
            }
        })
    }

    /// Who asks after it was forgotten gets nothing that was read before.
    fn is_not_forgotten(answer: &Answered<'_>) -> bool {
        answer.asked_at <= answer.forgotten_at || answer.loaded_at >= answer.forgotten_at
    }

    fn keeps_writes(&self, answer: &Answered<'_>, included: &Version) -> bool {
        let before = answer
            .acknowledged
            .iter()
            .filter(|(.., at)| *at < answer.asked_at);
        before
            .into_iter()
            .all(|(epoch, xid, _)| match epoch.cmp(&answer.epoch) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Greater => false,
                std::cmp::Ordering::Equal => self.has(*epoch, *xid, included),
            })
    }

    /// Tells whether a state includes a transaction.
    pub(crate) fn has(&self, epoch: u64, xid: u64, version: &Version) -> bool {
        let history = &self.database.histories[usize::try_from(epoch).unwrap() - 1];
        let mut found = history.done.iter().filter(|done| done.xid == xid);
        found.all(|done| self.database.includes(version, done))
    }
}
