//! A slow, literal transcription of the two-queue family over keys, for the tests of the policies made of it.

use std::collections::BTreeMap;

use super::duo::Rules;
use super::frequency::Frequency;
use super::testing::hash_of;

/// What is known of a key held.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    hits: u8,
    weight: u64,
    cost: u64,
}

/// Window and main as vectors of keys, the newest first.
#[derive(Debug, Clone, Default)]
pub(super) struct SlowDuo {
    pub(super) window: Vec<u16>,
    pub(super) main: Vec<u16>,
    facts: BTreeMap<u16, Facts>,
    pub(super) capacity: u64,
    /// Uses are counted from marks.
    pub(super) lazy: bool,
    /// How the frequencies know a key.
    pub(super) name: Option<fn(u16) -> u64>,
}

impl SlowDuo {
    pub(super) fn new(capacity: u64, lazy: bool, name: fn(u16) -> u64) -> Self {
        Self {
            capacity,
            lazy,
            name: Some(name),
            ..Self::default()
        }
    }

    fn name(&self, key: u16) -> u64 {
        self.name.unwrap_or(hash_of)(key)
    }

    fn facts(&mut self, key: u16) -> &mut Facts {
        self.facts.get_mut(&key).unwrap()
    }

    fn weight(&self, keys: &[u16]) -> u64 {
        keys.iter().map(|key| self.facts[key].weight).sum()
    }

    fn budget(&self, rules: Rules) -> u64 {
        // Rounded to the nearest.
        (self.capacity * 2 * u64::from(rules.window) + 256) / 512
    }

    pub(super) fn holds(&self, key: u16) -> bool {
        self.facts.contains_key(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.facts.len()
    }

    pub(super) fn bump(&mut self, key: u16) {
        let facts = self.facts(key);
        facts.hits = (facts.hits + 1).min(7);
    }

    pub(super) fn touch(&mut self, key: u16, uses: &mut Frequency) {
        self.settle(key, uses);
        self.facts(key).hits = 0;
        let queue = if self.main.contains(&key) {
            &mut self.main
        } else {
            &mut self.window
        };
        queue.retain(|&held| held != key);
        queue.insert(0, key);
    }

    pub(super) fn insert(&mut self, key: u16, weight: u32, cost: u32, before: u8, rules: Rules) {
        self.facts.insert(
            key,
            Facts {
                hits: 0,
                weight: weight.into(),
                cost: cost.into(),
            },
        );
        if rules.readmit_at > 0 && before >= rules.readmit_at {
            self.main.insert(0, key);
        } else {
            self.window.insert(0, key);
        }
        for _ in 0..2 {
            let over = self.weight(&self.window) > self.budget(rules);
            let room = self.weight(&self.main) + self.budget(rules) < self.capacity;
            if rules.contest.is_some() && over && room {
                let key = self.window.pop().unwrap();
                self.main.insert(0, key);
            }
        }
    }

    pub(super) fn remove(&mut self, key: u16) {
        self.window.retain(|&held| held != key);
        self.main.retain(|&held| held != key);
        self.facts.remove(&key);
    }

    pub(super) fn spare(&mut self, key: u16, hits: u8, weight: u32, cost: u32) {
        let facts = Facts {
            hits,
            weight: weight.into(),
            cost: cost.into(),
        };
        self.facts.insert(key, facts);
        self.main.push(key);
    }

    pub(super) fn reweigh(&mut self, key: u16, weight: u32) {
        self.facts(key).weight = weight.into();
    }

    pub(super) fn evict(&mut self, rules: Rules, uses: &mut Frequency) -> Option<u16> {
        let mut loser = None;
        for _ in 0..32 {
            loser = self.look(rules, uses);
            if loser.is_some() {
                break;
            }
        }
        let key = loser
            .or(self.window.last().copied())
            .or(self.main.last().copied())?;
        self.remove(key);
        Some(key)
    }

    pub(super) fn queues(&self) -> Vec<(&'static str, Vec<u16>)> {
        vec![("main", self.main.clone()), ("window", self.window.clone())]
    }

    /// The keys from the next victims to the newest, main first.
    pub(super) fn oldest_first(&self) -> Vec<u16> {
        self.main
            .iter()
            .rev()
            .chain(self.window.iter().rev())
            .copied()
            .collect()
    }

    fn settle(&mut self, key: u16, uses: &mut Frequency) {
        let (hits, name) = (self.facts[&key].hits, self.name(key));
        if self.lazy && hits > 0 {
            uses.add(name, hits);
        }
    }

    fn look(&mut self, rules: Rules, uses: &mut Frequency) -> Option<u16> {
        if self.weight(&self.window) <= self.budget(rules) && !self.main.is_empty() {
            return self.main_victim(rules, uses);
        }
        let key = *self.window.last()?;
        let hits = self.facts[&key].hits;
        self.settle(key, uses);
        if rules.recency && hits > 0 {
            self.facts(key).hits = 0;
            self.window.pop();
            self.window.insert(0, key);
            return None;
        }
        if hits >= rules.promote_at {
            self.advance(key);
            return None;
        }
        let Some(lead) = rules.contest else {
            return Some(self.cheapest(&self.window, rules, uses));
        };
        let Some(victim) = self.main_victim(rules, uses) else {
            return Some(key);
        };
        let costs = self.facts[&key].cost + self.facts[&victim].cost;
        let (mine, theirs) = (uses.get(self.name(key)), uses.get(self.name(victim)));
        if if rules.by_cost && costs > 0 {
            self.dearer(key, victim, lead, uses)
        } else {
            mine > theirs + lead
        } {
            self.advance(key);
            return Some(victim);
        }
        Some(key)
    }

    fn advance(&mut self, key: u16) {
        self.window.retain(|&held| held != key);
        self.main.insert(0, key);
        self.facts(key).hits = 0;
    }

    fn main_victim(&mut self, rules: Rules, uses: &mut Frequency) -> Option<u16> {
        for _ in 0..32 {
            let key = *self.main.last()?;
            let hits = self.facts[&key].hits;
            if hits == 0 {
                break;
            }
            self.settle(key, uses);
            self.facts(key).hits = (hits - 1).min(rules.chances - 1);
            self.main.pop();
            self.main.insert(0, key);
        }
        (!self.main.is_empty()).then(|| self.cheapest(&self.main, rules, uses))
    }

    fn dearer(&self, a: u16, b: u16, lead: u8, uses: &Frequency) -> bool {
        let worth = |key: u16, more: u8| {
            (u64::from(uses.get(self.name(key))) + 1 + u64::from(more)) * self.facts[&key].cost.max(1)
        };
        worth(a, 0) * self.facts[&b].weight > worth(b, lead) * self.facts[&a].weight
    }

    /// Of the last eight the one worth least, the oldest of several; the last one if its cost is unknown or does not count.
    fn cheapest(&self, queue: &[u16], rules: Rules, uses: &Frequency) -> u16 {
        let back = queue[queue.len() - 1];
        if !rules.by_cost || self.facts[&back].cost == 0 {
            return back;
        }
        queue
            .iter()
            .rev()
            .take(8)
            .copied()
            .reduce(|best, key| {
                if self.dearer(best, key, 0, uses) {
                    key
                } else {
                    best
                }
            })
            .unwrap()
    }
}
