//! The tier that the fleet shares: two Redis servers, one of which all nodes talk to, and what goes wrong with them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ci_tests::store_contract::world::below;
use ci_tests::tier::PrivateRedis;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::check::Wrong;
use super::fault::Fault;
use super::http::{Client, Request};
use super::node::{Node, signal};
use super::pause;
use super::proxy::Mode;
use super::stage::Stage;

/// Whatever happened, all nodes use the tier again within this: they leave it alone for 30 s at most.
const SHARED_AGAIN: Duration = Duration::from_secs(90);
/// The values at the beginning of the round.
const OF_THE_ROUND: &str = "round";
/// The values a moment ago.
const OF_JUST_NOW: &str = "moment";

/// The servers.
#[derive(Debug)]
pub(crate) struct Servers {
    main: PrivateRedis,
    /// Whom a node talks to that is split from the others. It keeps what it has until the next time.
    other: PrivateRedis,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        Self {
            main: PrivateRedis::start().await,
            other: PrivateRedis::start().await,
        }
    }

    /// Host and port of the one that all nodes talk to.
    pub(crate) fn upstream(&self) -> String {
        self.main.place()
    }

    /// Keeps what it has for [`Fault::RedisRolledBack`].
    pub(crate) fn keep(&self) {
        self.main.keep(OF_THE_ROUND);
    }

    /// Leads all nodes to where it is now.
    fn found_by_all(&self, stage: &Stage) {
        for node in &stage.nodes {
            node.tier.redirect(self.upstream());
        }
    }
}

/// Causes a fault of the tier and mends it.
pub(crate) async fn of_the_tier(fault: Fault, stage: &Stage, servers: &mut Servers, random: &mut ChaCha8Rng) {
    let short = Duration::from_millis(200 + below(random, 800) as u64);
    match fault {
        Fault::RedisKilled => {
            servers.main.kill();
            pause(short).await;
            servers.main.restart().await;
            servers.found_by_all(stage);
        }
        Fault::RedisFlushed => servers.main.order("FLUSHALL"),
        Fault::RedisRolledBack => {
            let before = if below(random, 2) == 0 {
                OF_THE_ROUND
            } else {
                servers.main.keep(OF_JUST_NOW);
                OF_JUST_NOW
            };
            pause(short * 2).await;
            servers.main.roll_back(before).await;
            servers.found_by_all(stage);
        }
        Fault::RedisPaused => {
            signal(servers.main.pid(), "-STOP");
            pause(short * 2).await;
            signal(servers.main.pid(), "-CONT");
        }
        Fault::RedisSplit => {
            let node = &stage.nodes[below(random, stage.nodes.len())];
            node.tier.redirect(servers.other.place());
            pause(short * 3).await;
            node.tier.redirect(servers.upstream());
        }
        Fault::RedisSlow => {
            // Some answers come just in time, some do not.
            let delay = Duration::from_millis(10 + below(random, 300) as u64);
            let all = |mode| stage.nodes.iter().for_each(|node| node.tier.set(mode));
            all(Mode::Delay(delay));
            pause(short * 2).await;
            all(Mode::Pass);
        }
        _ => {}
    }
}

/// Waits until every node has had an answer from the tier since now, while somebody asks them; says how long it took.
pub(crate) async fn shared_again(nodes: &[Node]) -> Result<Duration, Wrong> {
    let began = Instant::now();
    for (number, node) in nodes.iter().enumerate() {
        let mut before = None;
        loop {
            let told = told(node).await;
            let hits = told
                .as_ref()
                .and_then(|told| told["tier"]["reads"]["hit"].as_u64());
            if hits.is_some_and(|hits| hits > *before.get_or_insert(hits)) {
                break;
            }
            if began.elapsed() > SHARED_AGAIN {
                return Err(Wrong(format!(
                    "node {number} has used nothing of the tier for {SHARED_AGAIN:?}: {told:?}"
                )));
            }
            pause(Duration::from_millis(10)).await;
        }
    }
    Ok(began.elapsed())
}

/// What nodes have said of what they asked the tier or the standby for, and how often: it begins anew when they are started.
#[derive(Debug, Default)]
pub(crate) struct Asked(BTreeMap<(usize, String), u64>);

impl Asked {
    /// Adds what is new since the last time of what they tell of one of both.
    pub(crate) async fn add(&mut self, nodes: &[Node], of: Told, to: &mut BTreeMap<String, u64>) {
        let (part, counts) = match of {
            Told::Tier => ("tier", "reads"),
            Told::Standby => ("replica", "loads"),
        };
        for (number, node) in nodes.iter().enumerate() {
            let told = told(node).await;
            let counts = told.as_ref().and_then(|told| told[part][counts].as_object());
            for (outcome, count) in counts.into_iter().flatten() {
                let count = count.as_u64().unwrap_or(0);
                let before = self.0.insert((number, outcome.clone()), count).unwrap_or(0);
                let new = count.checked_sub(before).unwrap_or(count);
                if new > 0 {
                    *to.entry(outcome.clone()).or_default() += new;
                }
            }
        }
    }
}

/// Of what nodes tell.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told {
    Tier,
    Standby,
}

/// What a node says of what it asks.
async fn told(node: &Node) -> Option<Value> {
    let address = node.address()?;
    let mut client = Client::default();
    let asked = client.ask(&address, Request::get("/v1/cache/stats"));
    let reply = tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .ok()?
        .ok()?;
    serde_json::from_str(&reply.body).ok()
}
