//! Sentinels: the tier goes to the server that takes writes, and to the next one by itself.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::ManualClock;
use ci_runner::Source;
use ci_runner::tier::Tier as _;
use ci_tests::fixture::Fixture;
use ci_tests::tier::{PrivateRedis, until};
use ci_tier_redis::{RedisOptions, RedisTier};
use redis::Value;
use rustix::process::Signal;

use crate::{LONG, clocked, found, get, key, options, order, put, rings, shares, signal, tier, write};

/// When a server is taken for lost: soon, on a machine that is busy maybe one that is not; or in no test.
const SOON: u32 = 1_000;
const NEVER: u32 = 3_600_000;

/// A server, one that repeats what it does, and sentinels that know of both.
struct Watched {
    servers: [PrivateRedis; 2],
    sentinels: Vec<PrivateRedis>,
}

impl Watched {
    /// With so many sentinels, which take a server for lost after so many milliseconds.
    async fn start(sentinels: usize, lost_after_ms: u32) -> Self {
        let first = PrivateRedis::start().await;
        let port = first.port().to_string();
        let second = PrivateRedis::start_with(&["--replicaof", "127.0.0.1", &port]).await;
        until("the replica repeats what the first does", async || {
            let role: Vec<Value> = order(&second, "ROLE").unwrap();
            role.get(3) == Some(&Value::BulkString(b"connected".to_vec()))
        })
        .await;
        let mut watching = Vec::new();
        for _ in 0..sentinels {
            let sentinel = PrivateRedis::start_with(&["--sentinel"]).await;
            let quorum = sentinels / 2 + 1;
            for command in [
                format!("SENTINEL MONITOR cmdb 127.0.0.1 {port} {quorum}"),
                format!("SENTINEL SET cmdb down-after-milliseconds {lost_after_ms}"),
                "SENTINEL SET cmdb failover-timeout 5000".into(),
            ] {
                let (): () = order(&sentinel, &command).unwrap();
            }
            watching.push(sentinel);
        }
        for sentinel in &watching {
            until("the sentinels know each other and the replica", async || {
                let replicas: Vec<Value> = order(sentinel, "SENTINEL REPLICAS cmdb").unwrap();
                let others: Vec<Value> = order(sentinel, "SENTINEL SENTINELS cmdb").unwrap();
                let quorum = order::<Value>(sentinel, "SENTINEL CKQUORUM cmdb");
                replicas.len() == 1 && others.len() + 1 == sentinels && quorum.is_ok()
            })
            .await;
        }
        Self {
            servers: [first, second],
            sentinels: watching,
        }
    }

