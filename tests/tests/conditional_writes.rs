//! A write with a condition beside programs that write the same rows without asking: exactly one of them comes first, the write that comes
//! second and expected something else is refused, and nothing that was committed is lost.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod writing;

use std::sync::Arc;

use ci_model::{CiDetail, CiDraft, Get, Precondition, Rejection};
use ci_store::{Error, Store, WriteOptions};
use ci_tests::fixture::{Fixture, on_both};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tokio::task::JoinHandle;
use writing::{code, document, draft, dump, record, tenant};

/// Another program's connection, which stays open between statements.
enum Foreign {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Foreign {
    async fn connect(fixture: &Fixture) -> Self {
        let address = fixture.address();
        if fixture.is_sqlite() {
            let mut connection = SqliteConnection::connect(address).await.unwrap();
            sqlx::raw_sql("PRAGMA busy_timeout = 20000; PRAGMA foreign_keys = ON")
                .execute(&mut connection)
                .await
                .unwrap();
            Self::Sqlite(connection)
        } else {
            Self::Postgres(PgConnection::connect(address).await.unwrap())
        }
    }

    async fn run(&mut self, sql: &str) {
        match self {
            Self::Sqlite(connection) => {
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(connection)
                    .await
                    .unwrap();
            }
            Self::Postgres(connection) => {
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(connection)
                    .await
                    .unwrap();
            }
        }
    }

    async fn begin(&mut self) {
        self.run(match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN",
        })
        .await;
    }
}

/// Until as many sessions wait for a lock of PostgreSQL's. SQLite tells nobody who waits: there a writer cannot even read before the other
/// has ended, so it makes no difference when it begins.
async fn until_waiting(fixture: &Fixture, sessions: usize) {
    if fixture.is_sqlite() {
        return;
    }
    let waiting = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while fixture.texts(waiting).await.len() < sessions {
        tokio::task::yield_now().await;
    }
}

async fn detail(store: &Arc<dyn Store>) -> Option<CiDetail> {
    let mut snapshot = store.snapshot().await.unwrap();
    let found = snapshot.get_many(&tenant("acme"), &[Get::new(code("a"))]).await;
    found.unwrap().into_iter().next().flatten()
}

/// That the CI is as it is now.
async fn unchanged(store: &Arc<dyn Store>) -> Precondition {
    Precondition::Unchanged(vec![detail(store).await.unwrap().fingerprint()])
}

/// What a conditional write is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Write {
    Upsert,
    Delete,
}

type Outcome = Result<(), Error>;

fn spawn(store: &Arc<dyn Store>, write: Write, condition: Precondition) -> JoinHandle<Outcome> {
    let store = Arc::clone(store);
    tokio::spawn(async move {
        let options = WriteOptions::default().only_if(condition);
        match write {
            Write::Upsert => {
                let draft = CiDraft {
                    tags: Some(document(json!({"by": "us"}))),
                    ..draft("a", "ours")
                };
                store.upsert_cis(vec![record(draft)], options).await.map(drop)
            }
            Write::Delete => {
                let targets = vec![code("a").into()];
                store
                    .delete_cis(&tenant("acme"), targets, options)
                    .await
                    .map(drop)
            }
        }
    })
}

fn is_refused(outcome: &Outcome) -> bool {
    let refused = Rejection::PreconditionFailed;
    matches!(outcome, Err(Error::Rejected { reason, .. }) if *reason == refused)
}

const ID: &str = "0189d7a4-1111-4222-8333-444455556666";

/// How another program makes the CI, and what may be missing of it.
fn insert(with_documents: bool) -> String {
    let row = format!(
        "INSERT INTO ci (ci_id, tenant_id, ci_type, ci_code, ci_name) VALUES ('{ID}', 'acme', 'SW', 'a', 'theirs');"
    );
    let documents = format!("INSERT INTO ci_ext (ci_id, tags) VALUES ('{ID}', '{{\"by\": \"them\"}}');");
    if with_documents { row + &documents } else { row }
}

/// What is there before, what another program does meanwhile, and whether it keeps it.
struct Case {
    name: &'static str,
    before: Option<String>,
    meanwhile: String,
    writes: &'static [Write],
}

