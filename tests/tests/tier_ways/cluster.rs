//! A cluster: names go to who has their slot, in whatever state the cluster is, and no value comes for another name.

use std::collections::HashMap;
use std::time::Duration;

use ci_runner::tier::{Life, Tier as _, TierKey, TierValue};
use ci_tests::tier::{PrivateRedis, until};
use ci_tier_redis::RedisTier;
use redis::Value;
use rustix::process::Signal;

use crate::{LONG, get, key, options, order, put, rings, signal, tier};

const SLOTS: u16 = 16_384;

/// Nodes without replicas, each with a third of the slots.
pub(crate) struct Cluster(pub(crate) Vec<PrivateRedis>);

impl Cluster {
    pub(crate) async fn start() -> Self {
        // On a machine that is busy no node takes another one for lost.
        Self::start_with("30000").await
    }

    /// With nodes that take one for lost after so many milliseconds.
    pub(crate) async fn start_with(lost_after_ms: &str) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(Self::node(lost_after_ms).await);
        }
        for (which, node) in nodes.iter().enumerate() {
            let (): () = order(node, &format!("CLUSTER SET-CONFIG-EPOCH {}", which + 1)).unwrap();
            let range = Self::range(which);
            let (): () = order(
                node,
                &format!("CLUSTER ADDSLOTSRANGE {} {}", range.start, range.end - 1),
            )
            .unwrap();
        }
        for node in &nodes[1..] {
            meet(&nodes[0], node);
        }
        let cluster = Self(nodes);
        until("all nodes know who has what", async || {
            cluster.0.iter().all(|node| {
                let told: String = order(node, "CLUSTER INFO").unwrap();
                let slots: Vec<Value> = order(node, "CLUSTER SLOTS").unwrap();
                let links: String = order(node, "CLUSTER NODES").unwrap();
                !links.contains("disconnected")
                    && told.contains("cluster_state:ok")
                    && told.contains("cluster_known_nodes:3")
                    && told.contains("cluster_slots_ok:16384")
                    && slots.len() == 3
            })
        })
        .await;
        cluster
    }

    async fn node(lost_after_ms: &str) -> PrivateRedis {
        let arguments = [
            ["--cluster-enabled", "yes"],
            ["--cluster-port", "{bus}"],
            ["--cluster-node-timeout", lost_after_ms],
            // What is lost costs nobody else anything.
            ["--cluster-require-full-coverage", "no"],
        ];
        PrivateRedis::start_with(&arguments.concat()).await
    }

    /// The slots of a node.
    pub(crate) fn range(which: usize) -> std::ops::Range<usize> {
        let third = usize::from(SLOTS) / 3;
        let end = if which == 2 {
            usize::from(SLOTS)
        } else {
            (which + 1) * third
        };
        which * third..end
    }

    /// The address, by these nodes.
    pub(crate) fn address(&self, nodes: &[usize]) -> String {
        let places: Vec<_> = nodes.iter().map(|which| self.0[*which].place()).collect();
        format!("redis+cluster://{}", places.join(","))
    }

    /// A name that a node has.
    pub(crate) fn named(which: usize) -> String {
        let range = Self::range(which);
        let mut names = (0..).map(|number| format!("n{number}"));
        names
            .find(|name| range.contains(&usize::from(slot(&format!("cmdb:f:{name}")))))
            .unwrap()
    }

    pub(crate) fn id(&self, which: usize) -> String {
        order(&self.0[which], "CLUSTER MYID").unwrap()
    }

    /// How often nodes sent somebody elsewhere.
    fn redirections(&self) -> u64 {
        let of = |node: &PrivateRedis| {
            let told: String = order(node, "INFO errorstats").unwrap();
            let counts = told.lines().filter_map(|line| {
                let counted = line
                    .strip_prefix("errorstat_MOVED:count=")
                    .or(line.strip_prefix("errorstat_ASK:count="));
                counted.map(|count| count.trim().parse::<u64>().unwrap())
            });
            counts.sum::<u64>()
        };
        self.0.iter().map(of).sum()
    }
}

/// Tells a node of another one.
fn meet(node: &PrivateRedis, other: &PrivateRedis) {
    let told: String = order(other, "CLUSTER NODES").unwrap();
    let bus = told.split('@').nth(1).unwrap().split([' ', ',']).next().unwrap();
    let meet = format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port());
    let (): () = order(node, &meet).unwrap();
}

/// The slot of a text without braces, as the specification of Redis Cluster has it.
pub(crate) fn slot(text: &str) -> u16 {
    let sum = text.bytes().fold(0_u16, |sum, byte| {
        (0..8).fold(sum ^ u16::from(byte) << 8, |sum, _| {
            let next = sum << 1;
            if sum & 0x8000 == 0 { next } else { next ^ 0x1021 }
        })
    });
    sum % SLOTS
}

