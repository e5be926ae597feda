//! Several questions in one statement, and expansions of hubs: the same answers as by the naive reference.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use ci_model::{Aggregate, Direction, Expand, Question, View};
use ci_store::{Found, Snapshot};
use ci_tests::fixture::on_both;
use ci_tests::store_contract::world::{below, seeded, tenant};
use ci_tests::store_contract::{World, questions, reference};

/// What the reference says, in the form of a store's answer.
fn expected(world: &World, question: &Question) -> Found {
    match question {
        Question::Get(get) => Found::Ci(reference::get(world, get).map(Box::new)),
        Question::Search(search) => Found::Rows(reference::search(world, search)),
        Question::List(list) => Found::List(reference::list(world, list)),
        Question::Aggregate(aggregate) => Found::Groups(reference::aggregate(world, aggregate)),
        Question::Expand(expand) => Found::Graph(reference::expand(world, expand)),
        Question::Path(_) => panic!("paths are compared elsewhere"),
    }
}

#[tokio::test]
async fn questions_asked_together_are_answered_as_one_by_one() {
    for (seed, count, relations) in [(21, 60, 150), (22, 25, 60)] {
        let world = World::random(seed, count, relations);
        on_both(async |fixture| {
            let store = fixture.open().await;
            fixture.execute(&world.sql(fixture.is_sqlite())).await;
            let mut random = seeded(seed);
            let mut snapshot = store.snapshot().await.unwrap();
            for _ in 0..60 {
                let several = 1 + below(&mut random, 24);
                let (mut asked, mut single, mut gets) = (Vec::new(), 0, 0);
                for _ in 0..several {
                    asked.push(match below(&mut random, 6) {
                        0 | 1 => {
                            gets = 1;
                            let at = below(&mut random, world.cis.len());
                            let ci = &world.cis[at].summary;
                            let get = if below(&mut random, 2) == 0 {
                                ci_model::Get::new(ci.ci_id)
                            } else {
                                ci_model::Get::new(ci.ci_code.clone())
                            };
                            Question::Get(get.include_deleted(below(&mut random, 2) == 0))
                        }
                        kind => {
                            single += 1;
                            match kind {
                                2 => Question::Search(questions::search(&mut random, &world)),
                                3 => Question::List(questions::list(&mut random, &world)),
                                4 => Question::Aggregate(questions::aggregate(&mut random, &world)),
                                _ => Question::Expand(questions::expand(&mut random, &world)),
                            }
                        }
                    });
                }
                let before = snapshot.statements();
                let found = snapshot.ask_all(&tenant(), &asked).await.unwrap();
                assert_eq!(found.len(), asked.len());
                for (question, answer) in asked.iter().zip(&found) {
                    let right = expected(&world, question);
                    assert_eq!(*answer, right, "{question:?} on {}", store.backend());
                }
                let expansions = asked.iter().filter_map(|question| match question {
                    Question::Expand(expand) => Some(u32::from(expand.depth())),
                    _ => None,
                });
                let depths: Vec<u32> = expansions.collect();
                let weight = single + gets + 3 * u32::try_from(depths.len()).unwrap();
                let rounds = match depths.iter().max() {
                    Some(depth) if fixture.is_sqlite() => *depth,
                    _ => 1,
                };
                let took = snapshot.statements() - before;
                if weight <= 16 {
                    assert!(took <= rounds, "{took} statements for {asked:?}");
                } else {
                    // A statement that has no room for the next part has at most three places left.
                    assert!(
                        took <= weight.div_ceil(13) * rounds,
                        "{took} statements for {asked:?}"
                    );
                }
            }
            let path = questions::path_between(&mut random, &world);
            let alone = snapshot.path(&tenant(), &path).await.unwrap();
            let asked = [
                Question::Path(path),
                Question::List(ci_model::List::builder().build().unwrap()),
            ];
            let found = snapshot.ask_all(&tenant(), &asked).await.unwrap();
            let Found::Path(together) = &found[0] else {
                panic!("{found:?}")
            };
            assert_eq!(together.answer, alone.answer);
            assert!(snapshot.ask_all(&tenant(), &[]).await.unwrap().is_empty());
            drop(snapshot);
            store.close().await;
        })
        .await;
    }
}

