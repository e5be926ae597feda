//! The questions that are asked: a small pool, some far more often than others, of every kind.

use ci_model::{
    Aggregate, CiCode, CiId, CiSummary, Direction, Expand, Filter, Get, List, ListOrder, Path, Question,
    Search, TenantId, View,
};
use ci_runner::SearchMode;
use ci_tests::history::State;
use ci_tests::history::truth::{self, Truth};
use ci_tests::store_contract::World;
use ci_tests::store_contract::world::below;
use rand_chacha::ChaCha8Rng;

/// CIs that come and go, of all small tenants together.
pub(crate) const SLOTS: usize = 72;
/// The tenants that are asked most.
pub(crate) const TENANTS: [&str; 3] = ["t0", "t1", "t2"];
/// The tenant whose rows change by thousands.
pub(crate) const BULK: &str = "bulk";
/// Its rows.
pub(crate) const BULK_ROWS: usize = 10_500;
/// Words that names are made of.
pub(crate) const WORDS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "omega", "Sigma"];
/// Who owns.
pub(crate) const OWNERS: [&str; 3] = ["ops", "dev", "sec"];

/// Types of relations, of all views.
pub(crate) const KINDS: [&str; 4] = ["DEPENDS_ON", "RUNS_ON", "COMPOSED_OF", "MENTIONS"];

/// The id of a slot's CI.
pub(crate) fn id(slot: usize) -> CiId {
    format!("00000000-0000-4000-9000-{slot:012}").parse().unwrap()
}

/// A code that a slot's CI may have.
pub(crate) fn code(slot: usize, renamed: bool) -> CiCode {
    CiCode::new(format!("app-{slot}{}", if renamed { "-b" } else { "" })).unwrap()
}

/// A code of the bulk.
pub(crate) fn bulk_code(row: usize) -> CiCode {
    CiCode::new(format!("bulk-{row:05}")).unwrap()
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// A question of the pool.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) tenant: TenantId,
    pub(crate) what: What,
}

/// How it is asked.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// As it is.
    Plain(Question),
    /// A search that falls back: the questions that it stands for, in their order.
    Fallback(Search, Vec<(SearchMode, Search)>),
}

/// What it has to answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    Plain(Truth),
    Found(Vec<CiSummary>, SearchMode),
}

impl Asked {
    /// Answers it to a world.
    pub(crate) fn expected(&self, world: &World) -> Expected {
        match &self.what {
            What::Plain(question) => Expected::Plain(truth::answer(world, &self.tenant, question)),
            What::Fallback(_, steps) => {
                let found = steps.iter().find_map(|(mode, search)| {
                    let rows = ci_tests::store_contract::reference::search(world, search);
                    (!rows.is_empty()).then_some((rows, *mode))
                });
                let (rows, mode) = found.unwrap_or((Vec::new(), SearchMode::Broad));
                Expected::Found(rows, mode)
            }
        }
    }

    /// What tells whether its answer may be another: the ages of what it is about.
    pub(crate) fn age(&self, state: &State) -> (u64, u64) {
        let age = state.age(&self.tenant);
        let graph = matches!(&self.what, What::Plain(question) if truth::is_about_relations(question));
        (age.cis, if graph { age.links } else { 0 })
    }

    /// Its kind, for counting.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.what {
            What::Plain(question) => question.kind().as_str(),
            What::Fallback(..) => "fallback",
        }
    }
}

/// All questions, the most popular first.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) all: Vec<Asked>,
    /// Running sums of popularity.
    sums: Vec<u64>,
}

impl Pool {
    pub(crate) fn new(random: &mut ChaCha8Rng) -> Self {
        let mut all: Vec<Asked> = TENANTS.iter().flat_map(|name| questions(random, name)).collect();
        all.extend(of_bulk());
        for at in (1..all.len()).rev() {
            all.swap(at, below(random, at + 1));
        }
        Self::of(all)
    }

    /// Of these, the most popular first.
    pub(crate) fn of(all: Vec<Asked>) -> Self {
        let mut sum = 0;
        let sums = (1..=all.len() as u64).map(|rank| {
            sum += 1_000_000 / rank;
            sum
        });
        Self {
            sums: sums.collect(),
            all,
        }
    }

    /// Draws one: the n-th in popularity n times less often than the first.
    pub(crate) fn draw(&self, random: &mut ChaCha8Rng) -> usize {
        let total = self.sums.last().copied().unwrap();
        let drawn = below(random, usize::try_from(total).unwrap()) as u64;
        self.sums.partition_point(|sum| *sum <= drawn)
    }
}

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap()
}

