//! The shared tier over a real Redis or Valkey: it is quick, it may be broken in every way, and no answer is wrong.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::{Clock, ManualClock};
use ci_model::{CiDraft, Search, TenantId};
use ci_runner::tier::{Life, Tier, TierKey, TierOptions, TierOutcome, TierValue};
use ci_runner::{Level, Runner, RunnerBuilder, Source, Tenant};
use ci_tests::fixture::Fixture;
use ci_tests::tier::{PrivateRedis, redis};
use ci_tier_redis::{RedisOptions, RedisTier};
use redis::Commands as _;
use rustix::process::{Pid, Signal, kill_process};

const LONG: Duration = Duration::from_secs(60);

/// What the names of a test begin with.
fn prefixed(prefix: &str) -> String {
    format!("test-{}-{prefix}", std::process::id())
}

fn tier(url: &str, prefix: &str) -> Arc<RedisTier> {
    Arc::new(RedisTier::new(url, RedisOptions::new().prefix(prefixed(prefix))).unwrap())
}

fn patient() -> TierOptions {
    TierOptions::new().timeout(Duration::from_secs(10))
}

async fn builder(fixture: &Fixture, tier: &Arc<RedisTier>, options: TierOptions) -> RunnerBuilder {
    ci_tests::fixture::patient(fixture.open().await).tier(tier.clone(), options)
}

