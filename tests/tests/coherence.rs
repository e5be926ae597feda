//! No answer is older than a write that had returned before the question, in random histories of one runner.
//!
//! Each subject (a CI, or a relation) has one writer, who counts its versions up. A reader notes how far the returned
//! writes are, asks, and then notes how far the begun writes are: its answer must fit a version between the two, and
//! none before the version that its last answer to the same question fitted.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use ci_model::{
    Aggregate, CiCode, CiDraft, CiId, CiRef, CiSummary, Expand, Get, GroupValue, List, Path, PathAnswer,
    RelationDraft, Search, TenantId, View,
};
use ci_runner::{Runner, Stats, Tenant};
use ci_store::{Store, WriteOptions};
use ci_tests::fixture::Fixture;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Subjects that are CIs: renamed, deleted and brought back.
const CIS: usize = 6;
/// Subjects that are CIs or relations of the hub: made and removed.
const SUBJECTS: usize = CIS + 2;
const QUESTIONS: usize = 9;
const WRITERS: usize = 3;
const READERS: u64 = 4;
const WRITES_EACH: usize = 60;

/// Who invalidates, and when: as shipped, or with a defect that the checker has to catch.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Writing {
    Shipped,
    InvalidatesBefore,
    ForgetsRelations,
    ForgetsEverything,
}

/// What an answer tells about one subject.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// The version of a CI, or that it is not there.
    Row(Option<u64>),
    /// The same, asked by one of its two codes.
    Coded(char, Option<u64>),
    /// The version its row has, and whether it is deleted, asked with deleted CIs.
    Stored(u64, bool),
    /// Whether the hub has the relation.
    Linked(bool),
}

impl Seen {
    fn fits(self, version: u64) -> bool {
        let there = |found: Option<u64>, expected: bool| found == expected.then_some(version);
        match self {
            Self::Row(found) => there(found, is_live(version)),
            Self::Coded(letter, found) => there(found, is_live(version) && letter_of(version) == letter),
            // A deletion leaves the row as it was.
            Self::Stored(row, true) => row + 1 == version && !is_live(version),
            Self::Stored(row, false) => row == version && is_live(version),
            Self::Linked(yes) => yes == is_linked(version),
        }
    }
}

fn is_live(version: u64) -> bool {
    version % 5 != 4
}

fn letter_of(version: u64) -> char {
    if version.is_multiple_of(2) { 'a' } else { 'b' }
}

fn is_linked(version: u64) -> bool {
    version.is_multiple_of(2)
}

fn tenant_id() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn code(text: &str) -> CiCode {
    CiCode::new(text).unwrap()
}

/// The id that a subject had from the beginning; renaming does not change it.
fn id(subject: usize) -> CiId {
    let first = if subject < CIS {
        format!("ci-{subject}-a")
    } else {
        format!("link-{subject}")
    };
    CiId::derived(&tenant_id(), &code(&first))
}

fn draft(subject: usize, version: u64) -> CiDraft {
    CiDraft {
        ci_id: Some(id(subject)),
        owner: Some(format!("{subject} version {version}")),
        ..CiDraft::new(
            format!("ci-{subject}-{}", letter_of(version)),
            format!("{subject} version {version}"),
            "SW",
        )
    }
}

fn relation(subject: usize) -> RelationDraft {
    let to = if subject < CIS {
        format!("ci-{subject}-a")
    } else {
        format!("link-{subject}")
    };
    RelationDraft::new("hub", "USES", to)
}

/// Subject and version out of a text that ends in both.
fn parse(text: &str) -> Option<(usize, u64)> {
    let (subject, version) = text.split_once(" version ")?;
    Some((subject.parse().ok()?, version.parse().ok()?))
}

fn version_of(ci: &CiSummary) -> u64 {
    parse(&ci.ci_name).unwrap().1
}

/// What is told about all CIs by the texts that an answer shows.
fn rows<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<(usize, Seen)> {
    let shown: HashMap<usize, u64> = texts.filter_map(parse).collect();
    (0..CIS)
        .map(|subject| (subject, Seen::Row(shown.get(&subject).copied())))
        .collect()
}

/// One history and what is known about it.
struct World {
    tenant: Tenant,
    runner: Runner,
    /// The database without the cache.
    store: Arc<dyn Store>,
    writing: Writing,
    /// The version of each subject whose write was begun last, and returned last.
    begun: [AtomicU64; SUBJECTS],
    returned: [AtomicU64; SUBJECTS],
    done: AtomicBool,
}