fn questions(random: &mut ChaCha8Rng, name: &str) -> Vec<Asked> {
    let mut all: Vec<Question> = Vec::new();
    let mut slot = || below(random, SLOTS);
    for at in 0..6 {
        all.push(Get::new(id(slot())).include_deleted(at == 0).into());
        all.push(Get::new(code(slot(), at % 3 == 0)).into());
    }
    let search = Search::builder;
    let searches = [
        search().keyword("alpha"),
        search().keyword("BETA").limit(5),
        search().keyword("app-1").limit(3),
        search().keyword("sigma").filter(filter("owner=ops")),
        search().keywords(["gamma", "del"]),
        search().filter(filter("owner=dev")).limit(10),
        search().filter(filter("tags.role=db")),
        search()
            .filter(filter("criticality>=3"))
            .sort("ci_name:desc".parse().unwrap())
            .limit(5),
        search()
            .filter(filter("ci_type=SW"))
            .filter(filter("status!=active")),
        search().filter(filter("attributes.size exists true")).limit(4),
        search().keyword("om").include_deleted(true),
        search().keyword("nothing-has-this"),
        search().sort("ci_subtype:asc".parse().unwrap()).limit(6),
        search()
            .keyword("app")
            .exact_first([code(slot(), false).to_string()])
            .limit(4),
        search().keyword("app").rank_by("alpha").limit(4),
    ];
    all.extend(searches.map(|search| Question::from(search.build().unwrap())));
    let list = List::builder;
    let lists = [
        list().limit(5),
        list().limit(5).offset(5),
        list().filters([filter("owner=sec")]).limit(20),
        list().include_deleted(true).limit(3),
        list().order(ListOrder::Updated).total(false).limit(5),
    ];
    all.extend(lists.map(|list| Question::from(list.build().unwrap())));
    let aggregate = Aggregate::builder;
    let aggregates = [
        aggregate(),
        aggregate().group_by("owner"),
        aggregate().group_by("ci_type").group_by("criticality").limit(4),
        aggregate().group_by("tags.role").distinct("owner"),
        aggregate().keywords(["alpha"]).group_by("status"),
    ];
    all.extend(aggregates.map(|aggregate| Question::from(aggregate.build().unwrap())));
    for view in [View::Neighbors, View::Dependency, View::Impact, View::Composition] {
        all.push(Expand::builder(id(slot()), view).build().unwrap().into());
        all.push(
            Expand::builder(code(slot(), false), view)
                .max_nodes(5)
                .build()
                .unwrap()
                .into(),
        );
    }
    let mut around = |view| Expand::builder(id(slot()), view);
    let graphs = [
        around(View::Neighbors).filter(filter("owner=ops")),
        around(View::Neighbors)
            .filter(filter("tags.role=db"))
            .max_nodes(4),
        around(View::Impact).roots([code(7, false)]),
    ];
    all.extend(graphs.map(|graph| Question::from(graph.build().unwrap())));
    for direction in [Direction::Out, Direction::Both, Direction::Both] {
        let path = Path::builder(id(slot()), code(slot(), false))
            .max_hops(4)
            .direction(direction);
        all.push(path.build().unwrap().into());
    }
    let plain = all.into_iter().map(What::Plain);
    let fallbacks = [slot(), slot(), slot()].map(fallback);
    plain
        .chain(fallbacks)
        .map(|what| Asked {
            tenant: tenant(name),
            what,
        })
        .collect()
}

/// A sentence about a CI. Nothing has the sentence in it; the code alone may be found; else any of its parts.
fn fallback(slot: usize) -> What {
    let word = WORDS[slot % WORDS.len()];
    let code = code(slot, false).to_string();
    let asked = Search::builder()
        .keywords([format!("where is {code}"), format!("{word} {word} {word}")])
        .build()
        .unwrap();
    let recovered = Search::builder()
        .keyword(code.clone())
        .exact_first([code])
        .build()
        .unwrap();
    let broad = asked.broadened().unwrap();
    let steps = vec![
        (SearchMode::Strict, asked.clone()),
        (SearchMode::Recovered, recovered),
        (SearchMode::Broad, broad),
    ];
    What::Fallback(asked, steps)
}

fn of_bulk() -> Vec<Asked> {
    let questions: [Question; 5] = [
        Get::new(bulk_code(42)).into(),
        Get::new(bulk_code(9_000)).into(),
        Search::builder()
            .keyword("bulk-0004")
            .limit(20)
            .build()
            .unwrap()
            .into(),
        Aggregate::builder().group_by("owner").build().unwrap().into(),
        List::builder().limit(3).build().unwrap().into(),
    ];
    questions
        .into_iter()
        .map(|question| Asked {
            tenant: tenant(BULK),
            what: What::Plain(question),
        })
        .collect()
}
