//! Random expansions and paths on a real graph, equal to a naive traversal in memory on both databases.
//!
//! A normal run asks about a part with all of the graph's hubs; `cargo xtask test --long` about all of it.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod estate;

use ci_model::{Direction, Expand, Filter, Path, PathAnswer, View};
use ci_tests::fixture::Fixture;
use ci_tests::store_contract::world::{below, one_of, seeded, tenant};
use ci_tests::store_contract::{World, reference};
use rand_chacha::ChaCha8Rng;

use estate::{Data, data, degrees, naive};

/// CIs of a normal run.
const PART: usize = 12_000;
/// Questions of each kind.
const QUESTIONS: usize = 200;
/// How many of the most connected CIs count as hubs.
const HUBS: usize = 40;

const DIRECTIONS: [Direction; 3] = [Direction::In, Direction::Out, Direction::Both];
const FILTERS: [&str; 5] = [
    "ci_category=application",
    "criticality>=3",
    "tags.role=program",
    "attributes.priority!=optional",
    "owner contains team",
];

/// Positions of the most connected CIs.
fn hubs(data: &Data) -> Vec<usize> {
    let degrees = degrees(&data.edges);
    let degree = |at: &usize| {
        degrees
            .get(data.drafts[*at].ci_code.as_str())
            .copied()
            .unwrap_or(0)
    };
    let mut all: Vec<usize> = (0..data.drafts.len()).collect();
    all.sort_by_key(|at| std::cmp::Reverse(degree(at)));
    all.truncate(HUBS);
    all
}

/// A hub, one that a relation leads from, or any CI.
fn any(random: &mut ChaCha8Rng, world: &World, hubs: &[usize]) -> usize {
    match below(random, 4) {
        0 => hubs[below(random, hubs.len())],
        1 => below(random, world.cis.len()),
        _ => world.relations[below(random, world.relations.len())].0,
    }
}

/// Every view, depth and direction in turn; some with several roots, filters, types or narrow limits.
fn expansion(random: &mut ChaCha8Rng, world: &World, hubs: &[usize], at: usize) -> Expand {
    let views = [
        View::Summary,
        View::Composition,
        View::Dependency,
        View::Impact,
        View::Neighbors,
    ];
    let view = views[at % views.len()];
    let depth = 1 + (at / views.len()) % usize::from(view.policy().max_depth);
    let mut root = || world.cis[any(random, world, hubs)].summary.clone();
    let mut expand = Expand::builder(root().ci_code, view)
        .depth(u8::try_from(depth).unwrap())
        .direction(DIRECTIONS[(at / 15) % 3]);
    if at.is_multiple_of(4) {
        expand = expand.roots([root().ci_id, root().ci_id]);
    }
    if below(random, 3) == 0 {
        expand = expand.filter(Filter::parse(one_of(random, &FILTERS)).unwrap());
    }
    if below(random, 3) == 0 {
        expand = expand.rel_types([one_of(random, &["DEPENDS_ON", "USES", "COMPOSED_OF"])]);
    }
    if below(random, 3) == 0 {
        let nodes = u32::try_from(3 + below(random, 1_998)).unwrap();
        let edges = u32::try_from(below(random, 4_001)).unwrap();
        expand = expand.max_nodes(nodes).max_edges(edges);
    }
    expand.build().unwrap()
}

/// Up to six hops, one path or several.
fn path(random: &mut ChaCha8Rng, world: &World, hubs: &[usize], at: usize) -> Path {
    let direction = DIRECTIONS[(at / 6) % 3];
    let (mut from, mut to) = (any(random, world, hubs), any(random, world, hubs));
    // Against the direction there is hardly ever a way from a hub.
    let hub = hubs[below(random, hubs.len())];
    match direction {
        Direction::Out => to = hub,
        Direction::In => from = hub,
        Direction::Both => {}
    }
    let [from, to] = [from, to].map(|at| world.cis[at].summary.clone());
    let path = Path::builder(from.ci_code, to.ci_id)
        .max_hops(u8::try_from(1 + at % 6).unwrap())
        .direction(direction)
        .most([1, 25, 3][(at / 18) % 3]);
    let path = if below(random, 4) == 0 {
        path.rel_types(["DEPENDS_ON"])
    } else {
        path
    };
    path.build().unwrap()
}

#[tokio::test]
async fn random_expansions_and_paths_on_a_real_graph_are_those_of_a_naive_traversal() {
    let is_long = std::env::var_os("CI_CACHE_TEST_LONG").is_some();
    let data = data(if is_long { usize::MAX } else { PART });
    let (world, hubs) = (naive(&data), hubs(&data));
    let mut random = seeded(61);
    let expansions: Vec<_> = (0..QUESTIONS)
        .map(|at| expansion(&mut random, &world, &hubs, at))
        .map(|question| (reference::expand(&world, &question).unwrap(), question))
        .collect();
    let paths: Vec<_> = (0..QUESTIONS)
        .map(|at| path(&mut random, &world, &hubs, at))
        .map(|question| (reference::path(&world, &question).unwrap(), question))
        .collect();
    let cut = expansions
        .iter()
        .filter(|(graph, _)| graph.nodes_truncated)
        .count();
    let found = paths
        .iter()
        .filter(|(answer, _)| !answer.routes().is_empty())
        .count();
    let several = paths
        .iter()
        .filter(|(answer, _)| answer.routes().len() > 1)
        .count();
    let more = paths.iter().filter(|(answer, _)| answer.is_truncated()).count();
    println!("{cut} graphs cut, {found} paths found, {several} several, {more} with more");
    assert!(
        cut > 10 && found > 40 && several > 10 && more > 3,
        "too easy to prove anything"
    );
    for fixture in [Fixture::sqlite(), Fixture::postgres().await] {
        let store = estate::imported(&fixture, &data).await;
        let mut snapshot = store.snapshot().await.unwrap();
        for (right, question) in &expansions {
            let answer = snapshot.expand(&tenant(), question).await.unwrap();
            assert!(
                answer.as_ref() == Some(right),
                "{question:?} on {}",
                store.backend()
            );
        }
        for (right, question) in &paths {
            let answer: Option<PathAnswer> = snapshot.path(&tenant(), question).await.unwrap().answer;
            assert!(
                answer.as_ref() == Some(right),
                "{question:?} on {}",
                store.backend()
            );
        }
        drop(snapshot);
        store.close().await;
        fixture.finish().await;
    }
}
