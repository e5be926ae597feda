//! A real estate, end to end: imported by the importer, asked through the runner, and answered equally by both databases
//! and by a naive reference.
//!
//! The data is the dependency graph of a Linux distribution beside the repository (`shared/data/debian-main`). Where it
//! is not there, a generated estate takes its place. A normal run imports a part; `cargo xtask test --long` all of it.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::PathBuf;

use ci_bench::Estate;
use ci_model::{
    Aggregate, CiDetail, CiDraft, CiId, CiRecord, CiRef, CiSummary, Expand, Filter, Get, Path, PathAnswer,
    RelationDraft, Search, TenantId, Timestamp, View,
};
use ci_runner::{Runner, Source, Tenant};
use ci_store::import::{ImportFormat, ImportOptions, ImportSource, import_cis, import_relations};
use ci_tests::fixture::Fixture;
use ci_tests::store_contract::{World, reference, world};

/// CIs of a normal run: enough that the most connected ones overflow the limits of an expansion.
const PART: usize = 3_000;
/// Most connected CIs of a normal run.
const HUBS: usize = 200;
/// Questions of each kind.
const QUESTIONS: usize = 50;

/// The estate as lines of JSON, and parsed.
struct Data {
    cis: String,
    relations: String,
    drafts: Vec<CiDraft>,
    edges: Vec<RelationDraft>,
}

fn is_long() -> bool {
    std::env::var_os("CI_CACHE_TEST_LONG").is_some()
}

fn file(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/debian-main")
        .join(name);
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).ok()?)
        .read_to_string(&mut text)
        .unwrap();
    Some(text)
}

fn data() -> Data {
    let (cis, relations) = match (file("cis.jsonl.gz"), file("relations.jsonl.gz")) {
        (Some(cis), Some(relations)) => (cis, relations),
        _ => generated(),
    };
    let all: Vec<CiDraft> = cis
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let edges: Vec<RelationDraft> = relations
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kept = kept(&all, &edges);
    let mut data = Data {
        cis: String::new(),
        relations: String::new(),
        drafts: Vec::new(),
        edges: Vec::new(),
    };
    for (line, draft) in cis
        .lines()
        .zip(&all)
        .filter(|(_, draft)| kept.contains(draft.ci_code.as_str()))
    {
        data.cis.extend([line, "\n"]);
        data.drafts.push(draft.clone());
    }
    let within = |edge: &RelationDraft| kept.contains(edge.from.as_str()) && kept.contains(edge.to.as_str());
    for (line, edge) in relations.lines().zip(&edges).filter(|(_, edge)| within(edge)) {
        data.relations.extend([line, "\n"]);
        data.edges.push(edge.clone());
    }
    data
}

/// The codes that are imported: the most connected CIs, so that the part has hubs and cycles, and others spread over the
/// estate.
fn kept<'a>(all: &'a [CiDraft], edges: &[RelationDraft]) -> HashSet<&'a str> {
    if is_long() || all.len() <= PART {
        return all.iter().map(|draft| draft.ci_code.as_str()).collect();
    }
    let degrees = degrees(edges);
    let mut hubs: Vec<&CiDraft> = all.iter().collect();
    hubs.sort_by_key(|draft| std::cmp::Reverse(degrees.get(draft.ci_code.as_str()).copied().unwrap_or(0)));
    let spread = all.iter().step_by(all.len() / (PART - HUBS));
    hubs.into_iter()
        .take(HUBS)
        .chain(spread)
        .map(|draft| draft.ci_code.as_str())
        .collect()
}

fn degrees(edges: &[RelationDraft]) -> HashMap<&str, usize> {
    let mut degrees: HashMap<&str, usize> = HashMap::new();
    for edge in edges {
        *degrees.entry(&edge.from).or_default() += 1;
        *degrees.entry(&edge.to).or_default() += 1;
    }
    degrees
}

fn generated() -> (String, String) {
    let estate = Estate::new(7, PART as u64);
    let (mut cis, mut relations) = (Vec::new(), Vec::new());
    estate.write_cis(&mut cis).unwrap();
    estate.write_relations(&mut relations).unwrap();
    (
        String::from_utf8(cis).unwrap(),
        String::from_utf8(relations).unwrap(),
    )
}

/// One moment for everything, so that the two databases hold the same rows.
fn moment() -> Timestamp {
    "2026-01-31T08:00:00Z".parse().unwrap()
}

/// The estate as the reference sees it.
fn naive(data: &Data) -> World {
    let tenant = world::tenant();
    let cis: Vec<CiDetail> = data
        .drafts
        .iter()
        .map(|draft| detail(draft.clone().check(&tenant).unwrap()))
        .collect();
    let places: HashMap<&str, usize> = data
        .drafts
        .iter()
        .enumerate()
        .map(|(at, draft)| (draft.ci_code.as_str(), at))
        .collect();
    let relations = data
        .edges
        .iter()
        .map(|edge| {
            let record = edge.clone().check(&tenant).unwrap();
            (
                places[edge.from.as_str()],
                places[edge.to.as_str()],
                record.rel_type,
            )
        })
        .collect();
    World::new(cis, relations)
}

fn detail(record: CiRecord) -> CiDetail {
    let ci_id: CiId = record.insert_id();
    CiDetail {
        summary: CiSummary {
            ci_id,
            ci_code: record.code,
            ci_name: record.name,
            ci_type: record.ci_type,
            ci_subtype: record.subtype,
            ci_category: record.category,
            status: record.status,
            location: record.location,
            owner: record.owner,
        },
        tenant_id: record.tenant,
        criticality: record.criticality,
        created_at: record.created_at.unwrap_or_else(moment),
        updated_at: record.updated_at.unwrap_or_else(moment),
        deleted_at: None,
        tags: record.tags,
        attributes: record.attributes,
    }
}

async fn imported(fixture: &Fixture, data: &Data, tenant: &TenantId) -> Runner {
    let runner = Runner::builder(fixture.open().await).build().unwrap();
    let store = runner.store();
    let source =
        |text: &String| ImportSource::reader(std::io::Cursor::new(text.clone()), ImportFormat::JsonLines);
    let options = || ImportOptions::default().at(moment());
    let cis = import_cis(&*store, tenant, source(&data.cis), options(), &mut ())
        .await
        .unwrap();
    assert_eq!(
        (cis.created, cis.rejected_count),
        (data.drafts.len() as u64, 0),
        "no line is lost"
    );
    let relations = import_relations(&*store, tenant, source(&data.relations), options(), &mut ())
        .await
        .unwrap();
    assert_eq!(
        (relations.created, relations.rejected_count),
        (data.edges.len() as u64, 0),
        "no line is lost"
    );
    runner
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
    let (data, tenant) = (data(), world::tenant());
    let (sqlite, postgres) = (Fixture::sqlite(), Fixture::postgres().await);
    let runners = [
        imported(&sqlite, &data, &tenant).await,
        imported(&postgres, &data, &tenant).await,
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
