//! A real estate, end to end: imported by the importer, asked through the runner, and answered equally by both databases
//! and by a naive reference.
//!
//! The data is the dependency graph of a Linux distribution beside the repository (`shared/data/debian-main`). Where it
//! is not there, a generated estate takes its place. A normal run imports a part; `cargo xtask test --long` all of it.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod estate;

use ci_model::{Aggregate, CiDraft, CiRef, Expand, Filter, Get, Path, PathAnswer, Search, View};
use ci_runner::{Source, Tenant};
use ci_tests::fixture::Fixture;
use ci_tests::store_contract::{reference, world};

use estate::{Data, data, degrees, naive};

/// CIs of a normal run: enough that the most connected ones overflow the limits of an expansion.
const PART: usize = 3_000;
/// Questions of each kind.
const QUESTIONS: usize = 50;

fn is_long() -> bool {
    std::env::var_os("CI_CACHE_TEST_LONG").is_some()
}

/// The codes that have most relations, then others spread over the estate.
fn roots(data: &Data) -> Vec<CiRef> {
    let degrees = degrees(&data.edges);
    let mut hubs: Vec<(usize, &str)> = degrees.into_iter().map(|(code, degree)| (degree, code)).collect();
    hubs.sort_unstable_by(|a, b| b.cmp(a));
    let step = data.drafts.len() / (QUESTIONS - 5);
    let spread = data
        .drafts
        .iter()
        .step_by(step.max(1))
        .map(|draft| draft.ci_code.as_str());
    hubs.iter()
        .take(5)
        .map(|(_, code)| *code)
        .chain(spread)
        .take(QUESTIONS)
        .map(|c| CiRef::parse(c).unwrap())
        .collect()
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap()
}

fn searches(data: &Data) -> Vec<Search> {
    let step = data.drafts.len() / QUESTIONS;
    let filters = [
        "criticality>=3",
        "tags.role=program",
        "location contains ALL",
        "attributes.priority!=optional",
    ];
    let question = |(at, draft): (usize, &CiDraft)| {
        let pieces = draft
            .ci_name
            .split(['-', ' ', '_'])
            .filter(|piece| !piece.is_empty());
        let builder = Search::builder()
            .keywords(pieces.take(1 + at % 2))
            .limit(1 + (number(at) * 7) % 60);
        let builder = if at % 3 == 0 {
            builder.filter(Filter::parse(filters[at % 4]).unwrap())
        } else {
            builder
        };
        let columns = [
            "ci_code",
            "ci_name:desc",
            "ci_subtype",
            "ci_category:desc",
            "ci_type",
        ];
        builder.sort(columns[at % 5].parse().unwrap()).build().unwrap()
    };
    data.drafts
        .iter()
        .step_by(step.max(1))
        .take(QUESTIONS)
        .enumerate()
        .map(question)
        .collect()
}

fn aggregates() -> Vec<Aggregate> {
    let fields = [
        "ci_type",
        "ci_subtype",
        "ci_category",
        "owner",
        "criticality",
        "tags.role",
        "attributes.priority",
    ];
    let filters = [
        "status=active",
        "criticality>3",
        "tags.role exists",
        "owner contains team",
    ];
    let question = |n: usize| {
        let builder = Aggregate::builder()
            .group_by(fields[n % 7])
            .limit(1 + (number(n) * 13) % 200);
        let builder = if n.is_multiple_of(2) {
            builder.group_by(fields[(n + 3) % 7])
        } else {
            builder
        };
        let builder = if n.is_multiple_of(5) {
            builder.distinct("owner")
        } else {
            builder
        };
        builder
            .filters([Filter::parse(filters[n % 4]).unwrap()])
            .build()
            .unwrap()
    };
    (0..QUESTIONS).map(question).collect()
}

fn expansions(data: &Data) -> Vec<Expand> {
    let views = [
        View::Impact,
        View::Neighbors,
        View::Dependency,
        View::Composition,
        View::Summary,
    ];
    let question = |(at, root)| Expand::builder(root, views[at % 5]).build().unwrap();
    roots(data).into_iter().enumerate().map(question).collect()
}

