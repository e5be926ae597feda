//! Each shape of answer against the changes that have broken such caches elsewhere, one by one. That nothing is missed in
//! general, `tests/tests/matcher_model.rs` and `matcher_duel.rs` prove.

use ci_model::{
    Aggregate, Change, CiChange, CiCode, CiId, CiSummary, Direction, Event, Expand, Filter, Get, Graph,
    Groups, Image, List, ListPage, Node, Origin, Path, PathAnswer, Question, RelationChange, RelationImage,
    RelationType, Route, Search, TenantId, View,
};

use super::{Answered, CiDomain, Dependency, Reason};
use crate::coherence::{Domain as _, Rarity, Reach};

fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn id(number: u8) -> CiId {
    CiId(
        format!("00000000-0000-4000-8000-0000000000{number:02x}")
            .parse()
            .unwrap(),
    )
}

fn summary(number: u8) -> CiSummary {
    CiSummary {
        ci_id: id(number),
        ci_code: CiCode::new(format!("app-{number:02}")).unwrap(),
        ci_name: "ERP Größe".into(),
        ci_type: "SW".into(),
        ci_subtype: None,
        ci_category: None,
        status: Some("active".into()),
        location: None,
        owner: None,
    }
}

/// The row of [`summary`], changed.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every change takes rows that may be absent"
)]
fn row(number: u8, change: impl FnOnce(&mut Image)) -> Option<Image> {
    let mut row = Image::new(format!("app-{number:02}"), "ERP Größe".into(), "SW".into());
    row.status = Some("active".into());
    row.created_at = "2026-01-31".parse().ok();
    row.tags = Some(ci_model::Document::new());
    row.attributes = Some(ci_model::Document::new());
    change(&mut row);
    row.fold();
    Some(row)
}

fn same(_: &mut Image) {}

fn ci(number: u8, old: Option<Image>, new: Option<Image>, neighbours: Option<&[u8]>) -> Change {
    Change {
        origin: Origin::Sequence(1),
        event: Event::Ci(Box::new(CiChange {
            tenant: tenant(),
            id: id(number),
            old,
            new,
            neighbours: neighbours.map(|numbers| numbers.iter().map(|number| id(*number)).collect()),
        })),
    }
}

fn updated(number: u8, change: impl FnOnce(&mut Image)) -> Change {
    ci(number, row(number, same), row(number, change), Some(&[]))
}

fn relation(old: Option<(u8, u8)>, new: Option<(u8, u8)>) -> Change {
    let image = |(from, to)| RelationImage {
        from: id(from),
        to: id(to),
        rel_type: RelationType::new("USES").unwrap(),
    };
    Change {
        origin: Origin::Sequence(1),
        event: Event::Relation(RelationChange {
            tenant: tenant(),
            old: old.map(image),
            new: new.map(image),
        }),
    }
}

fn depends(question: impl Into<Question>, answer: Answered<'_>) -> Dependency {
    Dependency::new(&tenant(), question.into(), answer).unwrap()
}

/// Judges, and holds the duty that what matters is found where it is filed.
fn judged(change: &Change, dependency: &Dependency) -> Option<Reason> {
    let domain = CiDomain::new();
    let (mut filed, mut also, mut probed) = (Vec::new(), Vec::new(), Vec::new());
    domain.file(dependency, &Rarity::new(), &mut filed);
    domain.also(dependency, &Rarity::new(), &mut also);
    domain.probe(change, &mut probed);
    let reason = domain.touches(change, dependency);
    assert!(!filed.is_empty());
    let is_found = filed.iter().any(|anchor| probed.contains(anchor));
    let has_all = also.iter().all(|anchor| probed.contains(anchor));
    let may = domain.may_touch(&domain.sight(change), domain.hint(dependency));
    assert!(
        reason.is_none() || (is_found && has_all && may),
        "{reason:?} is not found"
    );
    reason
}

