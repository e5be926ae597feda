//! The real estate that tests are asked about: the dependency graph of a Linux distribution beside the repository
//! (`shared/data/debian-main`, or the folder that `CI_CACHE_TEST_DATA` names), or a generated one where it is not there.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use ci_bench::Estate;
use ci_model::{CiDetail, CiDraft, CiId, CiRecord, CiSummary, RelationDraft, Timestamp};
use ci_store::Store;
use ci_store::import::{ImportFormat, ImportOptions, ImportSource, import_cis, import_relations};
use ci_tests::fixture::Fixture;
use ci_tests::store_contract::{World, world};

/// Most connected CIs of a part.
const HUBS: usize = 200;
/// CIs of a generated estate.
const GENERATED: u64 = 3_000;

/// The estate as lines of JSON, and parsed.
pub(crate) struct Data {
    cis: String,
    relations: String,
    /// The CIs.
    pub(crate) drafts: Vec<CiDraft>,
    /// The relations between them.
    pub(crate) edges: Vec<RelationDraft>,
}

fn file(name: &str) -> Option<String> {
    let folder = std::env::var_os("CI_CACHE_TEST_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/debian-main"),
        PathBuf::from,
    );
    let path = folder.join(name);
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).ok()?)
        .read_to_string(&mut text)
        .unwrap();
    Some(text)
}

/// The estate, or a part of so many CIs.
pub(crate) fn data(part: usize) -> Data {
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
    let kept = kept(&all, &edges, part);
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
fn kept<'a>(all: &'a [CiDraft], edges: &[RelationDraft], part: usize) -> HashSet<&'a str> {
    if all.len() <= part {
        return all.iter().map(|draft| draft.ci_code.as_str()).collect();
    }
    let degrees = degrees(edges);
    let mut hubs: Vec<&CiDraft> = all.iter().collect();
    hubs.sort_by_key(|draft| std::cmp::Reverse(degrees.get(draft.ci_code.as_str()).copied().unwrap_or(0)));
    let spread = all.iter().step_by(all.len() / (part - HUBS));
    hubs.into_iter()
        .take(HUBS)
        .chain(spread)
        .map(|draft| draft.ci_code.as_str())
        .collect()
}

/// How many relations each code has.
pub(crate) fn degrees(edges: &[RelationDraft]) -> HashMap<&str, usize> {
    let mut degrees: HashMap<&str, usize> = HashMap::new();
    for edge in edges {
        *degrees.entry(&edge.from).or_default() += 1;
        *degrees.entry(&edge.to).or_default() += 1;
    }
    degrees
}

fn generated() -> (String, String) {
    let estate = Estate::new(7, GENERATED);
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
pub(crate) fn naive(data: &Data) -> World {
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

/// A database with the estate in it.
pub(crate) async fn imported(fixture: &Fixture, data: &Data) -> Arc<dyn Store> {
    let (store, tenant) = (fixture.open().await, world::tenant());
    let source =
        |text: &String| ImportSource::reader(std::io::Cursor::new(text.clone()), ImportFormat::JsonLines);
    let options = || ImportOptions::default().at(moment());
    let cis = import_cis(&*store, &tenant, source(&data.cis), options(), &mut ())
        .await
        .unwrap();
    assert_eq!(
        (cis.created, cis.rejected_count),
        (data.drafts.len() as u64, 0),
        "no line is lost"
    );
    let relations = import_relations(&*store, &tenant, source(&data.relations), options(), &mut ())
        .await
        .unwrap();
    assert_eq!(
        (relations.created, relations.rejected_count),
        (data.edges.len() as u64, 0),
        "no line is lost"
    );
    store.analyze().await.unwrap();
    store
}
