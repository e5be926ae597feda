//! Nodes of a cluster that are gone, hang, or are cut off from the others: each costs what it has, and the tier is not left alone for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::ManualClock;
use ci_model::{CiDraft, Search};
use ci_runner::tier::Tier as _;
use ci_runner::{Level, Runner, Source};
use ci_tests::fixture::Fixture;
use ci_tests::tier::{PrivateRedis, until};
use rustix::process::Signal;

use crate::cluster::{Cluster, slot, stored};
use crate::{LONG, acme, clocked, found, get, key, order, put, shares, signal, tier, write};

/// As long as somebody who asks a runner waits for a tier when nothing is said.
const BUDGET: Duration = Duration::from_millis(25);

/// The answers that a node has.
fn answers(node: &PrivateRedis) -> BTreeSet<String> {
    order(node, "KEYS cmdb:t:*").unwrap()
}

/// Which node has the only answer that there is.
fn holder(cluster: &Cluster) -> usize {
    let mut holders = (0..3).filter(|which| !answers(&cluster.0[*which]).is_empty());
    let holder = holders.next().unwrap();
    assert_eq!(holders.next(), None);
    holder
}

async fn asked(runner: &Runner, word: &str) -> (String, Source) {
    let search = Search::builder().keyword(word).build().unwrap();
    let tenant = acme(runner);
    let answer = tenant.at(Level::Strong).search_strict(&search).await.unwrap();
    (answer.value.items[0].ci_name.clone(), answer.source)
}

