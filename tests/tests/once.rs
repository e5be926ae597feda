//! Questions that the store answers by one statement, together with its version: the same answers as in a transaction, at the same version, of an
//! epoch that nobody can mistake for another.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod feeding;

use std::sync::Arc;

use ci_model::{Epoch, Get, Question, Search, Version};
use ci_store::{Answers, Found, Polled, Store, StoreOptions};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::store_contract::world::{below, seeded, tenant};
use ci_tests::store_contract::{World, questions};
use feeding::{insert, started};
use rand_chacha::ChaCha8Rng;

/// A question of each kind that is one statement, and now and then one that is not.
fn any(random: &mut ChaCha8Rng, world: &World) -> Vec<Question> {
    match below(random, 9) {
        0 | 1 => vec![questions::search(random, world).into()],
        2 => vec![questions::list(random, world).into()],
        3 => vec![questions::aggregate(random, world).into()],
        4 => vec![questions::expand(random, world).into()],
        // Nothing is found; nothing is asked.
        5 => vec![
            Search::builder()
                .keyword("nobody is called this")
                .build()
                .unwrap()
                .into(),
        ],
        6 => Vec::new(),
        7 => vec![
            questions::search(random, world).into(),
            questions::list(random, world).into(),
        ],
        _ => {
            let get = |_| {
                let ci = &world.cis[below(random, world.cis.len())].summary;
                let get = match below(random, 3) {
                    0 => Get::new(ci.ci_id),
                    1 => Get::new(ci.ci_code.clone()),
                    _ => Get::new(ci_model::CiCode::new("nobody").unwrap()),
                };
                Question::Get(get.include_deleted(below(random, 2) == 0))
            };
            (0..4).map(get).collect()
        }
    }
}

async fn in_a_transaction(store: &dyn Store, asked: &[Question]) -> (Vec<Found>, Option<(Epoch, Version)>) {
    let mut snapshot = store.snapshot().await.unwrap();
    let version = snapshot.version().await.unwrap();
    (snapshot.ask_all(&tenant(), asked).await.unwrap(), version)
}

/// Tells whether one version is at least as new as another.
fn follows(version: &Version, before: &Version) -> bool {
    version.includes(before)
}

#[tokio::test]
async fn the_answers_and_the_version_are_those_of_a_transaction() {
    let world = World::random(31, 60, 120);
    on_both(async |fixture| {
        let store = fixture.open().await;
        fixture.execute(&world.sql(fixture.is_sqlite())).await;
        let mut random = seeded(31);
        let (mut once, mut equal, mut feed) = (0, 0, started(&*store).await);
        for round in 0..300 {
            // What polls tell of PostgreSQL counts until the next connection is made.
            feed.poll().await.unwrap();
            let asked = any(&mut random, &world);
            let (_, before) = in_a_transaction(&*store, &asked).await;
            let answers = store.ask_all(&tenant(), &asked).await.unwrap();
            let (found, version) = in_a_transaction(&*store, &asked).await;
            assert_eq!(answers.found, found, "{asked:?} on {}", store.backend());
            let ((_, before), (epoch, at)) = (before.unwrap(), answers.version.unwrap());
            let (its_epoch, its) = version.unwrap();
            assert_eq!(epoch, its_epoch);
            // Between them, since snapshots of PostgreSQL tell of all databases of a server: others may have written.
            assert!(
                follows(&at, &before) && follows(&its, &at),
                "{before:?} {at:?} {its:?}"
            );
            equal += u32::from(follows(&before, &its));
            once += u32::from(answers.version_statements == 0);
            if round % 50 == 0 {
                fixture.execute(&insert("elsewhere", 1_000 + round)).await;
                let after = store.ask_all(&tenant(), &asked).await.unwrap().version.unwrap().1;
                assert!(
                    after.includes(&at) && !at.includes(&after),
                    "a write is a new version"
                );
            }
        }
        assert!(once > 150, "{once} of 300 were one statement");
        // Of those that nobody else wrote beside: the version is then the same to the bit.
        assert!(equal > 0, "somebody else wrote all the time");
        store.close().await;
    })
    .await;
}

fn get() -> [Question; 1] {
    [Get::new(ci_model::CiCode::new("c-1").unwrap()).into()]
}

async fn asked(store: &dyn Store) -> Answers {
    store.ask_all(&feeding::acme(), &get()).await.unwrap()
}

/// Triggers off, a write that is not recorded, triggers on.
fn unrecorded(fixture: &Fixture) -> Vec<String> {
    let write = insert("acme", 1);
    if fixture.is_sqlite() {
        return vec!["DROP TRIGGER ci_change_insert".into(), write];
    }
    let switch = |how: &str| format!("ALTER TABLE ci {how} TRIGGER \"CI_change_rows\"");
    vec![switch("DISABLE"), write, switch("ENABLE ALWAYS")]
}

#[tokio::test]
async fn an_answer_from_before_an_unrecorded_write_is_never_of_the_epoch_after_it() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        asked(&*store).await;
        feed.poll().await.unwrap();
        let before = asked(&*store).await;
        let (first, _) = before.version.unwrap();
        assert_eq!(
            (before.version_statements, &before.found[..]),
            (0, &[Found::Ci(None)][..])
        );
        for sql in unrecorded(fixture) {
            fixture.execute(&sql).await;
        }
        // Nobody has looked since. What it says is true, and of an epoch that the next poll ends.
        let between = asked(&*store).await;
        assert!(matches!(between.found[..], [Found::Ci(Some(_))]));
        if fixture.is_sqlite() {
            assert_eq!(between.version, None, "changes are not recorded");
            fixture.open().await.close().await;
        } else {
            assert_eq!(between.version.unwrap().0, first);
        }
        let Polled::NewEpoch { epoch, position, .. } = feed.poll().await.unwrap() else {
            panic!("an unrecorded write ends the epoch")
        };
        let after = asked(&*store).await;
        assert_eq!(after.version_statements, 0);
        let (now, at) = after.version.unwrap();
        assert_eq!(now, epoch);
        assert_ne!(now, first);
        assert!(at.includes(&position));
        store.close().await;
    })
    .await;
}

/// One connection: the next question has a new one, and the epoch is read in full, because a server's crash would look the same.
#[tokio::test]
async fn a_new_connection_makes_the_epoch_be_read_again() {
    let fixture = Fixture::postgres().await;
    let mut options = StoreOptions::default();
    options.connections = 1;
    let store: Arc<dyn Store> = fixture.open_with(&options).await;
    asked(&*store).await;
    assert_eq!(asked(&*store).await.version_statements, 1, "nobody polls");
    let mut feed = started(&*store).await;
    assert_eq!(asked(&*store).await.version_statements, 0);
    let of_ours = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'ci-cache'";
    for pid in fixture.texts(of_ours).await {
        fixture
            .execute(&format!("SELECT pg_terminate_backend({pid})"))
            .await;
    }
    // The server says that it ends the connection, or has just ended it: neither is an error to whoever asks.
    let again = asked(&*store).await;
    assert_eq!(again.version_statements, 1);
    feed.poll().await.unwrap();
    assert_eq!(asked(&*store).await.version_statements, 0);
    drop(feed);
    assert_eq!(asked(&*store).await.version_statements, 1);
    store.close().await;
    fixture.finish().await;
}
