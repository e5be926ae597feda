//! Deletes that a node of a cluster could not be told of: they are done when it, or who has its slots then, can be.
//!
//! Whoever deletes is not told that a node fails, lest it leave the whole tier alone. But some deletes are more than courtesy: a value that is
//! wrong has to go, however long that takes, and a node that was cut off or paused comes back with all that it had.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ci_runner::tier::TierError;
use parking_lot::Mutex;
use redis::cmd;
use tokio::time::timeout;

use crate::cluster::{Cluster, MaybeAnswer, Slotted};
use crate::slots::slot_of;

/// Names that are kept at most, some megabytes of them; what is more is an error to whoever deletes.
const MOST: usize = 65_536;
/// Names that are tried in one round trip at most.
const PAGE: usize = 1_024;
/// Between two tries, and as long as one may take.
const PAUSE: Duration = Duration::from_secs(1);

/// The deletes that are still to be done.
#[derive(Default)]
pub(crate) struct Owed(Arc<Mutex<Names>>);

#[derive(Default)]
struct Names {
    all: BTreeSet<String>,
    /// Whether a task does them.
    is_paid: bool,
}

impl Names {
    /// Keeps names; tells whether somebody has to begin to do them.
    fn keep(&mut self, names: Vec<String>) -> Result<bool, TierError> {
        for name in names {
            if self.all.len() >= MOST && !self.all.contains(&name) {
                return Err(TierError::new(
                    "too many deletes wait for nodes of the cluster that fail",
                ));
            }
            self.all.insert(name);
        }
        let begins = !self.is_paid && !self.all.is_empty();
        self.is_paid |= begins;
        Ok(begins)
    }

    /// The names behind the last that was tried, or the first ones.
    fn page(&self, last: Option<&String>) -> Vec<String> {
        let behind = |last: &String| {
            self.all
                .range::<String, _>((Bound::Excluded(last), Bound::Unbounded))
        };
        let page: Vec<String> = last.into_iter().flat_map(behind).take(PAGE).cloned().collect();
        if page.is_empty() {
            self.all.iter().take(PAGE).cloned().collect()
        } else {
            page
        }
    }
}

impl Owed {
    /// Deletes names, now or later.
    ///
    /// # Errors
    /// When no node answers, one refuses, or too much is to be done later already.
    pub(crate) async fn delete(&self, cluster: &Cluster, names: Vec<String>) -> Result<(), TierError> {
        let answers = delete(cluster, &names).await?;
        let (mut owed, mut refused) = (Vec::new(), Ok(()));
        for (name, answer) in names.into_iter().zip(answers) {
            match answer {
                Ok(Some(_)) => {}
                Ok(None) => owed.push(name),
                Err(error) => refused = Err(error),
            }
        }
        if self.0.lock().keep(owed)? {
            let paying = Paying(Arc::downgrade(&self.0));
            tokio::spawn(pay(paying, cluster.clone()));
        }
        refused
    }
}

async fn delete(cluster: &Cluster, names: &[String]) -> Result<Vec<MaybeAnswer>, TierError> {
    let deletes = names.iter().map(|name| {
        let mut command = cmd("DEL");
        command.arg(name);
        Slotted {
            slot: slot_of(name),
            command,
        }
    });
    cluster.each(&deletes.collect::<Vec<_>>()).await
}

/// A task that does what is to be done, from before it begins: should it be lost, the next delete begins another one.
struct Paying(Weak<Mutex<Names>>);

impl Drop for Paying {
    fn drop(&mut self) {
        if let Some(names) = self.0.upgrade() {
            names.lock().is_paid = false;
        }
    }
}

/// Tries until nothing is to be done any more, or the tier is gone.
async fn pay(mut paying: Paying, cluster: Cluster) {
    let mut last = None;
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(names) = paying.0.upgrade() else { return };
        let page = names.lock().page(last.as_ref());
        // A node that hangs is given up after some tries that nobody answers.
        if let Ok(Ok(answers)) = timeout(PAUSE, delete(&cluster, &page)).await {
            let done = page.iter().zip(&answers);
            let done = done.filter(|(_, answer)| matches!(answer, Ok(Some(_))));
            let mut names = names.lock();
            for (name, _) in done {
                names.all.remove(name);
            }
            if names.all.is_empty() {
                // While nobody can add to it; and once, as the next delete may begin another task.
                names.is_paid = false;
                paying.0 = Weak::new();
                return;
            }
        }
        last = page.into_iter().next_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_once_and_tried_in_turn() {
        let name = |number: usize| format!("{number:08}");
        let mut names = Names::default();
        assert!(!names.keep(Vec::new()).unwrap(), "there is nothing to do");
        assert!(names.keep((0..=PAGE).map(name).collect()).unwrap());
        assert!(!names.keep(vec![name(0)]).unwrap(), "somebody does it already");
        let first = names.page(None);
        assert_eq!((first.len(), first.last()), (PAGE, Some(&name(PAGE - 1))));
        assert_eq!(names.page(first.last()), [name(PAGE)]);
        assert_eq!(names.page(Some(&name(PAGE))), first, "and from the beginning");
        names.all.remove(&name(PAGE));
        assert_eq!(names.page(first.last()), first[..]);
        assert!(!names.keep((0..MOST).map(name).collect()).unwrap());
        assert!(!names.keep(vec![name(0)]).unwrap());
        let error = names.keep(vec![name(MOST)]).unwrap_err().to_string();
        assert!(error.contains("too many deletes"), "{error}");
        assert_eq!(names.all.len(), MOST);
    }

    #[test]
    fn a_task_that_is_lost_is_replaced_by_the_next_delete() {
        let owed = Owed::default();
        assert!(owed.0.lock().keep(vec!["a".into()]).unwrap());
        drop(Paying(Arc::downgrade(&owed.0)));
        assert!(owed.0.lock().keep(vec!["b".into()]).unwrap());
    }
}