#[test]
fn a_get_sees_its_row_and_who_takes_its_code() {
    let by_id = depends(Get::new(id(1)), Answered::Ci(None));
    let by_code = depends(Get::new(CiCode::new("app-01").unwrap()), Answered::Ci(None));
    let touch = updated(1, |row| row.criticality = Some(2));
    assert_eq!(judged(&touch, &by_id), Some(Reason::Id));
    assert_eq!(judged(&touch, &by_code), Some(Reason::Code));
    let takes = updated(2, |row| row.code = "app-01".into());
    assert_eq!(judged(&takes, &by_id), None);
    assert_eq!(judged(&takes, &by_code), Some(Reason::Code));
    let gives = updated(1, |row| row.code = "x".into());
    assert_eq!(judged(&gives, &by_code), Some(Reason::Code));
    let unseen = ci(1, row(1, |row| row.deleted = true), None, None);
    assert_eq!(judged(&unseen, &by_code), None);
    let also_deleted = depends(Get::new(id(1)).include_deleted(true), Answered::Ci(None));
    assert_eq!(judged(&unseen, &also_deleted), Some(Reason::Id));
}

#[test]
fn a_search_sees_its_window() {
    let search = |limit| {
        let filter = Filter::parse("status=active").unwrap();
        let search = Search::builder()
            .keyword("GRÖSSE".replace("SS", "ß"))
            .filter(filter);
        search.limit(limit).build().unwrap()
    };
    let rows = [summary(3), summary(5)];
    let full = depends(search(2), Answered::Rows(&rows));
    let open = depends(search(3), Answered::Rows(&rows));
    for (change, by_full, by_open) in [
        (
            updated(3, |row| row.status = None),
            Some(Reason::LeftResult),
            Some(Reason::LeftResult),
        ),
        (
            updated(3, |row| row.owner = Some("ops".into())),
            Some(Reason::ColumnsOfRow),
            Some(Reason::ColumnsOfRow),
        ),
        (updated(3, |row| row.criticality = Some(1)), None, None),
        (updated(3, |row| row.tags = None), None, None),
        (
            ci(4, None, row(4, same), Some(&[])),
            Some(Reason::EnteredWindow),
            Some(Reason::EnteredWindow),
        ),
        (
            ci(6, None, row(6, same), Some(&[])),
            None,
            Some(Reason::EnteredWindow),
        ),
        (
            ci(6, None, row(6, |row| row.deleted = true), Some(&[])),
            None,
            None,
        ),
        (
            ci(4, row(4, |row| row.deleted = true), row(4, same), None),
            Some(Reason::EnteredWindow),
            Some(Reason::EnteredWindow),
        ),
        (updated(4, |row| row.name = "other".into()), None, None),
        (relation(None, Some((3, 5))), None, None),
    ] {
        assert_eq!(judged(&change, &full), by_full, "{change:?}");
        assert_eq!(judged(&change, &open), by_open, "{change:?}");
    }
}

#[test]
fn a_search_by_documents_sees_what_is_not_told() {
    let filter = Filter::parse("tags.role=db").unwrap();
    let search = Search::builder().filter(filter).build().unwrap();
    let tagged = |row: &mut Image| row.tags = serde_json::json!({"role": "db"}).as_object().cloned();
    let dependency = depends(search, Answered::Rows(&[summary(3)]));
    let untold = ci(
        3,
        row(3, |row| row.tags = None),
        row(3, |row| row.tags = None),
        Some(&[]),
    );
    assert_eq!(judged(&untold, &dependency), Some(Reason::Unknown));
    let kept = ci(3, row(3, tagged), row(3, tagged), Some(&[]));
    assert_eq!(judged(&kept, &dependency), None);
    let lost = ci(3, row(3, tagged), row(3, same), Some(&[]));
    assert_eq!(judged(&lost, &dependency), Some(Reason::LeftResult));
}

