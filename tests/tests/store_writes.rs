//! Writes do what they report, on both databases: every outcome, all of a batch or nothing.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod writing;

use ci_model::{CiDraft, CiId, CiRecord, CiRef, Effect, Rejection};
use ci_store::{Error, WriteOptions};
use ci_tests::fixture::on_both;
use serde_json::json;
use writing::{
    code, day, document, draft, dump, effects, id_of, record, record_of, relation, skipping, tenant, write,
};

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
                deleted_at: n.is_multiple_of(3).then(|| day(3)),
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

        let deleted = store
            .delete_relations(batch, WriteOptions::default())
            .await
            .unwrap();
        let deleted: Vec<Effect> = deleted.into_iter().map(|outcome| outcome.effect).collect();
        assert_eq!(deleted[..2], [Effect::Superseded, Effect::Deleted]);
        assert_eq!(
            deleted[2..],
            [Effect::Missing, Effect::Missing, Effect::Missing, Effect::Deleted]
        );
        let gone = store
            .delete_relations(vec![relation("a", "b")], WriteOptions::default())
            .await
            .unwrap();
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
        assert!(
            store
                .delete_relations(vec![], WriteOptions::default())
                .await
                .unwrap()
                .is_empty()
        );
        store.close().await;
    })
    .await;
}
