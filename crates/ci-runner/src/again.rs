//! What an administrator may do to the cache: look at its hottest answers, drop some of them, ask some questions again.

use ci_cache_core::ci::EntrySummary;
use ci_model::{CiDetail, CiRef, CiSummary, Key, Question, TenantId};

use crate::answer::Cached;
use crate::runner::Entry;
use crate::{Runner, Tenant};

/// Entries among which the hottest are looked for.
const LOOKED_AT: usize = 1_000;
/// Errors in a row after which it is given up: a database in trouble has enough to do.
const MOST_ERRORS: usize = 10;

/// What became of questions that were asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AskedAgain {
    /// So many were answered by the database.
    pub loaded: usize,
    /// So many were not.
    pub failed: usize,
    /// So many were not asked, because too many failed before them.
    pub left: usize,
}

impl Runner {
    /// The entries with most hits among the 1,000 that were used last, the hottest first. Takes each shard's lock in turn.
    pub fn hottest(&self, limit: usize) -> Vec<EntrySummary> {
        let hottest = self.hottest_with_keys(limit);
        hottest.into_iter().map(|(_, entry)| entry).collect()
    }

    /// The questions of the [`hottest`](Self::hottest) entries, in their order.
    pub fn hottest_questions(&self, limit: usize) -> Vec<(TenantId, Question)> {
        let hottest = self.hottest_with_keys(limit).into_iter();
        hottest.filter_map(|(key, _)| Key::read(key.as_bytes())).collect()
    }

    fn hottest_with_keys(&self, limit: usize) -> Vec<(Key, EntrySummary)> {
        let mut entries = self.inner().cache.entries_with_keys(LOOKED_AT);
        entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.hits));
        entries.truncate(limit);
        entries
    }

    /// Forgets the answers whose key looks like this in [`entries`](Self::entries), mostly one; says how many. Loads of them that are under
    /// way are answered and not kept. Walks all entries.
    pub fn invalidate_key(&self, short: &str) -> usize {
        self.inner().forget_elsewhere();
        let cache = &self.inner().cache;
        cache.invalidate_where(|key, _| key.short() == short)
    }

    /// Asks the database again, one question after the other, and keeps the answers in the place of what was there. They count as loads and
    /// as nobody's requests; after 10 errors in a row it is given up. An answer whose load fails is gone.
    ///
    /// Cancel safe: the load under way goes on, the others are not begun.
    pub async fn ask_again(&self, questions: Vec<(TenantId, Question)>) -> AskedAgain {
        let mut asked = AskedAgain {
            left: questions.len(),
            ..AskedAgain::default()
        };
        let mut in_a_row = 0;
        // Once: what others load from now on is as new.
        self.inner().forget_elsewhere();
        for (tenant, question) in questions {
            if in_a_row >= MOST_ERRORS {
                break;
            }
            asked.left -= 1;
            self.inner().cache.invalidate(&Key::new(&tenant, &question));
            match self.tenant(tenant).uncounted(&question).await {
                Ok(_) => {
                    in_a_row = 0;
                    asked.loaded += 1;
                }
                Err(error) => {
                    in_a_row += 1;
                    asked.failed += 1;
                    tracing::debug!(%error, "a question was not answered again");
                }
            }
        }
        asked
    }
}

impl Tenant {
    /// Forgets the answers of this tenant that show a CI, or that are about it; says how many. Counts, and answers that it is not in,
    /// stay: [`invalidate`](Self::invalidate) takes those, too. Loads of this tenant that are under way, which may show it, are answered and not
    /// kept. Walks all entries, and reads those of this tenant, a shard at a time under its lock: whoever needs that shard waits.
    pub fn invalidate_ci(&self, ci: &CiRef) -> usize {
        self.inner().forget_elsewhere();
        let cache = &self.inner().cache;
        cache.invalidate_where(|key, entry| {
            let about = |entry: &Entry| shows(entry.value().answer(), ci) || asks(key, ci);
            key.tenant() == self.id().as_str() && entry.is_none_or(about)
        })
    }
}

/// Tells whether an answer shows a CI.
fn shows(answer: &Cached, ci: &CiRef) -> bool {
    let is = |row: &CiSummary| match ci {
        CiRef::Id(id) => row.ci_id == *id,
        CiRef::Code(code) => row.ci_code == *code,
    };
    let is_detail = |detail: &CiDetail| is(&detail.summary);
    match answer {
        Cached::Ci(found) => found.as_deref().is_some_and(is_detail),
        Cached::Rows(rows) => rows.iter().any(is),
        Cached::List(page) => page.items.iter().any(is),
        Cached::Groups(_) => false,
        Cached::Graph(graph) => graph
            .as_deref()
            .is_some_and(|graph| graph.items.iter().any(|node| is(&node.ci))),
        Cached::Path(path) => path.as_deref().is_some_and(|answer| {
            let mut routes = answer.routes().iter();
            routes.any(|route| route.items.iter().any(is))
        }),
    }
}

/// Tells whether a question names a CI, which its answer need not show: it may say that there is none.
fn asks(key: &Key, ci: &CiRef) -> bool {
    match Key::read(key.as_bytes()) {
        Some((_, Question::Get(get))) => get.target() == ci,
        Some((_, Question::Expand(expand))) => expand.roots().contains(ci),
        Some((_, Question::Path(path))) => path.from() == ci || path.to() == ci,
        _ => false,
    }
}