#[test]
fn short_keywords_and_any_of_several_are_found() {
    let found = |search: Search| {
        let dependency = depends(search, Answered::Rows(&[]));
        judged(&ci(4, None, row(4, same), Some(&[])), &dependency)
    };
    let strict = |words: &[&str]| Search::builder().keywords(words.to_vec()).build().unwrap();
    assert_eq!(found(strict(&["e"])), Some(Reason::EnteredWindow));
    assert_eq!(found(strict(&["-0", "sw"])), Some(Reason::EnteredWindow));
    assert_eq!(found(strict(&["gröss", "erp"])), None);
    let broad = strict(&["nowhere-erp"]).broadened().unwrap();
    assert_eq!(found(broad), Some(Reason::EnteredWindow));
    let broad = strict(&["nowhere-sw"]).broadened().unwrap();
    assert_eq!(
        found(broad),
        Some(Reason::EnteredWindow),
        "one keyword has no trigram"
    );
}

#[test]
fn a_list_counts_and_an_aggregate_groups() {
    let page = ListPage {
        items: vec![summary(3)],
        total: Some(9),
        last: None,
    };
    let filter = || Filter::parse("status=active").unwrap();
    let list = List::builder().filters([filter()]).limit(1).build().unwrap();
    let list = depends(list, Answered::Page(&page));
    let aggregate = Aggregate::builder()
        .filters([filter()])
        .group_by("owner")
        .distinct("tags.role");
    let groups = Groups {
        items: Vec::new(),
        truncated: true,
    };
    let aggregate = depends(aggregate.build().unwrap(), Answered::Groups(&groups));
    for (change, by_list, by_aggregate) in [
        (
            updated(8, |row| row.status = None),
            Some(Reason::Membership),
            Some(Reason::Membership),
        ),
        (
            updated(8, |row| row.owner = Some("o".into())),
            None,
            Some(Reason::GroupValue),
        ),
        (
            updated(3, |row| row.owner = Some("o".into())),
            Some(Reason::ColumnsOfRow),
            Some(Reason::GroupValue),
        ),
        (
            updated(8, |row| row.created_at = "2026-02-01".parse().ok()),
            Some(Reason::Order),
            None,
        ),
        (updated(8, |row| row.tags = None), None, Some(Reason::Unknown)),
        (
            updated(8, |row| {
                row.tags = serde_json::json!({"role": 1}).as_object().cloned();
            }),
            None,
            Some(Reason::GroupValue),
        ),
        (updated(8, |row| row.criticality = Some(1)), None, None),
    ] {
        assert_eq!(judged(&change, &list), by_list, "{change:?}");
        assert_eq!(judged(&change, &aggregate), by_aggregate, "{change:?}");
    }
}

/// 1 is the root, 2 beside it, 3 beside 2 and of the last level.
fn graph(cut: bool) -> Graph {
    Graph {
        root: id(1),
        missing: Vec::new(),
        items: (1..=3)
            .map(|number| Node {
                ci: summary(number),
                level: number - 1,
            })
            .collect(),
        relations: Vec::new(),
        nodes_truncated: cut,
        edges_truncated: false,
    }
}

fn expand() -> ci_model::ExpandBuilder {
    Expand::builder(id(1), View::Neighbors)
        .depth(2)
        .direction(Direction::Out)
}

