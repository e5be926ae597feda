//! The shared tier over every way that an address may lead: sentinels, a cluster, and encrypted connections, with real servers.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod cluster;
mod lost_nodes;
mod sentinel;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::{Clock, ManualClock};
use ci_model::{CiDraft, Search, TenantId};
use ci_runner::tier::{Life, Tier, TierError, TierKey, TierOptions, TierValue};
use ci_runner::{Level, Runner, Source, Tenant};
use ci_tests::fixture::Fixture;
use ci_tests::tier::PrivateRedis;
use ci_tier_redis::{RedisOptions, RedisTier};
use rustix::process::{Pid, Signal, kill_process};

const LONG: Duration = Duration::from_secs(60);

/// Longer than any test: what takes that long has to be seen by another time limit.
fn options() -> RedisOptions {
    RedisOptions::new().prefix("cmdb").connect_timeout(LONG)
}

fn tier(address: &str) -> Arc<RedisTier> {
    Arc::new(RedisTier::new(address, options()).unwrap())
}

fn key(name: &str) -> TierKey {
    TierKey::new(None, name)
}

async fn put(tier: &RedisTier, name: &str, bytes: &str) -> Result<(), TierError> {
    let value = TierValue::new(key(name), bytes.as_bytes().to_vec(), Life::For(10 * LONG));
    tier.put(&[value]).await
}

async fn get(tier: &RedisTier, name: &str) -> Result<Option<String>, TierError> {
    let mut found = tier.get(&[key(name)]).await?;
    assert_eq!(found.len(), 1);
    Ok(found
        .pop()
        .unwrap()
        .map(|bytes| String::from_utf8(bytes).unwrap()))
}

/// Has a server do something, past the tier.
fn order<T: redis::FromRedisValue>(server: &PrivateRedis, command: &str) -> redis::RedisResult<T> {
    let mut connection = redis::Client::open(server.url())?.get_connection()?;
    let mut words = command.split(' ');
    let mut order = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        order.arg(word);
    });
    order.query(&mut connection)
}

/// Two tiers over the same target hear each other, and themselves.
async fn rings(target: &str) {
    let [one, other] = [tier(target), tier(target)];
    let mut bells = Vec::new();
    for tier in [&one, &other] {
        bells.push(tier.listen().await.unwrap().unwrap());
    }
    for ringing in [&one, &other] {
        ringing.ring().await.unwrap();
        for bell in &mut bells {
            let rung = tokio::time::timeout(LONG, bell.rung()).await;
            rung.expect("everybody hears it").unwrap();
        }
    }
}

fn signal(server: &PrivateRedis, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A service whose clock the test drives, so that the pauses of a tier that is left alone pass at once.
async fn clocked(fixture: &Fixture, tier: &Arc<RedisTier>, clock: &Arc<ManualClock>) -> Runner {
    let options = TierOptions::new()
        .timeout(Duration::from_secs(1))
        .replay(Duration::ZERO);
    let build = ci_tests::fixture::patient(fixture.open().await)
        .tier(tier.clone(), options)
        .clock(clock.clone() as Arc<dyn Clock>);
    let runner = build.build().unwrap();
    assert!(runner.catch_up(LONG).await);
    runner
}

fn acme(runner: &Runner) -> Tenant {
    runner.tenant(TenantId::new("acme").unwrap())
}

async fn write(runner: &Runner, name: &str) {
    let draft = CiDraft::new("erp-1", name, "SW");
    acme(runner).upsert_cis(vec![draft]).await.unwrap();
}

async fn found(runner: &Runner) -> (String, Source) {
    let search = Search::builder().keyword("erp").build().unwrap();
    let answer = acme(runner)
        .at(Level::Strong)
        .search_strict(&search)
        .await
        .unwrap();
    (answer.value.items[0].ci_name.clone(), answer.source)
}

/// Asks until the answer comes from the tier; what is in memory is past its time whenever it is asked, and no answer is wrong.
async fn shares(runner: &Runner, clock: &ManualClock, name: &str) {
    let asks = async {
        loop {
            clock.advance(Duration::from_secs(3_600));
            let (found, source) = found(runner).await;
            assert_eq!(found, name);
            if source == Source::Tier {
                return;
            }
            runner.settle_tier(false).await;
        }
    };
    let shared = tokio::time::timeout(2 * LONG, asks).await;
    assert!(
        shared.is_ok(),
        "the tier is never used: {:?}",
        runner.stats().tier
    );
}
