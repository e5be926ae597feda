//! The estate that is simulated: a few CIs and relations as the database holds them, the questions about them, and what a change tells.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ci_cache_core::ci::Rows;
use ci_cache_core::ci::matching::Dependency;
use ci_model::{
    Aggregate, CiChange, CiCode, CiDetail, CiId, CiSummary, Document, Event, Expand, Filter, Get, Image, Key,
    List, Question, RelationChange, RelationImage, RelationType, Search, Timestamp, View,
};
use ci_tests::matching::{self, Answer};
use ci_tests::store_contract::World;
use ci_tests::store_contract::world::tenant;

/// CIs there are.
pub(crate) const CIS: usize = 8;
/// Relations there may be, by number of their ends.
pub(crate) const EDGES: [(usize, usize); 8] =
    [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (4, 5), (0, 6), (6, 7)];
const STATUS: [&str; 3] = ["active", "retired", "planned"];
const OWNER: [&str; 2] = ["team-a", "team-b"];
const RELATION: &str = "DEPENDS_ON";

/// What of a CI changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) status: u8,
    pub(crate) owner: u8,
    pub(crate) name: u8,
    pub(crate) deleted: bool,
}

/// All that the database holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Table {
    pub(crate) rows: [Row; CIS],
    /// A bit for each relation that is there.
    pub(crate) edges: u8,
}

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Row(usize, Row),
    Edge(usize, bool),
}

impl Write {
    /// What it locks.
    pub(crate) fn lock(self) -> usize {
        match self {
            Self::Row(at, _) => at,
            Self::Edge(at, _) => CIS + at,
        }
    }
}

impl Table {
    pub(crate) fn write(&mut self, write: Write) {
        match write {
            Write::Row(at, row) => self.rows[at] = row,
            Write::Edge(at, true) => self.edges |= 1 << at,
            Write::Edge(at, false) => self.edges &= !(1 << at),
        }
    }

    fn has_edge(&self, at: usize) -> bool {
        self.edges >> at & 1 == 1
    }
}

/// An answer as caches and the tier hold it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) answer: Arc<Answer>,
    /// When the database was read for it, in truth: no node knows this, the judge does.
    pub(crate) loaded_at: u64,
    /// Which load that was, in truth.
    pub(crate) load: u64,
}

impl Rows for Shown {
    fn rows(&self) -> usize {
        1
    }
}

/// A question with its key.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) question: Arc<Question>,
    pub(crate) key: Key,
}

/// The fixed part of all that is simulated, and what was evaluated already.
pub(crate) struct Estate {
    cis: Vec<CiDetail>,
    relation: RelationType,
    pub(crate) queries: Vec<Query>,
    states: RefCell<BTreeMap<Table, Rc<State>>>,
}

/// A state of the database with its answers, made when they are first asked for.
struct State {
    world: World,
    answers: Vec<OnceCell<Arc<Answer>>>,
}

fn ci(at: usize) -> CiDetail {
    let code = CiCode::new(format!("app-{at}")).unwrap();
    let created_at = Timestamp::from_micros(1_767_225_600_000_000 + i64::try_from(at).unwrap()).unwrap();
    CiDetail {
        summary: CiSummary {
            ci_id: CiId::derived(&tenant(), &code),
            ci_code: code,
            ci_name: String::new(),
            ci_type: "SW".into(),
            ci_subtype: None,
            ci_category: None,
            status: None,
            location: None,
            owner: None,
        },
        tenant_id: tenant(),
        criticality: None,
        created_at,
        updated_at: created_at,
        deleted_at: None,
        tags: Document::new(),
        attributes: Document::new(),
    }
}

