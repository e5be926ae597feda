//! Searches as people use them: ranked, page after page, counted, by facets and fields; in few statements, and at one state.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeSet;
use std::sync::Arc;

use ci_model::{
    Aggregate, CiDraft, CiSummary, Cursor, Error as Invalid, Filter, Get, Projection, Ranking, Search,
};
use ci_runner::{Error, Level, Runner, SearchMode, SearchRequest, Source, Tenant};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::store_contract::world::{below, seeded, tenant};
use ci_tests::store_contract::{World, questions, reference};

async fn filled(fixture: &Fixture, world: &World) -> (Runner, Tenant) {
    let store = fixture.open().await;
    fixture.execute(&world.sql(fixture.is_sqlite())).await;
    let runner = ci_tests::fixture::patient(Arc::clone(&store)).build().unwrap();
    let tenant = runner.tenant(tenant());
    (runner, tenant)
}

/// A runner with these CIs.
async fn with(fixture: &Fixture, cis: &[(&str, &str)]) -> (Runner, Tenant) {
    let runner = ci_tests::fixture::patient(fixture.open().await).build().unwrap();
    let tenant = runner.tenant(tenant());
    let drafts = cis.iter().map(|(code, name)| CiDraft::new(*code, *name, "SW"));
    tenant.upsert_cis(drafts.collect()).await.unwrap();
    (runner, tenant)
}

/// What an operation ran on the database.
async fn counted<T>(runner: &Runner, operation: impl Future<Output = T>) -> (T, u64) {
    let before = runner.stats().statements;
    let answer = operation.await;
    (answer, runner.stats().statements - before)
}

fn codes(items: &[CiSummary]) -> Vec<&str> {
    items.iter().map(|ci| ci.ci_code.as_str()).collect()
}

