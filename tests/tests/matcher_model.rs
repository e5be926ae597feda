//! Matching never says too little: in random worlds, a change after which an answer is another one is always seen, and
//! found where it was filed; and each rule of matching, broken, is missed by this very test.

use std::sync::Arc;

use ci_cache_core::ci::matching::Rule;
use ci_model::QuestionKind;
use ci_tests::matching::{Judge, Missed, answer, question};
use ci_tests::store_contract::World;
use ci_tests::store_contract::changes::{self, Telling};
use ci_tests::store_contract::world::{below, seeded};

/// Answers that are kept at a time, of each kind of question.
const KEPT: usize = 8;
/// Transactions of a world.
const STEPS: usize = 30;

/// One world: answers are kept, changes come, and each answer is judged after each.
fn run(judge: &mut Judge, seed: u64, telling: Telling) -> Result<(), Box<Missed>> {
    let mut random = seeded(seed);
    // Small worlds are dense: limits cut, and there is more than one way.
    let small = seed.is_multiple_of(2);
    let count = if small { 10 } else { 16 } + below(&mut random, if small { 8 } else { 40 });
    // Now and then so dense that there are several ways between any two.
    let dense = if seed.is_multiple_of(3) { 3 * count } else { count };
    let relations = dense + below(&mut random, 2 * count);
    let mut world = World::random(seed, count, relations);
    judge.blind = telling.vague && below(&mut random, 3) == 0;
    let mut kept = Vec::new();
    for kind in QuestionKind::ALL {
        // A window has more ways to be wrong than others, and routes with a tie are rare.
        let many = match kind {
            QuestionKind::Search => 3 * KEPT,
            QuestionKind::Path => 4 * KEPT,
            _ => KEPT,
        };
        for _ in 0..many {
            let question = Arc::new(question(&mut random, &world, kind));
            let now = answer(&world, &question);
            kept.push(judge.keep(&world, question, now));
        }
    }
    for _ in 0..STEPS {
        let step = changes::change(&mut random, &mut world, telling);
        let changes = judge.changes(&step.events);
        for kept in &mut kept {
            let now = answer(&world, &kept.question);
            judge.judge(kept, &changes, now, &world)?;
        }
    }
    Ok(())
}

fn worlds() -> u64 {
    if std::env::var_os("CI_CACHE_TEST_LONG").is_some() {
        4_000
    } else {
        100
    }
}

#[test]
fn no_change_that_matters_is_missed_and_most_that_are_seen_matter() {
    let mut judge = Judge::default();
    for seed in 0..worlds() {
        run(&mut judge, seed, Telling::default()).unwrap_or_else(|missed| panic!("world {seed}: {missed}"));
    }
    println!("{}", judge.score());
    for (kind, least) in QuestionKind::ALL
        .into_iter()
        .zip([0.9, 0.95, 0.9, 0.8, 0.8, 0.25])
    {
        let count = judge.counts[kind.index()];
        assert!(
            count.changed > 100,
            "{kind:?} changes too seldom to prove anything"
        );
        assert!(count.precision() >= least, "{kind:?}: {}", judge.score());
        assert!(
            count.precision() > 2.0 * count.base_rate(),
            "{kind:?} is no better than always saying yes: {}",
            judge.score()
        );
    }
}

/// Worlds in which changes tell less than they could, or rows are as no writer of ours writes them, or both, or neither.
fn hard(judge: &mut Judge, seed: u64) -> Result<(), Box<Missed>> {
    let telling = Telling {
        vague: seed % 4 > 1,
        lawless: seed % 8 > 3,
    };
    run(judge, 1_000_000 + seed, telling)
}

#[test]
fn nothing_is_missed_when_changes_tell_less_and_rows_are_lawless() {
    let mut judge = Judge::default();
    for seed in 0..worlds() {
        hard(&mut judge, seed).unwrap_or_else(|missed| panic!("world {seed}: {missed}"));
    }
    println!("{}", judge.score());
}