fn cases() -> Vec<Case> {
    let both: &[Write] = &[Write::Upsert, Write::Delete];
    let there = || Some(insert(true));
    let of_it = |statement: &str| statement.replace("{}", &format!("WHERE ci_id = '{ID}'"));
    vec![
        Case {
            name: "it is made",
            before: None,
            meanwhile: insert(true),
            writes: &[Write::Upsert],
        },
        Case {
            name: "it comes back",
            before: Some(
                insert(true) + &of_it("UPDATE ci SET deleted_at = '2026-01-01T00:00:00.000000Z' {};"),
            ),
            meanwhile: of_it("UPDATE ci SET deleted_at = NULL {}"),
            writes: &[Write::Upsert],
        },
        Case {
            name: "its row changes",
            before: there(),
            meanwhile: of_it("UPDATE ci SET owner = 'them' {}"),
            writes: both,
        },
        Case {
            name: "its documents change",
            before: there(),
            meanwhile: of_it("UPDATE ci_ext SET tags = '{\"by\": \"others\"}' {}"),
            writes: both,
        },
        Case {
            name: "its documents are made",
            before: Some(insert(false)),
            meanwhile: format!("INSERT INTO ci_ext (ci_id, tags) VALUES ('{ID}', '{{\"by\": \"others\"}}')"),
            writes: both,
        },
        Case {
            name: "it is renamed",
            before: there(),
            meanwhile: of_it("UPDATE ci SET ci_code = 'b' {}"),
            writes: both,
        },
        Case {
            name: "it is soft-deleted",
            before: there(),
            meanwhile: of_it("UPDATE ci SET deleted_at = '2026-01-01T00:00:00.000000Z' {}"),
            writes: both,
        },
        Case {
            name: "it is deleted",
            before: there(),
            meanwhile: of_it("DELETE FROM ci {}"),
            writes: both,
        },
    ]
}

/// Runs one case on empty tables, with another program that begins first and ends while the write waits for it.
async fn run(fixture: &Fixture, store: &Arc<dyn Store>, case: &Case, write: Write, is_kept: bool) {
    let what = format!("{}, {write:?}, kept: {is_kept}", case.name);
    fixture.execute("DELETE FROM ci").await;
    if let Some(before) = &case.before {
        fixture.execute(before).await;
    }
    let condition = match detail(store).await {
        Some(ci) => Precondition::Unchanged(vec![ci.fingerprint()]),
        None => Precondition::Absent,
    };
    let mut foreign = Foreign::connect(fixture).await;
    foreign.begin().await;
    foreign.run(&case.meanwhile).await;
    let ours = spawn(store, write, condition);
    until_waiting(fixture, 1).await;
    assert!(!ours.is_finished(), "{what}: it did not wait");
    foreign.run(if is_kept { "COMMIT" } else { "ROLLBACK" }).await;
    let committed = dump(fixture).await;
    let outcome = ours.await.unwrap();
    if is_kept {
        // The other program came first: this write is refused, and what that one did is whole.
        assert!(is_refused(&outcome), "{what}: {outcome:?}");
        assert_eq!(dump(fixture).await, committed, "{what}");
        return;
    }
    // The other program has done nothing, so this write is done, wholly.
    assert!(outcome.is_ok(), "{what}: {outcome:?}");
    let now = detail(store).await;
    match write {
        Write::Upsert => {
            let ci = now.unwrap();
            assert_eq!(ci.summary.ci_name, "a ours", "{what}");
            assert_eq!(ci.tags, document(json!({"by": "us"})), "{what}");
        }
        Write::Delete => assert!(now.is_none(), "{what}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_waits_for_another_program_is_refused_if_that_one_changed_what_it_expects() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        for case in cases() {
            for write in case.writes {
                for is_kept in [true, false] {
                    run(fixture, &store, &case, *write, is_kept).await;
                }
            }
        }
        store.close().await;
    })
    .await;
}