fn questions(cis: &[CiDetail]) -> Vec<Question> {
    let filter = |field, value| Filter::new(field, "=", &[value]).unwrap();
    let code = |at: usize| cis[at].summary.ci_code.clone();
    let search = |limit| Search::builder().filter(filter("status", "active")).limit(limit);
    let expand = |at, depth| {
        Expand::builder(code(at), View::Dependency)
            .depth(depth)
            .build()
            .unwrap()
    };
    vec![
        Get::new(code(0)).into(),
        Get::new(cis[1].summary.ci_id).into(),
        Get::new(CiCode::new("absent").unwrap()).into(),
        search(2).build().unwrap().into(),
        search(50).build().unwrap().into(),
        Search::builder().keyword("name-1").build().unwrap().into(),
        List::builder()
            .filters([filter("owner", "team-a")])
            .limit(2)
            .total(true)
            .build()
            .unwrap()
            .into(),
        Aggregate::builder().group_by("status").build().unwrap().into(),
        Aggregate::builder()
            .group_by("owner")
            .filters([filter("status", "retired")])
            .build()
            .unwrap()
            .into(),
        expand(0, 1).into(),
        expand(0, 2).into(),
    ]
}

impl Estate {
    pub(crate) fn new() -> Self {
        let cis: Vec<CiDetail> = (0..CIS).map(ci).collect();
        let queries = questions(&cis).into_iter().map(|question| Query {
            key: Key::new(&tenant(), &question),
            question: Arc::new(question),
        });
        Self {
            queries: queries.collect(),
            cis,
            relation: RelationType::new(RELATION).unwrap(),
            states: RefCell::default(),
        }
    }

    /// Forgets what was evaluated.
    pub(crate) fn forget(&self) {
        self.states.borrow_mut().clear();
    }

    fn detail(&self, at: usize, row: Row) -> CiDetail {
        let mut ci = self.cis[at].clone();
        ci.summary.ci_name = format!("name-{}", row.name);
        ci.summary.status = Some(STATUS[usize::from(row.status)].into());
        ci.summary.owner = Some(OWNER[usize::from(row.owner)].into());
        ci.deleted_at = row.deleted.then_some(ci.created_at);
        ci
    }

    fn state(&self, table: &Table) -> Rc<State> {
        let make = || {
            let cis = (0..CIS).map(|at| self.detail(at, table.rows[at])).collect();
            let edges = EDGES.iter().enumerate().filter(|(at, _)| table.has_edge(*at));
            let edges = edges.map(|(_, &(from, to))| (from, to, self.relation.clone()));
            Rc::new(State {
                world: World::new(cis, edges.collect()),
                answers: self.queries.iter().map(|_| OnceCell::new()).collect(),
            })
        };
        let mut states = self.states.borrow_mut();
        Rc::clone(states.entry(*table).or_insert_with(make))
    }

    /// What the database answers in a state.
    pub(crate) fn ask(&self, table: &Table, query: usize) -> Arc<Answer> {
        let state = self.state(table);
        let evaluate = || Arc::new(matching::answer(&state.world, &self.queries[query].question));
        Arc::clone(state.answers[query].get_or_init(evaluate))
    }

    pub(crate) fn dependency(&self, query: usize, answer: &Answer) -> Dependency {
        matching::dependency(&self.queries[query].question, answer, None).expect("of one kind")
    }

    /// Which question a key is of.
    pub(crate) fn query_of(&self, key: &Key) -> Option<usize> {
        self.queries.iter().position(|query| query.key == *key)
    }

    /// What the triggers record of a write: nothing when it changes nothing.
    pub(crate) fn event(&self, before: &Table, write: Write) -> Option<Event> {
        match write {
            Write::Row(at, new) => {
                let old = before.rows[at];
                let moved = (old.name, old.deleted) != (new.name, new.deleted);
                let image = |row| Some(Image::from(&self.detail(at, row)));
                (old != new).then(|| {
                    Event::Ci(Box::new(CiChange {
                        tenant: tenant(),
                        id: self.cis[at].summary.ci_id,
                        old: image(old),
                        new: image(new),
                        // A relation may be committed meanwhile by somebody else.
                        neighbours: (!moved).then(Vec::new),
                    }))
                })
            }
            Write::Edge(at, there) => {
                let (from, to) = EDGES[at];
                let image = |is_there: bool| {
                    is_there.then(|| RelationImage {
                        from: self.cis[from].summary.ci_id,
                        to: self.cis[to].summary.ci_id,
                        rel_type: self.relation.clone(),
                    })
                };
                (before.has_edge(at) != there).then(|| {
                    Event::Relation(RelationChange {
                        tenant: tenant(),
                        old: image(before.has_edge(at)),
                        new: image(there),
                    })
                })
            }
        }
    }
}
