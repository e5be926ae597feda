//! What a stale answer is, and who finds them.
//!
//! While questions are asked, one writer changes a set of hot CIs, one write after the other. Every write has a number, and leaves it in
//! the CI: its owner becomes `ledger L, write N`, and its status changes to and fro. The ledger knows which write was acknowledged when, so each
//! answer can be held against what it had to include:
//!
//! > An answer is **stale** if a write was acknowledged before its question began, and the answer does not include it.
//!
//! Four things are looked at. A row of a hot CI shows the number of a write at least as late as the CI's last write that was acknowledged before
//! the question. A CI that, by all its states from then until the answer came, belongs on a search's page is there. Counts by a field are
//! those of one state from then until the answer. A list of what was changed last shows a write at least as late as the last one that was
//! acknowledged. An answer may include writes that are not acknowledged yet: those are neither required nor forbidden.
//!
//! An answer from before its question is stale however it came about; the ledger knows nothing of caches. It must be the
//! only writer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::Context as _;
use ci_model::{
    Aggregate, CiCode, CiDetail, CiRecord, CiSummary, Get, Image, List, ListOrder, Question, Ranking, Search,
    Sort, TenantId,
};
use ci_runner::Reply;
use ci_store::Store;

use crate::arms::Shown;
use crate::operation::Operation;
use crate::plain::{Plain, text};

/// Ledgers of this process: each has a stamp of its own, so that none takes the writes of another for its own.
static LEDGERS: AtomicU64 = AtomicU64::new(0);
/// Between which statuses writes change a CI.
const STATUSES: [&str; 2] = ["active", "maintenance"];

/// A CI after one of its writes.
#[derive(Debug, Clone)]
struct State {
    /// The number of the write; 0 is what was there before.
    write: u64,
    image: Image,
    detail: CiDetail,
}

/// The hot CIs, every state that they had, and which writes have been acknowledged.
#[derive(Debug)]
pub struct Ledger {
    /// What an owner's name begins with before the number of a write.
    stamp: String,
    hot: Vec<RwLock<Vec<State>>>,
    by_code: HashMap<String, usize>,
    /// Counts by field before the first write, by the values of the question that asked.
    counted: HashMap<String, HashMap<Option<String>, u64>>,
    begun: AtomicU64,
    acknowledged: AtomicU64,
}

/// What had to be included when a question began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since(u64);

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// A row shows an older write than it had to.
    OldRow,
    /// A CI that belongs on the page is not there.
    MissingRow,
    /// Counts are of no state that they may be of.
    Counts,
    /// What was changed last is not what was changed last.
    Order,
}

