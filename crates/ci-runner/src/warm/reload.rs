//! Asking again what could not be proven: the questions of the last process, in the background.

use std::sync::Weak;
use std::time::Duration;

use ci_model::{Question, TenantId};
use tokio::time::MissedTickBehavior;

use crate::Tenant;
use crate::runner::Inner;

/// Errors after which it is given up: a database in trouble has enough to do.
const MOST_ERRORS: usize = 10;

/// Asks the questions one after the other, at most so many a second, until they are through or the runner is closed. What is cached by
/// then, because somebody asked, is left alone. They count as loads, and as nobody's requests.
pub(crate) async fn reload(inner: Weak<Inner>, questions: Vec<(TenantId, Question)>, per_second: u32) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
    // After a slow load the others keep their distance.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut left, mut errors) = (questions.len(), 0);
    for (tenant, question) in questions {
        ticks.tick().await;
        let Some(inner) = inner.upgrade().filter(|inner| !inner.follow.polls.is_closed()) else {
            return;
        };
        left -= 1;
        match Tenant::new(inner.clone(), tenant).uncounted(&question).await {
            Ok(_) => inner.warm.reloaded(left),
            Err(error) => {
                errors += 1;
                tracing::debug!(%error, "an answer of the last process was not loaded again");
                if errors >= MOST_ERRORS {
                    tracing::warn!(%error, left, "the answers of the last process are not loaded again");
                    inner.warm.gave_up();
                    return;
                }
            }
        }
    }
}