impl World {
    async fn new(fixture: &Fixture, entries: usize, writing: Writing) -> Arc<Self> {
        let store = fixture.open().await;
        let runner = ci_tests::fixture::patient(Arc::clone(&store))
            .max_entries(entries)
            .build()
            .unwrap();
        let tenant = runner.tenant(tenant_id());
        let links = (CIS..SUBJECTS).map(|subject| CiDraft::new(format!("link-{subject}"), "Link", "HW"));
        let hub = CiDraft::new("hub", "Hub", "HW");
        let cis = (0..CIS).map(|subject| draft(subject, 0));
        tenant
            .upsert_cis(cis.chain(links).chain([hub]).collect())
            .await
            .unwrap();
        tenant
            .upsert_relations((0..SUBJECTS).map(relation).collect())
            .await
            .unwrap();
        Arc::new(Self {
            tenant,
            runner,
            store,
            writing,
            begun: Default::default(),
            returned: Default::default(),
            done: AtomicBool::new(false),
        })
    }

    /// Brings a subject to its next version.
    async fn write(&self, subject: usize) {
        let version = self.begun[subject].fetch_add(1, SeqCst) + 1;
        if self.writing == Writing::InvalidatesBefore {
            self.tenant.invalidate();
            // A reader in the gap, so that the defect shows in every history.
            for question in 0..QUESTIONS {
                self.ask(question, subject).await;
            }
        }
        let store = match self.writing {
            Writing::Shipped => self.runner.store(),
            Writing::ForgetsRelations if subject < CIS => self.runner.store(),
            _ => Arc::clone(&self.store),
        };
        let options = WriteOptions::default();
        if subject >= CIS {
            let records = vec![relation(subject).check(&tenant_id()).unwrap()];
            if is_linked(version) {
                store.upsert_relations(records, options).await.unwrap();
            } else {
                store
                    .delete_relations(records, WriteOptions::default())
                    .await
                    .unwrap();
            }
        } else if is_live(version) {
            let records = vec![draft(subject, version).check(&tenant_id()).unwrap()];
            store.upsert_cis(records, options).await.unwrap();
        } else {
            let targets = vec![CiRef::Id(id(subject))];
            store.delete_cis(&tenant_id(), targets, options).await.unwrap();
        }
        self.returned[subject].store(version, SeqCst);
    }

    /// Asks one of the questions; those about one subject are about this one.
    async fn ask(&self, question: usize, subject: usize) -> Vec<(usize, Seen)> {
        let (tenant, ci, link) = (&self.tenant, subject % CIS, CIS + subject % (SUBJECTS - CIS));
        match question {
            0 => {
                let found = tenant.get(&Get::new(id(ci))).await.unwrap().value;
                vec![(ci, Seen::Row(found.map(|ci| version_of(&ci.summary))))]
            }
            1 | 2 => {
                let letter = if question == 1 { 'a' } else { 'b' };
                let found = tenant
                    .get_by_code(&format!("ci-{ci}-{letter}"))
                    .await
                    .unwrap()
                    .value;
                vec![(ci, Seen::Coded(letter, found.map(|ci| version_of(&ci.summary))))]
            }
            3 => {
                let get = Get::new(id(ci)).include_deleted(true);
                let found = tenant.get(&get).await.unwrap().value.unwrap();
                let deleted = found.deleted_at.is_some();
                vec![(ci, Seen::Stored(version_of(&found.summary), deleted))]
            }
            4 => {
                let gets: Vec<Get> = (0..CIS).map(|subject| Get::new(id(subject))).collect();
                let found = tenant.get_many(&gets).await.unwrap();
                let found = found.iter().filter_map(|answer| answer.value.as_deref());
                rows(found.map(|ci| ci.summary.ci_name.as_str()))
            }
            5 => {
                let search = Search::builder().keyword("version").limit(100).build().unwrap();
                let found = tenant.search(&search).await.unwrap().value;
                rows(found.items.iter().map(|ci| ci.ci_name.as_str()))
            }
            6 => {
                let list = List::builder().limit(50).build().unwrap();
                let page = tenant.list(&list).await.unwrap().value;
                rows(page.items.iter().map(|ci| ci.ci_name.as_str()))
            }
            7 => {
                let aggregate = Aggregate::builder().group_by("owner").limit(100).build().unwrap();
                let groups = tenant.aggregate(&aggregate).await.unwrap().value;
                rows(groups.items.iter().filter_map(|group| match &group.values[0].1 {
                    GroupValue::Text(owner) => Some(owner.as_str()),
                    _ => None,
                }))
            }
            _ => self.ask_graph(link).await,
        }
    }