/// What a node has for a name, if it has its slot.
pub(crate) fn stored(node: &PrivateRedis, name: &str) -> Option<String> {
    order(node, &format!("GET cmdb:f:{name}")).ok().flatten()
}

/// A name of each slot.
fn names_of_all_slots() -> Vec<String> {
    let mut names = HashMap::new();
    let mut number = 0_u32;
    while names.len() < usize::from(SLOTS) {
        let name = format!("n{number}");
        names.entry(slot(&format!("cmdb:f:{name}"))).or_insert(name);
        number += 1;
    }
    let mut names: Vec<_> = names.into_values().collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_all_slots_are_read_written_and_forgotten_in_order() {
    let cluster = Cluster::start().await;
    // One node, and nobody beside it, leads to all.
    let tier = tier(&cluster.address(&[1]));
    tier.ping().await.unwrap();
    rings(&cluster.address(&[2])).await;
    let names = names_of_all_slots();
    let value = |name: &String, life| TierValue::new(key(name), format!("of {name}").into_bytes(), life);
    let all: Vec<_> = names
        .iter()
        .map(|name| value(name, Life::For(10 * LONG)))
        .collect();
    tier.put(&all).await.unwrap();
    // Every other one beside a name that nobody has.
    let asked: Vec<TierKey> = names
        .iter()
        .rev()
        .flat_map(|name| [key(name), key(&format!("{name}-none"))])
        .collect();
    let found = tier.get(&asked).await.unwrap();
    let expected = names
        .iter()
        .rev()
        .flat_map(|name| [Some(format!("of {name}").into_bytes()), None]);
    assert!(found.into_iter().eq(expected), "each value is of its name");

    let (gone, kept) = names.split_at(names.len() / 2);
    let keys = |names: &[String]| names.iter().map(|name| key(name)).collect::<Vec<_>>();
    tier.delete(&keys(gone)).await.unwrap();
    tier.delete(&keys(gone)).await.unwrap();
    assert!(tier.get(&keys(gone)).await.unwrap().iter().all(Option::is_none));
    assert!(tier.get(&keys(kept)).await.unwrap().iter().all(Option::is_some));
    tier.put(&[value(&gone[0], Life::AsBefore), value(&kept[0], Life::AsBefore)])
        .await
        .unwrap();
    assert_eq!(
        get(&tier, &gone[0]).await.unwrap(),
        None,
        "there was no life to take"
    );
    for name in &gone[..30] {
        assert!(tier.lease(&key(name), LONG).await.unwrap());
        assert!(!tier.lease(&key(name), LONG).await.unwrap());
    }
    assert_eq!(tier.get(&[]).await.unwrap(), Vec::<Option<Vec<u8>>>::new());
    assert_eq!(cluster.redirections(), 0, "each went to who has it at once");

    // A value of another type is not there, and no error.
    let (): () = order(&cluster.0[0], "CLUSTER COUNTKEYSINSLOT 0")
        .map(|_: u64| ())
        .unwrap();
    let other = Cluster::named(0);
    tier.delete(&[key(&other)]).await.unwrap();
    let _: u64 = order(&cluster.0[0], &format!("LPUSH cmdb:f:{other} x")).unwrap();
    assert_eq!(get(&tier, &other).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_costs_what_it_has() {
    let mut cluster = Cluster::start().await;
    let tier = tier(&cluster.address(&[0, 1, 2]));
    let names: Vec<String> = (0..300).map(|number| format!("n{number}")).collect();
    for name in &names {
        put(&tier, name, name).await.unwrap();
    }
    cluster.0[0].kill();
    let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
    let lost: Vec<bool> = names
        .iter()
        .map(|name| Cluster::range(0).contains(&usize::from(slot(&format!("cmdb:f:{name}")))))
        .collect();
    for _ in 0..50 {
        let found = tier.get(&keys).await.unwrap();
        for ((found, name), lost) in found.into_iter().zip(&names).zip(&lost) {
            let expected = (!lost).then(|| name.clone().into_bytes());
            assert_eq!(found, expected, "{name}");
        }
    }
    let (dead, alive) = (Cluster::named(0), Cluster::named(1));
    assert_eq!(get(&tier, &dead).await.unwrap(), None);
    put(&tier, &dead, "x").await.unwrap();
    tier.delete(&[key(&dead), key(&alive)]).await.unwrap();
    assert_eq!(
        get(&tier, &alive).await.unwrap(),
        None,
        "what could be was deleted"
    );
    assert!(tier.lease(&key(&alive), LONG).await.unwrap());
    for _ in 0..2 {
        assert!(
            tier.lease(&key(&dead), LONG).await.unwrap(),
            "whoever asks loads: nobody can be told of another"
        );
    }
    let error = tier.ping().await.unwrap_err().to_string();
    assert!(!error.contains("127.0"), "{error}");
    // Who comes now finds the others, too.
    let late = RedisTier::new(&cluster.address(&[0, 1]), options()).unwrap();
    put(&late, &alive, "late").await.unwrap();
    assert_eq!(get(&tier, &alive).await.unwrap().as_deref(), Some("late"));
    // Somebody gives what it had to another node, as the promotion of a replica does: nobody is left who could say so by a redirection.
    let given = slot(&format!("cmdb:f:{dead}"));
    for node in &cluster.0[1..] {
        let (): () = order(node, &format!("CLUSTER SETSLOT {given} NODE {}", cluster.id(2))).unwrap();
    }
    until("the other node is asked", async || {
        put(&tier, &dead, "given").await.unwrap();
        stored(&cluster.0[2], &dead).as_deref() == Some("given")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_paused_holds_nobody_up_and_is_connected_to_anew() {
    let cluster = Cluster::start().await;
    let tier = tier(&cluster.address(&[0, 1, 2]));
    let (paused, other) = (Cluster::named(0), Cluster::named(2));
    for name in [&paused, &other] {
        put(&tier, name, name).await.unwrap();
        assert_eq!(get(&tier, name).await.unwrap().as_deref(), Some(name.as_str()));
    }
    let connections = || -> u64 {
        let told: String = order(&cluster.0[0], "INFO stats").unwrap();
        let line = told
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().parse().unwrap()
    };
    let before = connections();
    signal(&cluster.0[0], Signal::STOP);
    for call in 0..8 {
        let asked = tokio::time::timeout(Duration::from_millis(50), get(&tier, &paused)).await;
        // After five silences nobody waits for it, nor for the connection that is being made anew.
        match call {
            0..5 => drop(asked.unwrap_err()),
            _ => assert_eq!(asked.unwrap().unwrap(), None),
        }
        // Would never be answered if it waited for the node that is paused.
        assert_eq!(get(&tier, &other).await.unwrap().as_deref(), Some(other.as_str()));
    }
    signal(&cluster.0[0], Signal::CONT);
    until("it answers again", async || {
        let asked = tokio::time::timeout(LONG, get(&tier, &paused)).await;
        matches!(asked, Ok(Ok(Some(found))) if found == paused)
    })
    .await;
    assert!(
        connections() - before >= 2,
        "beside this question's own there was a new one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_promoted_is_found_while_the_node_that_was_hangs() {
    let cluster = Cluster::start_with("2000").await;
    let replica = Cluster::node("2000").await;
    meet(&cluster.0[0], &replica);
    until("the replica knows the others", async || {
        order::<()>(&replica, &format!("CLUSTER REPLICATE {}", cluster.id(0))).is_ok()
    })
    .await;
    let address = cluster.address(&[0, 1, 2]);
    let patience = options().connect_timeout(Duration::from_secs(4));
    let tier = RedisTier::new(&address, patience).unwrap();
    let name = Cluster::named(0);
    until("it is written", async || {
        let written = put(&tier, &name, "before").await;
        written.is_ok() && stored(&cluster.0[0], &name).as_deref() == Some("before")
    })
    .await;
    until("the replica has it, and all know the replica", async || {
        let has: u64 = order(&replica, "DBSIZE").unwrap();
        let known = cluster.0.iter().all(|node| {
            let told: String = order(node, "CLUSTER NODES").unwrap();
            told.contains("slave")
        });
        has == 1 && known
    })
    .await;
    signal(&cluster.0[0], Signal::STOP);
    until("the replica is written", async || {
        let written = tokio::time::timeout(Duration::from_millis(250), put(&tier, &name, "after")).await;
        written.is_ok_and(|written| written.is_ok()) && stored(&replica, &name).as_deref() == Some("after")
    })
    .await;
    signal(&cluster.0[0], Signal::CONT);
    until("the node that was repeats it", async || {
        let role: Vec<Value> = order(&cluster.0[0], "ROLE").unwrap();
        role[0] == Value::BulkString(b"slave".to_vec())
    })
    .await;
    until("it is written and read", async || {
        let written = put(&tier, &name, "last").await;
        written.is_ok()
            && get(&tier, &name)
                .await
                .is_ok_and(|found| found.as_deref() == Some("last"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start().await;
    let tier = tier(&cluster.address(&[0, 1, 2]));
    // Two names of one slot: one that leaves first, and one that stays longer.
    let base = Cluster::named(0);
    let moving = slot(&format!("cmdb:f:{base}"));
    let of_slot: Vec<String> = (0..)
        .map(|number| format!("n{number}"))
        .filter(|name| slot(&format!("cmdb:f:{name}")) == moving)
        .take(3)
        .collect();
    let [left, stays, new] = [&of_slot[0], &of_slot[1], &of_slot[2]];
    put(&tier, left, "left").await.unwrap();
    put(&tier, stays, "stays").await.unwrap();
    let (from, to) = (&cluster.0[0], &cluster.0[1]);
    let (): () = order(
        to,
        &format!("CLUSTER SETSLOT {moving} IMPORTING {}", cluster.id(0)),
    )
    .unwrap();
    let (): () = order(
        from,
        &format!("CLUSTER SETSLOT {moving} MIGRATING {}", cluster.id(1)),
    )
    .unwrap();
    let migrate = |name: &str| {
        let (): () = order(
            from,
            &format!("MIGRATE 127.0.0.1 {} cmdb:f:{name} 0 60000", to.port()),
        )
        .unwrap();
    };
    migrate(left);
    let before = cluster.redirections();
    let keys = [key(left), key(stays), key(new)];
    let found = tier.get(&keys).await.unwrap();
    assert_eq!(found, [Some(b"left".to_vec()), Some(b"stays".to_vec()), None]);
    put(&tier, new, "new").await.unwrap();
    let stored: Vec<String> = order(to, &format!("CLUSTER GETKEYSINSLOT {moving} 10")).unwrap();
    assert!(
        stored.contains(&format!("cmdb:f:{new}")),
        "what is new is written where the slot goes: {stored:?}"
    );
    assert!(cluster.redirections() > before);
    migrate(stays);
    for node in [to, from, &cluster.0[2]] {
        let (): () = order(node, &format!("CLUSTER SETSLOT {moving} NODE {}", cluster.id(1))).unwrap();
    }
    let found = tier.get(&keys).await.unwrap();
    assert_eq!(
        found,
        [
            Some(b"left".to_vec()),
            Some(b"stays".to_vec()),
            Some(b"new".to_vec())
        ]
    );
    until("nobody has to be sent elsewhere any more", async || {
        let before = cluster.redirections();
        assert_eq!(get(&tier, stays).await.unwrap().as_deref(), Some("stays"));
        cluster.redirections() == before
    })
    .await;
    tier.delete(&keys).await.unwrap();
    assert_eq!(tier.get(&keys).await.unwrap(), [None, None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_its_own_is_enough() {
    let cluster = Cluster::start().await;
    let rules = "ACL SETUSER ci-cache on >hunter2 ~cmdb:* +mget +set +del +ping +asking +cluster|slots";
    for node in &cluster.0 {
        let (): () = order(node, rules).unwrap();
    }
    let address = |password: &str| {
        let address = cluster.address(&[0, 1]);
        address.replace("://", &format!("://ci-cache:{password}@"))
    };
    let good = tier(&address("hunter2"));
    good.ping().await.unwrap();
    for which in 0..3 {
        let name = Cluster::named(which);
        put(&good, &name, "one").await.unwrap();
        assert_eq!(get(&good, &name).await.unwrap().as_deref(), Some("one"));
        good.delete(&[key(&name)]).await.unwrap();
        assert!(good.lease(&key(&name), LONG).await.unwrap());
    }
    let error = tier(&address("hunter3")).ping().await.unwrap_err().to_string();
    assert!(
        error.contains("the account or its password is refused"),
        "{error}"
    );
    // What a node refuses is an error, where a node that fails is none.
    let rules = "ACL SETUSER reader on >hunter2 ~cmdb:* +mget +ping +cluster|slots";
    for node in &cluster.0 {
        let (): () = order(node, rules).unwrap();
    }
    let reader = tier(&address("hunter2").replace("ci-cache:", "reader:"));
    let name = Cluster::named(0);
    get(&reader, &name).await.unwrap();
    for refused in [
        put(&reader, &name, "two").await.map(drop),
        reader.delete(&[key(&name)]).await,
        reader.lease(&key(&name), LONG).await.map(drop),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("the account may not do this"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_cluster_is_an_error() {
    let server = PrivateRedis::start().await;
    let tier = tier(&format!("redis+cluster://{}", server.place()));
    for _ in 0..2 {
        let error = get(&tier, "a").await.unwrap_err().to_string();
        assert!(error.contains("no node of the cluster tells"), "{error}");
        assert!(!error.contains("127.0"), "{error}");
    }
}
