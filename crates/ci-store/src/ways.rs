//! The shortest paths between two CIs as layers: what lies `n` steps from the start, and what follows what.
//!
//! Every CI in it is on a path, so a walk along it never comes to a dead end: the first paths of many are read off in the
//! order of codes, in time that depends on how many are wanted, not on how many there are.

use uuid::Uuid;

/// All shortest paths between two CIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ways {
    /// From the start, which is alone in the first, to the end, which is alone in the last; each in the order of codes.
    layers: Vec<Vec<Uuid>>,
    /// For each layer but the last and each CI in it the positions in the next layer of those that follow it, ascending.
    next: Vec<Vec<Vec<usize>>>,
}

/// CIs beside a layer: each with its code and the positions in that layer of those that it is beside, once for each.
pub(crate) type Beside = Vec<(String, Uuid, usize)>;

impl Ways {
    /// Paths that begin at a layer, as far as they are known: in the order of codes.
    pub(crate) fn of(layer: Vec<Uuid>) -> Self {
        Self {
            layers: vec![layer],
            next: Vec::new(),
        }
    }

    /// The layer that is nearest to the start.
    pub(crate) fn first(&self) -> &[Uuid] {
        self.layers.first().map_or(&[], Vec::as_slice)
    }

    /// The layer that is nearest to the end.
    pub(crate) fn last(&self) -> &[Uuid] {
        self.layers.last().map_or(&[], Vec::as_slice)
    }

    /// Adds what comes before the first layer.
    pub(crate) fn lead(&mut self, beside: Beside) {
        let (layer, places) = ordered(beside);
        let mut next = vec![Vec::new(); layer.len()];
        for (at, place) in places {
            next[at].push(place);
        }
        next.iter_mut().for_each(|next| next.sort_unstable());
        self.layers.insert(0, layer);
        self.next.insert(0, next);
    }

    /// Adds what comes after the last layer.
    pub(crate) fn follow(&mut self, beside: Beside) {
        let (layer, places) = ordered(beside);
        let mut next = vec![Vec::new(); self.last().len()];
        for (at, place) in places {
            // Positions come from the database.
            if let Some(next) = next.get_mut(place) {
                next.push(at);
            }
        }
        next.iter_mut().for_each(|next| next.sort_unstable());
        self.layers.push(layer);
        self.next.push(next);
    }

    /// The first paths in the order of their codes, at most so many.
    pub(crate) fn paths(&self, most: usize) -> Vec<Vec<Uuid>> {
        let mut found = Vec::new();
        for at in 0..self.first().len() {
            self.walk(0, at, &mut Vec::new(), &mut found, most);
        }
        found
    }

    /// Goes on from a CI of a layer; as deep as a path is long.
    fn walk(&self, level: usize, at: usize, way: &mut Vec<Uuid>, found: &mut Vec<Vec<Uuid>>, most: usize) {
        let Some(id) = self.layers.get(level).and_then(|layer| layer.get(at)) else {
            return;
        };
        if found.len() >= most {
            return;
        }
        way.push(*id);
        match self.next.get(level).and_then(|next| next.get(at)) {
            None => found.push(way.clone()),
            Some(next) => {
                for at in next {
                    self.walk(level + 1, *at, way, found, most);
                }
            }
        }
        way.pop();
    }
}

/// The CIs in the order of their codes, each once, and the pairs of a position among them and the given one.
fn ordered(mut beside: Beside) -> (Vec<Uuid>, Vec<(usize, usize)>) {
    beside.sort_unstable();
    let (mut layer, mut places): (Vec<Uuid>, Vec<(usize, usize)>) = (Vec::new(), Vec::new());
    for (_, id, place) in beside {
        if layer.last() != Some(&id) {
            layer.push(id);
        }
        places.push((layer.len() - 1, place));
    }
    (layer, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn paths_come_in_the_order_of_codes_and_no_more_than_are_wanted() {
        // 1 - (2 or 3) - (4 or 5) - 6, but not 3 - 5. Codes run against ids.
        let code = |n: u128| format!("c{}", 9 - n);
        let beside = |all: &[(u128, usize)]| all.iter().map(|(n, at)| (code(*n), id(*n), *at)).collect();
        let mut ways = Ways::of(vec![id(5), id(4)]);
        ways.lead(beside(&[(2, 0), (2, 1), (3, 1)]));
        ways.lead(beside(&[(1, 0), (1, 1)]));
        ways.follow(beside(&[(6, 1), (6, 0)]));
        assert_eq!((ways.first(), ways.last()), (&[id(1)][..], &[id(6)][..]));
        let path = |ids: [u128; 4]| ids.map(id).to_vec();
        let all = [path([1, 3, 4, 6]), path([1, 2, 5, 6]), path([1, 2, 4, 6])];
        for most in 0..5 {
            assert_eq!(ways.paths(most), all[..most.min(3)]);
        }
    }
}
