//! The questions of the campaign, each with the way to ask it over HTTP.

use ci_model::{Aggregate, Expand, Filter, Get, List, Path, Question, Search, View};
use ci_tests::store_contract::world::below;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::pool::{Asked, BULK, Pool, SLOTS, TENANTS, What, bulk_code, code, id, tenant};

/// Questions, and where to ask them.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) pool: Pool,
    paths: Vec<String>,
}

impl Web {
    pub(crate) fn new(random: &mut ChaCha8Rng) -> Self {
        let mut all: Vec<(String, Asked)> = Vec::new();
        for name in TENANTS {
            all.extend(of_tenant(random).into_iter().map(|pair| asked(name, pair)));
        }
        all.extend(of_bulk().into_iter().map(|pair| asked(BULK, pair)));
        for at in (1..all.len()).rev() {
            all.swap(at, below(random, at + 1));
        }
        let (paths, all) = all.into_iter().unzip();
        Self {
            pool: Pool::of(all),
            paths,
        }
    }

    /// Where to ask one, to be gone on with `name=value`.
    pub(crate) fn path(&self, at: usize) -> &str {
        &self.paths[at]
    }

    /// The part of a body that is the answer.
    pub(crate) fn answer(&self, at: usize, mut body: Value) -> Value {
        match &self.pool.all[at].what {
            What::Plain(Question::Search(_)) => body["items"].take(),
            What::Plain(Question::Path(_)) => {
                json!({"items": body["items"], "relations": body["relations"], "hops": body["hops"]})
            }
            _ => body,
        }
    }
}

fn asked(name: &str, (path, question): (String, Question)) -> (String, Asked) {
    let path = format!("/v1/{name}/{path}");
    let asked = Asked {
        tenant: tenant(name),
        what: What::Plain(question),
    };
    (path, asked)
}

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap()
}

fn of_tenant(random: &mut ChaCha8Rng) -> Vec<(String, Question)> {
    let mut all: Vec<(String, Question)> = Vec::new();
    let mut slot = || below(random, SLOTS);
    for at in 0..8 {
        let (id, code) = (id(slot()), code(slot(), at % 4 == 0));
        all.push((format!("cis/{id}?"), Get::new(id).into()));
        all.push((format!("cis/{code}?"), Get::new(code).into()));
    }
    let search = Search::builder;
    let searches = [
        ("q=alpha", search().keyword("alpha")),
        ("q=BETA&limit=5", search().keyword("BETA").limit(5)),
        ("q=app-1&limit=3", search().keyword("app-1").limit(3)),
        (
            "q=sigma&filter=owner%3Dops",
            search().keyword("sigma").filter(filter("owner=ops")),
        ),
        (
            "filter=owner%3Ddev&limit=10",
            search().filter(filter("owner=dev")).limit(10),
        ),
        ("filter=tags.role%3Ddb", search().filter(filter("tags.role=db"))),
        (
            "q=om&include_deleted=true",
            search().keyword("om").include_deleted(true),
        ),
        ("q=nothing-has-this", search().keyword("nothing-has-this")),
    ];
    for (text, search) in searches {
        all.push((format!("cis?strict=true&{text}&"), search.build().unwrap().into()));
    }
    let list = List::builder;
    for (text, list) in [
        ("limit=5", list().limit(5)),
        (
            "limit=20&filter=owner%3Dsec",
            list().filters([filter("owner=sec")]).limit(20),
        ),
    ] {
        all.push((format!("list?{text}&"), list.build().unwrap().into()));
    }
    let aggregate = Aggregate::builder;
    for (text, aggregate) in [
        ("", aggregate()),
        ("group_by=owner", aggregate().group_by("owner")),
        ("group_by=tags.role", aggregate().group_by("tags.role")),
    ] {
        all.push((format!("aggregate?{text}&"), aggregate.build().unwrap().into()));
    }
    for view in [View::Neighbors, View::Impact, View::Dependency] {
        let (id, text) = (id(slot()), view.to_string());
        let expand = Expand::builder(id, view).build().unwrap();
        all.push((format!("cis/{id}/graph?view={text}&"), expand.into()));
    }
    let (from, to) = (id(slot()), code(slot(), false));
    let path = Path::builder(from, to.clone()).max_hops(4).build().unwrap();
    all.push((format!("paths?from={from}&to={to}&max_hops=4&"), path.into()));
    all
}

fn of_bulk() -> Vec<(String, Question)> {
    let (one, other) = (bulk_code(42), bulk_code(900));
    let aggregate = Aggregate::builder().group_by("owner").build().unwrap();
    vec![
        (format!("cis/{one}?"), Get::new(one).into()),
        (format!("cis/{other}?"), Get::new(other).into()),
        ("aggregate?group_by=owner&".into(), aggregate.into()),
    ]
}