impl Ledger {
    /// Takes some CIs as the hot ones, as they are now, and the counts by each field that operations ask for.
    ///
    /// # Errors
    /// When the database fails, or has not got one of them.
    pub async fn new(
        store: &dyn Store,
        tenant: &TenantId,
        hot: &[CiCode],
        operations: &[Operation],
    ) -> anyhow::Result<Self> {
        let mut snapshot = store.snapshot().await?;
        let gets: Vec<Get> = hot.iter().map(|code| Get::new(code.clone())).collect();
        let found = snapshot.get_many(tenant, &gets).await?;
        let mut states = Vec::new();
        for ci in found {
            let detail = ci.context("a hot CI is not there")?;
            let state = State {
                write: 0,
                image: Image::from(&detail),
                detail,
            };
            states.push(RwLock::new(vec![state]));
        }
        let mut counted = HashMap::new();
        for question in operations.iter().flat_map(Operation::questions) {
            if let Question::Aggregate(aggregate) = question
                && let Some(field) = field_of(&aggregate)
            {
                let groups = snapshot.aggregate(tenant, &aggregate).await?;
                let reply = Reply::Groups(std::sync::Arc::new(groups));
                counted.insert(field, counts(&Plain::from(&reply)));
            }
        }
        let ledger = LEDGERS.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            stamp: format!("ledger {ledger}, write "),
            hot: states,
            by_code: hot
                .iter()
                .enumerate()
                .map(|(at, code)| (code.as_str().to_owned(), at))
                .collect(),
            counted,
            begun: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
        })
    }

    /// How many hot CIs there are.
    pub fn len(&self) -> usize {
        self.hot.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hot.is_empty()
    }

    /// Begins the next write, of the hot CI at a place: its number, and what to write. [`acknowledge`](Self::acknowledge) it when it
    /// has returned, and begin no other before.
    pub fn begin(&self, place: usize) -> (u64, CiRecord) {
        let number = self.begun.load(Ordering::SeqCst) + 1;
        let mut states = write(&self.hot[place % self.hot.len()]);
        let mut detail = states[states.len() - 1].detail.clone();
        detail.summary.owner = Some(format!("{}{number}", self.stamp));
        let is_active = detail.summary.status.as_deref() == Some(STATUSES[0]);
        detail.summary.status = Some(STATUSES[usize::from(is_active)].to_owned());
        let record = record(&detail);
        states.push(State {
            write: number,
            image: Image::from(&detail),
            detail,
        });
        drop(states);
        // After the state is there: whoever sees that the write has begun finds it.
        self.begun.store(number, Ordering::SeqCst);
        (number, record)
    }

    /// A write has returned.
    pub fn acknowledge(&self, number: u64) {
        self.acknowledged.store(number, Ordering::SeqCst);
    }

    /// How many writes have been acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// To be called when a question begins.
    pub fn since(&self) -> Since {
        Since(self.acknowledged())
    }

    /// Looks for what an answer that has just come should include and does not.
    pub fn judge(&self, since: Since, operation: &Operation, shown: &Shown) -> Option<Stale> {
        let until = self.begun.load(Ordering::SeqCst);
        match shown {
            Shown::Traversal(graph, details) => {
                let nodes = graph.iter().flat_map(|graph| &graph.items).map(|node| &node.ci);
                let rows = nodes.chain(details.iter().map(|ci| &ci.summary));
                self.rows(since, rows.map(seen))
            }
            Shown::Replies(replies) => operation
                .questions()
                .iter()
                .zip(replies)
                .find_map(|(question, reply)| self.reply(since, until, question, reply)),
            Shown::Plain(answers) => operation
                .questions()
                .iter()
                .zip(answers)
                .find_map(|(question, answer)| self.plain(since, until, question, answer)),
        }
    }

    fn reply(&self, since: Since, until: u64, question: &Question, reply: &Reply) -> Option<Stale> {
        match reply {
            Reply::Ci(ci) => self.rows(since, ci.iter().map(|ci| seen(&ci.summary))),
            Reply::Rows(rows) => self.page(since, until, question, rows.iter().map(seen)),
            Reply::List(page) => self.page(since, until, question, page.items.iter().map(seen)),
            Reply::Graph(graph) => {
                let nodes = graph.iter().flat_map(|graph| &graph.items);
                self.rows(since, nodes.map(|node| seen(&node.ci)))
            }
            Reply::Groups(groups) => {
                let mut counted = HashMap::new();
                for group in &groups.items {
                    let value = group.values.first().and_then(|(_, value)| text(value));
                    counted.insert(value, group.count);
                }
                self.counts(since, until, question, &counted)
            }
            _ => None,
        }
    }

    fn plain(&self, since: Since, until: u64, question: &Question, answer: &Plain) -> Option<Stale> {
        match answer {
            Plain::Rows(rows) => {
                let rows = rows
                    .iter()
                    .map(|row| (row.ci_code.as_str(), row.owner.as_deref()));
                self.page(since, until, question, rows)
            }
            Plain::Counts(_) => self.counts(since, until, question, &counts(answer)),
        }
    }

    /// The number of the write that an owner's name shows; 0 for one that no write of this ledger has left.
    fn number(&self, owner: Option<&str>) -> u64 {
        owner
            .and_then(|owner| owner.strip_prefix(&*self.stamp)?.parse().ok())
            .unwrap_or(0)
    }

    /// Rows show what they had to.
    fn rows<'a>(&self, Since(since): Since, rows: impl Iterator<Item = Seen<'a>>) -> Option<Stale> {
        for (code, owner) in rows {
            if let Some(&at) = self.by_code.get(code) {
                let states = read(&self.hot[at]);
                if self.number(owner) < required(&states, since).write {
                    return Some(Stale::OldRow);
                }
            }
        }
        None
    }

    /// Rows show what they had to, and those that belong there are there.
    fn page<'a>(
        &self,
        since: Since,
        until: u64,
        question: &Question,
        rows: impl Iterator<Item = Seen<'a>> + Clone,
    ) -> Option<Stale> {
        let stale = self.rows(since, rows.clone());
        if stale.is_some() {
            return stale;
        }
        match question {
            Question::Search(search) if is_by_code(search) => self.missing(since, until, search, &rows),
            Question::List(list) if is_latest(list) => {
                let latest = rows.map(|(_, owner)| self.number(owner)).max().unwrap_or(0);
                (latest < since.0).then_some(Stale::Order)
            }
            _ => None,
        }
    }

    /// Looks for a hot CI that has to be on a search's page and is not.
    fn missing<'a>(
        &self,
        Since(since): Since,
        until: u64,
        search: &Search,
        rows: &(impl Iterator<Item = Seen<'a>> + Clone),
    ) -> Option<Stale> {
        let is_full = rows.clone().count() >= search.limit() as usize;
        let last = rows.clone().last().map(|(code, _)| code);
        for (code, &at) in &self.by_code {
            // Behind the last row of a full page is the next page.
            if is_full && last.is_some_and(|last| code.as_str() > last) {
                continue;
            }
            let states = read(&self.hot[at]);
            let first = required(&states, since).write;
            let mut may_be = states
                .iter()
                .filter(|state| state.write >= first && state.write <= until);
            let belongs = may_be.all(|state| search.selection().matches(&state.image));
            if belongs && !rows.clone().any(|(shown, _)| shown == code.as_str()) {
                return Some(Stale::MissingRow);
            }
        }
        None
    }

    /// Counts are those of a state that the answer may be of.
    fn counts(
        &self,
        Since(since): Since,
        until: u64,
        question: &Question,
        counted: &HashMap<Option<String>, u64>,
    ) -> Option<Stale> {
        let Question::Aggregate(aggregate) = question else {
            return None;
        };
        let field = field_of(aggregate)?;
        let before = self.counted.get(&field)?;
        let fits = (since..=until).any(|write| {
            let mut now = before.clone();
            for hot in &self.hot {
                let states = read(hot);
                let (first, then) = (
                    &states[0].detail.summary,
                    &required(&states, write).detail.summary,
                );
                if let Some(count) = now.get_mut(&value(first, &field)) {
                    *count = count.saturating_sub(1);
                }
                *now.entry(value(then, &field)).or_default() += 1;
            }
            // Groups beyond the question's limit are not shown.
            counted.iter().all(|(value, count)| now.get(value) == Some(count))
        });
        (!fits).then_some(Stale::Counts)
    }
}