    async fn ask_graph(&self, link: usize) -> Vec<(usize, Seen)> {
        let path = Path::builder(code("hub"), code(&format!("link-{link}")))
            .build()
            .unwrap();
        let found = self.tenant.path(&path).await.unwrap().value.unwrap();
        let expand = Expand::builder(code("hub"), View::Neighbors).build().unwrap();
        let graph = self.tenant.expand(&expand).await.unwrap().value.unwrap();
        let mut seen = rows(graph.items.iter().map(|node| node.ci.ci_name.as_str()));
        seen.push((link, Seen::Linked(matches!(*found, PathAnswer::Found(_)))));
        // After the path, whose answer may be older.
        seen.extend((CIS..SUBJECTS).map(|subject| {
            let linked = graph.items.iter().any(|node| node.ci.ci_id == id(subject));
            (subject, Seen::Linked(linked))
        }));
        seen
    }
}

/// One reader's memory: the least version that its last answer to a question fitted, by question and subject.
#[derive(Default)]
struct Reader {
    known: HashMap<(usize, usize, usize), u64>,
}

impl Reader {
    async fn check(&mut self, world: &World, question: usize, about: usize) -> Result<(), String> {
        let returned = world.returned.each_ref().map(|version| version.load(SeqCst));
        let answer = world.ask(question, about).await;
        let begun = world.begun.each_ref().map(|version| version.load(SeqCst));
        for (place, (subject, seen)) in answer.into_iter().enumerate() {
            // The place tells apart what two parts of an answer say about one subject.
            let known = self.known.entry((question, place, subject)).or_default();
            let least = returned[subject].max(*known);
            *known = (least..=begun[subject])
                .find(|version| seen.fits(*version))
                .ok_or_else(|| {
                    format!(
                        "question {question}, subject {subject}: {seen:?} fits no version from {least} to {}",
                        begun[subject]
                    )
                })?;
        }
        Ok(())
    }
}

async fn read(world: Arc<World>, seed: u64) -> Result<(), String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut reader = Reader::default();
    while !world.done.load(SeqCst) {
        let (question, about) = (
            random.random_range(0..QUESTIONS),
            random.random_range(0..SUBJECTS),
        );
        reader.check(&world, question, about).await?;
        // A hit is ready at once: without this the readers would leave the writers no thread.
        tokio::task::yield_now().await;
    }
    // What the last writes left behind, from the cache and once more.
    for _ in 0..2 {
        for question in 0..QUESTIONS {
            for about in 0..SUBJECTS {
                reader.check(&world, question, about).await?;
            }
        }
    }
    Ok(())
}

/// Each subject has one writer, so that its versions are committed in their order.
async fn write(world: Arc<World>, writer: usize, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let own: Vec<usize> = (0..SUBJECTS)
        .filter(|subject| subject % WRITERS == writer)
        .collect();
    for _ in 0..WRITES_EACH {
        world.write(own[random.random_range(0..own.len())]).await;
    }
}

/// Runs one history; says what the first reader saw that cannot be.
async fn history(entries: usize, writing: Writing, seed: u64) -> Result<Stats, String> {
    let fixture = Fixture::sqlite();
    let world = World::new(&fixture, entries, writing).await;
    let readers: Vec<_> = (0..READERS)
        .map(|number| tokio::spawn(read(Arc::clone(&world), seed + number)))
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(Arc::clone(&world), writer, seed + 100 + writer as u64)))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    world.done.store(true, SeqCst);
    let mut outcome = Ok(());
    for reader in readers {
        outcome = outcome.and(reader.await.unwrap());
    }
    let stats = world.runner.stats();
    world.runner.close().await;
    outcome.map(|()| stats)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_answer_is_older_than_a_write_that_had_returned() {
    for (entries, seed) in [(100_000, 1), (100_000, 2), (3, 3)] {
        let stats = history(entries, Writing::Shipped, seed).await.unwrap();
        let cache = &stats.cache;
        assert!(cache.hits > 0 && cache.misses > 0, "{cache:?}");
        assert_eq!(cache.evictions > 0, entries == 3, "{cache:?}");
        assert_eq!(cache.hits + cache.misses, cache.total_requests);
        let engine = &cache.engine;
        assert_eq!(engine.loads + engine.coalesced, cache.misses, "{engine:?}");
        assert_eq!((engine.abandoned, engine.load_failures), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_writer_that_invalidates_before_its_write_is_caught() {
    let seen = history(100_000, Writing::InvalidatesBefore, 4).await.unwrap_err();
    assert!(seen.contains("fits no version"), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_writer_that_forgets_relations_or_everything_is_caught() {
    let seen = history(100_000, Writing::ForgetsRelations, 5).await.unwrap_err();
    assert!(seen.contains("question 8") && seen.contains("Linked"), "{seen}");
    let seen = history(100_000, Writing::ForgetsEverything, 6).await.unwrap_err();
    assert!(seen.contains("fits no version"), "{seen}");
}
