//! Readers and writers: of nodes over HTTP, and of the database past them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ci_model::Token;
use ci_runner::{Level, Source};
use ci_store::{Store, StoreOptions};
use ci_tests::history::Raw;
use ci_tests::history::audit::RawError;
use ci_tests::store_contract::world::{below, one_of, seeded};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::http::{Client, Reply, Request};
use super::pause;
use super::pool::{OWNERS, SLOTS, TENANTS, WORDS, code};
use super::record::{Read, Seen, Way, Write};
use super::sql::statement;
use super::stage::Stage;

/// Longest wait of a reader for a node; and how long it then asks others.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest wait of a writer.
const WRITE_PATIENCE: Duration = Duration::from_millis(1_500);
/// Between two writes of a writer.
const WRITE_EVERY: Duration = Duration::from_millis(25);
/// Lags that readers allow.
const LAGS: [u64; 6] = [0, 1, 10, 100, 1_000, 30_000];

/// What a reader has read, each with the node that it was read at.
pub(crate) type Reads = Vec<(usize, Read)>;

/// Asks until the round is over.
pub(crate) async fn read(stage: Arc<Stage>, seed: u64) -> Reads {
    let mut reader = Reader {
        random: seeded(seed),
        clients: stage.nodes.iter().map(|_| Client::default()).collect(),
        session: None,
        avoided: vec![None; stage.nodes.len()],
        bodies: HashMap::new(),
        stage: Arc::clone(&stage),
    };
    let mut reads = Vec::new();
    while !stage.is_over() {
        if let Some(read) = reader.ask().await {
            stage.answered.fetch_add(1, SeqCst);
            reads.push(read);
        } else {
            pause(Duration::from_millis(2)).await;
        }
    }
    reads
}

struct Reader {
    stage: Arc<Stage>,
    random: ChaCha8Rng,
    clients: Vec<Client>,
    /// The last answer's version: this reader's session sees nothing older, at whatever node.
    session: Option<Token>,
    /// Until when each node is not asked again: all readers would stand at the one that is away.
    avoided: Vec<Option<Instant>>,
    /// Answers, so that equal ones are kept once.
    bodies: HashMap<(usize, String), Arc<Value>>,
}

impl Reader {
    /// Asks a node one question; nothing when it is not answered.
    async fn ask(&mut self) -> Option<(usize, Read)> {
        let stage = Arc::clone(&self.stage);
        let node = below(&mut self.random, stage.nodes.len());
        if self.avoided[node].is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let address = stage.nodes[node].address()?;
        let asked = stage.web.pool.draw(&mut self.random);
        let level = self.level();
        let (suffix, token) = match &level {
            Level::Cached { max_lag } => (format!("max_lag_ms={}", max_lag.as_millis()), None),
            Level::AtLeast(token) => (String::new(), Some(token.to_string())),
            level => (format!("level={}", level.as_str()), None),
        };
        let path = format!("{}{suffix}", stage.web.path(asked));
        let request = Request {
            token: token.as_deref(),
            ..Request::get(&path)
        };
        let began = Instant::now();
        let reply = tokio::time::timeout(PATIENCE, self.clients[node].ask(&address, request)).await;
        let Ok(Ok(reply)) = reply else {
            self.avoided[node] = Some(Instant::now() + PATIENCE);
            stage.errors.fetch_add(1, SeqCst);
            return None;
        };
        assert!(
            matches!(reply.status, 200 | 404 | 503 | 504),
            "{path} is answered by {}: {}",
            reply.status,
            reply.body
        );
        if !matches!(reply.status, 200 | 404) {
            stage.errors.fetch_add(1, SeqCst);
            return None;
        }
        let read = Read {
            asked,
            way: Way::Alone,
            level,
            began,
            source: source(&reply),
            as_of: reply.header("x-ci-token").map(|token| token.parse().unwrap()),
            lag: reply
                .header("x-ci-lag")
                .map(|lag| Duration::from_millis(lag.parse().unwrap())),
            seen: self.seen(asked, reply),
        };
        self.session.clone_from(&read.as_of);
        if let Some(token) = read.as_of.clone().filter(|_| below(&mut self.random, 16) == 0) {
            stage.pass_on(token);
        }
        Some((node, read))
    }

    fn level(&mut self) -> Level {
        let random = &mut self.random;
        let cached = |millis| Level::Cached {
            max_lag: Duration::from_millis(millis),
        };
        match below(random, 20) {
            0..11 => cached(LAGS[below(random, LAGS.len())]),
            11..14 => self.session.clone().map_or(Level::Strong, Level::AtLeast),
            14..16 => self.stage.token(random).map_or(Level::Strong, Level::AtLeast),
            16..19 => Level::Strong,
            _ => Level::Bypass,
        }
    }

    fn seen(&mut self, asked: usize, reply: Reply) -> Seen {
        let web = &self.stage.web;
        let known = self
            .bodies
            .entry((asked, reply.body))
            .or_insert_with_key(|(_, body)| {
                let value = match reply.status {
                    404 => Value::Null,
                    _ => web.answer(asked, serde_json::from_str(body).unwrap()),
                };
                Arc::new(value)
            });
        Seen::Json(Arc::clone(known))
    }
}

fn source(reply: &Reply) -> Source {
    match reply.header("x-ci-source") {
        Some("l1") => Source::Hit,
        Some("l2") => Source::Tier,
        // It may as well be of a load that another caller had begun.
        Some("load") => Source::Coalesced,
        Some("bypass") => Source::Bypass,
        other => panic!("no source is {other:?}"),
    }
}

