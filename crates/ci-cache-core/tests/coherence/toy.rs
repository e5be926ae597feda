//! A toy source and its domain: tenants with rows of two columns, questions about them, and what changes them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use ci_cache_core::coherence::{Anchor, Domain, Rarity, Reach, Version};

/// What a row holds.
pub(crate) type Columns = (u8, u8);
/// Rows by tenant and id.
pub(crate) type Table = BTreeMap<(u8, u8), Columns>;
/// Rows of one tenant, by id.
pub(crate) type Answer = Vec<(u8, Columns)>;

/// What can be asked about a tenant's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Get(u8),
    /// Two rows: filed under two anchors.
    Pair(u8, u8),
    First(u8),
    Both(u8, u8),
    SecondBelow(u8),
    All,
}

impl Question {
    fn matches(self, id: u8, (first, second): Columns) -> bool {
        match self {
            Self::Get(wanted) => id == wanted,
            Self::Pair(one, other) => id == one || id == other,
            Self::First(wanted) => first == wanted,
            Self::Both(one, other) => (first, second) == (one, other),
            Self::SecondBelow(limit) => second < limit,
            Self::All => true,
        }
    }
}

/// A question of a tenant: key and dependency at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) tenant: u8,
    pub(crate) question: Question,
}

impl Key {
    /// Answers the question.
    pub(crate) fn ask(self, table: &Table) -> Answer {
        let of_tenant = table.iter().filter(|((tenant, _), _)| *tenant == self.tenant);
        of_tenant
            .map(|(&(_, id), &columns)| (id, columns))
            .filter(|&(id, columns)| self.question.matches(id, columns))
            .collect()
    }
}

/// How versions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    /// By the transactions they include.
    Sets,
    /// By the highest number: right where one transaction ends before the next begins.
    Numbers,
}

/// A state of the source: the transactions that were visible, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) bits: u128,
    pub(crate) compare: Compare,
}

impl Seen {
    fn highest(self) -> u32 {
        128 - self.bits.leading_zeros()
    }

    pub(crate) fn has(self, number: u32) -> bool {
        self.bits >> number & 1 == 1
    }
}

impl Version for Seen {
    type Origin = u32;

    fn covers(&self, number: u32) -> bool {
        match self.compare {
            Compare::Sets => self.has(number),
            Compare::Numbers => number < self.highest(),
        }
    }

    fn includes(&self, other: &Self) -> bool {
        match self.compare {
            Compare::Sets => other.bits & !self.bits == 0,
            Compare::Numbers => other.highest() <= self.highest(),
        }
    }
}

/// What a transaction did, as the source's triggers would tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Row {
        tenant: u8,
        id: u8,
        old: Option<Columns>,
        new: Option<Columns>,
    },
    /// Rows of a tenant, not told apart.
    Bulk { tenant: u8 },
    /// TRUNCATE.
    Everything,
}

/// An event with the number of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) number: u32,
    pub(crate) event: Event,
}

/// Why a change touches an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    Came,
    Went,
    Changed,
}

thread_local! {
    /// Runs when the domain is next asked whether something touches something: what other threads do at that moment.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Sets what happens when the domain is next asked, or nothing.
pub(crate) fn meanwhile(act: Option<Box<dyn FnOnce()>>) {
    MEANWHILE.set(act);
}

/// The domain of the toy source.
#[derive(Debug, Default)]
pub(crate) struct Toy;

fn anchor(of: &impl Hash) -> Anchor {
    // FNV-1a: the same in each run.
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    of.hash(&mut hasher);
    Anchor(hasher.finish())
}

impl Domain for Toy {
    type Version = Seen;
    type Change = Change;
    type Dependency = Key;
    type Group = u8;
    type Hint = ();
    type Sight = ();
    type Reason = Reason;

    fn origin(&self, change: &Change) -> u32 {
        change.number
    }

    fn reach<'a>(&self, change: &'a Change) -> Reach<'a, u8> {
        match &change.event {
            Event::Row { tenant, .. } => Reach::Some(tenant),
            Event::Bulk { tenant } => Reach::Group(tenant),
            Event::Everything => Reach::Everything,
        }
    }

    fn group<'a>(&self, key: &'a Key) -> &'a u8 {
        &key.tenant
    }

    fn file(&self, key: &Key, rarity: &Rarity, anchors: &mut Vec<Anchor>) {
        let tenant = key.tenant;
        match key.question {
            Question::Get(id) => anchors.push(anchor(&(tenant, "id", id))),
            Question::Pair(one, other) => {
                anchors.extend([one, other].map(|id| anchor(&(tenant, "id", id))));
            }
            Question::First(first) => anchors.push(anchor(&(tenant, "first", first))),
            Question::Both(first, second) => {
                let (first, second) = (
                    anchor(&(tenant, "first", first)),
                    anchor(&(tenant, "second", second)),
                );
                let rarer = rarity.estimate(first) <= rarity.estimate(second);
                anchors.push(if rarer { first } else { second });
            }
            Question::SecondBelow(_) | Question::All => anchors.push(anchor(&(tenant, "any"))),
        }
    }

    fn also(&self, key: &Key, _: &Rarity, anchors: &mut Vec<Anchor>) {
        if let Question::Both(first, second) = key.question {
            anchors.push(anchor(&(key.tenant, "first", first)));
            anchors.push(anchor(&(key.tenant, "second", second)));
        }
    }

    fn probe(&self, change: &Change, anchors: &mut Vec<Anchor>) {
        let Event::Row { tenant, id, old, new } = change.event else {
            return;
        };
        anchors.extend([anchor(&(tenant, "any")), anchor(&(tenant, "id", id))]);
        for (first, second) in old.into_iter().chain(new) {
            for found in [
                anchor(&(tenant, "first", first)),
                anchor(&(tenant, "second", second)),
            ] {
                if !anchors.contains(&found) {
                    anchors.push(found);
                }
            }
        }
    }

    fn touches(&self, change: &Change, key: &Key) -> Option<Reason> {
        if let Some(act) = MEANWHILE.take() {
            act();
        }
        let Event::Row { tenant, id, old, new } = change.event else {
            return None;
        };
        let inside = |columns: Option<Columns>| {
            columns.is_some_and(|columns| tenant == key.tenant && key.question.matches(id, columns))
        };
        match (inside(old), inside(new)) {
            (false, false) => None,
            (true, false) => Some(Reason::Went),
            (false, true) => Some(Reason::Came),
            (true, true) => (old != new).then_some(Reason::Changed),
        }
    }
}
