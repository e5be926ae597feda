//! Writers beside each other, cut off, and over random histories: no failure, no half batch, one decision.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod writing;

use std::sync::Arc;
use std::task::Poll;

use ci_model::{CiDraft, CiId, CiRecord, CiRef, Effect};
use ci_store::{StoreOptions, WriteOptions};
use ci_tests::fixture::{Fixture, on_both};
use rand::{RngExt as _, SeedableRng as _};
use writing::{draft, dump, effects, record, record_of, relation, skipping, tenant, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_the_same_codes_do_not_fail_beside_each_other() {
    on_both(async |fixture| {
        let stores = [fixture.open().await, fixture.open().await];
        let mut writers = Vec::new();
        for writer in 0..8_usize {
            let store = Arc::clone(&stores[writer % 2]);
            writers.push(tokio::spawn(async move {
                for round in 0..6 {
                    // Every second one in the opposite order, some rows in bulk.
                    let rows = if round % 3 == 0 { 80 } else { 7 };
                    let mut batch: Vec<CiRecord> = (0..rows)
                        .map(|n| record(draft(&format!("c{n}"), &format!("{writer}-{round}"))))
                        .collect();
                    if writer % 2 == 1 {
                        batch.reverse();
                    }
                    write(&store, batch, 1).await;
                    let relations = (1..7).map(|n| relation(&format!("c{n}"), "c0")).collect();
                    store
                        .upsert_relations(relations, WriteOptions::default())
                        .await
                        .unwrap();
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let rows = dump(fixture).await;
        assert_eq!(rows.len(), 80 + 6);
        // The last batch over the first seven rows won all of them.
        let name = |row: &String| {
            row.split('|')
                .nth(3)
                .unwrap()
                .split(' ')
                .nth(1)
                .unwrap()
                .to_owned()
        };
        let mut names: Vec<String> = rows
            .iter()
            .filter(|row| (0..7).any(|n| row.contains(&format!("|c{n}|"))))
            .map(name)
            .collect();
        names.dedup();
        assert_eq!(names.len(), 1, "{names:?}");
        for store in stores {
            store.close().await;
        }
    })
    .await;
}

/// Polls a future so many times and drops it.
async fn cut_off<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => {
                // Come back at once: the future is polled at moments at which it is not ready too.
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_whole_or_not_there_and_frees_its_connection() {
    on_both(async |fixture| {
        let store = fixture.open_with(&StoreOptions::default().connections(1)).await;
        for polls in (0..30).chain([50, 100, 200, 400, 800, 1_600]) {
            let codes = |kind: &str| (0..60).map(|n| format!("{kind}-{polls}-{n}")).collect::<Vec<_>>();
            let batch = codes("cut").iter().map(|c| record(draft(c, "1"))).collect();
            drop(cut_off(store.upsert_cis(batch, skipping(1)), polls).await);
            // Needs the only connection, so it comes after the one that was cut off, and is not part of it.
            let next = codes("next")
                .iter()
                .take(1)
                .map(|c| record(draft(c, "1")))
                .collect();
            assert_eq!(effects(&write(&store, next, 1).await), [Ok(Effect::Created)]);
            let seen =
                |kind| format!("SELECT CAST(count(*) AS text) FROM ci WHERE ci_code LIKE '{kind}-{polls}-%'");
            let cut = fixture.texts(&seen("cut")).await.remove(0);
            assert!(cut == "0" || cut == "60", "{cut} rows after {polls} polls");
            assert_eq!(fixture.texts(&seen("next")).await, ["1"]);
        }
        store.close().await;
    })
    .await;
}

/// Random batches over few codes, ids and tenants.
fn random_batch(random: &mut rand_chacha::ChaCha8Rng, known: &[CiId]) -> Vec<CiRecord> {
    (0..random.random_range(1..7))
        .map(|_| {
            let code = ["a", "b", "c", "d"][random.random_range(0..4)];
            let ci_id = match random.random_range(0..3) {
                0 if !known.is_empty() => Some(known[random.random_range(0..known.len())]),
                1 => Some(CiId(sqlx::types::Uuid::from_u128(random.random_range(1..5)))),
                _ => None,
            };
            let version = random.random_range(0..3_u8).to_string();
            let whose = if random.random_range(0..5) == 0 {
                "other"
            } else {
                "acme"
            };
            record_of(
                whose,
                CiDraft {
                    ci_id,
                    ..draft(code, &version)
                },
            )
        })
        .collect()
}

#[tokio::test]
async fn both_databases_decide_alike_over_random_histories() {
    let (sqlite, postgres) = (Fixture::sqlite(), Fixture::postgres().await);
    let stores = [sqlite.open().await, postgres.open().await];
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let mut known = Vec::new();
    for step in 0..150 {
        let batch = random_batch(&mut random, &known);
        let outcomes = write(&stores[0], batch.clone(), step % 28 + 1).await;
        assert_eq!(
            write(&stores[1], batch.clone(), step % 28 + 1).await,
            outcomes,
            "{batch:?}"
        );
        known.extend(outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()?.ci_id));
        // What is reported as written is there: the same batch again, row by row of the winners, changes nothing.
        for (outcome, record) in outcomes.iter().zip(batch) {
            if outcome
                .as_ref()
                .is_ok_and(|o| matches!(o.effect, Effect::Created | Effect::Updated))
            {
                let again = write(&stores[0], vec![record], 1).await;
                assert_eq!(effects(&again), [Ok(Effect::Unchanged)]);
            }
        }
        if step % 10 == 9 {
            let target = vec![CiRef::Id(known[random.random_range(0..known.len())])];
            let deleted = stores[0]
                .delete_cis(&tenant("acme"), target.clone(), skipping(step % 28 + 1))
                .await
                .unwrap();
            let other = stores[1]
                .delete_cis(&tenant("acme"), target, skipping(step % 28 + 1))
                .await
                .unwrap();
            assert_eq!(deleted, other);
            assert_eq!(dump(&sqlite).await, dump(&postgres).await);
        }
    }
    for store in stores {
        store.close().await;
    }
    sqlite.finish().await;
    postgres.finish().await;
}