/// Writes through nodes until the round is over.
pub(crate) async fn write(stage: Arc<Stage>, seed: u64) {
    let mut random = seeded(seed);
    let mut clients: Vec<Client> = stage.nodes.iter().map(|_| Client::default()).collect();
    while !stage.is_over() {
        pause(WRITE_EVERY).await;
        let node = below(&mut random, stage.nodes.len());
        let Some(address) = stage.nodes[node].address() else {
            continue;
        };
        let tag = format!("w{}", stage.written.fetch_add(1, SeqCst));
        let owner = one_of(&mut random, &TENANTS);
        let slot = below(&mut random, SLOTS);
        let path = format!("/v1/{owner}/cis/{}", code(slot, below(&mut random, 5) == 0));
        let is_deletion = below(&mut random, 5) == 0;
        let body = if is_deletion {
            String::new()
        } else {
            draft(&mut random, slot, &tag)
        };
        let request = Request {
            method: if is_deletion { "DELETE" } else { "PUT" },
            path: &path,
            token: None,
            body: &body,
        };
        let began = Instant::now();
        let reply = tokio::time::timeout(WRITE_PATIENCE, clients[node].ask(&address, request)).await;
        let Ok(Ok(reply)) = reply else { continue };
        if !matches!(reply.status, 200 | 201) {
            continue;
        }
        let token: Option<Token> = reply.header("x-ci-token").map(|token| token.parse().unwrap());
        if let Some(token) = &token {
            stage.pass_on(token.clone());
        }
        let written = Write {
            began,
            ended: Instant::now(),
            token,
            tag: (!is_deletion).then_some(tag),
        };
        stage.writes.lock().unwrap().push((node, written));
    }
}

fn draft(random: &mut ChaCha8Rng, slot: usize, tag: &str) -> String {
    let name = format!("{} {} {slot}", one_of(random, &WORDS), one_of(random, &WORDS));
    let body = json!({
        "ci_name": name,
        "ci_type": one_of(random, &["SW", "HW"]),
        "owner": one_of(random, &OWNERS),
        "location": tag,
        "criticality": 1 + below(random, 5),
        "tags": {"role": one_of(random, &["db", "web"])},
    });
    body.to_string()
}

/// Another program: writes past the nodes until the round is over.
pub(crate) async fn program(stage: Arc<Stage>, seed: u64) {
    let mut random = seeded(seed);
    let mut connection: Option<(usize, Raw)> = None;
    while !stage.is_over() {
        pause(WRITE_EVERY).await;
        if connection.is_none() {
            connection = stage.connect().await;
        }
        let Some((era, raw)) = &mut connection else {
            continue;
        };
        let is_committed = match transaction(raw, &mut random).await {
            Ok(()) => true,
            // A statement that was refused; or the connection is gone.
            Err(_) => raw.run("ROLLBACK").await.is_ok(),
        };
        match raw.place().await {
            Ok(place) if is_committed => {
                stage.commits.fetch_add(1, SeqCst);
                stage.note_floor(*era, place);
            }
            _ => connection = None,
        }
    }
}

async fn transaction(raw: &mut Raw, random: &mut ChaCha8Rng) -> Result<(), RawError> {
    if below(random, 2) == 0 {
        return raw.run(&statement(random, false)).await;
    }
    raw.begin().await?;
    for _ in 0..=below(random, 2) {
        raw.run(&statement(random, false)).await?;
    }
    raw.run(if below(random, 5) > 0 {
        "COMMIT"
    } else {
        "ROLLBACK"
    })
    .await
}

/// Notes what anybody can see, and in which epoch, until the round is over.
pub(crate) async fn look(stage: Arc<Stage>) {
    const LOOK: Duration = Duration::from_millis(12);
    let mut connection: Option<(usize, Raw)> = None;
    while !stage.is_over() {
        pause(LOOK).await;
        if connection.is_none() {
            connection = stage.connect().await;
        }
        if let Some((era, raw)) = &mut connection {
            match raw.place().await {
                Ok(place) => stage.note_floor(*era, place),
                Err(_) => connection = None,
            }
        }
    }
}

/// Notes the epochs of the database until the round is over.
pub(crate) async fn watch_epochs(stage: Arc<Stage>) {
    let mut open: Option<(usize, Arc<dyn Store>)> = None;
    while !stage.is_over() {
        pause(Duration::from_millis(40)).await;
        if !stage.is_there.load(SeqCst) {
            continue;
        }
        let (now, address) = stage.now();
        match open.take().filter(|(era, _)| *era == now) {
            Some((era, store)) => {
                note(&stage, era, &*store).await;
                open = Some((era, store));
            }
            // It is kept: who opens a store puts its triggers in order.
            None => open = store(&address).await.map(|store| (now, store)),
        }
    }
}

async fn store(address: &str) -> Option<Arc<dyn Store>> {
    let options = StoreOptions::default()
        .connections(1)
        .acquire_timeout(Duration::from_secs(1));
    ci_store::open(address, &options).await.ok()
}

async fn note(stage: &Stage, era: usize, store: &dyn Store) -> bool {
    let told = match store.snapshot().await {
        Ok(mut snapshot) => snapshot.version().await.ok().flatten(),
        Err(_) => None,
    };
    let is_known = told.is_some();
    if let Some((epoch, _)) = told {
        stage.with_era(era, |era| era.epochs.insert(epoch.0));
    }
    is_known
}

/// Notes the database's epoch now; says whether it could be asked.
pub(crate) async fn note_epoch(stage: &Stage) -> bool {
    let (era, address) = stage.now();
    let Some(store) = store(&address).await else {
        return false;
    };
    let is_known = note(stage, era, &*store).await;
    store.close().await;
    is_known
}
