//! What a store tells of a standby: which state it shows, and of which history.

use ci_model::{Epoch, Get, Origin, Question, Search};
use ci_store::{Answers, Error, Found, Replica, StoreOptions, Unused};
use ci_tests::fixture::Fixture;
use ci_tests::history::{Ending, Raw, Server};

use super::feeding::{acme, id, insert, started};
use super::stage::{DATABASE, Stage, connected, open, own_words, raw, replayed, replica, told, until};

async fn xid(raw: &mut Raw) -> Origin {
    let xid = raw.texts("SELECT pg_current_xact_id()::text").await.unwrap();
    Origin::Transaction(xid[0].parse().unwrap())
}

fn everything() -> Question {
    Search::builder().build().unwrap().into()
}

fn codes(answers: &Answers) -> Vec<&str> {
    match &answers.found[..] {
        [Found::Rows(rows)] => rows.iter().map(|row| row.ci_code.as_str()).collect(),
        other => panic!("{other:?}"),
    }
}

async fn ask(replica: &dyn Replica, epoch: Epoch) -> Result<Answers, Unused> {
    told(async || replica.ask_all(epoch, &acme(), &[everything()]).await).await
}

#[tokio::test]
async fn a_state_does_not_include_what_is_in_progress() {
    let stage = Stage::new().await;
    let mut feed = started(&*stage.store).await;
    let epoch = feed.start().await.unwrap().epoch;
    let replica = stage.replica();
    let (mut long, mut short) = (raw(&stage.primary).await, raw(&stage.primary).await);
    long.begin().await.unwrap();
    long.run(&insert("acme", 1)).await.unwrap();
    let first = xid(&mut long).await;
    short.begin().await.unwrap();
    short.run(&insert("acme", 2)).await.unwrap();
    let second = xid(&mut short).await;
    short.run("COMMIT").await.unwrap();
    // Begins to read of the standby: the primary writes its epoch down.
    let _not_there_yet = connected(async || replica.state(epoch).await).await;
    stage.replayed().await;

    // The trap: there the server's own function says that it sees both.
    let claimed = own_words(&stage.standby).await;
    assert!(claimed.covers(first) && claimed.covers(second), "{claimed}");

    let answers = ask(&*replica, epoch).await.unwrap();
    let (its, version) = answers.version.clone().unwrap();
    assert_eq!((codes(&answers), its), (vec!["c-2"], epoch));
    assert!(version.covers(second) && !version.covers(first), "{version}");
    let looked_at = told(async || replica.state(epoch).await).await.unwrap();
    assert!(!looked_at.covers(first), "{looked_at}");
    let snapshot = told(async || replica.snapshot(epoch).await).await;
    let (mut snapshot, version) = snapshot.unwrap();
    assert_eq!(snapshot.version().await.unwrap(), Some((epoch, version.clone())));
    assert!(version.covers(second) && !version.covers(first), "{version}");

    long.run("COMMIT").await.unwrap();
    stage.replayed().await;
    let after = ask(&*replica, epoch).await.unwrap();
    assert_eq!(codes(&after), ["c-1", "c-2"]);
    assert!(after.version.unwrap().1.covers(first));
    // The snapshot is still of its state.
    let gets = [Get::new(id(1)), Get::new(id(2))];
    let found = snapshot.get_many(&acme(), &gets).await.unwrap();
    assert_eq!(
        found.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, true]
    );
    drop(snapshot);
    replica.close().await;
    stage.store.close().await;
}

#[tokio::test]
async fn questions_of_every_form_are_of_the_state_that_comes_with_them() {
    let stage = Stage::new().await;
    let epoch = started(&*stage.store).await.start().await.unwrap().epoch;
    let replica = stage.replica();
    let _not_there_yet = connected(async || replica.state(epoch).await).await;
    stage.execute(&insert("acme", 1)).await;
    stage.replayed().await;
    let get = Question::Get(Get::new(id(1)));
    for questions in [
        vec![everything()],
        vec![get.clone()],
        vec![get.clone(), everything()],
        Vec::new(),
    ] {
        // The server tidies up now and then, and that is a transaction, too: until none came between.
        until(async || {
            let answers = told(async || replica.ask_all(epoch, &acme(), &questions).await).await;
            let (answers, primary) = (
                answers.unwrap(),
                stage.store.ask_all(&acme(), &questions).await.unwrap(),
            );
            assert_eq!(answers.found, primary.found);
            let (on_standby, on_primary) = (answers.version.unwrap(), primary.version.unwrap());
            assert_eq!(on_standby.0, on_primary.0);
            assert!(on_primary.1.includes(&on_standby.1));
            on_standby.1.includes(&on_primary.1)
        })
        .await;
    }
    replica.close().await;
    stage.store.close().await;
}

