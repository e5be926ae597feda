//! Whole operations: few statements cold, none warm, and always one state.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;

use ci_model::{Aggregate, CiRef, Expand, Get, List, ListOrder, Question, View};
use ci_runner::{Runner, Source, Tenant};
use ci_store::Store;
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::store_contract::world::{below, seeded, tenant};
use ci_tests::store_contract::{World, questions, reference};

async fn filled(fixture: &Fixture, world: &World) -> (Runner, Tenant, Arc<dyn Store>) {
    let store = fixture.open().await;
    fixture.execute(&world.sql(fixture.is_sqlite())).await;
    let runner = ci_tests::fixture::patient(Arc::clone(&store)).build().unwrap();
    let tenant = runner.tenant(tenant());
    (runner, tenant, store)
}

/// What an operation ran on the database.
async fn counted<T>(runner: &Runner, operation: impl Future<Output = T>) -> (T, u64) {
    let before = runner.stats().statements;
    let answer = operation.await;
    (answer, runner.stats().statements - before)
}

fn graph(world: &World, ci: &CiRef, view: View) -> Option<Arc<ci_model::Graph>> {
    let expand = Expand::builder(ci.clone(), view).build().unwrap();
    reference::expand(world, &expand).map(Arc::new)
}

#[tokio::test]
async fn a_dashboard_takes_one_statement_cold_and_none_warm() {
    let world = World::random(41, 200, 300);
    on_both(async |fixture| {
        let (runner, tenant, _) = filled(fixture, &world).await;
        let (cold, statements) = counted(&runner, tenant.dashboard()).await;
        let cold = cold.unwrap();
        assert_eq!((statements, cold.source), (1, Source::Miss));
        let by = |field: &str| {
            let aggregate = Aggregate::builder().group_by(field).build().unwrap();
            Arc::new(reference::aggregate(&world, &aggregate))
        };
        assert_eq!(cold.by_type, by("ci_type"));
        assert_eq!(cold.by_status, by("status"));
        assert_eq!(cold.by_location, by("location"));
        assert_eq!(cold.by_owner, by("owner"));
        let latest = List::builder()
            .order(ListOrder::Updated)
            .limit(10)
            .total(false)
            .build()
            .unwrap();
        let all = Aggregate::builder().build().unwrap();
        assert_eq!(cold.total, reference::aggregate(&world, &all).items[0].count);
        assert_eq!(*cold.recent, reference::list(&world, &latest));
        let mut critical: Vec<_> = world
            .cis
            .iter()
            .filter(|ci| ci.tenant_id == *tenant.id() && ci.deleted_at.is_none())
            .filter_map(|ci| Some((ci.criticality.map(i64::from)?, &ci.summary)))
            .filter(|(criticality, _)| *criticality >= 4)
            .collect();
        critical.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.ci_code.cmp(&other.ci_code)));
        critical.truncate(10);
        assert!(cold.critical().eq(critical.into_iter().map(|(_, ci)| ci)));
        let (warm, statements) = counted(&runner, tenant.dashboard()).await;
        let warm = warm.unwrap();
        assert_eq!((statements, warm.source), (0, Source::Hit));
        assert_eq!((&warm.by_owner, &warm.recent), (&cold.by_owner, &cold.recent));
        // A write that changes one count has what it changes loaded again, in one statement, and nothing else.
        let sql = "UPDATE ci SET owner = 'somebody new' WHERE deleted_at IS NULL AND tenant_id = 'acme'";
        fixture.execute(sql).await;
        let after = tenant.strong().dashboard().await.unwrap();
        assert_eq!(after.by_owner.items.len(), 1);
        assert_eq!(after.by_type, cold.by_type);
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_ci_page_takes_two_statements_at_most_and_none_warm() {
    let world = World::random(42, 120, 400);
    on_both(async |fixture| {
        let (runner, tenant, _) = filled(fixture, &world).await;
        let mut random = seeded(42);
        for _ in 0..25 {
            let at = below(&mut random, world.cis.len());
            let ci: CiRef = world.cis[at].summary.ci_id.into();
            let (cold, statements) = counted(&runner, tenant.ci_page(ci.clone())).await;
            let cold = cold.unwrap();
            assert!(
                statements <= 2,
                "{statements} statements on {}",
                fixture.address()
            );
            let detail = reference::get(&world, &Get::new(ci.clone()));
            assert_eq!(cold.detail.as_deref(), detail.as_ref());
            assert_eq!(cold.neighbours, graph(&world, &ci, View::Neighbors));
            assert_eq!(cold.composition, graph(&world, &ci, View::Composition));
            assert_eq!(cold.impact, graph(&world, &ci, View::Impact));
            let (warm, statements) = counted(&runner, tenant.ci_page(ci)).await;
            let warm = warm.unwrap();
            assert_eq!((statements, warm.source), (0, Source::Hit));
            assert_eq!((warm.detail, warm.impact), (cold.detail, cold.impact));
        }
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_traversal_takes_two_statements_at_most_and_primes_its_cis() {
    let world = World::random(43, 120, 400);
    on_both(async |fixture| {
        let (runner, tenant, _) = filled(fixture, &world).await;
        let mut random = seeded(43);
        for _ in 0..40 {
            let expand = questions::expand(&mut random, &world);
            let (cold, statements) = counted(&runner, tenant.traverse(&expand)).await;
            let cold = cold.unwrap();
            let most = if fixture.is_sqlite() {
                u64::from(expand.depth()).max(2)
            } else {
                1
            };
            assert!(statements <= most, "{statements} statements: {expand:?}");
            let right = reference::expand(&world, &expand);
            assert_eq!(cold.graph.as_deref(), right.as_ref(), "{expand:?}");
            let ids = right
                .iter()
                .flat_map(|graph| &graph.items)
                .map(|node| node.ci.ci_id);
            let get = |id| Get::new(id).include_deleted(expand.includes_deleted());
            let details = ids.clone().map(|id| reference::get(&world, &get(id)).unwrap());
            assert!(
                cold.details
                    .iter()
                    .map(|ci| &**ci)
                    .eq(details.collect::<Vec<_>>().iter())
            );
            let (warm, statements) = counted(&runner, tenant.traverse(&expand)).await;
            let warm = warm.unwrap();
            assert_eq!((statements, warm.source), (0, Source::Hit), "{expand:?}");
            assert_eq!((warm.graph, warm.details), (cold.graph, cold.details));
            for id in ids {
                let (ci, statements) = counted(&runner, tenant.get(&get(id))).await;
                assert_eq!((statements, ci.unwrap().source), (0, Source::Hit));
            }
        }
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_page_that_is_half_in_memory_loads_the_other_half_and_is_one_state() {
    let world = World::random(44, 60, 100);
    on_both(async |fixture| {
        let (runner, tenant, _) = filled(fixture, &world).await;
        let get = |at: usize| Question::Get(Get::new(world.cis[at].summary.ci_id).include_deleted(true));
        let first: Vec<Question> = (0..20).map(get).collect();
        let (_, statements) = counted(&runner, tenant.page(first)).await;
        assert_eq!(statements, 1);
        let all: Vec<Question> = (0..40).map(get).collect();
        let (page, statements) = counted(&runner, tenant.page(all.clone())).await;
        let page = page.unwrap();
        assert_eq!(
            (statements, page.source, page.answers.len()),
            (1, Source::Miss, 40)
        );
        let (page, statements) = counted(&runner, tenant.page(all.clone())).await;
        assert_eq!((statements, page.unwrap().source), (0, Source::Hit));
        // One question twice is loaded once.
        let twice: Vec<Question> = [50, 50, 0].map(get).into();
        let (page, statements) = counted(&runner, tenant.page(twice)).await;
        let page = page.unwrap();
        assert_eq!((statements, page.answers[0] == page.answers[1]), (1, true));
        // Others change what is in memory while pages are asked for: each page is as the database was at one moment.
        let codes = "UPDATE ci SET ci_name = 'round' WHERE tenant_id = 'acme'";
        fixture.execute(codes).await;
        let writing = async {
            for round in 0..30 {
                let sql = format!("UPDATE ci SET ci_name = 'round {round}' WHERE tenant_id = 'acme'");
                fixture.execute(&sql).await;
            }
        };
        let live: Vec<Question> = (0..40)
            .filter(|at| world.cis[*at].tenant_id == *tenant.id())
            .map(get)
            .collect();
        let reading = async {
            for _ in 0..60 {
                let page = tenant.strong().page(live.clone()).await.unwrap();
                let names = page.answers.iter().map(|answer| match answer {
                    ci_runner::Reply::Ci(Some(ci)) => ci.summary.ci_name.clone(),
                    other => panic!("{other:?}"),
                });
                let names: std::collections::BTreeSet<String> = names.collect();
                assert_eq!(names.len(), 1, "{names:?}");
            }
        };
        tokio::join!(writing, reading);
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_expansion_primes_the_gets_of_its_cis_where_it_is_told_to() {
    let world = World::random(47, 120, 400);
    on_both(async |fixture| {
        let (plain, other, store) = filled(fixture, &world).await;
        let runner = ci_tests::fixture::patient(store).prime(true).build().unwrap();
        let tenant = runner.tenant(tenant());
        let mut random = seeded(47);
        for _ in 0..25 {
            let expand = questions::expand(&mut random, &world);
            let right = reference::expand(&world, &expand);
            runner.clear();
            let (graph, statements) = counted(&runner, tenant.expand(&expand)).await;
            assert_eq!(graph.unwrap().value.as_deref(), right.as_ref(), "{expand:?}");
            let (unprimed, as_many) = counted(&plain, other.expand(&expand)).await;
            assert_eq!(
                (unprimed.unwrap().value.as_deref(), statements),
                (right.as_ref(), as_many)
            );
            plain.clear();
            for node in right.iter().flat_map(|graph| &graph.items) {
                let get = Get::new(node.ci.ci_id).include_deleted(expand.includes_deleted());
                let (found, statements) = counted(&runner, tenant.get(&get)).await;
                let found = found.unwrap();
                assert_eq!((statements, found.source), (0, Source::Hit));
                assert_eq!(found.value.as_deref(), reference::get(&world, &get).as_ref());
            }
        }
        runner.close().await;
        plain.close().await;
    })
    .await;
}