#[tokio::test]
async fn ranks_go_from_the_same_code_to_elsewhere_and_writes_reorder_them() {
    on_both(async |fixture| {
        let cis = [
            ("a-erp", "x"),
            ("b", "my erp"),
            ("c", "ERP server"),
            ("d", "Erp"),
            ("erp-1", "y"),
            ("ERP", "z"),
            ("f", "other"),
        ];
        let (runner, tenant) = with(fixture, &cis).await;
        let search = Search::builder().keyword("Erp").ranked().build().unwrap();
        assert_eq!(*search.ranking(), Ranking::ByMatch("erp".into()));
        let answer = tenant.search(&search).await.unwrap();
        assert_eq!(
            codes(&answer.value.items),
            ["ERP", "d", "erp-1", "c", "a-erp", "b"]
        );
        let three = Search::builder()
            .keyword("erp")
            .ranked()
            .limit(3)
            .build()
            .unwrap();
        assert_eq!(
            codes(&tenant.search(&three).await.unwrap().value.items),
            ["ERP", "d", "erp-1"]
        );
        // What stays elsewhere is nothing to the first three; what comes to begin with it is.
        tenant
            .upsert_cis(vec![CiDraft::new("b", "his erp", "SW")])
            .await
            .unwrap();
        assert_eq!(tenant.search(&three).await.unwrap().source, Source::Hit);
        tenant
            .upsert_cis(vec![CiDraft::new("a-erp", "ERP", "SW")])
            .await
            .unwrap();
        let answer = tenant.search(&three).await.unwrap();
        assert_eq!(codes(&answer.value.items), ["ERP", "a-erp", "d"]);
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn pages_after_cursors_are_the_whole_answer_in_order() {
    let world = World::random(51, 150, 0);
    on_both(async |fixture| {
        let (runner, tenant) = filled(fixture, &world).await;
        let mut random = seeded(51);
        let mut pages = 0;
        for _ in 0..40 {
            let drawn = questions::search(&mut random, &world);
            if drawn.start().is_some() {
                continue;
            }
            let most = reference::search(&world, &drawn);
            let limit = u32::try_from(1 + below(&mut random, 7)).unwrap();
            // The same search with another limit: a cursor does not mind.
            let builder = Search::builder()
                .keywords(drawn.selection().keywords().iter().cloned())
                .filters(drawn.selection().filters().iter().cloned())
                .include_deleted(drawn.selection().include_deleted())
                .sort(drawn.sort())
                .limit(limit);
            let builder = match drawn.ranking() {
                Ranking::ByMatch(text) => builder.rank_by(text),
                _ => builder.exact_first(drawn.exact_first().iter().cloned()),
            };
            let Ok(search) = builder.build() else { continue };
            if search.selection() != drawn.selection() {
                continue;
            }
            let mut request = SearchRequest::new(search.clone()).strict().total();
            let mut all: Vec<CiSummary> = Vec::new();
            loop {
                let page = tenant.search_with(&request).await.unwrap();
                let in_memory = tenant.search_with(&request).await.unwrap();
                assert_eq!((in_memory.source, &in_memory.items), (Source::Hit, &page.items));
                all.extend(page.items.iter().cloned());
                pages += 1;
                if drawn.limit() == 500 {
                    assert_eq!(page.total, Some(most.len() as u64));
                }
                match page.next {
                    Some(next) => {
                        let next: Cursor = next.to_string().parse().unwrap();
                        request = request.after(next);
                    }
                    None => break,
                }
            }
            all.truncate(drawn.limit() as usize);
            assert_eq!(all, most, "{search:?}");
        }
        assert!(pages > 100, "{pages} pages prove nothing");
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_page_after_a_cursor_is_dropped_by_what_comes_behind_it_alone() {
    on_both(async |fixture| {
        let cis = [("a", "x"), ("c", "x"), ("e", "x"), ("g", "x"), ("i", "x")];
        let (runner, tenant) = with(fixture, &cis).await;
        let search = Search::builder().keyword("x").limit(2).build().unwrap();
        let first = tenant.search(&search).await.unwrap().value.items;
        let second = search.after(&search.next_cursor(&first).unwrap()).unwrap();
        assert_eq!(
            codes(&tenant.search(&second).await.unwrap().value.items),
            ["e", "g"]
        );
        let write = async |code: &str, name: &str| {
            tenant
                .upsert_cis(vec![CiDraft::new(code, name, "SW")])
                .await
                .unwrap();
        };
        for code in ["b", "h"] {
            write(code, "x").await;
            assert_eq!(
                tenant.search(&second).await.unwrap().source,
                Source::Hit,
                "{code}"
            );
        }
        write("d", "x").await;
        let answer = tenant.search(&second).await.unwrap();
        assert_eq!(
            (codes(&answer.value.items), answer.source),
            (vec!["d", "e"], Source::Miss)
        );
        // The row that it begins after may go: the place stays.
        write("c", "gone").await;
        assert_eq!(tenant.search(&second).await.unwrap().source, Source::Hit);
        write("e", "gone").await;
        assert_eq!(
            codes(&tenant.search(&second).await.unwrap().value.items),
            ["d", "g"]
        );
        // Past the end there is nothing, and nothing is looked for elsewhere.
        let last = search.cursor_at(&tenant.search(&second).await.unwrap().value.items[1]);
        let end = search.after(&last).unwrap();
        assert_eq!(codes(&tenant.search(&end).await.unwrap().value.items), ["h", "i"]);
        let end = search
            .after(&search.cursor_at(&tenant.search(&end).await.unwrap().value.items[1]))
            .unwrap();
        let answer = tenant.search(&end).await.unwrap();
        assert_eq!(
            (answer.value.items.len(), answer.value.mode),
            (0, SearchMode::Strict)
        );
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn totals_and_facets_are_one_statement_cold_and_none_warm() {
    let world = World::random(52, 200, 0);
    on_both(async |fixture| {
        let (runner, tenant) = filled(fixture, &world).await;
        let search = Search::builder()
            .filter(Filter::parse("ci_type!=HW").unwrap())
            .limit(5)
            .build()
            .unwrap();
        let request = SearchRequest::new(search.clone())
            .total()
            .facet("status")
            .facet("tags.role")
            .facet_limit(3);
        let (cold, statements) = counted(&runner, tenant.search_with(&request)).await;
        let cold = cold.unwrap();
        assert_eq!((statements, cold.source), (1, Source::Miss));
        assert_eq!(*cold.items, reference::search(&world, &search));
        let by = |field: &str| {
            let counted = Aggregate::builder().selection(search.selection().clone());
            reference::aggregate(&world, &counted.group_by(field).limit(3).build().unwrap())
        };
        let all = Aggregate::builder()
            .selection(search.selection().clone())
            .build()
            .unwrap();
        assert_eq!(
            cold.total,
            Some(reference::aggregate(&world, &all).items[0].count)
        );
        assert!(cold.total > Some(5) && cold.rows.is_none());
        let facets: Vec<_> = cold
            .facets
            .iter()
            .map(|facet| (facet.field.as_str(), (*facet.groups).clone()))
            .collect();
        assert_eq!(facets, [("status", by("status")), ("tags.role", by("tags.role"))]);
        let (warm, statements) = counted(&runner, tenant.search_with(&request)).await;
        let warm = warm.unwrap();
        assert_eq!((statements, warm.source), (0, Source::Hit));
        assert_eq!((&warm.facets, warm.total), (&cold.facets, cold.total));
        // The next page shares total and facets; a plain search its rows.
        let (next, statements) = counted(
            &runner,
            tenant.search_with(&request.clone().after(cold.next.unwrap())),
        )
        .await;
        assert_eq!((statements, next.unwrap().total), (1, cold.total));
        let (plain, statements) = counted(&runner, tenant.search(&search)).await;
        assert_eq!((statements, plain.unwrap().value.items), (0, cold.items));
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_fallback_counts_what_it_finds_and_its_cursor_goes_on_with_it() {
    on_both(async |fixture| {
        let cis = [
            ("app-1", "erp"),
            ("app-2", "erp"),
            ("app-3", "crm"),
            ("db-1", "crm"),
        ];
        let (runner, tenant) = with(fixture, &cis).await;
        let search = Search::builder()
            .keywords(["erp", "app", "nowhere"])
            .limit(2)
            .build()
            .unwrap();
        let request = SearchRequest::new(search.clone()).total().facet("ci_type");
        let (page, statements) = counted(&runner, tenant.search_with(&request)).await;
        let page = page.unwrap();
        assert_eq!(
            (codes(&page.items), page.mode, page.total),
            (vec!["app-1", "app-2"], SearchMode::Broad, Some(3))
        );
        assert_eq!((page.facets[0].groups.items[0].count, statements), (3, 2));
        let (again, statements) = counted(&runner, tenant.search_with(&request)).await;
        assert_eq!((again.unwrap().source, statements), (Source::Hit, 0));
        let next = tenant
            .search_with(&request.clone().after(page.next.clone().unwrap()))
            .await
            .unwrap();
        assert_eq!(
            (codes(&next.items), next.mode, next.total),
            (vec!["app-3"], SearchMode::Broad, Some(3))
        );
        assert_eq!(next.next, None);
        // Strictly there is nothing, and nothing that the broad search's cursor is of.
        let strict = tenant.search_with(&request.clone().strict()).await.unwrap();
        assert_eq!(
            (strict.items.len(), strict.mode, strict.total),
            (0, SearchMode::Strict, Some(0))
        );
        let foreign = tenant
            .search_with(&request.clone().strict().after(page.next.unwrap()))
            .await;
        assert!(matches!(foreign, Err(Error::Invalid(Invalid::ForeignCursor))));
        for wrong in ["created_at", "colour"] {
            let refused = tenant.search_with(&request.clone().facet(wrong)).await;
            assert!(matches!(
                refused,
                Err(Error::Invalid(Invalid::UnknownField { .. }))
            ));
        }
        let many = (0..17).fold(request, |request, _| request.facet("owner"));
        assert!(matches!(
            tenant.search_with(&many).await,
            Err(Error::Invalid(Invalid::TooMany { .. }))
        ));
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn fields_are_a_view_of_what_is_cached() {
    let world = World::random(53, 60, 0);
    on_both(async |fixture| {
        let (runner, tenant) = filled(fixture, &world).await;
        let search = Search::builder().include_deleted(true).limit(20).build().unwrap();
        let found = reference::search(&world, &search);
        let ask = |names: &[&str]| SearchRequest::new(search.clone()).fields(Projection::new(names).unwrap());
        let short = ask(&["ci_name", "owner"]);
        let (page, statements) = counted(&runner, tenant.search_with(&short)).await;
        let page = page.unwrap();
        let rows = page.rows.unwrap();
        assert_eq!((statements, rows.len(), &*page.items), (1, 20, &*found));
        for (row, ci) in rows.iter().zip(&found) {
            assert_eq!(row.get("ci_name").unwrap(), &ci.ci_name);
            assert_eq!(row.get("owner").unwrap().as_str(), ci.owner.as_deref());
            assert_eq!(row.get("ci_code"), None);
        }
        let full = ask(&["ci_code", "criticality", "tags", "attributes.role"]);
        let (page, statements) = counted(&runner, tenant.search_with(&full)).await;
        let page = page.unwrap();
        assert_eq!(
            (statements, page.source),
            (1, Source::Miss),
            "the rows are there already"
        );
        for (row, ci) in page.rows.unwrap().iter().zip(&found) {
            let detail = reference::get(&world, &Get::new(ci.ci_id).include_deleted(true)).unwrap();
            assert_eq!(row.get("tags").unwrap().as_object().unwrap(), &detail.tags);
            let role = detail.attributes.get("role").cloned().unwrap_or_default();
            assert_eq!(row.get("attributes.role").unwrap(), &role);
        }
        // Other fields of the same rows need nothing more, in whatever order they are asked for.
        for request in [ask(&["attributes", "updated_at"]), full, short] {
            let (page, statements) = counted(&runner, tenant.search_with(&request)).await;
            assert_eq!((statements, page.unwrap().source), (0, Source::Hit));
        }
        runner.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_counts_and_fields_are_of_one_state_while_others_write() {
    on_both(async |fixture| {
        let cis: Vec<(String, String)> = (0..6).map(|n| (format!("ci-{n}"), "even".to_owned())).collect();
        let cis: Vec<(&str, &str)> = cis.iter().map(|(code, name)| (code.as_str(), name.as_str())).collect();
        let (runner, tenant) = with(fixture, &cis).await;
        // Between two states of which each finds three other CIs, all with an owner of its own.
        let sql = |round: usize| {
            format!(
                "UPDATE ci SET ci_name = CASE WHEN (ci_code IN ('ci-0', 'ci-2', 'ci-4')) = ({} = 0) THEN 'yes' ELSE 'no' END, \
                 owner = 'round {round}' WHERE tenant_id = 'acme'",
                round % 2
            )
        };
        fixture.execute(&sql(0)).await;
        let search = Search::builder().keyword("yes").build().unwrap();
        let request = SearchRequest::new(search)
            .total()
            .facet("owner")
            .fields(Projection::new(&["ci_name", "owner", "tags"]).unwrap());
        let writing = async {
            for round in 1..40 {
                fixture.execute(&sql(round)).await;
            }
        };
        let reading = async {
            for round in 0..60 {
                let view = if round % 3 == 0 { tenant.at(Level::Bypass) } else { tenant.strong() };
                let page = view.search_with(&request).await.unwrap();
                let seen: BTreeSet<&str> = codes(&page.items).into_iter().collect();
                let (even, odd) = (["ci-0", "ci-2", "ci-4"].into(), ["ci-1", "ci-3", "ci-5"].into());
                assert!(seen == even || seen == odd, "{seen:?}");
                let owners: BTreeSet<_> = page.items.iter().map(|ci| ci.owner.clone().unwrap()).collect();
                assert_eq!((owners.len(), page.total), (1, Some(3)));
                assert_eq!(page.facets[0].groups.items.len(), 1);
                let owner = owners.first().unwrap().as_str();
                for row in page.rows.unwrap() {
                    assert_eq!((row.get("owner").unwrap(), row.get("ci_name").unwrap()), (&owner.into(), &"yes".into()));
                }
            }
        };
        tokio::join!(writing, reading);
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_sentence_in_any_language_finds_its_ci() {
    on_both(async |fixture| {
        let (runner, tenant) = with(
            fixture,
            &[("srv-db-01", "orders"), ("서버-01", "x"), ("app-größe-01", "y")],
        )
        .await;
        for (text, code) in [
            ("srv-db-01nin durumu ne?", "srv-db-01"),
            ("srv-db-01:ssä on vika", "srv-db-01"),
            ("srv-db-01-ben", "srv-db-01"),
            ("ｓｒｖ－ｄｂ－０１を確認", "srv-db-01"),
            ("请问srv-db-01的依赖", "srv-db-01"),
            ("서버-01에서 장애가", "서버-01"),
            ("Was hängt von app-GRÖßE-01 ab?", "app-größe-01"),
        ] {
            let answer = tenant.ask(text, 5).await.unwrap();
            assert_eq!(
                (codes(&answer.value.items), answer.value.mode),
                (vec![code], SearchMode::Recovered),
                "{text}"
            );
            let search = Search::builder().keyword(text).ranked().build().unwrap();
            let answer = tenant.search(&search).await.unwrap();
            assert_eq!(
                (codes(&answer.value.items), answer.value.mode),
                (vec![code], SearchMode::Recovered),
                "{text}"
            );
        }
        runner.close().await;
    })
    .await;
}