#[tokio::test]
async fn a_standby_of_another_history_is_refused() {
    let stage = Stage::new().await;
    let epoch = started(&*stage.store).await.start().await.unwrap().epoch;
    let replica_of = |server: &Server| replica(&stage.store, &server.url(DATABASE));

    // Of another primary, with the same tables.
    let other = Server::start().await;
    open(&other).await.close().await;
    let stranger = other.standby().await;
    let strange = replica_of(&stranger);
    assert!(matches!(ask(&*strange, epoch).await, Err(Unused::History)));

    // Of an epoch that is over, or was never: the primary does not write it down.
    let own = stage.replica();
    let wrong = Epoch(epoch.0 ^ 1);
    assert!(matches!(ask(&*own, wrong).await, Err(Unused::History)));
    let _not_there_yet = connected(async || own.state(epoch).await).await;
    stage.replayed().await;
    ask(&*own, epoch).await.unwrap();
    // Another node wrote another epoch down: it is written again.
    stage
        .execute("UPDATE ci_meta SET value = 'of another node' WHERE key = 'epoch'")
        .await;
    stage.replayed().await;
    assert!(matches!(ask(&*own, epoch).await, Err(Unused::History)));
    let _not_there_yet = connected(async || own.state(epoch).await).await;
    stage.replayed().await;
    ask(&*own, epoch).await.unwrap();

    // A standby that was promoted, while the primary goes on; and one that follows it.
    let second = stage.standby.standby().await;
    let follower = replica_of(&second);
    replayed(&stage.primary, &second).await;
    ask(&*follower, epoch).await.unwrap();
    stage.standby.promote().await;
    assert!(matches!(ask(&*own, epoch).await, Err(Unused::Promoted)));
    raw(&stage.standby).await.run(&insert("acme", 1)).await.unwrap();
    replayed(&stage.standby, &second).await;
    let mut on_second = raw(&second).await;
    let follows = "SELECT received_tli::text FROM pg_stat_wal_receiver";
    until(async || on_second.texts(follows).await.unwrap() == ["2"]).await;
    let written = "SELECT value FROM ci_meta WHERE key = 'epoch'";
    let expected = format!("{:016x}", epoch.0);
    assert_eq!(
        on_second.texts(written).await.unwrap(),
        [expected],
        "by that alone it would pass"
    );
    assert!(matches!(ask(&*follower, epoch).await, Err(Unused::History)));
    for replica in [strange, own, follower] {
        replica.close().await;
    }
    stage.store.close().await;
}

#[tokio::test]
async fn a_standby_that_does_not_say_whom_it_follows_is_not_used() {
    let stage = Stage::new().await;
    let epoch = started(&*stage.store).await.start().await.unwrap().epoch;
    stage
        .execute("CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        .await;
    let url = stage.standby.url(DATABASE).replace("postgres@", "reader@");
    let replica = replica(&stage.store, &url);
    let _not_there_yet = connected(async || replica.state(epoch).await).await;
    stage.replayed().await;
    let unproven = connected(async || replica.state(epoch).await).await;
    assert!(matches!(unproven, Err(Unused::Unproven)));
    stage.execute("GRANT pg_read_all_stats TO reader").await;
    stage.replayed().await;
    told(async || replica.state(epoch).await).await.unwrap();
    replica.close().await;
    stage.store.close().await;
}

#[tokio::test]
async fn a_standby_that_is_down_fails_and_is_used_again_when_it_is_back() {
    let stage = Stage::new().await;
    let epoch = started(&*stage.store).await.start().await.unwrap().epoch;
    let replica = stage.replica();
    let _not_there_yet = connected(async || replica.state(epoch).await).await;
    stage.replayed().await;
    ask(&*replica, epoch).await.unwrap();
    stage.standby.stop(Ending::Crash).await;
    match replica.ask_all(epoch, &acme(), &[everything()]).await {
        Err(Unused::Failed(error)) => assert!(error.is_transient(), "{error}"),
        other => panic!("{other:?}"),
    }
    stage.standby.restart(Ending::Fast).await;
    stage.replayed().await;
    ask(&*replica, epoch).await.unwrap();
    replica.close().await;
    stage.store.close().await;
}

#[tokio::test]
async fn only_postgres_has_replicas_and_addresses_have_to_be_readable() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let refused = store.replica("postgres://localhost/cmdb", &StoreOptions::default());
    assert!(matches!(refused, Err(Error::Address(_))));
    store.close().await;
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let refused = store.replica("postgres://[", &StoreOptions::default());
    assert!(matches!(refused, Err(Error::Address(_))));
    store.close().await;
    fixture.finish().await;
}
