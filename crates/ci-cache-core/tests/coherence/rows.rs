//! Tenants with numbered rows, and a domain that panics where it is told to.

use ci_cache_core::coherence::{Anchor, Domain, Rarity, Reach, Version};

/// All changes up to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UpTo(pub(crate) u64);

impl Version for UpTo {
    type Origin = u64;

    fn covers(&self, number: u64) -> bool {
        number <= self.0
    }

    fn includes(&self, other: &Self) -> bool {
        // Odd states of the hundreds are of another line of history: nothing compares with them.
        (self.0 >= 900) == (other.0 >= 900) && other.0 <= self.0
    }
}

/// Which method of the domain panics over something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    Origin,
    Reach,
    Probe,
    Touches,
    File,
    Group,
    Nowhere,
}

#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) number: u64,
    pub(crate) tenant: &'static str,
    pub(crate) row: u32,
    pub(crate) whole: bool,
    pub(crate) trap: Option<Trap>,
}

pub(crate) fn change(number: u64, tenant: &'static str, row: u32) -> Change {
    Change {
        number,
        tenant,
        row,
        whole: false,
        trap: None,
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Needs {
    pub(crate) tenant: &'static str,
    pub(crate) row: u32,
    pub(crate) trap: Option<Trap>,
}

pub(crate) fn needs(tenant: &'static str, row: u32) -> Needs {
    Needs {
        tenant,
        row,
        trap: None,
    }
}

/// Rows by number; panics where it is told to.
#[derive(Debug)]
pub(crate) struct Rows;

fn spring(trap: Option<Trap>, here: Trap) {
    assert!(trap != Some(here), "the domain's own trouble");
}

impl Domain for Rows {
    type Version = UpTo;
    type Change = Change;
    type Dependency = Needs;
    type Group = &'static str;
    type Hint = ();
    type Sight = ();
    type Reason = &'static str;

    fn origin(&self, change: &Change) -> u64 {
        spring(change.trap, Trap::Origin);
        change.number
    }

    fn reach<'a>(&self, change: &'a Change) -> Reach<'a, &'static str> {
        spring(change.trap, Trap::Reach);
        match (change.tenant, change.whole) {
            ("", _) => Reach::Everything,
            (_, true) => Reach::Group(&change.tenant),
            (_, false) => Reach::Some(&change.tenant),
        }
    }

    fn group<'a>(&self, needs: &'a Needs) -> &'a &'static str {
        spring(needs.trap, Trap::Group);
        &needs.tenant
    }

    fn file(&self, needs: &Needs, _: &Rarity, anchors: &mut Vec<Anchor>) {
        spring(needs.trap, Trap::File);
        if needs.trap != Some(Trap::Nowhere) {
            anchors.push(Anchor(needs.row.into()));
        }
    }

    fn probe(&self, change: &Change, anchors: &mut Vec<Anchor>) {
        spring(change.trap, Trap::Probe);
        anchors.push(Anchor(change.row.into()));
    }

    fn touches(&self, change: &Change, needs: &Needs) -> Option<&'static str> {
        spring(change.trap, Trap::Touches);
        (change.row == needs.row).then_some("the row")
    }
}
