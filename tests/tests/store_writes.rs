//! Writes do what they report, on both databases: every outcome, all or nothing, beside others, and cut off.

mod writing;

use std::sync::Arc;
use std::task::Poll;

use ci_model::{CiCode, CiDraft, CiId, CiOutcome, CiRecord, CiRef, Effect, Rejection};
use ci_store::{Error, OnRejection, Store, StoreOptions, WriteOptions};
use ci_tests::fixture::{Fixture, on_both};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use writing::{day, document, draft, dump, record, record_of, relation, tenant};

type Outcomes = Vec<Result<CiOutcome, Rejection>>;

fn skipping(on: u32) -> WriteOptions {
    WriteOptions::default()
        .at(day(on))
        .on_rejection(OnRejection::Skip)
}

async fn write(store: &Arc<dyn Store>, records: Vec<CiRecord>, on: u32) -> Outcomes {
    store.upsert_cis(records, skipping(on)).await.unwrap()
}

fn effects(outcomes: &Outcomes) -> Vec<Result<Effect, Rejection>> {
    outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map(|o| o.effect).map_err(Clone::clone))
        .collect()
}

fn id_of(outcomes: &Outcomes, index: usize) -> CiId {
    outcomes[index].as_ref().unwrap().ci_id.unwrap()
}

fn code(text: &str) -> CiCode {
    CiCode::new(text).unwrap()
}