/// Between the write's look at the row and its change of it another program cannot get in: it waits, and then changes what was written. Held
/// there by a trigger that waits for a lock; SQLite has one writer at a time, so there nobody gets that far.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_comes_between_look_and_change_waits_and_nothing_is_lost() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    fixture.execute(&insert(true)).await;
    fixture
        .execute(
            "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$; \
             CREATE TRIGGER a_held BEFORE UPDATE ON ci FOR EACH ROW EXECUTE FUNCTION held()",
        )
        .await;
    let mut holder = Foreign::connect(&fixture).await;
    holder.run("SELECT pg_advisory_lock(77)").await;
    let condition = unchanged(&store).await;
    let ours = spawn(&store, Write::Upsert, condition.clone());
    until_waiting(&fixture, 1).await;
    let mut foreign = Foreign::connect(&fixture).await;
    let theirs = tokio::spawn(async move {
        foreign
            .run("UPDATE ci SET owner = 'them' WHERE ci_code = 'a'")
            .await;
        foreign.run("UPDATE ci_ext SET attributes = '{\"n\": 1}'").await;
    });
    until_waiting(&fixture, 2).await;
    // A second write with the same condition queues behind the first, whose change it did not expect.
    let late = spawn(&store, Write::Upsert, condition);
    until_waiting(&fixture, 3).await;
    holder.run("SELECT pg_advisory_unlock(77)").await;
    assert!(ours.await.unwrap().is_ok());
    theirs.await.unwrap();
    let late = late.await.unwrap();
    assert!(is_refused(&late), "{late:?}");
    let ci = detail(&store).await.unwrap();
    assert_eq!(ci.summary.ci_name, "a ours");
    assert_eq!(ci.summary.owner.as_deref(), Some("them"));
    assert_eq!(
        (ci.tags, ci.attributes),
        (document(json!({"by": "us"})), document(json!({"n": 1})))
    );
    store.close().await;
    fixture.finish().await;
}

/// Makes the CI if nobody else did, on a store of its own.
async fn race_to_make(fixture: &Fixture, stores: &[Arc<dyn Store>]) {
    fixture.execute("DELETE FROM ci").await;
    let ours: Vec<_> = stores
        .iter()
        .map(|store| spawn(store, Write::Upsert, Precondition::Absent))
        .collect();
    let theirs = fixture.try_execute(&insert(true)).await;
    let mut won = usize::from(theirs.is_ok());
    for outcome in ours {
        let outcome = outcome.await.unwrap();
        assert!(outcome.is_ok() || is_refused(&outcome), "{outcome:?}");
        won += usize::from(outcome.is_ok());
    }
    assert_eq!(won, 1, "exactly one makes it");
    let by = if theirs.is_ok() { "theirs" } else { "a ours" };
    assert_eq!(detail(&stores[0]).await.unwrap().summary.ci_name, by);
}

/// Counts up in a tag, by reading and writing what was read plus one if nobody changed it meanwhile.
async fn count_up(store: &Arc<dyn Store>, times: usize) {
    let mut done = 0;
    while done < times {
        let ci = detail(store).await.unwrap();
        let known = Precondition::Unchanged(vec![ci.fingerprint()]);
        let tags = serde_json::to_value(&ci.tags).unwrap();
        let next = tags["n"].as_u64().unwrap() + 1;
        let draft = CiDraft {
            tags: Some(document(json!({"n": next}))),
            attributes: Some(ci.attributes),
            ..draft("a", "ours")
        };
        let written = store
            .upsert_cis(vec![record(draft)], WriteOptions::default().only_if(known))
            .await;
        match written {
            Ok(_) => done += 1,
            Err(Error::Rejected {
                reason: Rejection::PreconditionFailed,
                ..
            }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_writers_and_programs_at_once_no_change_is_lost() {
    const EACH: usize = 15;
    on_both(async |fixture| {
        let stores = [fixture.open().await, fixture.open().await, fixture.open().await];
        for _ in 0..10 {
            race_to_make(fixture, &stores).await;
        }
        fixture.execute("DELETE FROM ci").await;
        fixture.execute(&insert(false)).await;
        fixture
            .execute(&format!(
                "INSERT INTO ci_ext (ci_id, tags, attributes) VALUES ('{ID}', '{{\"n\": 0}}', '{{\"n\": 0}}')"
            ))
            .await;
        let add = if fixture.is_sqlite() {
            "UPDATE ci_ext SET attributes = json_object('n', (attributes ->> 'n') + 1)"
        } else {
            "UPDATE ci_ext SET attributes = jsonb_build_object('n', (attributes ->> 'n')::int + 1)"
        };
        let mut foreign = Foreign::connect(fixture).await;
        let theirs = tokio::spawn(async move {
            for _ in 0..EACH {
                foreign.run(add).await;
            }
        });
        let ours = stores.clone().map(|store| {
            tokio::spawn(async move {
                count_up(&store, EACH).await;
            })
        });
        for writer in ours {
            writer.await.unwrap();
        }
        theirs.await.unwrap();
        let ci = detail(&stores[0]).await.unwrap();
        assert_eq!(ci.tags, document(json!({"n": EACH * 3})));
        assert_eq!(ci.attributes, document(json!({"n": EACH})));
        for store in stores {
            store.close().await;
        }
    })
    .await;
}