/// How many times as many worlds a broken rule is given: some matter in few of them, and the first that notices ends it.
const PATIENCE: u64 = 8;

/// Breaks a rule and runs the worlds of the test above, and more of them; says which notices.
fn noticed(rule: Rule) -> Option<u64> {
    rule.broken(|| {
        let mut judge = Judge::default();
        (0..worlds() * PATIENCE).find(|seed| hard(&mut judge, *seed).is_err())
    })
}

macro_rules! broken {
    ($($test:ident: $rule:ident,)*) => {
        $(
            #[test]
            fn $test() {
                let worlds = noticed(Rule::$rule);
                println!("{:?} broken: noticed in world {worlds:?}", Rule::$rule);
                assert!(worlds.is_some(), "nobody notices that {:?} is broken", Rule::$rule);
            }
        )*

        #[test]
        fn every_rule_has_its_test() {
            assert_eq!([$(Rule::$rule),*], Rule::ALL);
        }
    };
}

broken! {
    a_window_that_takes_what_sorts_after_its_end_is_noticed: WindowKeepsTheFirst,
    a_window_that_is_not_full_and_takes_nothing_is_noticed: OpenWindowTakesAll,
    absent_values_that_sort_first_are_noticed: AbsentLast,
    absent_values_that_sort_first_when_descending_are_noticed: AbsentLastDescending,
    identifiers_that_do_not_come_first_are_noticed: ExactFirst,
    ranks_that_do_not_come_first_are_noticed: RanksComeFirst,
    prefixes_that_do_not_rank_are_noticed: PrefixesRank,
    codes_that_rank_as_names_are_noticed: CodesBeforeNames,
    a_cursor_that_lets_in_what_is_before_it_is_noticed: CursorsAreBefore,
    ties_that_ids_do_not_break_are_noticed: IdsBreakTies,
    columns_that_do_not_matter_are_noticed: ColumnsMatter,
    trigrams_of_unfolded_text_are_noticed: TrigramsAreFolded,
    an_old_image_that_is_not_probed_is_noticed: OldImageProbed,
    a_new_image_that_is_not_probed_is_noticed: NewImageProbed,
    an_undelete_that_is_ignored_is_noticed: UndeleteComesIn,
    unknown_parts_that_do_not_match_are_noticed: UnknownMayMatch,
    unknown_documents_that_are_not_probed_are_noticed: UnknownIsProbed,
    a_code_that_moves_and_is_ignored_is_noticed: CodesMove,
    an_order_of_creation_that_is_ignored_is_noticed: CreationOrders,
    a_page_that_ends_too_early_is_noticed: PagesEnd,
    a_group_value_that_is_ignored_is_noticed: GroupValues,
    a_distinct_value_that_is_ignored_is_noticed: DistinctValues,
    neighbours_that_are_ignored_are_noticed: NeighboursLook,
    unknown_neighbours_that_are_ignored_are_noticed: UnknownNeighboursLook,
    a_cut_graph_without_order_is_noticed: CutsDependOnOrder,
    a_relation_with_one_end_is_noticed: BothEnds,
    a_relation_that_goes_and_is_ignored_is_noticed: OldRelation,
    levels_that_were_not_expanded_are_noticed: ExpandedLevels,
    codes_that_do_not_break_ties_are_noticed: CodesBreakTies,
    visited_cis_that_are_ignored_are_noticed: VisitedMatter,
    a_missing_root_that_comes_and_is_ignored_is_noticed: MissingRootsCome,
    a_ci_that_comes_to_pass_the_filters_and_is_ignored_is_noticed: FiltersAdmit,
    a_ci_that_passes_the_filters_no_more_and_is_ignored_is_noticed: FiltersRefuse,
    one_of_many_ways_that_goes_and_is_ignored_is_noticed: OtherWaysGo,
}
