//! How a node that starts gets a change log that reaches back.
//!
//! What the tier has was confirmed minutes ago, so a node can prove it only if it knows the changes of those minutes. Nodes leave
//! bookmarks of their feed in the tier; one that starts goes on from an old one, as a warm restart does from its file's: the first poll
//! tells what was committed since, or that it cannot be told, and only then is anything answered from memory. So a bookmark that is
//! old, of another database, or none at all costs the use of the tier's values and nothing else.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ci_cache_core::Tick;
use ci_store::{Feed, Start};

use super::{Life, TierKey, TierValue};
use crate::encoding::bytes::{Reader, Writer};
use crate::encoding::{PROGRAM, checksum};
use crate::runner::Inner;

/// Between two bookmarks.
const STEP: Duration = Duration::from_secs(30);
/// A node that starts waits for the tier so long at most.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bookmarks that are asked for at most.
const MOST: u64 = 120;
/// What is said of a start that cannot use what the tier has from before.
const WITHOUT: &str =
    "the changes of the last minutes are not replayed, and what the fleet shared before is loaded again";
/// Why there is no mark while the changes are replayed.
const REPLAYING: &str = "the changes of the last minutes are not read yet";

/// The number of a moment's bookmark. By the wall clock, because nodes have no other in common; wrong clocks cost reach.
fn number() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs() / STEP.as_secs()
}

/// It tells versions of this program apart: none can read another's.
fn name(number: u64) -> TierKey {
    TierKey::new(None, format!("feed-{PROGRAM}-{number}"))
}

/// How many bookmarks back to look: not behind what the database may have forgotten by now, lest nothing be told at all. The oldest was left up
/// to one step before its number says, and read a little earlier.
fn reach(replay: Duration, retention: Duration) -> u64 {
    let told = retention.saturating_sub(2 * STEP);
    (replay.min(told).as_secs() / STEP.as_secs()).min(MOST)
}

/// Leaves a bookmark of the feed in the tier, beside the polls, if it is time to.
pub(crate) fn leave_bookmark(inner: &Inner, feed: &dyn Feed, left: &mut Option<u64>) {
    let Some(shared) = inner
        .tier
        .as_ref()
        .filter(|shared| !shared.options.replay.is_zero())
    else {
        return;
    };
    let number = number();
    if *left == Some(number) {
        return;
    }
    let Some((_, bookmark)) = feed.bookmark() else {
        return;
    };
    *left = Some(number);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let life = Life::For(shared.options.replay + 2 * STEP);
        let value = TierValue::new(name(number), seal(&bookmark), life);
        let put = shared.tier.put(std::slice::from_ref(&value));
        // The next one will do.
        let _unwritten = shared.call(PATIENCE, put).await;
    });
}

/// Begins where a bookmark of the tier says that some node was minutes ago; says whether the feed goes on from there. The first poll proves
/// it.
pub(crate) async fn resume(inner: &Inner, feed: &mut dyn Feed) -> bool {
    let Some(shared) = inner
        .tier
        .as_ref()
        .filter(|shared| !shared.options.replay.is_zero())
    else {
        return false;
    };
    let now = number();
    let back = reach(shared.options.replay, inner.follow.pace.retention);
    // The newest first.
    let names: Vec<TierKey> = (now.saturating_sub(back)..=now).rev().map(name).collect();
    let Ok(found) = shared.call(PATIENCE, shared.tier.get(&names)).await else {
        tracing::warn!("{WITHOUT}: the shared tier did not answer");
        return false;
    };
    let bookmarks = found.iter().flatten().filter_map(|bytes| unseal(bytes));
    let Some(start) = oldest_of_now(bookmarks.collect(), feed).await else {
        // So it is for the first node of a fleet, and after a flush of the tier.
        tracing::info!(
            "{WITHOUT}: no other node of this version left one of this history in the shared tier lately"
        );
        return false;
    };
    tracing::info!("changes are replayed from a bookmark of the shared tier");
    inner
        .cache
        .reset_but(start.epoch.0, start.position, Tick::default(), || Some(REPLAYING));
    true
}

/// Has the feed go on from the last of these bookmarks that is of the present history: after a restart of the database, or where two databases
/// share a tier, there are others among them, from which nothing can be told.
async fn oldest_of_now(bookmarks: Vec<&str>, feed: &mut dyn Feed) -> Option<Start> {
    let epoch = match tokio::time::timeout(PATIENCE, feed.start()).await {
        Ok(Ok(start)) => Some(start.epoch),
        // It does not record changes, say, and the feed has to remember that it saw so.
        Ok(Err(error)) if !error.is_transient() => return None,
        // Nothing to compare with: the database may be out of reach for a moment, and the first poll decides.
        Ok(Err(_)) | Err(_) => None,
    };
    let of_now = bookmarks.into_iter().rev().find(|bookmark| {
        let start = feed.resume(bookmark);
        start.is_some_and(|start| epoch.is_none_or(|epoch| start.epoch == epoch))
    });
    feed.resume(of_now?)
}

/// A bookmark with its program and checksum: a digit of it that was changed would be another position.
fn seal(bookmark: &str) -> Vec<u8> {
    let mut to = Writer::default();
    to.text(PROGRAM);
    to.text(bookmark);
    let sum = checksum(&to.0);
    to.number(sum);
    to.0
}

fn unseal(bytes: &[u8]) -> Option<&str> {
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    let mut from = Reader(body);
    let (program, bookmark) = (from.text()?, from.text()?);
    let whole = program == PROGRAM && from.0.is_empty() && checksum(body) == u64::from_le_bytes(*sum);
    whole.then_some(bookmark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bookmark_is_looked_for_behind_what_the_database_keeps() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        for (replay, retention, back) in [
            (5, 10, 10),
            (10, 10, 18),
            (60, 10, 18),
            (0, 10, 0),
            (5, 1, 0),
            (60 * 24, 60 * 24, MOST),
        ] {
            assert_eq!(
                reach(minutes(replay), minutes(retention)),
                back,
                "{replay} of {retention}"
            );
        }
    }

    #[test]
    fn a_damaged_bookmark_is_none() {
        let whole = seal("10:15:10,12");
        assert_eq!(unseal(&whole), Some("10:15:10,12"));
        for end in 0..whole.len() {
            assert_eq!(unseal(&whole[..end]), None);
        }
        for bit in 0..whole.len() * 8 {
            let mut other = whole.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&other), None, "bit {bit}");
        }
    }
}