/// What both databases answer, compared, and asked again from the cache.
async fn both<T: PartialEq + std::fmt::Debug>(
    tenants: &[Tenant; 2],
    ask: impl AsyncFn(&Tenant) -> (T, Source),
) -> T {
    let (first, source) = ask(&tenants[0]).await;
    assert_eq!(source, Source::Miss);
    let (second, _) = ask(&tenants[1]).await;
    assert!(first == second, "the databases differ: {first:?} and {second:?}");
    let (cached, source) = ask(&tenants[0]).await;
    assert_eq!(source, Source::Hit);
    assert!(cached == first);
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_estate_is_answered_equally_by_both_databases_and_the_reference() {
    let part = if is_long() { usize::MAX } else { PART };
    let (data, tenant) = (data(part), world::tenant());
    let (sqlite, postgres) = (Fixture::sqlite(), Fixture::postgres().await);
    let runner = |store| ci_tests::fixture::patient(store).build().unwrap();
    let runners = [
        runner(estate::imported(&sqlite, &data).await),
        runner(estate::imported(&postgres, &data).await),
    ];
    let tenants = runners.each_ref().map(|runner| runner.tenant(tenant.clone()));
    let naive = naive(&data);
    let mut found = 0;
    for question in searches(&data) {
        let answer = both(&tenants, async |tenant| {
            let answer = tenant.search_strict(&question).await.unwrap();
            (answer.value.items, answer.source)
        });
        let answer = answer.await;
        assert!(*answer == *reference::search(&naive, &question), "{question:?}");
        found += answer.len();
    }
    assert!(found > QUESTIONS, "the searches find something: {found}");
    for root in roots(&data) {
        let answer = both(&tenants, async |tenant| {
            let answer = tenant.get(&Get::new(root.clone())).await.unwrap();
            (answer.value, answer.source)
        });
        let answer = answer.await.unwrap();
        assert!(naive.cis.contains(&answer), "{root:?}");
    }
    for question in aggregates() {
        let answer = both(&tenants, async |tenant| {
            let answer = tenant.aggregate(&question).await.unwrap();
            (answer.value, answer.source)
        });
        assert!(
            *answer.await == reference::aggregate(&naive, &question),
            "{question:?}"
        );
    }
    let (mut truncated, mut nodes) = (0, 0);
    for (at, question) in expansions(&data).into_iter().enumerate() {
        let answer = both(&tenants, async |tenant| {
            let answer = tenant.expand(&question).await.unwrap();
            (answer.value, answer.source)
        });
        let answer = answer.await.unwrap();
        truncated += usize::from(answer.nodes_truncated);
        nodes += answer.items.len();
        // The reference walks every relation for every CI of a level, which is too slow for all of a large estate.
        if !is_long() || at % 10 == 9 {
            assert!(
                Some(&*answer) == reference::expand(&naive, &question).as_ref(),
                "{question:?}"
            );
        }
    }
    assert!(
        truncated > 0 && nodes > QUESTIONS,
        "{truncated} truncated, {nodes} nodes"
    );
    let ends = roots(&data);
    let mut routes = 0;
    for (from, to) in ends.iter().zip(ends.iter().skip(7)) {
        let question = Path::builder(from.clone(), to.clone())
            .max_hops(4)
            .build()
            .unwrap();
        let answer = both(&tenants, async |tenant| {
            let answer = tenant.path(&question).await.unwrap();
            (answer.value, answer.source)
        });
        let answer = answer.await.unwrap();
        routes += usize::from(matches!(*answer, PathAnswer::Found(_)));
        if !is_long() {
            assert!(
                Some(&*answer) == reference::path(&naive, &question).as_ref(),
                "{question:?}"
            );
        }
    }
    assert!(routes > 5, "{routes}");
    for (runner, fixture) in runners.iter().zip([sqlite, postgres]) {
        runner.close().await;
        fixture.finish().await;
    }
}
