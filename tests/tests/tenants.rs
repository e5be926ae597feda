//! No answer crosses a tenant: random questions of two tenants through one cache, against the uncached store.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use ci_model::{
    Aggregate, CiCode, CiDraft, CiRef, Expand, Filter, Get, Key, List, Path, Question, RelationDraft, Search,
    TenantId, View,
};
use ci_runner::Tenant;
use ci_store::Snapshot;
use ci_tests::fixture::on_both;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Questions per database.
const QUESTIONS: usize = 300;
/// Names that differ in ways that a careless key would lose.
const TENANTS: [&str; 3] = ["acme", "acme ", "acme\u{2009}"];

fn runner() -> TestRunner {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    TestRunner::new_with_rng(Config::default(), rng)
}

/// The same codes for every tenant; everything else tells whose row it is.
async fn fill(tenant: &Tenant, number: usize) {
    let cis = (0..8).map(|n| CiDraft {
        owner: Some(format!("owner-{number}")),
        ci_subtype: Some(["app", "db"][(n + number) % 2].into()),
        ..CiDraft::new(format!("ci-{n}"), format!("name {n} of {number}"), "SW")
    });
    tenant.upsert_cis(cis.collect()).await.unwrap();
    let relations = (0..7).map(|n| {
        RelationDraft::new(
            format!("ci-{n}"),
            "DEPENDS_ON",
            format!("ci-{}", (n + 1 + number) % 8),
        )
    });
    let relations = relations.filter(|relation| relation.from != relation.to);
    tenant.upsert_relations(relations.collect()).await.unwrap();
}

fn code() -> impl Strategy<Value = CiRef> {
    (0..10_u8).prop_map(|n| CiCode::new(format!("ci-{n}")).unwrap().into())
}

fn keyword() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("ci".into()),
        Just("name".into()),
        "[0-7]",
        "ci-[0-9]",
        Just("of 1".into()),
        Just("db".into())
    ]
}

fn filters() -> impl Strategy<Value = Vec<Filter>> {
    let filter = prop_oneof![
        Just("ci_subtype=app"),
        Just("owner=owner-1"),
        Just("owner contains OWNER"),
        Just("status exists false"),
    ];
    prop::collection::vec(filter.prop_map(|text| Filter::parse(text).unwrap()), 0..3)
}

fn question() -> impl Strategy<Value = Question> {
    let search =
        (prop::collection::vec(keyword(), 0..3), filters(), 1..20_u32).prop_map(|(words, filters, limit)| {
            Search::builder()
                .keywords(words)
                .filters(filters)
                .limit(limit)
                .build()
                .unwrap()
                .into()
        });
    let list = (filters(), 0..4_u32).prop_map(|(filters, offset)| {
        List::builder()
            .filters(filters)
            .offset(offset)
            .build()
            .unwrap()
            .into()
    });
    let aggregate =
        (filters(), prop_oneof![Just("owner"), Just("ci_subtype")]).prop_map(|(filters, field)| {
            Aggregate::builder()
                .filters(filters)
                .group_by(field)
                .build()
                .unwrap()
                .into()
        });
    let view = prop_oneof![Just(View::Impact), Just(View::Neighbors), Just(View::Dependency)];
    let expand = (code(), view).prop_map(|(root, view)| Expand::builder(root, view).build().unwrap().into());
    let path = (code(), code()).prop_map(|(from, to)| Path::builder(from, to).build().unwrap().into());
    prop_oneof![
        search,
        list,
        aggregate,
        expand,
        path,
        code().prop_map(|code| Get::new(code).into())
    ]
}

/// The answer by way of the runner, as text.
async fn through(tenant: &Tenant, question: &Question) -> String {
    match question {
        Question::Get(get) => format!("{:?}", tenant.get(get).await.unwrap().value),
        Question::Search(search) => format!("{:?}", tenant.search_strict(search).await.unwrap().value.items),
        Question::List(list) => format!("{:?}", tenant.list(list).await.unwrap().value),
        Question::Aggregate(aggregate) => format!("{:?}", tenant.aggregate(aggregate).await.unwrap().value),
        Question::Expand(expand) => format!("{:?}", tenant.expand(expand).await.unwrap().value),
        Question::Path(path) => format!("{:?}", tenant.path(path).await.unwrap().value),
    }
}

/// The answer straight from the store, as text.
async fn uncached(snapshot: &mut dyn Snapshot, tenant: &TenantId, question: &Question) -> String {
    match question {
        Question::Get(get) => format!(
            "{:?}",
            snapshot
                .get_many(tenant, std::slice::from_ref(get))
                .await
                .unwrap()[0]
        ),
        Question::Search(search) => format!("{:?}", snapshot.search(tenant, search).await.unwrap()),
        Question::List(list) => format!("{:?}", snapshot.list(tenant, list).await.unwrap()),
        Question::Aggregate(aggregate) => {
            format!("{:?}", snapshot.aggregate(tenant, aggregate).await.unwrap())
        }
        Question::Expand(expand) => format!("{:?}", snapshot.expand(tenant, expand).await.unwrap()),
        Question::Path(path) => format!("{:?}", snapshot.path(tenant, path).await.unwrap().answer),
    }
}

#[tokio::test]
async fn the_same_question_of_two_tenants_never_shares_an_answer() {
    on_both(async |fixture| {
        let runner_of = ci_tests::fixture::patient(fixture.open().await).build().unwrap();
        let tenants: Vec<Tenant> = TENANTS
            .iter()
            .map(|name| runner_of.tenant(TenantId::new(name).unwrap()))
            .collect();
        for (number, tenant) in tenants.iter().enumerate() {
            fill(tenant, number).await;
        }
        let (mut random, mut differing) = (runner(), 0);
        for _ in 0..QUESTIONS {
            let question = question().new_tree(&mut random).unwrap().current();
            let mut answers = Vec::new();
            for tenant in &tenants {
                let first = through(tenant, &question).await;
                assert_eq!(through(tenant, &question).await, first, "{question:?}");
                let mut snapshot = runner_of.store().snapshot().await.unwrap();
                assert_eq!(
                    uncached(&mut *snapshot, tenant.id(), &question).await,
                    first,
                    "{question:?}"
                );
                answers.push(first);
            }
            differing += usize::from(answers[0] != answers[1]);
        }
        assert!(
            differing > QUESTIONS / 3,
            "the tenants' data differ enough to tell: {differing}"
        );
        runner_of.close().await;
    })
    .await;
}

proptest! {
    #[test]
    fn keys_of_two_tenants_differ_for_every_question(question in question(), a in "[^\\p{C}]{1,20}", b in "[^\\p{C}]{1,20}") {
        prop_assume!(a != b && !a.trim().is_empty() && !b.trim().is_empty());
        let key = |name: &str| Key::new(&TenantId::new(name).unwrap(), &question);
        prop_assert_ne!(key(&a), key(&b));
        prop_assert_eq!(key(&a), key(&a));
    }
}
