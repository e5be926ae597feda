//! `CiDomain`: matching as coherence asks for it.

use ci_model::{Change, CiChange, Event, Origin, Question, RelationChange, TenantId, Version};

use super::anchors::Seeds;
use super::dependency::{Dependency, Footprint};
use super::hint::{Hint, Sight};
use super::reason::Reason;
use super::{file, graphs, probe, rows, weight};
use crate::coherence::{self, Anchor, Domain, Rarity, Reach};

impl coherence::Version for Version {
    type Origin = Origin;

    fn covers(&self, origin: Origin) -> bool {
        Self::covers(self, origin)
    }

    fn includes(&self, other: &Self) -> bool {
        Self::includes(self, other)
    }
}

/// Judges changes of configuration items and relations.
///
/// Its anchors are hashes with a seed of their own: two domains do not have the same, clones do.
#[derive(Debug, Clone)]
pub struct CiDomain {
    seeds: Seeds,
}

impl CiDomain {
    /// Makes a domain with random seeds.
    pub fn new() -> Self {
        Self {
            seeds: Seeds::random(),
        }
    }
}

impl Default for CiDomain {
    fn default() -> Self {
        Self::new()
    }
}

impl Domain for CiDomain {
    type Version = Version;
    type Change = Change;
    type Dependency = Dependency;
    type Group = TenantId;
    type Hint = Hint;
    type Sight = Sight;
    type Reason = Reason;

    fn origin(&self, change: &Change) -> Origin {
        change.origin
    }

    fn reach<'a>(&self, change: &'a Change) -> Reach<'a, TenantId> {
        match &change.event {
            Event::Ci(change) => Reach::Some(&change.tenant),
            Event::Relation(change) => Reach::Some(&change.tenant),
            Event::Tenant(tenant) => Reach::Group(tenant),
            Event::Everything => Reach::Everything,
        }
    }

    fn group<'a>(&self, dependency: &'a Dependency) -> &'a TenantId {
        &dependency.tenant
    }

    fn file(&self, dependency: &Dependency, rarity: &Rarity, anchors: &mut Vec<Anchor>) {
        file::file(self.seeds.of(&dependency.tenant), dependency, rarity, anchors);
    }

    fn also(&self, dependency: &Dependency, rarity: &Rarity, anchors: &mut Vec<Anchor>) {
        file::also(self.seeds.of(&dependency.tenant), dependency, rarity, anchors);
    }

    fn hint(&self, dependency: &Dependency) -> Hint {
        match &dependency.footprint {
            Footprint::Window(window) => window.hint(),
            _ => Hint::default(),
        }
    }

    fn sight(&self, change: &Change) -> Sight {
        Sight::of(change)
    }

    #[inline]
    fn may_touch(&self, sight: &Sight, hint: Hint) -> bool {
        sight.may_touch(hint)
    }

    /// Lists the anchors of both images, each once. A change that reaches a whole group has none: it is not looked up.
    fn probe(&self, change: &Change, anchors: &mut Vec<Anchor>) {
        match &change.event {
            Event::Ci(change) => probe::ci(self.seeds.of(&change.tenant), change, anchors),
            Event::Relation(change) => probe::relation(self.seeds.of(&change.tenant), change, anchors),
            Event::Tenant(_) | Event::Everything => {}
        }
    }

    fn bytes(&self, change: &Change) -> usize {
        size_of::<Change>()
            + match &change.event {
                Event::Ci(change) => weight::ci(change),
                Event::Relation(_) | Event::Tenant(_) | Event::Everything => 0,
            }
    }

    fn touches(&self, change: &Change, dependency: &Dependency) -> Option<Reason> {
        if change
            .event
            .tenant()
            .is_some_and(|tenant| *tenant != dependency.tenant)
        {
            return None;
        }
        match &change.event {
            Event::Ci(change) => by_ci(change, dependency),
            Event::Relation(change) => by_relation(change, dependency),
            Event::Tenant(_) | Event::Everything => Some(Reason::Bulk),
        }
    }
}

fn by_ci(change: &CiChange, dependency: &Dependency) -> Option<Reason> {
    if let Footprint::Window(window) = &dependency.footprint {
        return rows::search(dependency, window, change);
    }
    if !dependency.needles.may_be_found(change) {
        return None;
    }
    match (&*dependency.question, &dependency.footprint) {
        (Question::Get(get), _) => rows::get(get, change),
        (Question::List(list), Footprint::Page(page)) => rows::list(list, page, change),
        (Question::Aggregate(aggregate), _) => rows::aggregate(aggregate, change),
        (Question::Expand(expand), Footprint::Graph(graph)) => {
            graphs::expand_ci(expand, graph.as_ref(), change)
        }
        (Question::Path(path), Footprint::Path(searched)) => graphs::path_ci(path, searched.as_ref(), change),
        // No dependency is made like that.
        _ => Some(Reason::Unknown),
    }
}

fn by_relation(change: &RelationChange, dependency: &Dependency) -> Option<Reason> {
    match (&*dependency.question, &dependency.footprint) {
        (Question::Expand(expand), Footprint::Graph(graph)) => {
            graphs::expand_relation(expand, graph.as_ref(), change)
        }
        (Question::Path(path), Footprint::Path(searched)) => {
            graphs::path_relation(path, searched.as_ref(), change)
        }
        _ => None,
    }
}
