//! The index against a naive one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::domain::Anchor;
use super::index::{Index, Ticket};

#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<u64>, Vec<u64>),
    Remove(usize),
    RemoveAgain,
    Search(Vec<u64>),
    TakeAll,
}

fn steps() -> impl Strategy<Value = Step> {
    let anchors = |most| proptest::collection::vec(0..12_u64, 1..most);
    prop_oneof![
        10 => anchors(2).prop_map(|filed| Step::Insert(filed, Vec::new())),
        4 => anchors(6).prop_map(|filed| Step::Insert(filed, Vec::new())),
        4 => (anchors(3), anchors(4)).prop_map(|(filed, also)| Step::Insert(filed, also)),
        9 => (0..64_usize).prop_map(Step::Remove),
        1 => Just(Step::RemoveAgain),
        5 => anchors(6).prop_map(Step::Search),
        1 => prop_oneof![9 => Just(Step::RemoveAgain), 1 => Just(Step::TakeAll)],
    ]
}

fn anchors(numbers: &[u64]) -> Vec<Anchor> {
    numbers.iter().copied().map(Anchor).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn searches_find_what_is_filed(program in proptest::collection::vec(steps(), 1..120)) {
        let mut index = Index::new();
        let mut naive: Vec<(Ticket, u32, BTreeSet<u64>, Vec<u64>)> = Vec::new();
        let mut gone = Ticket::NONE;
        for (number, step) in (0_u32..).zip(program) {
            match step {
                Step::Insert(filed, also) => {
                    let ticket = index.insert(&mut anchors(&filed), (&anchors(&also), number % 3), number).unwrap();
                    naive.push((ticket, number, filed.into_iter().collect(), also));
                }
                Step::Remove(which) => {
                    if !naive.is_empty() {
                        let (ticket, number, ..) = naive.swap_remove(which % naive.len());
                        prop_assert_eq!(index.remove(ticket), Some(number));
                        gone = ticket;
                    }
                }
                Step::RemoveAgain => prop_assert_eq!(index.remove(gone), None),
                Step::Search(wanted) => {
                    let wanted: BTreeSet<u64> = wanted.into_iter().collect();
                    // What must be found, and what may: a posting asks for four anchors besides its own. A third is
                    // refused by its hint.
                    let (mut expected, mut allowed) = (BTreeSet::new(), BTreeSet::new());
                    for (_, number, filed, also) in naive.iter().filter(|(_, number, ..)| number % 3 != 2) {
                        for own in filed.intersection(&wanted) {
                            let mut others = also.iter().filter(|other| *other != own);
                            if also.iter().all(|other| wanted.contains(other)) {
                                expected.insert(*number);
                            }
                            if others.by_ref().take(4).all(|other| wanted.contains(other)) {
                                allowed.insert(*number);
                            }
                        }
                    }
                    let mut found = Vec::new();
                    let wanted = anchors(&wanted.into_iter().collect::<Vec<_>>());
                    index.candidates(&wanted, |hint| hint != 2, &mut found);
                    let count = found.len();
                    let found: BTreeSet<u32> = found.iter().filter_map(|&slot| index.at(slot)).copied().collect();
                    prop_assert_eq!(count, found.len(), "something was found twice");
                    prop_assert!(found.is_superset(&expected) && found.is_subset(&allowed), "{:?}", found);
                }
                Step::TakeAll => {
                    prop_assert_eq!(index.take_all().len(), naive.len());
                    naive.clear();
                }
            }
            prop_assert_eq!(index.validate(), Ok(()));
            prop_assert_eq!(index.len(), naive.len());
        }
        for (ticket, number, ..) in naive {
            prop_assert_eq!(index.get_mut(ticket).map(|item| *item), Some(number));
        }
    }
}

#[test]
fn nothing_is_filed_under_nothing() {
    let mut index = Index::new();
    assert_eq!(index.insert(&mut Vec::new(), (&[], ()), ()), None);
    assert_eq!(index.remove(Ticket::NONE), None);
    assert_eq!((index.len(), index.ticket(0)), (0, None));
}

#[test]
fn a_long_list_is_left_as_fast_as_a_short_one_and_its_memory_comes_back() {
    let mut index = Index::new();
    let everything = Anchor(1);
    let tickets: Vec<Ticket> = (0..100_000_u64)
        .map(|number| {
            index
                .insert(&mut vec![everything, Anchor(number + 2)], (&[], ()), number)
                .unwrap()
        })
        .collect();
    let full = index.bytes();
    assert!(
        full / 100_000 < 220,
        "{} bytes a registration with two anchors",
        full / 100_000
    );
    // In an order that is neither that of insertion nor its reverse.
    let mut order = BTreeMap::new();
    for (number, ticket) in (0_u64..).zip(&tickets) {
        order.insert(number.wrapping_mul(0x9E37_79B9_7F4A_7C15), *ticket);
    }
    for ticket in order.into_values() {
        assert!(index.remove(ticket).is_some());
    }
    index.validate().unwrap();
    assert_eq!(index.len(), 0);
    let mut found = Vec::new();
    index.candidates(&[everything], |()| true, &mut found);
    assert!(found.is_empty());
}