async fn runner(fixture: &Fixture, tier: &Arc<RedisTier>) -> Runner {
    let runner = builder(fixture, tier, patient()).await.build().unwrap();
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

fn reads(runner: &Runner, outcome: TierOutcome) -> u64 {
    runner.stats().tier.unwrap().reads_of(outcome)
}

/// Names and values of answers, as another program sees them. Leases of loads have those names in their own.
fn answers(url: &str, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let mut server = redis::Client::open(url).unwrap().get_connection().unwrap();
    let names: Vec<String> = server.keys(format!("{}:t:*", prefixed(prefix))).unwrap();
    let value = |name: String| {
        let value: Vec<u8> = server.get(&name).unwrap();
        (name, value)
    };
    names.into_iter().map(value).collect()
}

fn set(url: &str, name: &str, value: &[u8]) {
    let mut server = redis::Client::open(url).unwrap().get_connection().unwrap();
    let _: () = server.set(name, value).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_do_what_the_trait_says() {
    let tier = tier(redis(), "commands");
    tier.ping().await.unwrap();
    let key = |name: &str| TierKey::new(TenantId::new("acme").ok(), name);
    let value = |name: &str, bytes: &[u8], life| TierValue::new(key(name), bytes.to_vec(), life);
    let [a, b, fleet] = [key("a"), key("b"), TierKey::new(None, "a")];
    let both = [a.clone(), b.clone(), fleet.clone()];
    tier.put(&[
        value("a", b"one", Life::For(LONG)),
        value("b", b"two", Life::AsBefore),
    ])
    .await
    .unwrap();
    let found = tier.get(&both).await.unwrap();
    assert_eq!(
        found,
        [Some(b"one".to_vec()), None, None],
        "there was nothing to take the life of"
    );
    tier.put(&[value("a", b"three", Life::AsBefore)]).await.unwrap();
    assert_eq!(tier.get(&both).await.unwrap()[0], Some(b"three".to_vec()));
    let mut server = redis::Client::open(redis()).unwrap().get_connection().unwrap();
    let names: Vec<String> = server.keys(format!("{}:t:acme:a", prefixed("commands"))).unwrap();
    let left: i64 = server.pttl(&names[0]).unwrap();
    assert!(
        (1..=60_000).contains(&left),
        "it lives as long as before: {left} ms"
    );
    assert!(tier.lease(&fleet, LONG).await.unwrap());
    assert!(!tier.lease(&fleet, LONG).await.unwrap());
    tier.delete(&both).await.unwrap();
    tier.delete(&both).await.unwrap();
    assert_eq!(tier.get(&both).await.unwrap(), [None, None, None]);
    assert!(tier.lease(&fleet, LONG).await.unwrap());
    tier.delete(&[fleet]).await.unwrap();
}

/// The account that docs/operations.md names is enough, and one that may do less is an error without secrets.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_its_own_is_enough() {
    let server = PrivateRedis::start().await;
    let mut admin = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    for rules in [
        "few on >hunter2 ~cmdb:* +get",
        "ci-cache on >hunter2 ~cmdb:* &cmdb:* +mget +set +del +ping +publish +subscribe",
    ] {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(rules.split(' ').collect::<Vec<_>>());
        let (): () = command.query(&mut admin).unwrap();
    }
    let key = TierKey::new(None, "a");
    let tier = |user: &str, password: &str| {
        let url = format!("{}?user={user}&pass={password}", server.url());
        RedisTier::new(&url, RedisOptions::new().prefix("cmdb")).unwrap()
    };
    let good = tier("ci-cache", "hunter2");
    good.ping().await.unwrap();
    let value = TierValue::new(key.clone(), b"one".to_vec(), Life::For(LONG));
    good.put(&[value]).await.unwrap();
    assert_eq!(
        good.get(std::slice::from_ref(&key)).await.unwrap(),
        [Some(b"one".to_vec())]
    );
    good.delete(std::slice::from_ref(&key)).await.unwrap();
    assert!(good.lease(&key, LONG).await.unwrap());
    let mut bell = good.listen().await.unwrap().unwrap();
    good.ring().await.unwrap();
    bell.rung().await.unwrap();
    for bad in [tier("few", "hunter2"), tier("ci-cache", "hunter3")] {
        let errors = [
            bad.get(std::slice::from_ref(&key)).await.unwrap_err(),
            bad.ring().await.unwrap_err(),
            bad.listen().await.unwrap_err(),
        ];
        for error in errors.map(|error| error.to_string()) {
            assert!(!error.contains("hunter") && !error.contains("socket"), "{error}");
        }
    }
}

/// Two services that poll once a minute hear of each other's writes, also after the server was gone for a while.
#[tokio::test(flavor = "multi_thread")]
async fn the_doorbell_wakes_other_services() {
    const MINUTE: Duration = Duration::from_secs(60);
    let (fixture, mut server) = (Fixture::postgres().await, PrivateRedis::start().await);
    let tier = tier(&server.url(), "bell");
    let mut runners = Vec::new();
    for _ in 0..2 {
        let build = builder(&fixture, &tier, patient().doorbell(true)).await;
        let runner = build.poll_every(MINUTE).poll_idle(MINUTE).build().unwrap();
        assert!(runner.catch_up(LONG).await);
        runners.push(runner);
    }
    let is_listening = |runner: &Runner| runner.stats().tier.unwrap().is_listening;
    for round in 0..2 {
        while !runners.iter().all(is_listening) {
            tokio::task::yield_now().await;
        }
        let (changes, heard) = (
            runners[1].feed().changes,
            runners[1].stats().tier.unwrap().rings_heard,
        );
        write(&runners[0], &format!("ERP {round}")).await;
        let woken = async {
            let has_heard = || runners[1].stats().tier.unwrap().rings_heard > heard;
            while runners[1].feed().changes == changes || !has_heard() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(MINUTE / 2, woken)
            .await
            .expect("it does not wait for its next poll");
        server.kill();
        while runners.iter().any(is_listening) {
            tokio::task::yield_now().await;
        }
        server.restart().await;
    }
    for runner in runners {
        runner.close().await;
    }
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_share_a_load() {
    let (fixture, tier) = (Fixture::postgres().await, tier(redis(), "share"));
    let (first, second) = (runner(&fixture, &tier).await, runner(&fixture, &tier).await);
    write(&first, "ERP").await;
    assert_eq!(found(&first).await, ("ERP".to_owned(), Source::Miss));
    first.settle_tier(false).await;
    let statements = second.stats().statements;
    assert_eq!(found(&second).await, ("ERP".to_owned(), Source::Tier));
    assert_eq!(second.stats().statements, statements);
    assert_eq!(found(&second).await.1, Source::Hit);
    first.close().await;
    second.close().await;
    fixture.finish().await;
}

/// Does something to a value with this name and these bytes.
type Harm<'a> = Box<dyn Fn(&str, &[u8]) + 'a>;

/// What can happen to values in a server, each with the outcome that it is counted as.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_values_no_answer_is_wrong() {
    let (fixture, server) = (Fixture::postgres().await, PrivateRedis::start().await);
    let (url, tier) = (server.url(), tier(&server.url(), "values"));
    let first = runner(&fixture, &tier).await;
    write(&first, "ERP 0").await;
    found(&first).await;
    first.settle_tier(false).await;
    let old = answers(&url, "values");
    assert_eq!(old.len(), 1);
    let name = old[0].0.clone();
    let raw = |url: &str| redis::Client::open(url).unwrap().get_connection().unwrap();
    let harms: Vec<(Harm<'_>, TierOutcome)> = vec![
        // A roll-back to an older state, or a lost delete.
        (
            Box::new(|name, _| set(&url, name, &old[0].1)),
            TierOutcome::Overtaken,
        ),
        (
            Box::new(|_, _| {
                let () = redis::cmd("FLUSHALL").query(&mut raw(&url)).unwrap();
            }),
            TierOutcome::Absent,
        ),
        (
            Box::new(|name, _| {
                let mut server = raw(&url);
                let (): () = server.del(name).unwrap();
                let (): () = server.lpush(name, "another type").unwrap();
            }),
            TierOutcome::Absent,
        ),
        (
            Box::new(|name, value| {
                let mut other = value.to_vec();
                other[value.len() / 2] ^= 1;
                set(&url, name, &other);
            }),
            TierOutcome::Corrupt,
        ),
        (
            Box::new(|name, value| set(&url, name, &value[..value.len() / 2])),
            TierOutcome::Corrupt,
        ),
        (
            Box::new(|name, value| {
                let mut other = value.to_vec();
                other[4] = 0;
                set(&url, name, &other);
            }),
            TierOutcome::Format,
        ),
    ];
    for (round, (harm, outcome)) in harms.iter().enumerate() {
        let now = format!("ERP {}", round + 1);
        let second = runner(&fixture, &tier).await;
        write(&first, &now).await;
        found(&first).await;
        first.settle_tier(false).await;
        let (_, value) = answers(&url, "values")
            .into_iter()
            .find(|(of, _)| *of == name)
            .unwrap();
        harm(&name, &value);
        assert_eq!(found(&second).await, (now, Source::Miss), "{outcome:?}");
        assert_eq!(
            reads(&second, *outcome),
            1,
            "{outcome:?}: {:?}",
            second.stats().tier
        );
        second.close().await;
        let (): () = raw(&url).del(&name).unwrap();
    }
    first.close().await;
    fixture.finish().await;
}

/// A service whose clock the test drives, so that the pauses of a tier that is left alone pass at once.
async fn clocked(fixture: &Fixture, tier: &Arc<RedisTier>, clock: &Arc<ManualClock>) -> Runner {
    // The feed's lag is by this clock, too, and does not matter here.
    let options = TierOptions::new()
        .timeout(Duration::from_millis(250))
        .replay(Duration::ZERO);
    let build = builder(fixture, tier, options)
        .await
        .clock(clock.clone() as Arc<dyn Clock>);
    let runner = build.build().unwrap();
    assert!(runner.catch_up(LONG).await);
    runner
}

/// Readers beside the one who forgets do not keep the tier from being used again, and nobody else has to write anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_after_answers_were_forgotten_is_used_again() {
    let (fixture, tier) = (Fixture::postgres().await, tier(redis(), "again"));
    let clock = Arc::new(ManualClock::new());
    let runner = clocked(&fixture, &tier, &clock).await;
    write(&runner, "ERP").await;
    for _ in 0..5 {
        runner.clear();
        let reading = (0..4).map(|_| found(&runner));
        futures_util::future::join_all(reading).await;
        recovers(&runner, &clock, "ERP").await;
    }
    runner.close().await;
    fixture.finish().await;
}

/// Asks until the tier answers again; what is in memory is past its time whenever it is asked.
async fn recovers(runner: &Runner, clock: &ManualClock, name: &str) {
    loop {
        clock.advance(Duration::from_secs(3_600));
        let (found, source) = found(runner).await;
        assert_eq!(found, name);
        if source == Source::Tier {
            return;
        }
        runner.settle_tier(false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_paused_or_killed_is_left_alone_and_found_again() {
    let (fixture, mut server) = (Fixture::postgres().await, PrivateRedis::start().await);
    let (tier, clock) = (tier(&server.url(), "down"), Arc::new(ManualClock::new()));
    let runner = clocked(&fixture, &tier, &clock).await;
    write(&runner, "ERP").await;
    recovers(&runner, &clock, "ERP").await;

    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    for fault in ["paused", "killed"] {
        match fault {
            "paused" => kill_process(pid, Signal::STOP).unwrap(),
            _ => server.kill(),
        }
        assert_eq!(found(&runner).await.1, Source::Hit, "{fault}: hits go on");
        while !runner.stats().tier.unwrap().is_open {
            runner.clear();
            assert_eq!(found(&runner).await, ("ERP".to_owned(), Source::Miss), "{fault}");
        }
        let skipped = reads(&runner, TierOutcome::Skipped);
        for _ in 0..10 {
            runner.clear();
            assert_eq!(found(&runner).await, ("ERP".to_owned(), Source::Miss), "{fault}");
        }
        assert_eq!(
            reads(&runner, TierOutcome::Skipped) - skipped,
            10,
            "{fault}: nobody waits for it"
        );
        write(&runner, &format!("ERP {fault}")).await;
        assert_eq!(found(&runner).await.0, format!("ERP {fault}"));
        match fault {
            "paused" => kill_process(pid, Signal::CONT).unwrap(),
            _ => server.restart().await,
        }
        recovers(&runner, &clock, &format!("ERP {fault}")).await;
        write(&runner, "ERP").await;
        recovers(&runner, &clock, "ERP").await;
    }
    runner.close().await;
    fixture.finish().await;
}
