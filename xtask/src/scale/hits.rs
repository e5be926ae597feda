//! How often a cache answers: a formula, and the small simulation that it is held against.
//!
//! Questions are asked at random moments, the k-th most popular 1/k^s as often as the first. An answer is given up when it has not been
//! asked for so long that others displaced it (the cache's characteristic time, after Che, Tung and Wang, 2002), when a change
//! touches it, or when its time to live ends.

/// A cache and what comes to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand {
    /// Different questions.
    pub(crate) questions: f64,
    /// Popularity falls with the rank to this power.
    pub(crate) exponent: f64,
    /// Questions a second.
    pub(crate) rate: f64,
    /// How often a second an answer is touched by a change.
    pub(crate) touched: f64,
    /// Seconds.
    pub(crate) ttl: f64,
    /// Entries there is room for.
    pub(crate) capacity: f64,
}

/// What a cache makes of its demand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Supply {
    /// Part of the questions that is answered from memory.
    pub(crate) hits: f64,
    /// Entries that are there.
    pub(crate) entries: f64,
}

/// Ranks that are looked at together: all have about the same popularity.
#[derive(Debug, Clone, Copy)]
struct Ranks {
    count: f64,
    /// Of each, questions a second.
    rate: f64,
}

impl Demand {
    /// Groups the ranks by powers of 1.1: a few hundred groups, however many questions there are.
    fn ranks(&self) -> Vec<Ranks> {
        let mut groups = Vec::new();
        let mut first = 1.0_f64;
        while first <= self.questions {
            let last = (first * 1.1).floor().max(first).min(self.questions);
            let count = last - first + 1.0;
            let middle = (first * last).sqrt();
            groups.push((count, middle.powf(-self.exponent)));
            first = last + 1.0;
        }
        let sum: f64 = groups.iter().map(|(count, weight)| count * weight).sum();
        let of = |(count, weight): (f64, f64)| Ranks {
            count,
            rate: self.rate * weight / sum,
        };
        groups.into_iter().map(of).collect()
    }

    /// How often an answer is found again before it is given up, on average, with a characteristic time.
    fn again(&self, rate: f64, time: f64) -> f64 {
        let ends = rate + self.touched;
        let found = rate / ends * -(-ends * time).exp_m1();
        let by_room_and_changes = found / (1.0 - found).max(1e-12);
        let by_age = rate * self.ttl;
        1.0 / (1.0 / by_room_and_changes.max(1e-300) + 1.0 / by_age.max(1e-300))
    }

    fn supply_at(&self, ranks: &[Ranks], time: f64) -> Supply {
        let (mut hits, mut entries) = (0.0, 0.0);
        for group in ranks {
            let again = self.again(group.rate, time);
            let found = again / (1.0 + again);
            hits += group.count * group.rate * found;
            // Each load leaves an entry that stays until it is given up, or is displaced when nobody asks for it.
            entries += group.count * found;
        }
        Supply {
            hits: hits / self.rate,
            entries,
        }
    }

    /// Finds the characteristic time at which the entries fill the room, and what is answered then.
    pub(crate) fn supply(&self) -> Supply {
        let ranks = self.ranks();
        let (mut low, mut high) = (1e-6_f64, 1e12_f64);
        if self.supply_at(&ranks, high).entries <= self.capacity {
            return self.supply_at(&ranks, high);
        }
        for _ in 0..200 {
            let middle = (low * high).sqrt();
            if self.supply_at(&ranks, middle).entries > self.capacity {
                high = middle;
            } else {
                low = middle;
            }
        }
        self.supply_at(&ranks, low)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A generator that is good enough for a test: SplitMix64.
    struct Dice(u64);

    impl Dice {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = self.0;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            let bits = u32::try_from((mixed ^ mixed >> 31) >> 32).expect("32 bits");
            (f64::from(bits) + 0.5) / 4_294_967_296.0
        }

        fn pause(&mut self, rate: f64) -> f64 {
            -self.unit().ln() / rate
        }
    }

