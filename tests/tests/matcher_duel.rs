//! The matcher against SQL: rows change in a real database, questions are asked before and after, and whenever an answer
//! is another one the matcher must have said so, and have filed it where the change looks.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;

use ci_model::{Question, QuestionKind};
use ci_store::Snapshot;
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::matching::{Answer, Judge, answer, question};
use ci_tests::store_contract::World;
use ci_tests::store_contract::changes::{self, Telling};
use ci_tests::store_contract::world::{seeded, tenant};

/// Answers that are kept at a time, of each kind of question.
const KEPT: usize = 7;
/// Transactions of a world.
const STEPS: usize = 20;

fn worlds() -> u64 {
    if std::env::var_os("CI_CACHE_TEST_LONG").is_some() {
        120
    } else {
        12
    }
}

async fn ask(snapshot: &mut dyn Snapshot, question: &Question) -> Answer {
    let tenant = tenant();
    match question {
        Question::Get(get) => {
            let found = snapshot.get_many(&tenant, std::slice::from_ref(get)).await;
            Answer::Ci(found.unwrap().pop().flatten().map(Box::new))
        }
        Question::Search(search) => Answer::Rows(snapshot.search(&tenant, search).await.unwrap()),
        Question::List(list) => Answer::Page(snapshot.list(&tenant, list).await.unwrap()),
        Question::Aggregate(aggregate) => {
            Answer::Groups(snapshot.aggregate(&tenant, aggregate).await.unwrap())
        }
        Question::Expand(expand) => Answer::Graph(snapshot.expand(&tenant, expand).await.unwrap()),
        Question::Path(path) => Answer::Path(snapshot.path(&tenant, path).await.unwrap().answer),
    }
}

/// One world: returns nothing, fails where the matcher says too little, or the reference is no reference.
async fn duel(fixture: &Fixture, store: &dyn ci_store::Store, judge: &mut Judge, seed: u64) {
    let mut random = seeded(seed);
    let mut world = World::random(seed, 26, 50);
    fixture
        .execute("DELETE FROM ci_relation; DELETE FROM ci_ext; DELETE FROM ci;")
        .await;
    fixture.execute(&world.sql(fixture.is_sqlite())).await;
    let mut snapshot = store.snapshot().await.unwrap();
    let mut kept = Vec::new();
    for kind in QuestionKind::ALL {
        for _ in 0..KEPT {
            let question = Arc::new(question(&mut random, &world, kind));
            let now = ask(&mut *snapshot, &question).await;
            kept.push(judge.keep(&world, question, now));
        }
    }
    drop(snapshot);
    for _ in 0..STEPS {
        let telling = Telling {
            vague: seed.is_multiple_of(3),
            lawless: false,
        };
        let step = changes::change(&mut random, &mut world, telling);
        fixture.execute(&step.sql(fixture.is_sqlite())).await;
        let changes = judge.changes(&step.events);
        let mut snapshot = store.snapshot().await.unwrap();
        for kept in &mut kept {
            let now = ask(&mut *snapshot, &kept.question).await;
            assert_eq!(
                now,
                answer(&world, &kept.question),
                "{} of world {seed}: {:?}",
                step.what,
                kept.question
            );
            judge
                .judge(kept, &changes, now, &world)
                .unwrap_or_else(|missed| panic!("world {seed} on {}: {missed}", store.backend()));
        }
    }
}

#[tokio::test]
async fn nothing_that_sql_answers_differently_is_missed() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut judge = Judge::default();
        for seed in 0..worlds() {
            duel(fixture, &*store, &mut judge, seed).await;
        }
        println!("{}: {} cases\n{}", store.backend(), judge.cases(), judge.score());
        assert!(judge.cases() >= 10_000, "too few to prove anything");
        for kind in QuestionKind::ALL {
            let count = judge.counts[kind.index()];
            assert!(count.changed > 5, "{kind:?} changes too seldom to prove anything");
            assert!(
                count.precision() > 2.0 * count.base_rate(),
                "{kind:?} is no better than always saying yes"
            );
        }
        store.close().await;
    })
    .await;
}