#[test]
fn an_expansion_sees_its_cis_their_relations_and_who_appears_beside_them() {
    let whole = depends(expand().build().unwrap(), Answered::Graph(Some(&graph(false))));
    let cut = depends(expand().build().unwrap(), Answered::Graph(Some(&graph(true))));
    let deleted = |row: &mut Image| row.deleted = true;
    let renamed = |row: &mut Image| row.code = "z".into();
    for (change, by_whole, by_cut) in [
        (
            updated(3, |row| row.status = None),
            Some(Reason::ColumnsOfRow),
            Some(Reason::ColumnsOfRow),
        ),
        (updated(3, |row| row.criticality = Some(1)), None, None),
        (updated(3, deleted), Some(Reason::Member), Some(Reason::Member)),
        // Beside the root, beside the last level, beside what is not told.
        (
            ci(9, row(9, deleted), row(9, same), Some(&[2])),
            Some(Reason::Neighbour),
            Some(Reason::Neighbour),
        ),
        (ci(9, row(9, deleted), row(9, same), Some(&[3])), None, None),
        (
            ci(9, row(9, deleted), row(9, same), None),
            Some(Reason::Unknown),
            Some(Reason::Unknown),
        ),
        // It could be seen and is not in the answer: only a limit can have cut it off.
        (
            ci(9, row(9, same), row(9, renamed), Some(&[2])),
            None,
            Some(Reason::Neighbour),
        ),
        (
            ci(9, row(9, same), row(9, deleted), Some(&[2])),
            None,
            Some(Reason::Neighbour),
        ),
        (
            relation(None, Some((2, 9))),
            Some(Reason::Expansion),
            Some(Reason::Expansion),
        ),
        (relation(None, Some((9, 2))), None, None),
        (relation(None, Some((3, 9))), None, None),
        (
            relation(Some((2, 3)), None),
            Some(Reason::Expansion),
            Some(Reason::Expansion),
        ),
        (relation(Some((2, 9)), None), None, Some(Reason::Expansion)),
        (
            relation(Some((2, 9)), Some((2, 8))),
            Some(Reason::Expansion),
            Some(Reason::Expansion),
        ),
        (relation(Some((2, 3)), Some((2, 3))), None, None),
    ] {
        assert_eq!(judged(&change, &whole), by_whole, "{change:?}");
        assert_eq!(judged(&change, &cut), by_cut, "{change:?}");
    }
    let other_types = expand().rel_types(["RUNS_ON"]).build().unwrap();
    let typed = depends(other_types, Answered::Graph(Some(&graph(false))));
    assert_eq!(judged(&relation(None, Some((2, 9))), &typed), None);
    let absent = depends(expand().build().unwrap(), Answered::Graph(None));
    assert_eq!(
        judged(&ci(1, None, row(1, same), Some(&[])), &absent),
        Some(Reason::Id)
    );
    assert_eq!(judged(&ci(2, None, row(2, same), Some(&[])), &absent), None);
    assert_eq!(judged(&relation(None, Some((1, 2))), &absent), None);
}

#[test]
fn a_filtered_expansion_sees_who_comes_to_pass_and_its_roots_come_when_they_are_missing() {
    let filter = Filter::parse("status=new").unwrap();
    let filtered = expand().filter(filter).build().unwrap();
    let filtered = depends(filtered, Answered::Graph(Some(&graph(false))));
    let new = |row: &mut Image| row.status = Some("new".into());
    let old = |row: &mut Image| row.status = Some("old".into());
    for (change, expected) in [
        // Neighbours are told where a CI comes, not where it changes.
        (ci(9, row(9, old), row(9, new), Some(&[])), Some(Reason::Unknown)),
        (ci(9, None, row(9, new), Some(&[2])), Some(Reason::Neighbour)),
        (ci(9, None, row(9, new), Some(&[3])), None),
        (ci(9, None, row(9, old), Some(&[2])), None),
        (ci(9, row(9, new), row(9, old), Some(&[])), None),
        (ci(2, row(2, new), row(2, old), Some(&[])), Some(Reason::Member)),
        (ci(1, row(1, old), row(1, old), Some(&[])), None),
        (
            ci(1, row(1, new), row(1, old), Some(&[])),
            Some(Reason::ColumnsOfRow),
        ),
    ] {
        assert_eq!(judged(&change, &filtered), expected, "{change:?}");
    }
    let several = expand().roots([id(8)]).build().unwrap();
    let several = depends(several, Answered::Graph(Some(&graph(false))));
    assert_eq!(
        judged(&ci(8, None, row(8, same), Some(&[])), &several),
        Some(Reason::Id)
    );
    assert_eq!(judged(&ci(9, None, row(9, same), Some(&[])), &several), None);
}

