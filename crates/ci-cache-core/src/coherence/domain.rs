//! The seam between coherence and what it keeps coherent: versions, changes, and whether one matters to the other.

use std::fmt;
use std::hash::Hash;

use super::rarity::Rarity;

/// A state of the source, by the changes it includes.
///
/// Duties of an implementor: [`includes`](Self::includes) is reflexive and transitive, and a version that includes another
/// covers all that the other covers. Two versions need not be comparable.
pub trait Version: Clone + fmt::Debug + Send + Sync + 'static {
    /// A change's place in the history.
    type Origin: Copy + fmt::Debug + Send + Sync + 'static;

    /// Tells whether this state includes a change.
    fn covers(&self, origin: Self::Origin) -> bool;

    /// Tells whether this state includes every change that the other includes.
    fn includes(&self, other: &Self) -> bool;
}

/// What one change reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach<'a, G> {
    /// Entries of one group whose dependencies it [touches](Domain::touches).
    Some(&'a G),
    /// Every entry of one group.
    Group(&'a G),
    /// Every entry.
    Everything,
}

/// What coherence has to know about changes and dependencies, and the only thing it knows.
///
/// A dependency says what an answer was made of; it belongs to one group (a tenant), and a change never touches an entry of
/// another group. Duties of an implementor:
///
/// - *never too little*: if an answer is not the same before and after a change, [`touches`](Self::touches) says so. Where it
///   cannot tell it says yes;
/// - if `touches(change, dependency)` is something, [`probe`](Self::probe) of the change yields at least one anchor
///   under which [`file`](Self::file) filed the dependency;
/// - all methods are pure and may run under the coherence lock: they must be quick and must not use the cache. A panic in
///   them counts as "everything of the change's group" (of everything, for a change whose reach is not known).
pub trait Domain: Send + Sync + 'static {
    /// A state of the source.
    type Version: Version;
    /// A change that was committed.
    type Change: fmt::Debug + Send + Sync + 'static;
    /// What an answer was made of.
    type Dependency: Send + Sync + 'static;
    /// What never shares a change or an entry: a tenant.
    type Group: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static;
    /// What of a dependency lies in the index itself, where a change is compared with it before anything else is looked at: a few
    /// words at most. `()` where there is nothing to tell.
    type Hint: Copy + Default + fmt::Debug + Send + Sync + 'static;
    /// What of a change is compared with hints. `()` where there is nothing to tell.
    type Sight: Default;
    /// Why a change touches a dependency, for statistics and for people.
    type Reason: Copy + Eq + Hash + fmt::Debug + Send + Sync + 'static;

    /// A change's place in the history.
    fn origin(&self, change: &Self::Change) -> <Self::Version as Version>::Origin;

    /// What a change reaches.
    fn reach<'a>(&self, change: &'a Self::Change) -> Reach<'a, Self::Group>;

    /// The group of a dependency.
    fn group<'a>(&self, dependency: &'a Self::Dependency) -> &'a Self::Group;

    /// Files a dependency under one or more anchors, the rarer the better: a dependency is looked at for every change
    /// that has one of its anchors.
    fn file(&self, dependency: &Self::Dependency, rarity: &Rarity, anchors: &mut Vec<Anchor>);

    /// Lists anchors that every change which touches a dependency has besides the one it is found under, the most telling first: four
    /// of them spare most other changes that have that one a look at the dependency. (What is rare tells most, unless it mostly
    /// comes together with the anchor it is filed under, as the trigrams of one word do.) Default: none.
    ///
    /// Duty: if `touches(change, dependency)` is something, `probe` of the change yields all of these. So list nothing that a change may
    /// leave unknown.
    fn also(&self, dependency: &Self::Dependency, rarity: &Rarity, anchors: &mut Vec<Anchor>) {
        let _ = (dependency, rarity, anchors);
    }

    /// Gives what of a dependency is to lie in the index. Default: nothing.
    fn hint(&self, dependency: &Self::Dependency) -> Self::Hint {
        let _ = dependency;
        Self::Hint::default()
    }

    /// Gives what of a change is to be compared with hints, once for each change. Default: nothing.
    fn sight(&self, change: &Self::Change) -> Self::Sight {
        let _ = change;
        Self::Sight::default()
    }

    /// Tells by hint and sight whether a change may touch a dependency: most that it does not touch need not be looked at then.
    /// Default: yes. A handful of instructions; it is asked for every dependency that shares anchors with a change.
    ///
    /// Duty: if `touches(change, dependency)` is something, this says yes.
    fn may_touch(&self, sight: &Self::Sight, hint: Self::Hint) -> bool {
        let _ = (sight, hint);
        true
    }

    /// Lists the anchors under which dependencies that a change might touch are filed. Those found twice cost twice, so
    /// the same anchor should not be listed twice.
    fn probe(&self, change: &Self::Change, anchors: &mut Vec<Anchor>);

    /// Tells whether a change matters to a dependency, and why.
    fn touches(&self, change: &Self::Change, dependency: &Self::Dependency) -> Option<Self::Reason>;

    /// Estimates what a change holds in memory, in bytes, its own size included: the log is bounded by the sum. Default: what it
    /// would hold without pointing anywhere.
    fn bytes(&self, change: &Self::Change) -> usize {
        size_of_val(change)
    }
}

/// A place in the dependency index: the hash of something that a change and a dependency have in common, the group
/// included. Two things that share an anchor by chance cost a look and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Anchor(pub u64);
