//! Both stores answer every question as `ci_model` defines it, for rows that any program wrote.

use std::fmt::Write as _;
use std::time::Duration;

use ci_model::{CiCode, CiId, Direction, Expand, Filter, Get, List, Path, PathAnswer, Search, View, fold};
use ci_store::{Error, StoreOptions};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::store_contract::world::{below, quoted, seeded, tenant};
use ci_tests::store_contract::{World, questions, reference};

/// Questions of each kind per database; a long run asks for more.
fn cases() -> usize {
    std::env::var("CI_CACHE_TEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_500)
}

async fn filled(fixture: &Fixture, world: &World) -> std::sync::Arc<dyn ci_store::Store> {
    let store = fixture.open().await;
    fixture.execute(&world.sql(fixture.is_sqlite())).await;
    store
}

#[tokio::test]
async fn searches_agree_with_the_predicate() {
    let world = World::random(1, 240, 0);
    on_both(async |fixture| {
        let store = filled(fixture, &world).await;
        let mut random = seeded(2);
        let mut snapshot = store.snapshot().await.unwrap();
        let mut found = 0;
        for _ in 0..cases() {
            let question = questions::search(&mut random, &world);
            let expected = reference::search(&world, &question);
            let answer = snapshot.search(&tenant(), &question).await.unwrap();
            assert_eq!(answer, expected, "{question:?} on {}", store.backend());
            found += answer.len();
        }
        assert!(
            found > cases(),
            "the questions find too little to prove anything: {found}"
        );
        assert_eq!(snapshot.statements() as usize, cases());
        drop(snapshot);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn lists_and_aggregates_agree_with_the_reference() {
    let world = World::random(3, 120, 0);
    on_both(async |fixture| {
        let store = filled(fixture, &world).await;
        let mut random = seeded(4);
        let mut snapshot = store.snapshot().await.unwrap();
        for _ in 0..cases() / 3 {
            let question = questions::list(&mut random, &world);
            let answer = snapshot.list(&tenant(), &question).await.unwrap();
            assert_eq!(
                answer,
                reference::list(&world, &question),
                "{question:?} on {}",
                store.backend()
            );
            let question = questions::aggregate(&mut random, &world);
            let answer = snapshot.aggregate(&tenant(), &question).await.unwrap();
            assert_eq!(
                answer,
                reference::aggregate(&world, &question),
                "{question:?} on {}",
                store.backend()
            );
        }
        drop(snapshot);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn gets_agree_with_the_rows_in_order_and_in_one_statement() {
    let world = World::random(5, 60, 0);
    on_both(async |fixture| {
        let store = filled(fixture, &world).await;
        let mut random = seeded(6);
        let mut snapshot = store.snapshot().await.unwrap();
        for round in 1..=50_u32 {
            let gets: Vec<Get> = (0..below(&mut random, 30))
                .map(|_| {
                    let ci = &world.cis[below(&mut random, world.cis.len())].summary;
                    let get = match below(&mut random, 3) {
                        0 => Get::new(ci.ci_id),
                        1 => Get::new(ci.ci_code.clone()),
                        _ => Get::new(CiCode::new("absent").unwrap()),
                    };
                    get.include_deleted(below(&mut random, 2) == 0)
                })
                .collect();
            let expected: Vec<_> = gets
                .iter()
                .map(|get| {
                    let named = |ci: &&ci_model::CiDetail| {
                        *get.target() == ci.summary.ci_id.into()
                            || *get.target() == ci.summary.ci_code.clone().into()
                    };
                    let ci = world.cis.iter().filter(|ci| ci.tenant_id == tenant()).find(named);
                    ci.filter(|ci| get.includes_deleted() || ci.deleted_at.is_none())
                        .cloned()
                })
                .collect();
            let before = snapshot.statements();
            assert_eq!(
                snapshot.get_many(&tenant(), &gets).await.unwrap(),
                expected,
                "round {round}"
            );
            assert!(snapshot.statements() - before <= 1);
        }
        drop(snapshot);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn expansions_and_paths_agree_with_the_reference() {
    for (seed, count, relations) in [(7, 30, 60), (8, 60, 200), (9, 25, 15)] {
        let world = World::random(seed, count, relations);
        on_both(async |fixture| {
            let store = filled(fixture, &world).await;
            let mut random = seeded(seed);
            let mut snapshot = store.snapshot().await.unwrap();
            for _ in 0..cases() / 8 {
                let question = questions::expand(&mut random, &world);
                let before = snapshot.statements();
                let answer = snapshot.expand(&tenant(), &question).await.unwrap();
                assert_eq!(
                    answer,
                    reference::expand(&world, &question),
                    "{question:?} on {}",
                    store.backend()
                );
                let most = if fixture.is_sqlite() { question.depth() } else { 1 };
                assert!(snapshot.statements() - before <= most.into());
                let before = snapshot.statements();
                let traversal = snapshot.traverse(&tenant(), &question).await.unwrap();
                assert!(snapshot.statements() - before <= most.into());
                let cis = |graph: &ci_model::Graph| -> Vec<_> {
                    let get = |node: &ci_model::Node| {
                        reference::get(&world, &Get::new(node.ci.ci_id).include_deleted(true)).unwrap()
                    };
                    graph.items.iter().map(get).collect()
                };
                let expected = answer.map(|graph| {
                    let details = cis(&graph);
                    (graph, details)
                });
                assert_eq!(traversal, expected, "{question:?} on {}", store.backend());
                let question = questions::path_between(&mut random, &world);
                let before = snapshot.statements();
                let answer = snapshot.path(&tenant(), &question).await.unwrap().answer;
                assert_eq!(
                    answer,
                    reference::path(&world, &question),
                    "{question:?} on {}",
                    store.backend()
                );
                let each = if question.most() > 1 { 2 } else { 1 };
                assert!(snapshot.statements() - before <= 2 + each * u32::from(question.max_hops()));
            }
            drop(snapshot);
            store.close().await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_hub_is_cut_where_it_is_read_and_a_ci_is_its_own_path() {
    let mut world = World::random(10, 5, 0);
    for ci in &mut world.cis {
        ci.tenant_id = tenant();
        ci.deleted_at = None;
    }
    on_both(async |fixture| {
        let store = filled(fixture, &world).await;
        let hub = &world.cis[0].summary;
        // 5,000 dependants, as another program would make them.
        let sql = if fixture.is_sqlite() {
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000) \
             INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) \
             SELECT printf('00000000-0000-4000-8000-%012x', n), 'acme', printf('dep-%05d', n), 'dependant', 'SW' FROM n;"
        } else {
            "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) \
             SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'acme', \
             'dep-' || lpad(n::text, 5, '0'), 'dependant', 'SW' FROM generate_series(1, 5000) AS n;"
        };
        fixture.execute(sql).await;
        let relate = format!(
            "INSERT INTO ci_relation (tenant_id, from_id, to_id, rel_type) \
             SELECT 'acme', ci_id, '{}', 'DEPENDS_ON' FROM ci WHERE ci_name = 'dependant';",
            hub.ci_id
        );
        fixture.execute(&relate).await;
        let mut snapshot = store.snapshot().await.unwrap();
        let impact = Expand::builder(hub.ci_id, View::Impact).build().unwrap();
        let graph = snapshot.expand(&tenant(), &impact).await.unwrap().unwrap();
        assert_eq!((graph.items.len(), graph.relations.len()), (200, 199));
        assert!(graph.nodes_truncated && !graph.edges_truncated);
        assert_eq!(graph.items[199].ci.ci_code.as_str(), "dep-00199");
        assert_eq!(snapshot.statements(), if fixture.is_sqlite() { 2 } else { 1 });
        let code = |n: usize| CiCode::new(format!("dep-{n:05}")).unwrap();
        let between = Path::builder(code(17), code(4_711)).build().unwrap();
        let Some(PathAnswer::Found(route)) = snapshot.path(&tenant(), &between).await.unwrap().answer else {
            panic!("two dependants of one hub are two steps apart");
        };
        assert_eq!((route.hops, route.items[1].ci_id), (2, hub.ci_id));
        let itself = Path::builder(code(1), code(1)).direction(Direction::Out).build().unwrap();
        let Some(PathAnswer::Found(route)) = snapshot.path(&tenant(), &itself).await.unwrap().answer else {
            panic!("a CI is its own path");
        };
        assert_eq!((route.hops, route.items.len(), route.relations.len()), (0, 1, 0));
        drop(snapshot);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn both_databases_fold_every_character_as_the_domain_does() {
    // Every pair, both halves, and every character up to U+30FF that can be in a name.
    let singles = (' '..='\u{30ff}').filter(|c| !c.is_control());
    let all: Vec<char> = singles.chain(fold::pairs().flat_map(|(a, b)| [a, b])).collect();
    let names: Vec<String> = all.chunks(120).map(String::from_iter).collect();
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut sql = String::new();
        for (at, name) in names.iter().enumerate() {
            writeln!(
                sql,
                "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, ci_subtype) VALUES \
                 ('00000000-0000-4000-8000-{at:012x}', 'acme', '{at:05}', {}, 'T', NULL);",
                quoted(name)
            )
            .unwrap();
        }
        fixture.execute(&sql).await;
        let texts = if fixture.is_sqlite() {
            fixture.texts("SELECT text FROM ci_search ORDER BY text").await
        } else {
            fixture
                .texts("SELECT search_text FROM ci ORDER BY search_text")
                .await
        };
        let expected = names
            .iter()
            .enumerate()
            .map(|(at, name)| format!("{at:05}\u{1f}{}\u{1f}t\u{1f}\u{1f}", fold::fold(name)));
        for (text, expected) in texts.iter().zip(expected) {
            assert_eq!(*text, expected);
        }
        assert_eq!(texts.len(), names.len());
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn rows_that_other_programs_change_are_found_as_they_are_now() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let id: CiId = "0189d7a4-1111-4222-8333-444455556666".parse().unwrap();
        let codes = async |word: &str| {
            let search = Search::builder().keyword(word).build().unwrap();
            let found = store.snapshot().await.unwrap().search(&tenant(), &search).await.unwrap();
            found.into_iter().map(|ci| ci.ci_code.to_string()).collect::<Vec<_>>()
        };
        let insert = |code: &str, name: &str| {
            format!(
                "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, created_at, updated_at) VALUES \
                 ('{id}', 'acme', '{code}', '{name}', 'SW', '2026-01-31 08:00:00', '2026-01-31T09:00:00.25+01:00')"
            )
        };
        fixture.execute(&insert("a-1", "Größe 100%_x")).await;
        assert_eq!(codes("GRÖSSE").await, [""; 0]);
        assert_eq!(codes("GRÖ").await, ["a-1"]);
        assert_eq!(codes("%_").await, ["a-1"]);
        assert_eq!(codes("%%").await, [""; 0]);
        fixture.execute("UPDATE ci SET ci_name = 'renamed', ci_code = 'a-2'").await;
        assert_eq!(codes("gröss").await, [""; 0]);
        assert_eq!(codes("RENAMED").await, ["a-2"]);
        let mut snapshot = store.snapshot().await.unwrap();
        let got = snapshot.get_many(&tenant(), &[Get::new(id)]).await.unwrap();
        let ci = got[0].as_ref().unwrap();
        assert_eq!(ci.created_at.to_string(), "2026-01-31T08:00:00.000000Z");
        assert_eq!(ci.updated_at.to_string(), "2026-01-31T08:00:00.250000Z");
        assert!(ci.tags.is_empty() && ci.attributes.is_empty());
        drop(snapshot);
        if fixture.is_sqlite() {
            let replace = insert("a-3", "replaced").replacen("INSERT", "INSERT OR REPLACE", 1);
            fixture.execute(&replace).await;
            assert_eq!(codes("renamed").await, [""; 0]);
            assert_eq!(codes("replaced").await, ["a-3"]);
            fixture.execute("VACUUM").await;
            assert_eq!(codes("replaced").await, ["a-3"]);
            let sound = "SELECT count(*) || '' FROM ci_search_fts WHERE ci_search_fts MATCH '\"ren\"'";
            assert_eq!(fixture.texts(sound).await, ["0"]);
        }
        fixture.execute("DELETE FROM ci").await;
        assert_eq!(codes("a").await, [""; 0]);
        assert_eq!(codes("replaced").await, [""; 0]);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn numbers_are_one_number_in_every_notation() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let cast = if fixture.is_sqlite() { "" } else { "::jsonb" };
        for (at, number) in [
            "1",
            "1.0",
            "1e0",
            "10e-1",
            "1.50",
            "-0.0",
            "1e2",
            "-0",
            "100000000000000000000.0",
        ]
        .iter()
        .enumerate()
        {
            fixture
                .execute(&format!(
                    "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) VALUES \
                     ('00000000-0000-4000-8000-{at:012x}', 'acme', 'n-{at}', 'n', 'T'); \
                     INSERT INTO ci_ext (ci_id, tags, attributes) VALUES \
                     ('00000000-0000-4000-8000-{at:012x}', '{{\"n\": {number}}}'{cast}, '{{}}'{cast});"
                ))
                .await;
        }
        let mut snapshot = store.snapshot().await.unwrap();
        for (text, count) in [
            ("1", 4),
            ("1.5", 1),
            ("0", 2),
            ("100000000000000000000", 1),
            ("100", 1),
            ("1.0", 0),
        ] {
            let search = Search::builder()
                .filter(Filter::new("tags.n", "=", &[text]).unwrap())
                .build()
                .unwrap();
            let found = snapshot.search(&tenant(), &search).await.unwrap();
            assert_eq!(found.len(), count, "{text} on {}", store.backend());
        }
        let gets: Vec<Get> = (0..8)
            .map(|n| Get::new(CiCode::new(format!("n-{n}")).unwrap()))
            .collect();
        let got = snapshot.get_many(&tenant(), &gets).await.unwrap();
        let numbers: Vec<String> = got.iter().flatten().map(|ci| ci.tags["n"].to_string()).collect();
        assert_eq!(numbers, ["1", "1", "1", "1", "1.5", "0", "100", "0"]);
        drop(snapshot);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_keeps_its_state_and_the_next_sees_the_change() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let total = async |snapshot: &mut Box<dyn ci_store::Snapshot>| {
            snapshot
                .list(&tenant(), &List::builder().build().unwrap())
                .await
                .unwrap()
                .total
                .unwrap()
        };
        let mut before = store.snapshot().await.unwrap();
        fixture
            .execute(
                "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) VALUES \
                 ('00000000-0000-4000-8000-000000000001', 'acme', 'x', 'x', 'T')",
            )
            .await;
        assert_eq!(total(&mut before).await, 0);
        assert_eq!(total(&mut store.snapshot().await.unwrap()).await, 1);
        assert_eq!(total(&mut before).await, 0);
        drop(before);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_question_dropped_at_any_poll_leaves_a_clean_connection() {
    let world = World::random(11, 40, 30);
    on_both(async |fixture| {
        filled(fixture, &world).await.close().await;
        let store = fixture.open_with(&StoreOptions::default().connections(1)).await;
        let search = Search::builder().limit(500).build().unwrap();
        let expected = reference::search(&world, &search);
        let mut polls = 0;
        loop {
            polls += 1;
            let ask = async { store.snapshot().await?.search(&tenant(), &search).await };
            let answer = polled(ask, polls).await;
            // The one connection must serve the next question, whatever happened to it.
            let mut next = store.snapshot().await.unwrap();
            assert_eq!(
                next.search(&tenant(), &search).await.unwrap(),
                expected,
                "after {polls} polls"
            );
            if let Some(answer) = answer {
                assert_eq!(answer.unwrap(), expected);
                break;
            }
        }
        store.close().await;
    })
    .await;
}

/// The future's result when it ends within so many polls; otherwise it is dropped there.
async fn polled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        let polled = future.as_mut().poll(context).map(Some);
        if polled.is_pending() && left == 0 {
            std::task::Poll::Ready(None)
        } else {
            polled
        }
    })
    .await
}

#[tokio::test]
async fn a_missing_database_and_a_wrong_address_are_typed_errors() {
    let options = StoreOptions::default()
        .create_if_missing(false)
        .acquire_timeout(Duration::from_secs(2));
    for (address, transient) in [
        ("sqlite:no/such/folder/cmdb.db", true),
        ("postgres://nobody@127.0.0.1:1/none", true),
        ("mysql://host/db", false),
        ("sqlite:", false),
        ("cmdb.db", false),
    ] {
        let error = ci_store::open(address, &options).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{address}: {error}");
        assert!(!error.to_string().contains("nobody"), "{error}");
    }
    let memory = ci_store::open("sqlite::memory:", &StoreOptions::default())
        .await
        .unwrap();
    assert_eq!(
        memory
            .snapshot()
            .await
            .unwrap()
            .list(&tenant(), &List::builder().build().unwrap())
            .await
            .unwrap()
            .total,
        Some(0)
    );
    memory.ping().await.unwrap();
    memory.close().await;
    assert!(matches!(
        memory.snapshot().await.map(drop),
        Err(Error::Unavailable(_))
    ));
}