#[tokio::test]
async fn aggregates_of_one_selection_are_counted_together_as_one_by_one() {
    let world = World::random(23, 150, 60);
    on_both(async |fixture| {
        let store = fixture.open().await;
        fixture.execute(&world.sql(fixture.is_sqlite())).await;
        let mut random = seeded(23);
        let mut snapshot = store.snapshot().await.unwrap();
        for round in 0..60 {
            // Two selections, so that there are two tables of counts; of all CIs now and then.
            let several = [(); 2].map(|()| questions::aggregate(&mut random, &world));
            let mut asked = Vec::new();
            for one in &several {
                for _ in 0..=below(&mut random, 5) {
                    let other = questions::aggregate(&mut random, &world);
                    let mut like = Aggregate::builder().limit(other.limit());
                    if round % 4 > 0 {
                        like = like.selection(one.selection().clone());
                    }
                    for field in other.group_by() {
                        like = like.group_by(field.to_string());
                    }
                    if let Some(distinct) = other.distinct() {
                        like = like.distinct(distinct.field().to_string());
                    }
                    asked.push(Question::Aggregate(like.build().unwrap()));
                }
            }
            let before = snapshot.statements();
            let found = snapshot.ask_all(&tenant(), &asked).await.unwrap();
            assert_eq!(snapshot.statements() - before, 1);
            for (question, answer) in asked.iter().zip(&found) {
                let right = expected(&world, question);
                assert_eq!(*answer, right, "{question:?} on {}", store.backend());
            }
        }
        drop(snapshot);
        store.close().await;
    })
    .await;
}

/// A world with two hubs: the one has relations with CIs all over the order of codes, the other with the last ones alone, so far
/// back that a walk in that order ends before it meets one.
fn world_of_hubs() -> (World, [usize; 2]) {
    let mut world = World::random(31, 13_000, 0);
    for ci in &mut world.cis {
        ci.tenant_id = tenant();
    }
    world.changed();
    let mut by_code: Vec<usize> = (0..world.cis.len()).collect();
    by_code.sort_by(|a, b| world.cis[*a].summary.ci_code.cmp(&world.cis[*b].summary.ci_code));
    let hubs = [by_code[5], by_code[6]];
    for hub in hubs {
        world.cis[hub].deleted_at = None;
    }
    for (at, &other) in by_code.iter().enumerate().skip(10) {
        if at % 4 == 0 {
            world.relate(other, hubs[0], "DEPENDS_ON");
            world.relate(hubs[0], other, "USES");
        }
        if at >= 10_600 {
            world.relate(other, hubs[1], if at % 3 == 0 { "DEPENDS_ON" } else { "RUNS_ON" });
            world.relate(hubs[1], other, "USES");
        }
        if at % 97 == 0 {
            world.relate(other, by_code[at - 10], "DEPENDS_ON");
        }
    }
    (world, hubs)
}

#[tokio::test]
async fn hubs_are_expanded_as_the_reference_does_however_they_are_found() {
    let (world, hubs) = world_of_hubs();
    let mut asked: Vec<Expand> = Vec::new();
    for hub in hubs {
        let root = world.cis[hub].summary.ci_id;
        for direction in [Direction::In, Direction::Out, Direction::Both] {
            for (depth, deleted, nodes, edges) in [
                (1, false, 200, 400),
                (2, true, 60, 100),
                (2, false, 5, 4_000),
                (1, true, 1, 0),
            ] {
                let question = Expand::builder(root, View::Dependency)
                    .direction(direction)
                    .depth(depth)
                    .include_deleted(deleted)
                    .max_nodes(nodes)
                    .max_edges(edges);
                asked.push(question.clone().build().unwrap());
                if depth == 1 {
                    asked.push(question.rel_types(["DEPENDS_ON"]).build().unwrap());
                }
            }
        }
    }
    let right: Vec<_> = asked
        .iter()
        .map(|question| reference::expand(&world, question))
        .collect();
    on_both(async |fixture| {
        let store = fixture.open().await;
        fixture.execute(&world.sql(fixture.is_sqlite())).await;
        store.analyze().await.unwrap();
        let mut snapshot: Box<dyn Snapshot> = store.snapshot().await.unwrap();
        for (question, right) in asked.iter().zip(&right) {
            let answer = snapshot.expand(&tenant(), question).await.unwrap();
            assert_eq!(answer, *right, "{question:?} on {}", store.backend());
        }
        drop(snapshot);
        store.close().await;
    })
    .await;
}