#[tokio::test]
async fn each_record_has_its_outcome_and_what_is_unchanged_is_not_written() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let first = write(&store, vec![record(draft("a", "1")), record(draft("b", "1"))], 1).await;
        assert_eq!(effects(&first), [Ok(Effect::Created), Ok(Effect::Created)]);
        assert_eq!(id_of(&first, 0), CiId::derived(&tenant("acme"), &code("a")));
        let before = dump(fixture).await;
        assert_eq!(before.len(), 2);

        // updated_at alone does not count, nor does created_at when it is not given.
        let same = CiDraft {
            updated_at: Some(day(9)),
            ..draft("a", "1")
        };
        let again = write(&store, vec![record(same), record(draft("b", "1"))], 2).await;
        assert_eq!(effects(&again), [Ok(Effect::Unchanged), Ok(Effect::Unchanged)]);
        assert_eq!(id_of(&again, 1), id_of(&first, 1));
        assert_eq!(dump(fixture).await, before);

        // Of several with one code the last wins.
        let tagged = CiDraft {
            tags: Some(document(json!({"k": 1}))),
            ..draft("a", "1")
        };
        let batch = vec![
            record(draft("a", "0")),
            record(draft("b", "2")),
            record(tagged),
            record(draft("c", "1")),
        ];
        let third = write(&store, batch, 3).await;
        assert_eq!(
            effects(&third),
            [
                Ok(Effect::Superseded),
                Ok(Effect::Updated),
                Ok(Effect::Updated),
                Ok(Effect::Created)
            ]
        );
        assert_eq!(id_of(&third, 0), id_of(&first, 0));
        let after = dump(fixture).await.join("\n");
        // A change of tags alone moves the CI's own moment too; created_at stays.
        assert!(
            after.contains("a 1|SW|~|~|~|~|~|~|2026-01-01T00:00:00.000000Z|2026-01-03T00:00:00.000000Z|~")
        );
        assert!(after.contains("|2026-01-03T00:00:00.000000Z|{\"k\":1}|{}"));
        assert!(!after.contains("a 0"));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_given_created_at_is_kept_and_compared() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let made = |on| {
            record(CiDraft {
                created_at: Some(day(on)),
                ..draft("a", "1")
            })
        };
        write(&store, vec![made(5)], 7).await;
        assert_eq!(
            effects(&write(&store, vec![made(5)], 8).await),
            [Ok(Effect::Unchanged)]
        );
        assert_eq!(
            effects(&write(&store, vec![record(draft("a", "1"))], 8).await),
            [Ok(Effect::Unchanged)]
        );
        assert_eq!(
            effects(&write(&store, vec![made(6)], 9).await),
            [Ok(Effect::Updated)]
        );
        let row = dump(fixture).await.remove(0);
        assert!(
            row.contains("|2026-01-06T00:00:00.000000Z|2026-01-09T00:00:00.000000Z|~|"),
            "{row}"
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_deleted_ci_keeps_its_row_and_an_upsert_brings_it_back() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let made = write(&store, vec![record(draft("a", "1")), record(draft("b", "1"))], 1).await;
        let a = CiRef::Id(id_of(&made, 0));
        let targets = vec![
            a.clone(),
            CiRef::Code(code("b")),
            CiRef::Code(code("a")),
            CiRef::Code(code("none")),
        ];
        let deleted = store
            .delete_cis(&tenant("other"), targets.clone(), skipping(2))
            .await
            .unwrap();
        assert!(deleted.iter().all(|outcome| outcome.effect == Effect::Missing));
        let deleted = store
            .delete_cis(&tenant("acme"), targets, skipping(2))
            .await
            .unwrap();
        let effects_of: Vec<_> = deleted.iter().map(|outcome| outcome.effect).collect();
        assert_eq!(
            effects_of,
            [Effect::Deleted, Effect::Deleted, Effect::Missing, Effect::Missing]
        );
        assert_eq!(
            (deleted[0].ci_id, deleted[0].ci_code.clone()),
            (Some(id_of(&made, 0)), Some(code("a")))
        );
        assert_eq!(
            (deleted[3].ci_id, deleted[3].ci_code.clone()),
            (None, Some(code("none")))
        );
        let again = store
            .delete_cis(&tenant("acme"), vec![a], skipping(3))
            .await
            .unwrap();
        assert_eq!(
            (again[0].effect, again[0].ci_code.clone()),
            (Effect::Missing, None)
        );
        let moment = "2026-01-02T00:00:00.000000Z";
        assert!(
            dump(fixture)
                .await
                .iter()
                .all(|row| row.contains(&format!("|{moment}|{moment}|")))
        );

        let back = write(&store, vec![record(draft("a", "1"))], 4).await;
        assert_eq!(
            (effects(&back), id_of(&back, 0)),
            (vec![Ok(Effect::Updated)], id_of(&made, 0))
        );
        assert_eq!(
            dump(fixture)
                .await
                .iter()
                .filter(|row| row.contains(moment))
                .count(),
            1
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_id_may_take_another_code_and_the_old_one_may_be_made_anew() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let made = write(&store, vec![record(draft("a", "1")), record(draft("b", "1"))], 1).await;
        let (a, b) = (id_of(&made, 0), id_of(&made, 1));
        let with_id = |id, code| {
            record(CiDraft {
                ci_id: Some(id),
                ..draft(code, "2")
            })
        };
        // b leaves its code before a takes it, and the code of a is made anew in the same batch.
        let moved = write(
            &store,
            vec![with_id(b, "c"), with_id(a, "b"), record(draft("a", "3"))],
            2,
        )
        .await;
        assert_eq!(
            effects(&moved),
            [Ok(Effect::Updated), Ok(Effect::Updated), Ok(Effect::Created)]
        );
        assert_eq!(moved[0].as_ref().unwrap().previous_code, Some(code("b")));
        assert_eq!(moved[1].as_ref().unwrap().previous_code, Some(code("a")));
        let anew = id_of(&moved, 2);
        assert!(anew != a && anew != b);
        // Without the rename in the same batch the row with the derived id has to be found.
        let moved = write(&store, vec![with_id(anew, "d")], 3).await;
        assert_eq!(effects(&moved), [Ok(Effect::Updated)]);
        let third = write(&store, vec![record(draft("a", "4"))], 4).await;
        assert_eq!(effects(&third), [Ok(Effect::Created)]);
        assert!(![a, b, anew].contains(&id_of(&third, 0)));
        // As if one after the other: at the first record's turn the code still belongs to another.
        let swapped = write(&store, vec![with_id(a, "c"), with_id(b, "b")], 5).await;
        assert_eq!(
            effects(&swapped),
            [Err(Rejection::CodeTaken), Err(Rejection::CodeTaken)]
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_with_a_rejected_row_is_written_without_it_or_not_at_all() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let made = write(
            &store,
            vec![record(draft("a", "1")), record_of("other", draft("z", "1"))],
            1,
        )
        .await;
        let before = dump(fixture).await;
        let foreign = CiDraft {
            ci_id: Some(id_of(&made, 1)),
            ..draft("y", "1")
        };
        let taken = CiDraft {
            ci_id: Some(CiId(sqlx::types::Uuid::from_u128(7))),
            ..draft("a", "2")
        };
        let batch = vec![
            record(draft("n", "1")),
            record(foreign),
            record(taken),
            record(draft("m", "1")),
        ];
        let aborted = store
            .upsert_cis(batch.clone(), WriteOptions::default().at(day(2)))
            .await;
        let Err(Error::Rejected {
            index: 1,
            reason: Rejection::TakenByOtherTenant,
        }) = aborted
        else {
            panic!("{aborted:?}");
        };
        assert_eq!(dump(fixture).await, before);
        let written = write(&store, batch, 2).await;
        assert_eq!(
            effects(&written),
            [
                Ok(Effect::Created),
                Err(Rejection::TakenByOtherTenant),
                Err(Rejection::CodeTaken),
                Ok(Effect::Created)
            ]
        );
        assert_eq!(dump(fixture).await.len(), before.len() + 2);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_database_that_allows_a_code_once_gives_it_to_one_tenant() {
    on_both(async |fixture| {
        let (id, moment) = if fixture.is_sqlite() { ("text", "text") } else { ("uuid", "timestamptz") };
        let json = if fixture.is_sqlite() { "text" } else { "jsonb" };
        fixture
            .execute(&format!(
                "CREATE TABLE ci (ci_id {id} PRIMARY KEY, tenant_id text NOT NULL, ci_type text NOT NULL, ci_subtype text,
                    ci_code text NOT NULL UNIQUE, ci_name text NOT NULL, ci_category text, status text,
                    criticality integer, location text, owner text, created_at {moment}, updated_at {moment},
                    deleted_at {moment});
                 CREATE TABLE ci_ext (ci_id {id} PRIMARY KEY REFERENCES ci, attributes {json}, tags {json},
                    updated_at {moment});
                 INSERT INTO ci (ci_id, tenant_id, ci_type, ci_code, ci_name, created_at, updated_at)
                 VALUES ('0189d7a4-1111-4222-8333-444455556666', 'acme', 'SW', 'old', 'old 1', '2026-01-01T00:00:00Z',
                    '2026-01-01T00:00:00Z')"
            ))
            .await;
        let store = fixture.open().await;
        // Its row has no row in ci_ext, which is the same as two empty documents.
        assert_eq!(effects(&write(&store, vec![record(draft("old", "1"))], 2).await), [Ok(Effect::Unchanged)]);
        let tagged = CiDraft { tags: Some(document(json!({"a": "b"}))), ..draft("old", "1") };
        assert_eq!(effects(&write(&store, vec![record(tagged.clone())], 2).await), [Ok(Effect::Updated)]);
        assert_eq!(effects(&write(&store, vec![record(tagged)], 2).await), [Ok(Effect::Unchanged)]);
        let batch = vec![
            record_of("other", draft("old", "1")),
            record_of("other", draft("new", "1")),
            record(draft("new", "1")),
            record(draft("mine", "1")),
        ];
        let taken = Err(Rejection::TakenByOtherTenant);
        assert_eq!(
            effects(&write(&store, batch, 2).await),
            [taken.clone(), Ok(Effect::Created), taken, Ok(Effect::Created)]
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn odd_values_come_back_as_they_went_in_one_by_one_and_in_bulk() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let odd = |n: usize| {
            let text = r#"\N \. 'q' "d" %_ é😀 İß {},NULL"#;
            let value = json!({"t": "tab\t line\n\r \\ \u{1} \"", "f": 0.1 + 0.2, "big": 1e300, "small": 5e-324,
                "i": -7, "max": u64::MAX, "n": null, "l": [1, 2.5, {"z": 1, "a": [true]}], "é😀": text, "": n});
            record(CiDraft {
                ci_subtype: Some(text.into()),
                owner: Some("NULL".into()),
                location: Some("\\N".into()),
                criticality: Some((n % 5 + 1).try_into().unwrap()),
                tags: Some(document(json!({"t": text}))),
                attributes: Some(document(value)),
                deleted_at: (n % 3 == 0).then(|| day(3)),
                ..draft(&format!("{n} {text}"), text)
            })
        };
        for rows in [1..2, 2..40, 40..340] {
            let batch: Vec<CiRecord> = rows.map(odd).collect();
            let made = write(&store, batch.clone(), 1).await;
            assert!(made.iter().all(|outcome| outcome.as_ref().unwrap().effect == Effect::Created));
            let again = write(&store, batch, 2).await;
            assert!(again.iter().all(|outcome| outcome.as_ref().unwrap().effect == Effect::Unchanged));
        }
        let changed = (1..340).map(|n| CiRecord { owner: None, ..odd(n) }).collect();
        let changed = write(&store, changed, 3).await;
        assert!(changed.iter().all(|outcome| outcome.as_ref().unwrap().effect == Effect::Updated));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn relations_need_both_ends_and_exist_once() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let made = write(&store, ["a", "b", "c"].map(|c| record(draft(c, "1"))).into(), 1).await;
        write(&store, vec![record_of("other", draft("z", "1"))], 1).await;
        store
            .delete_cis(&tenant("acme"), vec![CiRef::Code(code("c"))], skipping(1))
            .await
            .unwrap();
        let a = id_of(&made, 0).to_string();
        let batch = vec![
            relation("a", "b"),
            relation("b", "c"),
            relation("z", "b"),
            relation("a", "z"),
            relation(&a, "a"),
            relation(&a, "b"),
        ];
        let aborted = store
            .upsert_relations(batch.clone(), WriteOptions::default())
            .await;
        assert!(
            matches!(
                aborted,
                Err(Error::Rejected {
                    index: 2,
                    reason: Rejection::FromMissing
                })
            ),
            "{aborted:?}"
        );
        let effect = |outcomes: Vec<Result<ci_model::RelationOutcome, Rejection>>| {
            outcomes
                .into_iter()
                .map(|outcome| outcome.map(|o| o.effect))
                .collect::<Vec<_>>()
        };
        let expected = |first, second| {
            [
                Ok(Effect::Superseded),
                Ok(first),
                Err(Rejection::FromMissing),
                Err(Rejection::ToMissing),
                Err(Rejection::SelfRelation),
                Ok(second),
            ]
        };
        let written = store.upsert_relations(batch.clone(), skipping(2)).await.unwrap();
        assert_eq!(written[5].as_ref().unwrap().from_id, Some(id_of(&made, 0)));
        assert_eq!(effect(written), expected(Effect::Created, Effect::Created));
        let again = store.upsert_relations(batch.clone(), skipping(3)).await.unwrap();
        assert_eq!(effect(again), expected(Effect::Unchanged, Effect::Unchanged));

        let deleted = store.delete_relations(batch).await.unwrap();
        let deleted: Vec<Effect> = deleted.into_iter().map(|outcome| outcome.effect).collect();
        assert_eq!(deleted[..2], [Effect::Superseded, Effect::Deleted]);
        assert_eq!(
            deleted[2..],
            [Effect::Missing, Effect::Missing, Effect::Missing, Effect::Deleted]
        );
        let gone = store.delete_relations(vec![relation("a", "b")]).await.unwrap();
        assert_eq!(gone[0].effect, Effect::Missing);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_to_write_is_no_failure() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        assert!(
            store
                .upsert_cis(vec![], WriteOptions::default())
                .await
                .unwrap()
                .is_empty()
        );
        assert!(
            store
                .upsert_relations(vec![], WriteOptions::default())
                .await
                .unwrap()
                .is_empty()
        );
        assert!(
            store
                .delete_cis(&tenant("acme"), vec![], WriteOptions::default())
                .await
                .unwrap()
                .is_empty()
        );
        assert!(store.delete_relations(vec![]).await.unwrap().is_empty());
        store.close().await;
    })
    .await;
}

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
