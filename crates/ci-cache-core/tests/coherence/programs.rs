//! Random programs for the world.

use proptest::prelude::*;

use super::toy::{Key, Question};
use super::world::{Step, Write};

pub(crate) fn questions() -> impl Iterator<Item = Question> {
    let gets = (0..3).map(Question::Get);
    let firsts = (0..2).map(Question::First);
    let boths = [(0, 0), (0, 1), (1, 1)].map(|(first, second)| Question::Both(first, second));
    let rest = [
        Question::Pair(0, 1),
        Question::Pair(1, 2),
        Question::SecondBelow(1),
        Question::SecondBelow(2),
        Question::All,
    ];
    gets.chain(firsts).chain(boths).chain(rest)
}

pub(crate) fn keys() -> impl Strategy<Value = Key> {
    let all: Vec<Question> = questions().collect();
    (
        prop_oneof![4 => Just(0), 1 => Just(1)],
        proptest::sample::select(all),
    )
        .prop_map(|(tenant, question)| Key { tenant, question })
}

fn writes() -> impl Strategy<Value = Write> {
    let columns = || (0..3_u8, 0..3_u8);
    prop_oneof![
        12 => (0..2_u8, 0..4_u8, columns()).prop_map(|(tenant, id, new)| Write::Put(tenant, id, new)),
        4 => (0..2_u8, 0..4_u8).prop_map(|(tenant, id)| Write::Delete(tenant, id)),
        1 => (0..2_u8, columns()).prop_map(|(tenant, new)| Write::Bulk(tenant, new)),
        1 => Just(Write::Truncate),
    ]
}

fn simple() -> BoxedStrategy<Step> {
    prop_oneof![
        8 => proptest::collection::vec(writes(), 1..5).prop_map(Step::Begin),
        8 => (0..8_usize).prop_map(Step::Commit),
        1 => (0..8_usize).prop_map(Step::Rollback),
        4 => keys().prop_map(|key| Step::Read(key, Vec::new())),
        12 => (keys(), prop_oneof![6 => Just(0), 1 => 0..4_usize]).prop_map(|(key, ago)| Step::Load(key, ago)),
        10 => (0..8_usize).prop_map(|which| Step::Publish(which, Vec::new())),
        1 => (0..8_usize).prop_map(Step::Abandon),
        8 => proptest::collection::vec(keys(), 0..4).prop_map(Step::Poll),
        1 => Just(Step::Again),
        1 => Just(Step::Lose),
        1 => any::<bool>().prop_map(Step::Reset),
        1 => Just(Step::Suspend),
        2 => Just(Step::Resume),
        1 => keys().prop_map(Step::Remove),
        1 => Just(Step::Wait),
    ]
    .boxed()
}

/// Programs: steps, some with others in the middle of them.
pub(crate) fn programs() -> impl Strategy<Value = Vec<Step>> {
    // What matters most in the middle of something is a change, from its beginning to the mark.
    let change = || {
        let writes = proptest::collection::vec(writes(), 1..5).prop_map(Step::Begin);
        (writes, 0..3_usize)
            .prop_map(|(begin, which)| vec![begin, Step::Commit(which), Step::Poll(Vec::new())])
    };
    let inner = move || prop_oneof![1 => proptest::collection::vec(simple(), 1..5), 1 => change()];
    let step = prop_oneof![
        12 => simple(),
        1 => (keys(), inner()).prop_map(|(key, between)| Step::Read(key, between)),
        2 => (0..8_usize, inner()).prop_map(|(which, during)| Step::Publish(which, during)),
    ];
    proptest::collection::vec(step, 1..90)
}
