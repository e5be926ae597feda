//! A store of your own behind the runner: CIs in memory, with a change feed. `cargo run -p ci-runner --example own_store`
//!
//! The traits [`Store`], [`Snapshot`] and [`Feed`] say what an implementor owes. This one keeps its promises by keeping little: gets,
//! searches, and writes of CIs whose ids it derives. It has no relations, lists or groups, and says
//! so with an error: an empty answer would be cached as the truth. Nothing outlives the process, and every write copies
//! all CIs: a store for tests, and a pattern for one of yours.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ci_model::{
    Aggregate, Change, CiChange, CiCode, CiDetail, CiDraft, CiOutcome, CiRecord, CiRef, CiSummary, Effect,
    Epoch, Event, Expand, Get, Graph, Groups, Image, List, ListPage, Origin, Path, Rejection,
    RelationOutcome, RelationRecord, Search, TenantId, Timestamp, Token, Version,
};
use ci_runner::{FeedState, Runner, Source};
use ci_store::{
    EpochReason, Error, Feed, OnRejection, PathTrace, Polled, Result, Snapshot, Start, Store, WriteOptions,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Changes that are kept for feeds. One that is further behind is told that it missed some.
const KEPT: usize = 10_000;

/// One state. Snapshots share it; a writer makes another.
#[derive(Debug, Clone, Default)]
struct State {
    /// Changes so far; each has a number.
    number: u64,
    cis: BTreeMap<(TenantId, CiCode), CiDetail>,
    log: VecDeque<Change>,
}

#[derive(Debug)]
struct Shared {
    /// Of this process alone: a token of an earlier one must not be compared with ours.
    epoch: Epoch,
    state: Mutex<Arc<State>>,
    changed: Notify,
}

#[derive(Debug, Clone)]
struct MemoryStore(Arc<Shared>);

fn refused(what: &str) -> Error {
    Error::Database(format!("the store in memory has no {what}").into())
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn now() -> Result<Timestamp> {
    let micros = i64::try_from(since_1970().as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(micros).map_err(|error| Error::Database(error.to_string().into()))
}

/// The row as predicates and the cache's matching see it. All of it is known.
fn image(ci: &CiDetail) -> Image {
    let summary = &ci.summary;
    let code = summary.ci_code.as_str().to_owned();
    let mut image = Image::new(code, summary.ci_name.clone(), summary.ci_type.clone());
    image.subtype.clone_from(&summary.ci_subtype);
    image.category.clone_from(&summary.ci_category);
    image.status.clone_from(&summary.status);
    image.location.clone_from(&summary.location);
    image.owner.clone_from(&summary.owner);
    image.criticality = ci.criticality.map(ci_model::Criticality::get);
    image.created_at = Some(ci.created_at);
    image.updated_at = Some(ci.updated_at);
    image.deleted = ci.deleted_at.is_some();
    image.tags = Some(ci.tags.clone());
    image.attributes = Some(ci.attributes.clone());
    image.fold();
    image
}

/// The CI that a record makes of what is there.
fn made(record: CiRecord, old: Option<&CiDetail>, at: Timestamp) -> CiDetail {
    CiDetail {
        summary: CiSummary {
            ci_id: record.insert_id(),
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
        created_at: record.created_at.or(old.map(|old| old.created_at)).unwrap_or(at),
        updated_at: record.updated_at.unwrap_or(at),
        deleted_at: record.deleted_at,
        tags: record.tags,
        attributes: record.attributes,
    }
}

impl State {
    /// Puts a row in the place of what is there, and records both.
    fn put(&mut self, new: CiDetail) {
        self.number += 1;
        let (tenant, id, after) = (new.tenant_id.clone(), new.summary.ci_id, image(&new));
        let old = self
            .cis
            .insert((tenant.clone(), new.summary.ci_code.clone()), new);
        self.log.push_back(Change {
            origin: Origin::Sequence(self.number),
            event: Event::Ci(Box::new(CiChange {
                tenant,
                id,
                old: old.as_ref().map(image),
                new: Some(after),
                // There are no relations, so there are no neighbours.
                neighbours: Some(Vec::new()),
            })),
        });
        if self.log.len() > KEPT {
            self.log.pop_front();
        }
    }

    fn find<'a>(&'a self, tenant: &'a TenantId, target: &CiRef) -> Option<&'a CiDetail> {
        match target {
            CiRef::Code(code) => self.cis.get(&(tenant.clone(), code.clone())),
            CiRef::Id(id) => self.of(tenant).find(|ci| ci.summary.ci_id == *id),
        }
    }

    /// A tenant's CIs, by code: in byte order, as the model defines it.
    fn of<'a>(&'a self, tenant: &'a TenantId) -> impl Iterator<Item = &'a CiDetail> {
        self.cis.values().filter(move |ci| ci.tenant_id == *tenant)
    }
}

impl MemoryStore {
    fn new() -> Self {
        let nanos = u64::try_from(since_1970().as_nanos()).unwrap_or(u64::MAX);
        Self(Arc::new(Shared {
            epoch: Epoch(nanos),
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// One transaction: nobody sees a part of it. On an error nothing is kept.
    fn write<T>(&self, write: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let written = {
            let mut shared = self.0.state.lock();
            let mut state = State::clone(&shared);
            let written = write(&mut state)?;
            *shared = Arc::new(state);
            written
        };
        self.0.changed.notify_waiters();
        Ok(written)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(View {
            epoch: self.0.epoch,
            state: Arc::clone(&self.0.state.lock()),
            statements: 0,
        }))
    }

    async fn upsert_cis(
        &self,
        records: Vec<CiRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<CiOutcome, Rejection>>> {
        if records.iter().any(|record| record.given_id.is_some()) {
            return Err(refused("ids but those that it derives"));
        }
        let at = options.at.map_or_else(now, Ok)?;
        self.write(|state| {
            let mut outcomes = Vec::with_capacity(records.len());
            for (index, record) in records.iter().enumerate() {
                let same = |later: &CiRecord| later.tenant == record.tenant && later.code == record.code;
                let old = state.cis.get(&(record.tenant.clone(), record.code.clone()));
                let new = made(record.clone(), old, at);
                let effect = match old {
                    _ if records[index + 1..].iter().any(same) => Effect::Superseded,
                    None => Effect::Created,
                    Some(old) => {
                        // The moment of the write alone does not make a row another.
                        let unchanged = CiDetail {
                            updated_at: new.updated_at,
                            ..old.clone()
                        } == new;
                        if unchanged {
                            Effect::Unchanged
                        } else {
                            Effect::Updated
                        }
                    }
                };
                let outcome = CiOutcome {
                    ci_id: Some(new.summary.ci_id),
                    ci_code: Some(new.summary.ci_code.clone()),
                    previous_code: None,
                    effect,
                };
                if effect.is_change() {
                    state.put(new);
                }
                outcomes.push(Ok(outcome));
            }
            Ok(outcomes)
        })
    }

    async fn delete_cis(
        &self,
        tenant: &TenantId,
        targets: Vec<CiRef>,
        options: WriteOptions,
    ) -> Result<Vec<CiOutcome>> {
        let at = options.at.map_or_else(now, Ok)?;
        self.write(|state| {
            let mut outcomes = Vec::with_capacity(targets.len());
            for target in &targets {
                let found = state
                    .find(tenant, target)
                    .filter(|ci| ci.deleted_at.is_none())
                    .cloned();
                outcomes.push(CiOutcome {
                    ci_id: found.as_ref().map(|ci| ci.summary.ci_id),
                    ci_code: found.as_ref().map(|ci| ci.summary.ci_code.clone()),
                    previous_code: None,
                    effect: found.as_ref().map_or(Effect::Missing, |_| Effect::Deleted),
                });
                if let Some(ci) = found {
                    state.put(CiDetail {
                        deleted_at: Some(at),
                        updated_at: at,
                        ..ci
                    });
                }
            }
            Ok(outcomes)
        })
    }

    async fn upsert_relations(
        &self,
        _records: Vec<RelationRecord>,
        _options: WriteOptions,
    ) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
        Err(refused("relations"))
    }

    async fn delete_relations(
        &self,
        _records: Vec<RelationRecord>,
        _options: WriteOptions,
    ) -> Result<Vec<RelationOutcome>> {
        Err(refused("relations"))
    }

    fn feed(&self) -> Option<Box<dyn Feed>> {
        Some(Box::new(MemoryFeed {
            shared: Arc::clone(&self.0),
            at: None,
        }))
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    fn backend(&self) -> &'static str {
        "memory"
    }

    async fn close(&self) {}
}

/// One state, for as long as it is held.
struct View {
    epoch: Epoch,
    state: Arc<State>,
    /// Questions that were answered: what statements are to a database.
    statements: u32,
}

#[async_trait]
impl Snapshot for View {
    async fn search(&mut self, tenant: &TenantId, search: &Search) -> Result<Vec<CiSummary>> {
        self.statements += 1;
        // The model's own predicate and order: what they say is what the cache matches changes by.
        let mut found: Vec<CiSummary> = self
            .state
            .of(tenant)
            .filter(|ci| search.selection().matches(&image(ci)))
            .map(|ci| ci.summary.clone())
            .collect();
        if let Some(start) = search.start() {
            found.retain(|ci| search.compare(&search.place_of(ci), start).is_gt());
        }
        found.sort_by(|a, b| search.compare(&search.place_of(a), &search.place_of(b)));
        found.truncate(search.limit() as usize);
        Ok(found)
    }

    async fn get_many(&mut self, tenant: &TenantId, gets: &[Get]) -> Result<Vec<Option<CiDetail>>> {
        self.statements += 1;
        let find = |get: &Get| {
            let found = self.state.find(tenant, get.target());
            found
                .filter(|ci| get.includes_deleted() || ci.deleted_at.is_none())
                .cloned()
        };
        Ok(gets.iter().map(find).collect())
    }

    async fn list(&mut self, _tenant: &TenantId, _list: &List) -> Result<ListPage> {
        Err(refused("lists"))
    }

    async fn aggregate(&mut self, _tenant: &TenantId, _aggregate: &Aggregate) -> Result<Groups> {
        Err(refused("groups"))
    }

    async fn expand(&mut self, _tenant: &TenantId, _expand: &Expand) -> Result<Option<Graph>> {
        Err(refused("relations"))
    }

    async fn path(&mut self, _tenant: &TenantId, _path: &Path) -> Result<PathTrace> {
        Err(refused("relations"))
    }

    async fn version(&mut self) -> Result<Option<(Epoch, Version)>> {
        Ok(Some((self.epoch, Version::Sequence(self.state.number))))
    }

    fn statements(&self) -> u32 {
        self.statements
    }
}

/// What changed since the last poll.
#[derive(Debug)]
struct MemoryFeed {
    shared: Arc<Shared>,
    /// The number up to which changes were told; none before the start.
    at: Option<u64>,
}

#[async_trait]
impl Feed for MemoryFeed {
    async fn start(&mut self) -> Result<Start> {
        let number = self.shared.state.lock().number;
        self.at = Some(number);
        Ok(Start {
            epoch: self.shared.epoch,
            position: Version::Sequence(number),
        })
    }

    async fn poll(&mut self) -> Result<Polled> {
        let (state, epoch) = (Arc::clone(&self.shared.state.lock()), self.shared.epoch);
        let position = Version::Sequence(state.number);
        let since = self.at.replace(state.number);
        let forgotten = state.number - state.log.len() as u64;
        match since {
            Some(at) if at >= forgotten => {
                let told = usize::try_from(at - forgotten).unwrap_or(usize::MAX);
                Ok(Polled::Changes {
                    since: Token {
                        epoch,
                        version: Version::Sequence(at),
                    },
                    changes: state.log.iter().skip(told).cloned().collect(),
                    position,
                })
            }
            // What was missed is not known any more: everything has to be forgotten.
            _ => Ok(Polled::NewEpoch {
                why: EpochReason::Gap,
                epoch,
                position,
            }),
        }
    }

    async fn wait(&mut self, at_most: Duration) {
        // Only a matter of speed: a change just before it is told by the next poll.
        let _in_time = tokio::time::timeout(at_most, self.shared.changed.notified()).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = MemoryStore::new();
    let runner = Runner::builder(Arc::new(store.clone())).build()?;
    let acme = TenantId::new("acme")?;
    let tenant = runner.tenant(acme.clone());

    let drafts = ["erp-2", "erp-1"].map(|code| CiDraft::new(code, "ERP", "SW"));
    let written = tenant.upsert_cis(drafts.into()).await?;
    assert!(written.token.is_some(), "the store tells its states");
    let question = Search::builder().keyword("erp").build()?;
    let sources = [
        tenant.search(&question).await?.source,
        tenant.search(&question).await?.source,
    ];
    assert_eq!(sources, [Source::Miss, Source::Hit]);
    assert_eq!(runner.feed().state, FeedState::Live);

    // Somebody writes past the runner: the feed tells, and only what the change matters to is dropped.
    let other = Search::builder().keyword("erp-2").build()?;
    tenant.search(&other).await?;
    let record = CiDraft::new("erp-0", "ERP", "SW").check(&acme)?;
    store
        .upsert_cis(
            vec![record],
            WriteOptions::default().on_rejection(OnRejection::Skip),
        )
        .await?;
    assert!(runner.catch_up(Duration::from_secs(10)).await);
    let answer = tenant.search(&question).await?;
    let codes: Vec<&str> = answer.value.items.iter().map(|ci| ci.ci_code.as_str()).collect();
    assert_eq!(
        (answer.source, codes),
        (Source::Miss, vec!["erp-0", "erp-1", "erp-2"])
    );
    assert_eq!(
        tenant.search(&other).await?.source,
        Source::Hit,
        "no change mattered to it"
    );

    // A deleted CI is gone; what the store does not have is an error, not an empty answer.
    tenant.delete_cis(vec![CiCode::new("erp-1")?.into()]).await?;
    assert!(tenant.get_by_code("erp-1").await?.value.is_none());
    assert!(tenant.list(&List::builder().build()?).await.is_err());
    assert_eq!(
        runner
            .entries(100)
            .iter()
            .filter(|entry| entry.results == 0)
            .count(),
        1
    );
    runner.close().await;
    Ok(())
}

#[test]
fn it_runs() -> std::result::Result<(), Box<dyn std::error::Error>> {
    main()
}