fn is_left_alone(runner: &Runner) -> bool {
    runner.stats().tier.unwrap().is_open
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_that_is_gone_leaves_the_tier_on() {
    let mut cluster = Cluster::start().await;
    let (fixture, clock) = (Fixture::postgres().await, Arc::new(ManualClock::new()));
    let address = cluster.address(&[0, 1, 2]);
    let first = clocked(&fixture, &tier(&address), &clock).await;
    let second = clocked(&fixture, &tier(&address), &clock).await;
    let words: Vec<String> = (0..30).map(|number| format!("item{number:02}")).collect();
    let draft = |word: &String| CiDraft::new(word, word, "SW");
    let drafts: Vec<_> = words.iter().map(draft).collect();
    acme(&first).upsert_cis(drafts).await.unwrap();
    // Whether the node that is going to be gone has the answer to each.
    let mut is_of_it = Vec::new();
    for word in &words {
        let before = answers(&cluster.0[0]);
        assert_eq!(asked(&first, word).await, (word.clone(), Source::Miss));
        first.settle_tier(false).await;
        is_of_it.push(answers(&cluster.0[0]) != before);
    }
    assert!(
        is_of_it.contains(&true) && is_of_it.contains(&false),
        "{is_of_it:?}"
    );
    cluster.0[0].kill();
    for round in 0..5 {
        // What it has comes in a row, too: nothing that others have comes between.
        for is_lost in [true, false] {
            for (word, _) in words
                .iter()
                .zip(&is_of_it)
                .filter(|(_, of_it)| **of_it == is_lost)
            {
                let expected = if is_lost { Source::Miss } else { Source::Tier };
                let found = asked(&second, word).await;
                assert_eq!(found, (word.clone(), expected), "round {round}");
                assert!(
                    !is_left_alone(&second),
                    "round {round}: {:?}",
                    second.stats().tier
                );
            }
        }
        // What was loaded is written, among it what is of the node that is gone.
        second.settle_tier(false).await;
        assert!(
            !is_left_alone(&second),
            "round {round}: {:?}",
            second.stats().tier
        );
        // What is in memory is past its time.
        clock.advance(Duration::from_secs(3_600));
    }
    first.close().await;
    second.close().await;
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_share_over_a_cluster_and_go_on_without_a_node() {
    // Those that are left never find that they are too few.
    let mut cluster = Cluster::start_with("600000").await;
    let (fixture, clock) = (Fixture::postgres().await, Arc::new(ManualClock::new()));
    let address = cluster.address(&[0, 1, 2]);
    let first = clocked(&fixture, &tier(&address), &clock).await;
    let second = clocked(&fixture, &tier(&address), &clock).await;
    write(&first, "ERP").await;
    assert_eq!(found(&first).await, ("ERP".to_owned(), Source::Miss));
    first.settle_tier(false).await;
    shares(&second, &clock, "ERP").await;
    // Who has the answer goes second, so that it is shared after the first is gone, and is not after that.
    let holder = holder(&cluster);
    for (gone, which) in [(holder + 1) % 3, holder, (holder + 2) % 3]
        .into_iter()
        .enumerate()
    {
        cluster.0[which].kill();
        let expected = if gone == 0 { Source::Tier } else { Source::Miss };
        for round in 0..5 {
            let name = format!("ERP {which}.{round}");
            write(&first, &name).await;
            // It has what it knew of before deleted, and that before the answer is shared.
            assert!(second.catch_up(LONG).await);
            second.settle_tier(false).await;
            assert_eq!(found(&first).await, (name.clone(), Source::Miss));
            first.settle_tier(false).await;
            assert_eq!(
                found(&second).await,
                (name, expected),
                "{gone} before it are gone"
            );
            let others = gone < 2;
            assert!(!others || !is_left_alone(&second), "{:?}", second.stats().tier);
        }
    }
    // Nobody is left. What is in memory is past its time whenever it is asked.
    until("the tier is left alone", async || {
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(found(&first).await.1, Source::Miss);
        is_left_alone(&first)
    })
    .await;
    first.close().await;
    second.close().await;
    fixture.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doorbell_hangs_at_the_node_that_has_its_slot_and_without_that_at_another() {
    let mut cluster = Cluster::start().await;
    let address = cluster.address(&[0, 1, 2]);
    let tiers = [tier(&address), tier(&address)];
    let mut bells = Vec::new();
    for tier in &tiers {
        bells.push(tier.listen().await.unwrap().unwrap());
    }
    let bell_slot = usize::from(slot("cmdb:f:bell"));
    let holder = (0..3).find(|which| Cluster::range(*which).contains(&bell_slot));
    let holder = holder.unwrap();
    // Nodes lose what is published while they have no connection to each other: whoever rings is where the others listen.
    let heard: Vec<redis::Value> = order(&cluster.0[holder], "PUBSUB NUMSUB cmdb:f:bell").unwrap();
    assert_eq!(heard[1], redis::Value::Int(2));
    cluster.0[holder].kill();
    for bell in &mut bells {
        let broke = tokio::time::timeout(LONG, bell.rung()).await.unwrap();
        broke.unwrap_err();
    }
    bells.clear();
    for tier in &tiers {
        bells.push(tier.listen().await.unwrap().unwrap());
    }
    for tier in &tiers {
        tier.ring().await.unwrap();
        for bell in &mut bells {
            let rung = tokio::time::timeout(LONG, bell.rung()).await;
            rung.expect("everybody hears it").unwrap();
        }
    }
    for node in &mut cluster.0 {
        node.kill();
    }
    let error = tiers[0].ring().await.unwrap_err().to_string();
    assert!(!error.contains("127.0"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_is_left_every_call_is_an_error() {
    let mut cluster = Cluster::start().await;
    let tier = tier(&cluster.address(&[0, 1, 2]));
    let name = Cluster::named(0);
    put(&tier, &name, "one").await.unwrap();
    for node in &mut cluster.0 {
        node.kill();
    }
    until("reading is an error, of one node alone too", async || {
        get(&tier, &name).await.is_err()
    })
    .await;
    until("writing is", async || put(&tier, &name, "two").await.is_err()).await;
    for failed in [
        tier.lease(&key(&name), LONG).await.map(drop),
        tier.delete(&[key(&name)]).await,
        tier.ping().await,
    ] {
        let error = failed.unwrap_err().to_string();
        assert!(!error.contains("127.0"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_costs_what_it_has_and_after_some_silences_nobodys_time() {
    let cluster = Cluster::start().await;
    let tier = tier(&cluster.address(&[0, 1, 2]));
    let names = [0, 1, 2].map(Cluster::named);
    for name in &names {
        put(&tier, name, name).await.unwrap();
    }
    let keys = names.each_ref().map(|name| key(name));
    let value = |which: usize| Some(names[which].clone().into_bytes());
    assert_eq!(tier.get(&keys).await.unwrap(), [value(0), value(1), value(2)]);
    signal(&cluster.0[0], Signal::STOP);
    // An attempt to connect to it outlasts this test. Where the machine stalls for the budget some times in a row another node is taken for silent,
    // too, until the next connection to it is made: a round without its value shows nothing, and one with another value never comes.
    let mut answered = 0;
    until("who asks for several has what the others have", async || {
        if let Ok(Ok(found)) = tokio::time::timeout(BUDGET, tier.get(&keys)).await {
            assert_eq!(found[0], None);
            for which in [1, 2] {
                assert!(
                    found[which].is_none() || found[which] == value(which),
                    "{found:?}"
                );
            }
            answered += usize::from(found[1].is_some() && found[2].is_some());
        }
        answered == 10
    })
    .await;
    signal(&cluster.0[0], Signal::CONT);
    until("it is asked again", async || {
        tier.get(&keys).await.unwrap() == [value(0), value(1), value(2)]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_while_a_node_hangs_is_gone_when_it_is_back() {
    let cluster = Cluster::start().await;
    let tier = tier(&cluster.address(&[0, 1, 2]));
    let names = [0, 1].map(Cluster::named);
    for name in &names {
        put(&tier, name, name).await.unwrap();
    }
    let keys = names.each_ref().map(|name| key(name));
    // By other calls it is found that it hangs, so that it is never sent the deletes.
    let mut others = (0..).map(|number| format!("o{number}"));
    let is_of_it = |name: &String| Cluster::range(0).contains(&usize::from(slot(&format!("cmdb:f:{name}"))));
    let other = others.find(is_of_it).unwrap();
    signal(&cluster.0[0], Signal::STOP);
    until("writing ends without it", async || {
        let written = tokio::time::timeout(BUDGET, put(&tier, &other, "x")).await;
        written.is_ok_and(|written| written.is_ok())
    })
    .await;
    tier.delete(&keys).await.unwrap();
    assert_eq!(stored(&cluster.0[1], &names[1]), None);
    signal(&cluster.0[0], Signal::CONT);
    until("it is deleted there, too", async || {
        stored(&cluster.0[0], &names[0]).is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_the_others_is_believed_no_more() {
    let cluster = Cluster::start().await;
    let tier = tier(&cluster.address(&[0, 1, 2]));
    let (moved, other) = (Cluster::named(0), Cluster::named(2));
    for name in [&moved, &other] {
        put(&tier, name, "before").await.unwrap();
        assert_eq!(get(&tier, name).await.unwrap().as_deref(), Some("before"));
    }
    let ids = [0, 1, 2].map(|which| cluster.id(which));
    let order_of = |which: usize, command: String| {
        let (): () = order(&cluster.0[which], &command).unwrap();
    };
    // Neither side hears of the other for the minute that these orders last: to the one the cluster is down, as it covers not all slots.
    order_of(0, "CONFIG SET cluster-require-full-coverage yes".into());
    for which in [1, 2] {
        order_of(0, format!("CLUSTER FORGET {}", ids[which]));
        order_of(which, format!("CLUSTER FORGET {}", ids[0]));
    }
    until("it says that the cluster is down", async || {
        let answer = order::<Option<String>>(&cluster.0[0], &format!("GET cmdb:f:{moved}"));
        answer.is_err_and(|error| error.code() == Some("CLUSTERDOWN"))
    })
    .await;
    let range = Cluster::range(0);
    order_of(
        1,
        format!("CLUSTER ADDSLOTSRANGE {} {}", range.start, range.end - 1),
    );
    until("the others agree who has its slots", async || {
        let of = |which: usize| order::<String>(&cluster.0[which], "CLUSTER INFO").unwrap();
        of(1).contains("cluster_slots_ok:16384") && of(2).contains("cluster_slots_ok:16384")
    })
    .await;
    until("the new owner is asked", async || {
        put(&tier, &moved, "after").await.unwrap();
        stored(&cluster.0[1], &moved).as_deref() == Some("after")
    })
    .await;
    // So it is by the connections that read; and by who comes now, and may hear the one that is cut off before the others.
    let late = crate::tier(&cluster.address(&[0, 1, 2]));
    for tier in [&tier, &late] {
        until(
            "the new owner is read",
            async || matches!(get(tier, &moved).await, Ok(Some(found)) if found == "after"),
        )
        .await;
        assert_eq!(get(tier, &other).await.unwrap().as_deref(), Some("before"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_account_is_said() {
    let server = PrivateRedis::start().await;
    let rules = "ACL SETUSER reader on >hunter2 ~cmdb:* +mget";
    let (): () = order(&server, rules).unwrap();
    let told = async |account: &str| {
        let tier = tier(&format!("redis://{account}{}", server.place()));
        let error = tier.ping().await.unwrap_err().to_string();
        assert!(!error.contains("hunter") && !error.contains("127.0"), "{error}");
        error
    };
    let refused = told("reader:hunter3@").await;
    assert!(
        refused.contains("the account or its password is refused"),
        "{refused}"
    );
    let forbidden = told("reader:hunter2@").await;
    assert!(forbidden.contains("the account may not do this"), "{forbidden}");
    let reader = tier(&format!("redis://reader:hunter2@{}", server.place()));
    let forbidden = reader.listen().await.err().unwrap().to_string();
    assert!(forbidden.contains("the account may not do this"), "{forbidden}");
    let (): () = order(&server, "ACL SETUSER default resetpass >hunter4").unwrap();
    let unnamed = told("").await;
    assert!(
        unnamed.contains("an account or a password is wanted"),
        "{unnamed}"
    );
}
