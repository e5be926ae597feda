//! A node and the tier, step by step as the runner does it: the validated read, bookmarks. What it writes is in `queueing.rs`, who loads for the others in `leasing.rs`.
//!
//! What is one call in the runner is several events here wherever a thread may lose the processor and the feed may go on.

use std::sync::Arc;

use ci_cache_core::Tick;
use ci_cache_core::coherence::{Loaded, Mark, Published};
use ci_model::Version;
use ci_tests::matching;

use super::database::Feed;
use super::estate::Shown;
use super::fleet::{Event, Fleet};
use super::laws::Law;
use super::node::{Proving, Read, Source, Task};
use super::queueing::Job;
use super::tier::Stored;

/// Between two bookmarks of a node.
const BOOKMARKS: u64 = 20_000;
/// Why there is no mark while the changes since a bookmark are read.
const REPLAYING: &str = "the changes of the last minutes are not read yet";

impl Fleet<'_> {
    /// The tier has answered: what it gave is opened, and the mark is read. What cannot be used is a miss, with a reason.
    pub(crate) fn tier_answered(
        &mut self,
        task: u64,
        stored: Option<Stored>,
        generation: u64,
        is_free: bool,
    ) {
        let Some(mut read) = self.taken(task) else {
            return;
        };
        Self::note_lease(&mut read, is_free);
        read.lease = (self.law == Law::LeasesInTier).then_some(generation);
        let Some(stored) = stored else {
            self.saw("tier: nothing");
            return self.missed(task, read);
        };
        match self.opened(&read, &stored) {
            Ok(mark) => {
                read.proving = Some(Proving { stored, mark });
                self.tasks.insert(task, Task::Read(read));
                let step = self.step();
                self.after(step, Event::TierCheck(task));
            }
            Err(why) => {
                self.saw(why);
                self.missed(task, read);
            }
        }
    }

    /// Reads the mark, if what the tier gave may be held against the log at all.
    fn opened(&mut self, read: &Read, stored: &Stored) -> Result<Mark<Version>, &'static str> {
        if stored.damaged {
            return Err("tier: refused, damaged");
        }
        if stored.query != read.query && self.law != Law::IgnoresTierKey {
            return Err("tier: refused, other key");
        }
        let node = &mut self.nodes[read.node];
        let mark = node.cache.mark().ok_or("tier: refused, nothing known")?;
        let ignores_epoch = self.law == Law::IgnoresTierEpoch || self.law.trusts(read);
        if stored.epoch != mark.epoch() && !ignores_epoch {
            return Err("tier: refused, other epoch");
        }
        let is_forgotten = node.is_forgotten(&stored.loaded, &mark);
        if is_forgotten && self.law != Law::IgnoresForgotten && self.law != Law::TrustsHolder {
            return Err("tier: refused, forgotten by hand");
        }
        Ok(mark)
    }

    /// What came after the state that the value is true at is looked through.
    pub(crate) fn tier_check(&mut self, task: u64) {
        let Some(mut read) = self.taken(task) else {
            return;
        };
        let Some(proving) = &read.proving else {
            return self.load(task, read);
        };
        match self.checked(&read, proving) {
            Ok(()) => {
                self.tasks.insert(task, Task::Read(read));
                let step = self.step();
                self.after(step, Event::TierPublish(task));
            }
            Err(why) => {
                self.saw(why);
                read.proving = None;
                self.missed(task, read);
            }
        }
    }

    fn checked(&self, read: &Read, proving: &Proving) -> Result<(), &'static str> {
        let question = &self.estate.queries[read.query].question;
        let dependency = matching::dependency(question, &proving.stored.answer, None);
        let dependency = dependency.ok_or("tier: refused, other kind")?;
        if self.law.trusts(read) {
            return Ok(());
        }
        let valid = Loaded {
            epoch: proving.mark.epoch(),
            version: proving.stored.validated.clone(),
        };
        let checked = self.nodes[read.node].cache.check(&valid, dependency);
        checked.map_err(|ending| match ending {
            Published::Epoch => "tier: refused, other epoch",
            Published::Floor => "tier: refused, older than the log",
            Published::Overtaken(_) => "tier: refused, overtaken",
            _ => "tier: refused otherwise",
        })
    }

    /// It is published at the mark, and used whether it is kept or not, unless its reader has to see more.
    pub(crate) fn tier_publish(&mut self, task: u64) {
        let Some(mut read) = self.taken(task) else {
            return;
        };
        let (Some(proving), Some(leader)) = (read.proving.take(), read.leader.take()) else {
            return self.load(task, read);
        };
        let Proving { stored, mut mark } = proving;
        let (node, query) = (read.node, &self.estate.queries[read.query]);
        if self.law == Law::MarksAfterCheck {
            mark = self.nodes[node].cache.mark().unwrap_or(mark);
        }
        let at_mark = mark.version().includes(&stored.validated) || self.law.trusts(&read);
        let loaded = Loaded {
            epoch: mark.epoch(),
            version: if at_mark {
                mark.version().clone()
            } else {
                stored.validated.clone()
            },
        };
        self.say(|| {
            let (query, version) = (read.query, &loaded.version);
            format!(
                "node {node} takes {query} of the tier, true at {}, at {version}",
                stored.validated
            )
        });
        let dependency = self.estate.dependency(read.query, &stored.answer);
        let shown = Shown {
            answer: Arc::clone(&stored.answer),
            loaded_at: stored.loaded_at,
            load: stored.load,
        };
        let cache = &self.nodes[node].cache;
        let published = cache.publish(leader, &query.question, shown, loaded, dependency);
        let is_kept = matches!(published.ending, Published::Kept);
        if is_kept {
            let kept = published.entry.version().clone();
            self.offer(node, Job::Adopted(read.query, kept, stored.loaded.clone()));
        }
        self.saw(if is_kept {
            "tier: hit"
        } else {
            "tier: used, not kept"
        });
        if read.leasing.is_some() {
            self.saw("lease: the holder's answer was used");
        }
        self.end_lease(&mut read);
        let serves = read
            .mark
            .as_ref()
            .is_some_and(|mark| published.entry.is_as_new_as(mark));
        if serves {
            self.hit(&read, &published.entry, Source::Tier);
        } else {
            // A new history has begun meanwhile.
            self.saw("tier: too old for its reader");
            self.again(task, read);
        }
        self.settle(node);
    }

    /// What a node does beside questions and polls, from the beginning of a life on; without a tier that is only to follow.
    pub(crate) fn begin_life(&mut self, number: usize) {
        let life = self.nodes[number].life;
        self.after(1, Event::PollDue(number, life, 0));
        if !self.rates.has_tier {
            return;
        }
        if self.rates.confirm > 0 && self.law != Law::LeasesInTier {
            let delay = 1 + self.below(2 * self.rates.confirm);
            self.after(delay, Event::Refresh(number, life));
        }
        if self.rates.has_bookmarks {
            self.after(1 + BOOKMARKS / 4, Event::Bookmark(number, life));
        }
    }

    /// A node leaves a bookmark of its feed, if it follows.
    pub(crate) fn leave_bookmark(&mut self, number: usize, life: u64) {
        if self.healed || self.nodes[number].life != life {
            return;
        }
        self.after(BOOKMARKS, Event::Bookmark(number, life));
        let feed = self.nodes[number].feed.clone();
        if let Some(feed) = feed.filter(|_| self.tier.up) {
            self.tier.leave(number, feed, self.now);
            self.saw("tier: bookmark left");
        }
    }

    /// A node that was away begins anew: it asks the tier where another was some time ago, and only then begins to follow.
    pub(crate) fn join(&mut self, number: usize) {
        if !self.rates.has_tier || !self.rates.has_bookmarks {
            return self.begin_life(number);
        }
        let life = self.nodes[number].life;
        self.nodes[number].joining = true;
        let found = self.tier.bookmark(number, self.now);
        let bookmark = found.filter(|_| self.tier.up);
        let delay = self.tier_delay();
        self.after(delay, Event::Joined(number, life, bookmark));
    }

    /// It goes on from there. Nothing is known before the first poll has told what was committed since.
    pub(crate) fn joined(&mut self, number: usize, life: u64, bookmark: Option<Feed>) {
        if self.nodes[number].life != life {
            return;
        }
        self.nodes[number].joining = false;
        if let Some(feed) = bookmark {
            let (epoch, position) = feed.position();
            self.say(|| format!("node {number} joins by a bookmark at {epoch}/{position}"));
            self.saw("tier: joined by a bookmark");
            let trusts = self.law == Law::TrustsBookmarks;
            let node = &mut self.nodes[number];
            let at = if trusts {
                node.tick(self.now)
            } else {
                Tick::default()
            };
            node.cache
                .reset_but(epoch, position, at, || (!trusts).then_some(REPLAYING));
            node.feed = Some(feed);
        } else {
            self.saw("tier: joined without one");
        }
        self.begin_life(number);
    }
}
