//! References for hit ratios: Belady's optimum and exact LRU, written to be obviously right.

use std::collections::{BTreeMap, BinaryHeap};

/// The moment of a request that never comes.
const NEVER: u32 = u32::MAX;

/// Counts the hits of Belady's optimum, which knows the future: it keeps the objects that are requested again
/// soonest, and need not keep the one just requested.
pub(crate) fn belady(requests: &[u32], objects: usize, capacity: usize) -> usize {
    let following = following(requests, objects);
    // When each resident object is requested next; nothing for the others.
    let mut resident: Vec<Option<u32>> = vec![None; objects];
    let mut residents = 0;
    // The resident furthest away is on top; entries that no longer agree with `resident` are outdated.
    let mut furthest = BinaryHeap::new();
    let mut hits = 0;
    for (&object, &next) in requests.iter().zip(&following) {
        let place = &mut resident[object as usize];
        if place.take().is_some() {
            hits += 1;
            residents -= 1;
        }
        if next == NEVER {
            continue;
        }
        *place = Some(next);
        residents += 1;
        furthest.push((next, object));
        while residents > capacity {
            let Some((next, object)) = furthest.pop() else {
                break;
            };
            let place = &mut resident[object as usize];
            if *place == Some(next) {
                *place = None;
                residents -= 1;
            }
        }
    }
    hits
}

/// For each request, when its object is requested next.
fn following(requests: &[u32], objects: usize) -> Vec<u32> {
    let mut last = vec![NEVER; objects];
    let mut following = vec![NEVER; requests.len()];
    for (now, (&object, next)) in (0..NEVER).zip(requests.iter().zip(&mut following)).rev() {
        *next = std::mem::replace(&mut last[object as usize], now);
    }
    following
}

/// Counts the hits of an exact LRU cache.
pub(crate) fn lru(requests: &[u32], objects: usize, capacity: usize) -> usize {
    let mut last = vec![NEVER; objects];
    let mut by_age: BTreeMap<u32, u32> = BTreeMap::new();
    let mut hits = 0;
    for (now, &object) in (0..NEVER).zip(requests) {
        let before = std::mem::replace(&mut last[object as usize], now);
        if before != NEVER && by_age.remove(&before).is_some() {
            hits += 1;
        }
        by_age.insert(now, object);
        if by_age.len() > capacity {
            by_age.pop_first();
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use ci_measure::random::Random;
    use std::collections::BTreeSet;

    /// The most hits any sequence of decisions gets, by trying all of them.
    fn best(requests: &[u32], capacity: usize) -> usize {
        // Every set of objects that could be resident, with the most hits so far.
        let mut states: BTreeMap<BTreeSet<u32>, usize> = [(BTreeSet::new(), 0)].into();
        for &object in requests {
            let mut after: BTreeMap<BTreeSet<u32>, usize> = BTreeMap::new();
            for (state, hits) in states {
                let hits = hits + usize::from(state.contains(&object));
                let mut all = state.clone();
                all.insert(object);
                let smaller = all.iter().map(|gone| {
                    let mut smaller = all.clone();
                    smaller.remove(gone);
                    smaller
                });
                let choices = smaller.chain((all.len() <= capacity).then(|| all.clone()));
                for choice in choices.filter(|choice| choice.len() <= capacity) {
                    let most = after.entry(choice).or_default();
                    *most = hits.max(*most);
                }
            }
            states = after;
        }
        states.into_values().max().unwrap_or(0)
    }

    #[test]
    fn belady_equals_the_best_of_all_decisions() {
        let mut random = Random::new(1);
        for case in 0..300 {
            let objects = 2 + case % 5;
            let requests: Vec<u32> = (0..14).map(|_| random.below(objects)).collect();
            for capacity in 1..=4 {
                let hits = belady(&requests, objects as usize, capacity);
                assert_eq!(hits, best(&requests, capacity), "{requests:?} in {capacity}");
            }
        }
    }

    #[test]
    fn a_loop_defeats_lru_alone() {
        let requests: Vec<u32> = (0..1_000).map(|request| request % 10).collect();
        assert_eq!(lru(&requests, 10, 9), 0);
        assert_eq!(lru(&requests, 10, 10), 990);
        assert_eq!(belady(&requests, 10, 10), 990);
        assert_eq!(belady(&requests, 10, 1), 99, "one object is kept throughout");
    }

    #[test]
    fn lru_forgets_the_least_recent() {
        assert_eq!(lru(&[0, 1, 0, 2, 0, 1], 3, 2), 2);
        assert_eq!(lru(&[0, 0, 0], 1, 1), 2);
        assert_eq!(lru(&[], 0, 1), 0);
    }
}