/// A row's code and owner.
type Seen<'a> = (&'a str, Option<&'a str>);

fn seen(ci: &CiSummary) -> Seen<'_> {
    (ci.ci_code.as_str(), ci.owner.as_deref())
}

/// The last state up to a write.
fn required(states: &[State], write: u64) -> &State {
    let at = states.partition_point(|state| state.write <= write);
    &states[at.saturating_sub(1)]
}

/// The column of counts by one column that writes change, of all CIs.
fn field_of(aggregate: &Aggregate) -> Option<String> {
    let [field] = aggregate.group_by() else {
        return None;
    };
    let selection = aggregate.selection();
    let is_all = selection.keywords().is_empty() && selection.filters().is_empty();
    Some(field.to_string()).filter(|field| is_all && field == "status")
}

fn value(ci: &CiSummary, field: &str) -> Option<String> {
    debug_assert_eq!(field, "status", "no other field is counted");
    ci.status.clone()
}

fn counts(answer: &Plain) -> HashMap<Option<String>, u64> {
    match answer {
        Plain::Counts(counts) => counts
            .iter()
            .map(|count| (count.value.clone(), count.count))
            .collect(),
        Plain::Rows(_) => HashMap::new(),
    }
}

fn is_by_code(search: &Search) -> bool {
    *search.ranking() == Ranking::Plain && search.sort() == Sort::default() && search.start().is_none()
}

fn is_latest(list: &List) -> bool {
    list.order() == ListOrder::Updated && list.offset() == 0 && list.selection().filters().is_empty()
}

/// A CI as it is written.
fn record(ci: &CiDetail) -> CiRecord {
    CiRecord {
        tenant: ci.tenant_id.clone(),
        given_id: Some(ci.summary.ci_id),
        code: ci.summary.ci_code.clone(),
        name: ci.summary.ci_name.clone(),
        ci_type: ci.summary.ci_type.clone(),
        subtype: ci.summary.ci_subtype.clone(),
        category: ci.summary.ci_category.clone(),
        status: ci.summary.status.clone(),
        criticality: ci.criticality,
        location: ci.summary.location.clone(),
        owner: ci.summary.owner.clone(),
        created_at: Some(ci.created_at),
        updated_at: None,
        deleted_at: None,
        tags: ci.tags.clone(),
        attributes: ci.attributes.clone(),
    }
}

/// A state is pushed or nothing is: what a panicking thread leaves behind is whole.
fn read(states: &RwLock<Vec<State>>) -> RwLockReadGuard<'_, Vec<State>> {
    states.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(states: &RwLock<Vec<State>>) -> RwLockWriteGuard<'_, Vec<State>> {
    states.write().unwrap_or_else(PoisonError::into_inner)
}
