//! Transactions beside each other: none is missed, none comes twice, and no image hides a state that somebody could see.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod feeding;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ci_model::{Change, Event, Image, Origin};
use ci_store::{Feed, POLL_CHANGES};
use ci_tests::fixture::Fixture;
use feeding::{id, insert, poll, poll_at, relate, started, tag, told};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Another program's connection.
struct Session(PgConnection);

impl Session {
    async fn new(fixture: &Fixture) -> Self {
        Self(PgConnection::connect(fixture.address()).await.unwrap())
    }

    async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.0)
            .await
            .unwrap();
    }

    async fn texts(&mut self, sql: &str) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&mut self.0)
            .await
            .unwrap()
    }
}

/// The broken reader: everything after the highest number it has seen, by the row's or by the transaction's number.
struct After {
    column: &'static str,
    last: String,
}

impl After {
    fn new(column: &'static str) -> Self {
        Self {
            column,
            last: "0".to_owned(),
        }
    }

    async fn poll(&mut self, session: &mut Session) -> usize {
        let (column, last) = (self.column, &self.last);
        let ask = format!("SELECT {column}::text FROM ci_change WHERE {column} > '{last}' ORDER BY {column}");
        let found = session.texts(&ask).await;
        if let Some(newest) = found.last() {
            self.last.clone_from(newest);
        }
        found.len()
    }
}

#[tokio::test]
async fn what_is_begun_before_and_committed_after_is_told_and_by_number_it_would_be_lost() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    let (mut a, mut b, mut reader) = (
        Session::new(&fixture).await,
        Session::new(&fixture).await,
        Session::new(&fixture).await,
    );
    let mut broken = [After::new("seq"), After::new("xid")];
    a.run(&format!("BEGIN; {}", insert("acme", 1))).await;
    b.run(&insert("acme", 2)).await;
    assert_eq!(told(&mut feed).await, ["acme: none > c-2 name -{} []"]);
    for reader_of in &mut broken {
        assert_eq!(reader_of.poll(&mut reader).await, 1);
    }
    assert_eq!(told(&mut feed).await, [""; 0]);
    a.run("COMMIT").await;
    assert_eq!(told(&mut feed).await, ["acme: none > c-1 name -{} []"]);
    for reader_of in &mut broken {
        assert_eq!(
            reader_of.poll(&mut reader).await,
            0,
            "by {} the commit is lost",
            reader_of.column
        );
    }
    assert_eq!(told(&mut feed).await, [""; 0]);
    store.close().await;
    fixture.finish().await;
}

const WRITERS: usize = 8;
const ROUNDS: usize = 40;

/// Commits most of its transactions, each with a CI of its own, and tells their codes.
async fn writer(fixture: Arc<Fixture>, number: usize) -> Vec<String> {
    let mut session = Session::new(&fixture).await;
    let mut committed = Vec::new();
    for round in 0..ROUNDS {
        let n = (number * ROUNDS + round) as u64 + 1_000;
        session.run(&format!("BEGIN; {}", insert("acme", n))).await;
        match round % 5 {
            0 => session.run("ROLLBACK").await,
            1 => {
                session
                    .run(&format!(
                        "SAVEPOINT s; {} ROLLBACK TO s; ROLLBACK",
                        insert("acme", n + 100_000)
                    ))
                    .await;
            }
            2 => {
                session
                    .run(&format!(
                        "SAVEPOINT s; {} ROLLBACK TO s; COMMIT",
                        insert("acme", n + 100_000)
                    ))
                    .await;
                committed.push(format!("c-{n}"));
            }
            _ => {
                session.run("COMMIT").await;
                committed.push(format!("c-{n}"));
            }
        }
    }
    committed
}

fn codes(changes: &[Change]) -> impl Iterator<Item = String> + '_ {
    changes.iter().map(|change| match &change.event {
        Event::Ci(ci) => ci.new.as_ref().unwrap().code.clone(),
        other => panic!("{other:?}"),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_beside_a_long_transaction_lose_nothing() {
    let fixture = Arc::new(Fixture::postgres().await);
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    let mut long = Session::new(&fixture).await;
    long.run(&format!("BEGIN; {}", insert("acme", 1))).await;
    let running = Arc::new(AtomicUsize::new(WRITERS));
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let (fixture, running) = (Arc::clone(&fixture), Arc::clone(&running));
            tokio::spawn(async move {
                let committed = writer(fixture, number).await;
                running.fetch_sub(1, Ordering::SeqCst);
                committed
            })
        })
        .collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut positions = Vec::new();
    let mut look = async |feed: &mut Box<dyn Feed>| {
        let (changes, position) = poll_at(feed).await;
        if let Some(before) = positions.last() {
            assert!(position.includes(before));
            assert!(changes.iter().all(|change| !before.covers(change.origin)));
        }
        positions.push(position);
        codes(&changes).for_each(|code| *seen.entry(code).or_default() += 1);
    };
    while running.load(Ordering::SeqCst) > 0 {
        look(&mut feed).await;
    }
    look(&mut feed).await;
    long.run("COMMIT").await;
    look(&mut feed).await;
    look(&mut feed).await;
    let mut committed = vec!["c-1".to_owned()];
    for writer in writers {
        committed.extend(writer.await.unwrap());
    }
    let expected: BTreeMap<String, usize> = committed.into_iter().map(|code| (code, 1)).collect();
    assert_eq!(seen, expected);
    store.close().await;
    Arc::into_inner(fixture).unwrap().finish().await;
}