#[test]
fn a_path_sees_what_was_visited() {
    let path = || {
        Path::builder(id(1), CiCode::new("app-03").unwrap())
            .build()
            .unwrap()
    };
    let found = PathAnswer::Found(Route {
        items: vec![summary(1), summary(3)],
        relations: Vec::new(),
        hops: 1,
    });
    let visited = [id(1), id(3), id(4)];
    let answered = |answer, visited| Answered::Path { answer, visited };
    let near = depends(path(), answered(Some(&found), Some(&visited)));
    let none = depends(path(), answered(Some(&PathAnswer::NoPath), Some(&visited)));
    let blind = depends(path(), answered(Some(&found), None));
    let absent = depends(path(), answered(None, None));
    let itself = PathAnswer::Found(Route {
        items: vec![summary(1)],
        relations: Vec::new(),
        hops: 0,
    });
    let itself = depends(path(), answered(Some(&itself), Some(&visited)));
    let renamed = |row: &mut Image| row.code = "z".into();
    let deleted = |row: &mut Image| row.deleted = true;
    for (change, expected) in [
        (
            updated(3, |row| row.owner = Some("o".into())),
            [
                Some(Reason::ColumnsOfRow),
                None,
                Some(Reason::ColumnsOfRow),
                None,
                None,
            ],
        ),
        (
            updated(4, renamed),
            [Some(Reason::Order), None, Some(Reason::Unknown), None, None],
        ),
        (updated(4, deleted), [None, None, None, None, None]),
        (
            ci(4, row(4, deleted), row(4, same), Some(&[])),
            [
                Some(Reason::Member),
                Some(Reason::Member),
                Some(Reason::Unknown),
                None,
                None,
            ],
        ),
        (
            relation(Some((1, 3)), None),
            [Some(Reason::Expansion), None, Some(Reason::Expansion), None, None],
        ),
        (relation(Some((1, 4)), None), [None, None, None, None, None]),
        (
            updated(3, renamed),
            [
                Some(Reason::Code),
                Some(Reason::Code),
                Some(Reason::Code),
                Some(Reason::Code),
                Some(Reason::Code),
            ],
        ),
        (
            updated(9, renamed),
            [None, None, Some(Reason::Unknown), None, None],
        ),
        (
            ci(9, row(9, deleted), row(9, same), Some(&[4])),
            [
                Some(Reason::Neighbour),
                Some(Reason::Neighbour),
                Some(Reason::Unknown),
                None,
                None,
            ],
        ),
        (
            relation(None, Some((9, 4))),
            [
                Some(Reason::Expansion),
                Some(Reason::Expansion),
                Some(Reason::Unknown),
                None,
                None,
            ],
        ),
        (
            relation(None, Some((9, 8))),
            [None, None, Some(Reason::Unknown), None, None],
        ),
    ] {
        let judgements = [&near, &none, &blind, &absent, &itself].map(|path| judged(&change, path));
        assert_eq!(judgements, expected, "{change:?}");
    }
}

#[test]
fn tenants_are_apart_and_bulk_reaches_all_of_one() {
    let dependency = depends(Get::new(id(1)), Answered::Ci(None));
    let domain = CiDomain::new();
    let change = |event| Change {
        origin: Origin::Sequence(1),
        event,
    };
    let other = TenantId::new("other").unwrap();
    let mut stranger = updated(1, same);
    if let Event::Ci(change) = &mut stranger.event {
        change.tenant = other.clone();
    }
    assert_eq!(domain.touches(&stranger, &dependency), None);
    let bulk = change(Event::Tenant(tenant()));
    assert_eq!(domain.reach(&bulk), Reach::Group(&tenant()));
    assert_eq!(domain.touches(&bulk, &dependency), Some(Reason::Bulk));
    assert_eq!(domain.touches(&change(Event::Tenant(other)), &dependency), None);
    assert_eq!(domain.reach(&change(Event::Everything)), Reach::Everything);
    assert_eq!(
        domain.touches(&change(Event::Everything), &dependency),
        Some(Reason::Bulk)
    );
}

#[test]
fn an_answer_of_another_kind_makes_no_dependency() {
    let get = Question::from(Get::new(id(1)));
    assert!(Dependency::new(&tenant(), get, Answered::Rows(&[])).is_none());
}

#[test]
fn a_dependency_is_small() {
    // With ten ids and a sort value beside it, a search keeps some 350 bytes and its question.
    assert!(size_of::<Dependency>() <= 176, "{}", size_of::<Dependency>());
}

#[test]
fn reasons_have_names() {
    let names: std::collections::BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
}
