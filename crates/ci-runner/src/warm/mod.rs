//! A warm restart: cached answers in a file, and the proof that they are still true.
//!
//! ```text
//! this process                              the next one
//! polls: true up to position P
//! writes answers, P, a bookmark of P
//!                    other programs write
//!                                           goes on at P: every answer is as it was, nothing is served
//!                                           first poll tells what was written since P: drops what that touches
//!                                           serves
//! ```
//!
//! The answers come in by the ordinary way of publication, so they are registered and checked like any load. Where the first poll
//! cannot tell what was written since P (another history, or a part of it is forgotten), everything goes, as after any gap; but its
//! questions are asked again in the background, those that were to be kept longest first. So are those of a file that another version
//! of this program wrote. A file that is damaged, of another format or of another kind of store is as good as none.
//!
//! - `file.rs`: the bytes of the file; those of an answer are in [`crate::encoding`].
//! - `reload.rs`: asking again.
//! - `inspect.rs`: the bytes of a file without a runner, for the fuzzer.

mod file;
pub mod inspect;
mod reload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ci_cache_core::coherence::{Loaded, Published};
use ci_cache_core::{Lookup, Tick};
use ci_model::{Question, TenantId};
use ci_store::{Feed, Start};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::answer::Traced;
use crate::runner::Inner;
use file::{Opened, Written};
pub(crate) use reload::reload;

/// Why there is no mark while restored answers wait for the first poll.
const UNPROVEN: &str = "answers of the last process are not proven yet";
/// Between two writings when nothing is said.
const EVERY: Duration = Duration::from_secs(60);
/// Questions that are asked again in a second when nothing is said.
const RELOADS: u32 = 50;

/// Where and how often cached answers are written.
#[derive(Debug, Clone)]
pub(crate) struct WarmOptions {
    pub(crate) path: Option<PathBuf>,
    pub(crate) every: Duration,
    /// Questions that are asked again in a second; 0 for none.
    pub(crate) reloads: u32,
}

impl Default for WarmOptions {
    fn default() -> Self {
        Self {
            path: None,
            every: EVERY,
            reloads: RELOADS,
        }
    }
}

/// What became of the warm file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WarmStatus {
    /// Answers that were taken in at the start. Those that rows touched which changed meanwhile went with the first poll.
    pub restored: usize,
    /// Why none were, or why all went again: in words for people.
    pub refused: Option<String>,
    /// How many questions of the file were asked again, because its answers were refused.
    pub reloaded: usize,
    /// How many of them are still to be asked.
    pub reloading: usize,
    /// Answers in the file as it was written last by this runner; none before.
    pub written: Option<usize>,
    /// Why the last writing failed, in words for people.
    pub trouble: Option<String>,
}

/// What a runner carries over a restart.
#[derive(Debug)]
pub(crate) struct Warm {
    options: WarmOptions,
    /// The kind of the store.
    backend: &'static str,
    status: Mutex<Status>,
    /// When the file was written last.
    written: AtomicU64,
    /// One writing after the other, so that the last one wins.
    writing: Mutex<()>,
    /// Set once: the feed's task has ended, and what it had to write is written.
    over: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Status {
    shown: WarmStatus,
    /// Whether the first poll is still to come.
    unproven: bool,
    /// The questions of the file, those to be asked first in front, until its answers are proven.
    questions: Vec<(TenantId, Question)>,
}

impl Warm {
    pub(crate) fn new(options: WarmOptions, backend: &'static str) -> Self {
        Self {
            options,
            backend,
            status: Mutex::default(),
            written: AtomicU64::new(0),
            writing: Mutex::new(()),
            over: watch::Sender::new(false),
        }
    }

    pub(crate) fn status(&self) -> WarmStatus {
        self.status.lock().shown.clone()
    }

    /// Tells whether there is a file to keep.
    pub(crate) fn is_wanted(&self) -> bool {
        self.options.path.is_some()
    }

    /// Tells whether the file is to be written again, and notes that it will be.
    pub(crate) fn is_due(&self, now: Tick) -> bool {
        let before = Tick::from_micros(self.written.load(Ordering::Relaxed));
        let due = self.is_wanted() && now.saturating_since(before) >= self.options.every;
        if due {
            self.written.store(now.as_micros(), Ordering::Relaxed);
        }
        due
    }

    /// A poll has told what happened since the position of the restored answers.
    pub(crate) fn proven(&self) {
        let mut status = self.status.lock();
        if std::mem::take(&mut status.unproven) {
            status.questions = Vec::new();
        }
    }

    /// A poll could not tell it, and everything was forgotten. Gives the questions that are to be asked again, and how many in a second.
    pub(crate) fn refuse_unproven(&self, why: &str) -> Option<(Vec<(TenantId, Question)>, u32)> {
        let mut status = self.status.lock();
        if std::mem::take(&mut status.unproven) {
            status.shown.restored = 0;
            status.shown.refused = Some(why.to_owned());
        }
        let questions = std::mem::take(&mut status.questions);
        status.shown.reloading = questions.len();
        (!questions.is_empty()).then_some((questions, self.options.reloads))
    }

    /// One question was asked again.
    pub(crate) fn reloaded(&self, left: usize) {
        let mut status = self.status.lock();
        status.shown.reloaded += 1;
        status.shown.reloading = left;
    }

    /// The others are not asked again.
    pub(crate) fn gave_up(&self) {
        self.status.lock().shown.reloading = 0;
    }