/// Whether some image of these changes may be this state.
fn tells(changes: &[Change], status: &str, x: u8) -> bool {
    let may_be = |image: &Image| {
        image.status.as_deref() == Some(status) && image.tags.as_ref().is_none_or(|tags| tags["x"] == x)
    };
    changes.iter().any(|change| match &change.event {
        Event::Ci(ci) => ci.old.iter().chain(&ci.new).any(may_be),
        _ => true,
    })
}

#[tokio::test]
async fn a_row_and_its_documents_changed_by_two_transactions_are_told_in_every_state() {
    for (ci_first, poll_between) in [(true, true), (true, false), (false, true), (false, false)] {
        let fixture = Fixture::postgres().await;
        let store = fixture.open().await;
        let (mut a, mut b) = (Session::new(&fixture).await, Session::new(&fixture).await);
        a.run(&(insert("acme", 1) + &tag(1, r#"{"x": 1}"#) + "UPDATE ci SET status = 'a'"))
            .await;
        let mut feed = started(&*store).await;
        a.run("BEGIN; UPDATE ci SET status = 'b'").await;
        b.run(r#"BEGIN; UPDATE ci_ext SET tags = '{"x": 2}'"#).await;
        let (first, second) = if ci_first {
            (&mut a, &mut b)
        } else {
            (&mut b, &mut a)
        };
        first.run("COMMIT").await;
        let mut changes = Vec::new();
        if poll_between {
            changes = poll(&mut feed).await;
            let between = if ci_first { ("b", 1) } else { ("a", 2) };
            assert!(tells(&changes, "a", 1) && tells(&changes, between.0, between.1));
        }
        second.run("COMMIT").await;
        let later = poll(&mut feed).await;
        // What the second one leads from and to, by its own changes.
        let from = if ci_first { ("b", 1) } else { ("a", 2) };
        assert!(
            tells(&later, from.0, from.1),
            "from, {ci_first} {poll_between}: {later:?}"
        );
        assert!(tells(&later, "b", 2), "to, {ci_first} {poll_between}: {later:?}");
        changes.extend(later);
        let by = |of: fn(&Change) -> Origin| {
            changes
                .iter()
                .map(of)
                .collect::<std::collections::HashSet<_>>()
                .len()
        };
        assert_eq!(by(|change| change.origin), 2);
        store.close().await;
        fixture.finish().await;
    }
}

/// What left is not there to be compared with what was recorded of it.
#[tokio::test]
async fn a_ci_that_leaves_after_its_documents_were_changed_beside_it_is_not_told_with_the_old_ones() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let (mut a, mut b) = (Session::new(&fixture).await, Session::new(&fixture).await);
    a.run(&(insert("acme", 1) + &tag(1, r#"{"x": 1}"#))).await;
    let mut feed = started(&*store).await;
    a.run("BEGIN; UPDATE ci SET tenant_id = 'other'").await;
    b.run(r#"UPDATE ci_ext SET tags = '{"x": 2}'"#).await;
    assert_eq!(
        told(&mut feed).await,
        [r#"acme: c-1 name -{"x":1} > c-1 name -{"x":2} []"#]
    );
    a.run("COMMIT").await;
    let told = told(&mut feed).await;
    assert!(
        told.contains(&"acme: c-1 name -? > none []".to_owned()),
        "{told:?}"
    );
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn documents_of_a_ci_that_moves_beside_them_are_told_to_its_new_tenant() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let (mut a, mut b) = (Session::new(&fixture).await, Session::new(&fixture).await);
    a.run(&(insert("acme", 1) + &tag(1, r#"{"x": 1}"#))).await;
    let mut feed = started(&*store).await;
    a.run("BEGIN; UPDATE ci SET tenant_id = 'other'").await;
    b.run(r#"BEGIN; UPDATE ci_ext SET tags = '{"x": 2}'"#).await;
    a.run("COMMIT").await;
    poll(&mut feed).await;
    b.run("COMMIT").await;
    let told = told(&mut feed).await;
    assert!(told.contains(&"other: anything".to_owned()), "{told:?}");
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn documents_of_a_ci_that_moves_beside_them_are_told_to_its_new_tenant_among_many_changes_too() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let (mut a, mut b) = (Session::new(&fixture).await, Session::new(&fixture).await);
    a.run(&(insert("acme", 1) + &tag(1, r#"{"x": 1}"#))).await;
    let mut feed = started(&*store).await;
    a.run("BEGIN; UPDATE ci SET tenant_id = 'other'").await;
    b.run(r#"BEGIN; UPDATE ci_ext SET tags = '{"x": 2}'"#).await;
    a.run("COMMIT").await;
    poll(&mut feed).await;
    b.run(&format!(
        "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) \
         SELECT gen_random_uuid(), 'third', 'b-' || n, 'bulk', 'SW' FROM generate_series(0, {POLL_CHANGES}) AS n; COMMIT"
    ))
    .await;
    let mut told = told(&mut feed).await;
    told.sort();
    assert_eq!(told, ["acme: anything", "other: anything", "third: anything"]);
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn one_statement_that_changes_both_tables_is_told_in_every_state() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    let made = insert("acme", 1) + &tag(1, r#"{"x": 1}"#) + "UPDATE ci SET status = 'a'";
    feeding::after(&fixture, &mut feed, &made).await;
    fixture
        .execute(
            r#"WITH c AS (UPDATE ci SET status = 'b' RETURNING ci_id) UPDATE ci_ext SET tags = '{"x": 2}'"#,
        )
        .await;
    let changes = poll(&mut feed).await;
    assert!(tells(&changes, "a", 1) && tells(&changes, "b", 2), "{changes:?}");
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_relation_made_beside_it_is_a_neighbour_of_what_becomes_visible() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    let (mut a, mut b) = (Session::new(&fixture).await, Session::new(&fixture).await);
    a.run(
        &(insert("acme", 1) + &insert("acme", 2) + "UPDATE ci SET deleted_at = now() WHERE ci_code = 'c-1'"),
    )
    .await;
    poll(&mut feed).await;
    a.run("BEGIN; UPDATE ci SET deleted_at = NULL WHERE ci_code = 'c-1'")
        .await;
    b.run(&relate(2, 1)).await;
    poll(&mut feed).await;
    a.run("COMMIT").await;
    let changes = poll(&mut feed).await;
    let Event::Ci(ci) = &changes[0].event else {
        panic!("{changes:?}")
    };
    assert_eq!(ci.neighbours, Some(vec![id(2)]));
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn documents_written_before_their_ci_is_seen_are_told() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    // As in the tables of a program that has no foreign key.
    fixture
        .execute("ALTER TABLE ci_ext DROP CONSTRAINT ci_ext_ci_id_fkey")
        .await;
    let (mut a, mut b) = (Session::new(&fixture).await, Session::new(&fixture).await);
    for documents_first in [true, false] {
        let mut feed = started(&*store).await;
        let n = 1 + u64::from(documents_first);
        a.run(&format!(
            "BEGIN; {} UPDATE ci SET status = 'b'",
            insert("acme", n)
        ))
        .await;
        b.run(&format!("BEGIN; {}", tag(n, r#"{"x": 2}"#))).await;
        let (first, second) = if documents_first {
            (&mut b, &mut a)
        } else {
            (&mut a, &mut b)
        };
        first.run("COMMIT").await;
        let changes = poll(&mut feed).await;
        assert_eq!(changes.is_empty(), documents_first);
        second.run("COMMIT").await;
        let changes = poll(&mut feed).await;
        assert!(tells(&changes, "b", 2), "{changes:?}");
    }
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_feed_whose_backend_is_killed_goes_on_where_it_was() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    let kill = "SELECT pg_terminate_backend(pid, 60000)::text FROM pg_stat_activity \
                WHERE application_name = 'ci-cache feed' AND datname = current_database()";
    for n in 1..4 {
        fixture.execute(&insert("acme", n)).await;
        assert_eq!(fixture.texts(kill).await, ["true"]);
        let error = feed.poll().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(
            told(&mut feed).await,
            [format!("acme: none > c-{n} name -{{}} []")]
        );
        assert_eq!(told(&mut feed).await, [""; 0]);
    }
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_role_without_rights_on_our_tables_can_write_and_is_told() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    let name = format!("ci_writer_{}", std::process::id());
    let mut session = Session::new(&fixture).await;
    session
        .run(&format!(
            "CREATE ROLE {name}; GRANT SELECT, INSERT, UPDATE, DELETE ON ci, ci_ext, ci_relation TO {name}; \
             SET ROLE {name}; SET search_path = pg_temp, public"
        ))
        .await;
    session
        .run(&(insert("acme", 1) + &tag(1, "{}") + &insert("acme", 2) + &relate(1, 2)))
        .await;
    assert_eq!(poll(&mut feed).await.len(), 4);
    session
        .run(
            "CREATE TEMP TABLE ci_change (xid xid8); CREATE TEMP TABLE ci_ext (ci_id uuid, tags jsonb); \
              UPDATE public.ci SET ci_name = 'x'; DELETE FROM public.ci",
        )
        .await;
    assert!(poll(&mut feed).await.len() >= 5);
    session
        .run(&format!("RESET ROLE; DROP OWNED BY {name}; DROP ROLE {name}"))
        .await;
    // As replication applies: ordinary triggers and foreign keys are off, ours are not.
    session
        .run(&format!(
            "SET session_replication_role = replica; {}",
            insert("acme", 7).replace("INTO ci ", "INTO public.ci ")
        ))
        .await;
    assert_eq!(poll(&mut feed).await.len(), 1);
    drop(session);
    store.close().await;
    fixture.finish().await;
}