    /// A cache by least recent use, question by question; says which part was answered from memory.
    fn simulated(demand: &Demand, asked: u32, seed: u64) -> f64 {
        let mut dice = Dice(seed);
        let mut sums = Vec::new();
        let mut sum = 0.0;
        let mut rank = 1.0;
        while rank <= demand.questions {
            sum += rank.powf(-demand.exponent);
            sums.push(sum);
            rank += 1.0;
        }
        // By question: when it is given up, and when it was used; by use: the question.
        let mut entries: BTreeMap<usize, (f64, u64)> = BTreeMap::new();
        let mut uses: BTreeMap<u64, usize> = BTreeMap::new();
        let (mut now, mut hits, mut counted) = (0.0, 0_u32, 0_u32);
        for number in 0..u64::from(asked) {
            now += dice.pause(demand.rate);
            let drawn = dice.unit() * sum;
            let question = sums.partition_point(|up_to| *up_to < drawn);
            let found = entries.remove(&question);
            if let Some((_, used)) = found {
                uses.remove(&used);
            }
            let end = found.map(|(end, _)| end).filter(|end| *end > now);
            let warm = number > u64::from(asked) / 3;
            counted += u32::from(warm);
            hits += u32::from(warm && end.is_some());
            let end = end.unwrap_or_else(|| now + demand.ttl.min(dice.pause(demand.touched.max(1e-12))));
            if found.is_none() {
                let size = f64::from(u32::try_from(entries.len()).expect("few"));
                if size >= demand.capacity
                    && let Some((_, oldest)) = uses.pop_first()
                {
                    entries.remove(&oldest);
                }
            }
            entries.insert(question, (end, number));
            uses.insert(number, question);
        }
        f64::from(hits) / f64::from(counted)
    }

    #[test]
    fn the_formula_says_what_a_simulation_shows() {
        let base = Demand {
            questions: 5_000.0,
            exponent: 1.0,
            rate: 50.0,
            touched: 0.0,
            ttl: 1e9,
            capacity: 1e9,
        };
        let cases = [
            (
                "room",
                Demand {
                    capacity: 200.0,
                    ..base
                },
            ),
            (
                "changes",
                Demand {
                    touched: 0.01,
                    ..base
                },
            ),
            ("age", Demand { ttl: 60.0, ..base }),
            (
                "room and changes",
                Demand {
                    capacity: 500.0,
                    touched: 0.005,
                    ..base
                },
            ),
            (
                "all",
                Demand {
                    capacity: 500.0,
                    touched: 0.005,
                    ttl: 100.0,
                    ..base
                },
            ),
            (
                "a flat demand",
                Demand {
                    exponent: 0.6,
                    capacity: 1_000.0,
                    ttl: 200.0,
                    ..base
                },
            ),
        ];
        for (name, demand) in cases {
            let (model, shown) = (demand.supply().hits, simulated(&demand, 300_000, 7));
            println!(
                "{name}: {:.1} % by the formula, {:.1} % simulated",
                model * 100.0,
                shown * 100.0
            );
            assert!(
                (model - shown).abs() < 0.03,
                "{name}: {model} by the formula, {shown} simulated"
            );
        }
    }

    #[test]
    fn more_room_and_fewer_changes_are_never_worse() {
        let demand = |capacity, touched| Demand {
            questions: 1e6,
            exponent: 1.0,
            rate: 100.0,
            touched,
            ttl: 300.0,
            capacity,
        };
        let hits = |capacity, touched| demand(capacity, touched).supply().hits;
        assert!(hits(1e3, 0.0) < hits(1e4, 0.0) && hits(1e4, 0.0) <= hits(1e5, 0.0));
        assert!(hits(1e4, 0.1) < hits(1e4, 0.001));
        let full = demand(1e3, 0.0).supply();
        assert!(full.entries <= 1e3, "{full:?}");
    }
}