    /// The address, with a sentinel that is not there before those that are.
    fn address(&self) -> String {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let places = self.sentinels.iter().map(PrivateRedis::place);
        let places: Vec<_> = [nobody.to_string()].into_iter().chain(places).collect();
        format!("redis+sentinel://{}/cmdb", places.join(","))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_is_found_when_one_is_killed() {
    let mut watched = Watched::start(3, SOON).await;
    let (fixture, clock) = (Fixture::postgres().await, Arc::new(ManualClock::new()));
    let tier = tier(&watched.address());
    tier.ping().await.unwrap();
    let runner = clocked(&fixture, &tier, &clock).await;
    write(&runner, "ERP 1").await;
    shares(&runner, &clock, "ERP 1").await;

    watched.servers[0].kill();
    for round in 0..20 {
        let name = format!("ERP 1.{round}");
        write(&runner, &name).await;
        assert_eq!(found(&runner).await.0, name);
    }
    write(&runner, "ERP 2").await;
    shares(&runner, &clock, "ERP 2").await;
    let role: Vec<Value> = order(&watched.servers[1], "ROLE").unwrap();
    assert_eq!(
        role[0],
        Value::BulkString(b"master".to_vec()),
        "it is the other one now"
    );
    rings(&watched.address()).await;
    // Nothing but the sentinels led there.
    put(&tier, "a", "after").await.unwrap();
    let stored: Option<String> = order(&watched.servers[1], "GET cmdb:f:a").unwrap();
    assert_eq!(stored.as_deref(), Some("after"));
    runner.close().await;
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_left_for_the_next_one() {
    let watched = Watched::start(1, SOON).await;
    let tier = RedisTier::new(
        &watched.address(),
        RedisOptions::new().prefix("cmdb").connect_timeout(2 * SHARE),
    );
    let tier = tier.unwrap();
    until("it is written", async || put(&tier, "a", "before").await.is_ok()).await;
    until("the replica has it", async || {
        let stored: Option<String> = order(&watched.servers[1], "GET cmdb:f:a").unwrap();
        stored.is_some()
    })
    .await;
    signal(&watched.servers[0], Signal::STOP);
    // What is dropped before its answer is a silence; after some the sentinels are asked again.
    until("the other one is written", async || {
        let written = tokio::time::timeout(SHARE / 8, put(&tier, "a", "after")).await;
        written.is_ok_and(|written| written.is_ok())
    })
    .await;
    let stored: Option<String> = order(&watched.servers[1], "GET cmdb:f:a").unwrap();
    assert_eq!(stored.as_deref(), Some("after"));
    assert_eq!(get(&tier, "a").await.unwrap().as_deref(), Some("after"));
    signal(&watched.servers[0], Signal::CONT);
    // The one that was becomes a replica of the one that is, and nothing goes back to it.
    until("it repeats the other one", async || {
        // A sentinel that makes a server a replica closes its connections.
        let role = order::<Vec<Value>>(&watched.servers[0], "ROLE");
        role.is_ok_and(|role| role[0] == Value::BulkString(b"slave".to_vec()))
    })
    .await;
    until("it is written and read", async || {
        let written = put(&tier, "a", "last").await;
        written.is_ok()
            && get(&tier, "a")
                .await
                .is_ok_and(|found| found.as_deref() == Some("last"))
    })
    .await;
}

/// What a way through one of two sentinels may take.
const SHARE: Duration = Duration::from_secs(2);

/// A sentinel that names this port, or one that never says anything.
fn sentinel(whom: Option<u16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Some(named) = whom else {
                silent.push(stream);
                continue;
            };
            let (mut asked, mut chunk) = (Vec::new(), [0; 256]);
            while !asked.ends_with(b"cmdb\r\n") {
                match stream.read(&mut chunk) {
                    Ok(read @ 1..) => asked.extend_from_slice(&chunk[..read]),
                    _ => break,
                }
            }
            let port = named.to_string();
            let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_is_silent_or_names_a_replica_is_passed_over() {
    let watched = Watched::start(1, NEVER).await;
    let [first, second] = &watched.servers;
    let [silent, behind, right] = [
        sentinel(None),
        sentinel(Some(second.port())),
        sentinel(Some(first.port())),
    ];
    let address = |sentinels: &[u16]| {
        let places: Vec<_> = sentinels.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/cmdb", places.join(","))
    };
    let patient = RedisOptions::new().prefix("cmdb").connect_timeout(3 * SHARE);
    let tier = RedisTier::new(&address(&[silent, behind, right]), patient.clone()).unwrap();
    until("it is written", async || put(&tier, "a", "first").await.is_ok()).await;
    let stored: Option<String> = order(first, "GET cmdb:f:a").unwrap();
    assert_eq!(stored.as_deref(), Some("first"));
    // A replica is not even read from.
    let lost = RedisTier::new(&address(&[behind]), patient).unwrap();
    let error = get(&lost, "a").await.unwrap_err().to_string();
    assert!(error.contains("no sentinel leads"), "{error}");
    assert!(!error.contains("127.0"), "{error}");
    let unknown = watched.address().replace("/cmdb", "/other");
    let error = RedisTier::new(&unknown, options())
        .unwrap()
        .ping()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no sentinel leads"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_servers_have_accounts_of_their_own() {
    let watched = Watched::start(1, NEVER).await;
    for server in &watched.servers {
        let rules = "ACL SETUSER ci-cache on >hunter2 ~cmdb:* +mget +set +del +ping +role";
        let (): () = order(server, rules).unwrap();
    }
    let sentinel = &watched.sentinels[0];
    let rules = "ACL SETUSER asks on >hunter3 -@all +sentinel|get-master-addr-by-name";
    let (): () = order(sentinel, rules).unwrap();
    let (): () = order(sentinel, "ACL SETUSER default resetpass >hunter4").unwrap();
    let place = sentinel.place();
    let address = |account: &str, parameters: &str| {
        format!(
            "redis+sentinel://ci-cache:{account}@{place}/cmdb?sentinel_user=asks&sentinel_password={parameters}"
        )
    };
    let good = tier(&address("hunter2", "hunter3"));
    good.ping().await.unwrap();
    put(&good, "a", "one").await.unwrap();
    assert_eq!(get(&good, "a").await.unwrap().as_deref(), Some("one"));
    good.delete(&[key("a")]).await.unwrap();
    assert!(good.lease(&key("a"), LONG).await.unwrap());
    for bad in [address("hunter5", "hunter3"), address("hunter2", "hunter5")] {
        let error = tier(&bad).ping().await.unwrap_err().to_string();
        assert!(!error.contains("hunter") && !error.contains("127.0"), "{error}");
    }
}

/// Without sentinels: an address that leads to a server which became a replica is followed anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_any_more_is_given_up() {
    let server = PrivateRedis::start().await;
    let tier = tier(&format!("redis://{}", server.place()));
    put(&tier, "a", "one").await.unwrap();
    let connections = || -> u64 {
        let told: String = order(&server, "INFO stats").unwrap();
        let line = told
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().parse().unwrap()
    };
    let (): () = order(&server, "REPLICAOF 127.0.0.1 1").unwrap();
    let before = connections();
    let error = put(&tier, "a", "two").await.unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    put(&tier, "a", "two").await.unwrap_err();
    // One of the two is that of the question itself.
    assert_eq!(
        connections() - before,
        2,
        "the second call came over a new connection"
    );
    let (): () = order(&server, "REPLICAOF NO ONE").unwrap();
    until("it is written", async || put(&tier, "a", "three").await.is_ok()).await;
    assert_eq!(get(&tier, "a").await.unwrap().as_deref(), Some("three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_share_over_sentinels() {
    let watched = Watched::start(1, NEVER).await;
    let fixture = Fixture::postgres().await;
    let clock = Arc::new(ManualClock::new());
    let first = clocked(&fixture, &tier(&watched.address()), &clock).await;
    let second = clocked(&fixture, &tier(&watched.address()), &clock).await;
    write(&first, "ERP").await;
    assert_eq!(found(&first).await, ("ERP".to_owned(), Source::Miss));
    first.settle_tier(false).await;
    shares(&second, &clock, "ERP").await;
    first.close().await;
    second.close().await;
    fixture.finish().await;
}
