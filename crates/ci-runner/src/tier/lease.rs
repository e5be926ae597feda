//! Leases of loads: who has one loads for the fleet.

use ci_model::{Key, Question, TenantId};
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::read::Tried;
use super::write::Job;
use super::{Shared, TierKey};

/// A lease that this node took. Dropped, however its load ended, it is given back: behind the answer, if that is to be written, so that whoever finds
/// the lease free finds the answer, too.
///
/// One that is lost on the way ends by itself.
#[derive(Debug)]
pub(crate) struct Held {
    lease: TierKey,
    /// When it ends by itself; later it may be another node's.
    until: Instant,
    jobs: mpsc::Sender<Job>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if Instant::now() < self.until {
            let _too_much_to_do = self.jobs.try_send(Job::Release(self.lease.clone(), self.until));
        }
    }
}

/// The name of the lease of a question's load.
pub(super) fn lease(tenant: &TenantId, question: &Question) -> TierKey {
    let value = Shared::name(tenant, &Key::new(tenant, question));
    TierKey::new(value.tenant, format!("{}-load", value.name))
}

/// Takes the leases of all that is missing which nobody has; tells whether others have all of them, so that this node may wait.
///
/// Of two nodes that each hold what the other waits for, neither would load: so a node that got one lease loads everything. Neither does it wait for a
/// tier that does not answer until its end.
pub(super) async fn take(shared: &Shared, tenant: &TenantId, tried: &mut [Tried], end: Instant) -> bool {
    let mut missing: Vec<(TierKey, &mut Option<Box<Held>>)> = tried
        .iter_mut()
        .filter_map(|tried| match tried {
            Tried::Used(_) => None,
            Tried::Missing(question, _, held) => Some((lease(tenant, question), held)),
        })
        .collect();
    let length = shared.options.wait;
    let until = Instant::now() + length;
    let asked = join_all(missing.iter().map(|(key, _)| shared.tier.lease(key, length)));
    let answered = shared.call(shared.left(end), async { Ok(asked.await) }).await;
    let Ok(answered) = answered else { return false };
    let mut others = !missing.is_empty();
    for ((key, held), answer) in missing.iter_mut().zip(answered) {
        others &= matches!(answer, Ok(false));
        if let Ok(true) = answer {
            **held = Some(Box::new(Held {
                lease: key.clone(),
                until,
                jobs: shared.jobs.clone(),
            }));
        }
    }
    others
}