    /// The feed's task has ended.
    pub(crate) fn finish(&self) {
        self.over.send_replace(true);
    }

    /// Waits for the end of the feed's task, and of its last writing, but not longer than this without progress of it.
    pub(crate) async fn finished(&self, patience: Duration) {
        let mut over = self.over.subscribe();
        let ended = over.wait_for(|over| *over);
        let late = tokio::time::timeout(patience, ended).await.is_err();
        if late && self.writing.is_locked() {
            // It is being written: that ends.
            drop(over.wait_for(|over| *over).await);
        }
    }

    fn refuse(&self, why: String) {
        tracing::info!(why, "the warm file is not used");
        self.status.lock().shown.refused = Some(why);
    }
}

/// Takes the answers of the file in, at its position; says whether the feed goes on from there.
///
/// Not cancelled half-way: the work is done in blocking tasks.
pub(crate) async fn restore(inner: &Arc<Inner>, feed: &mut dyn Feed) -> bool {
    let Some(path) = inner.warm.options.path.clone() else {
        return false;
    };
    let backend = inner.warm.backend;
    let read = tokio::task::spawn_blocking(move || read(&path, backend)).await;
    let opened = match read {
        Ok(Ok(opened)) => opened,
        Ok(Err(why)) => {
            inner.warm.refuse(why);
            return false;
        }
        Err(_) => return false,
    };
    if inner.warm.options.reloads > 0 {
        let entries = opened.entries.iter().rev();
        let questions = entries.map(|entry| (entry.tenant.clone(), entry.question.clone()));
        inner.warm.status.lock().questions = questions.collect();
    }
    if !opened.is_ours {
        inner
            .warm
            .refuse("another version of the program wrote it".into());
        return false;
    }
    let Some(start) = feed.resume(&opened.bookmark) else {
        // Another database: nobody may ever have asked that of this one.
        inner.warm.status.lock().questions = Vec::new();
        inner.warm.refuse("its bookmark is none of this store's".into());
        return false;
    };
    inner.warm.status.lock().unproven = true;
    inner
        .cache
        .reset_but(start.epoch.0, start.position.clone(), Tick::default(), || {
            Some(UNPROVEN)
        });
    let into = Arc::clone(inner);
    let restored = tokio::task::spawn_blocking(move || publish(&into, opened, &start)).await;
    let restored = restored.unwrap_or(0);
    tracing::info!(restored, "answers of the last process");
    inner.warm.status.lock().shown.restored = restored;
    true
}

fn read(path: &Path, backend: &str) -> Result<Opened, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    file::open(&bytes, backend).map_err(|refused| refused.to_string())
}

/// Publishes the answers, those to be kept longest last; counts those that were kept.
fn publish(inner: &Inner, opened: Opened, start: &Start) -> usize {
    let mut kept = 0;
    for Written {
        tenant,
        question,
        answer,
    } in opened.entries
    {
        let question = Arc::new(question);
        // What a path search came by is not in the file: without it more counts as a change of the answer.
        let traced = Traced {
            value: answer,
            visited: None,
        };
        let Some(dependency) = traced.dependency(&tenant, Arc::clone(&question)) else {
            continue;
        };
        let key = ci_model::Key::new(&tenant, &question);
        if let Lookup::Lead(leader) = inner.cache.lookup(&tenant, &key, &question) {
            let loaded = Loaded {
                epoch: start.epoch.0,
                version: start.position.clone(),
            };
            let published = inner
                .cache
                .publish(leader, &question, traced.value, loaded, dependency);
            kept += usize::from(matches!(published.ending, Published::Kept));
        }
    }
    kept
}

/// Writes what is cached, as it is true at a position that the feed has reached, with the bookmark of that.
///
/// Nothing is written while nobody knows what is true: the file stays as it was.
pub(crate) async fn save(inner: Arc<Inner>, at: Start, bookmark: String) {
    let writing = tokio::task::spawn_blocking(move || {
        let warm = Arc::clone(&inner.warm);
        let Some(path) = &warm.options.path else { return };
        let _one = warm.writing.lock();
        let Some(file) = encode(&inner, &at, &bookmark) else {
            return;
        };
        // No handle is kept alive by a slow disk.
        drop(inner);
        let count = file.count();
        let result = file::replace(path, &file.seal());
        let mut status = warm.status.lock();
        match result {
            Ok(()) => {
                status.shown.written = Some(count);
                status.shown.trouble = None;
            }
            Err(error) => {
                tracing::warn!(%error, "the warm file was not written");
                status.shown.trouble = Some(error.to_string());
            }
        }
    });
    // A panic in there leaves the file as it was.
    drop(writing.await);
}

fn encode(inner: &Inner, at: &Start, bookmark: &str) -> Option<file::File> {
    // Before the entries are read: what is found afterwards is true at the mark.
    let mark = inner.cache.mark()?;
    if mark.epoch() != at.epoch.0 || !mark.version().includes(&at.position) {
        return None;
    }
    let mut file = file::File::begin(inner.warm.backend, bookmark);
    for (key, entry) in inner.cache.entries(usize::MAX).iter().rev() {
        // True at the position, if the entry's own state is not beyond it. What is beyond the bookmark could not be proven: an older copy
        // of the database may have the bookmark's state, and come to the same numbers again in another way.
        if entry.epoch() == at.epoch.0 && at.position.includes(entry.version()) {
            file.push(key, entry.value().answer());
        }
    }
    Some(file)
}
