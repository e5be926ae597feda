//! From recorded rows to changes, and what to do where a recorded image was not the row's real state.
//!
//! An image joins a row of `ci` with its documents in `ci_ext`, as the writer's transaction saw the two. Another
//! transaction may have changed the other half at the same time, because the two rows have a lock each:
//!
//! ```text
//! transaction A                            transaction B
//! updates ci: status a to b
//! records (a, x=1) to (b, x=1)
//!                                          updates ci_ext: x=1 to x=2
//!                                          does not see A: records (a, x=1) to (a, x=2)
//! commits                                  commits
//! ```
//!
//! The row is now (b, x=2), and no image says so: a search for `status=b` and `tags.x=2` would never learn of it. Locking
//! the other row in the trigger would make writers of other programs wait for each other, and some fail in deadlocks
//! that they did not have before. So it is found when the changes are read. Every row comes with the CI as it is in the
//! reader's own snapshot (`current`). If what was recorded of a CI since the last poll is one unbroken chain of images
//! that ends in the present one, it is the truth. If not, each transaction is told to have changed every state of the
//! columns that is known, with unknown documents. That is enough: the columns at the moment of B's commit are those B
//! recorded, or those that a transaction committed before; then they are the present ones, or those from which a
//! transaction after B went on, which this same poll has, because B is in it.
//!
//! The same goes for the neighbours of a CI that becomes visible: a relation that another transaction made at the same
//! time cannot be seen by the trigger. They are looked up by the reader too, in the snapshot that becomes the position:
//! a relation that was there at the commit and is gone now is a change of its own in the same poll.

use std::collections::{BTreeSet, HashMap, HashSet};

use ci_model::{Change, CiChange, CiId, Event, Image, Origin, RelationChange, TenantId};
use uuid::Uuid;

use crate::image;

/// Most neighbours that a change names.
pub(crate) const NEIGHBOURS: usize = 256;
/// Most states of one CI that are told apart where the order of events is not known.
const STATES: usize = 8;
/// Most transactions that are told apart then.
const ORIGINS: usize = 64;

/// A row of `ci_change` as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) origin: Origin,
    pub(crate) entity: Entity,
    /// Of the row, or of the CI as it is now; none when neither is there.
    pub(crate) tenant: Option<String>,
    /// The CI; for relations none.
    pub(crate) id: Option<Uuid>,
    /// The row before, as text; none when there was none.
    pub(crate) old: Option<String>,
    /// The row after.
    pub(crate) new: Option<String>,
    /// The CI of that tenant as it is now.
    pub(crate) current: Current,
    /// The CIs at the other ends of its relations, or none when they were not asked for; more than [`NEIGHBOURS`] are
    /// cut off somewhere above.
    pub(crate) neighbours: Option<Vec<Uuid>>,
    /// Of documents in PostgreSQL: whose their CI is now.
    pub(crate) tenant_now: Option<String>,
}

/// The present state beside a recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Current {
    /// It is what was recorded as new.
    New,
    /// It is something else, or nothing.
    Other(Option<String>),
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entity {
    Ci,
    Documents,
    Relation,
    /// A table was truncated, or a kind of row that this version does not know.
    All,
}

impl Entity {
    /// Reads the letter in the table.
    pub(crate) fn of(letter: &str) -> Self {
        match letter {
            "c" => Self::Ci,
            "e" => Self::Documents,
            "r" => Self::Relation,
            _ => Self::All,
        }
    }
}

/// Tenants by name: one allocation for all changes of a tenant; none for what cannot be a tenant's name, so that nobody
/// can ask for its rows.
#[derive(Debug, Default)]
pub(crate) struct Tenants(HashMap<String, Option<TenantId>>);

impl Tenants {
    /// The tenant of that name.
    pub(crate) fn get(&mut self, name: &str) -> Option<TenantId> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let tenant = TenantId::new(name).ok();
        self.0.insert(name.to_owned(), tenant.clone());
        tenant
    }
}

/// Turns rows, in the order of their recording, into changes.
pub(crate) fn changes(rows: &[Row]) -> Vec<Change> {
    let mut tenants = Tenants::default();
    let owners: Vec<Option<TenantId>> = rows
        .iter()
        .map(|row| tenants.get(row.tenant.as_deref()?))
        .collect();
    let mut known: HashMap<(&str, Uuid), Known<'_>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        if let (Entity::Ci | Entity::Documents, Some(tenant), Some(id)) = (row.entity, &row.tenant, row.id) {
            let known = known.entry((tenant, id)).or_insert_with(|| Known::from(at));
            known.rows.push(row);
        }
    }
    known
        .values_mut()
        .for_each(|known| known.is_chain = is_chain(&known.rows));
    let mut out = moved(rows, &mut tenants);
    for (at, (row, owner)) in rows.iter().zip(&owners).enumerate() {
        let change = |event| Change {
            origin: row.origin,
            event,
        };
        match (row.entity, owner, row.id) {
            (Entity::All, ..) => out.push(change(Event::Everything)),
            (_, None, _) => {}
            (Entity::Relation, Some(tenant), _) => out.push(change(relation(tenant, row))),
            (_, Some(tenant), None) => out.push(change(Event::Tenant(tenant.clone()))),
            (_, Some(tenant), Some(id)) => {
                let Some(known) = row.tenant.as_deref().and_then(|name| known.get(&(name, id))) else {
                    continue;
                };
                if known.is_chain {
                    out.extend(one(tenant, id, row).map(change));
                } else if known.first == at {
                    blurred(tenant, id, &known.rows, &mut out);
                }
            }
        }
    }
    out
}

/// Documents of a CI that was another tenant's at the time, or may have been: what their change did to the rows of which
/// tenant is not known, so it is told to all of them.
fn moved(rows: &[Row], tenants: &mut Tenants) -> Vec<Change> {
    let mut owners: HashMap<Uuid, BTreeSet<&str>> = HashMap::new();
    for row in rows {
        if let Some(id) = row.id {
            let names = [&row.tenant, &row.tenant_now];
            owners
                .entry(id)
                .or_default()
                .extend(names.into_iter().flatten().map(String::as_str));
        }
    }
    let mut out = Vec::new();
    for row in rows.iter().filter(|row| row.entity == Entity::Documents) {
        let owners = row
            .id
            .and_then(|id| owners.get(&id))
            .filter(|owners| owners.len() > 1);
        for tenant in owners.into_iter().flatten().filter_map(|name| tenants.get(name)) {
            let origin = row.origin;
            out.push(Change {
                origin,
                event: Event::Tenant(tenant),
            });
        }
    }
    out
}

/// What was recorded of one CI of one tenant.
struct Known<'a> {
    /// Position of the first row: where a blurred change is told, once for all rows.
    first: usize,
    rows: Vec<&'a Row>,
    is_chain: bool,
}

impl Known<'_> {
    fn from(first: usize) -> Self {
        Self {
            first,
            rows: Vec::new(),
            is_chain: false,
        }
    }
}

/// Whether what was recorded of one CI of one tenant is all that happened to it, image by image.
fn is_chain(rows: &[&Row]) -> bool {
    let linked = rows.windows(2).all(|pair| pair[0].new == pair[1].old);
    let ends = rows.last().is_some_and(|row| row.current == Current::New);
    let told = rows.iter().all(|row| row.old.is_some() || row.new.is_some());
    // Between two transactions the chain may be broken and look whole, when one of them puts back what was before. Not
    // if all wrote the same table: whoever writes a row waits for the one before. In SQLite every writer waits.
    let one_after_the_other = rows.windows(2).all(|pair| {
        pair[0].origin == pair[1].origin
            || pair[0].entity == pair[1].entity
            || matches!(pair[0].origin, Origin::Sequence(_))
    });
    linked && ends && told && one_after_the_other
}

/// A change whose images are the truth.
fn one(tenant: &TenantId, id: Uuid, row: &Row) -> Option<Event> {
    let read = |text: &Option<String>| text.as_deref().map(image::ci);
    Some(match (read(&row.old), read(&row.new)) {
        (None, None) => return None,
        (Some(None), _) | (_, Some(None)) => Event::Tenant(tenant.clone()),
        (old, new) => Event::Ci(Box::new(CiChange {
            tenant: tenant.clone(),
            id: CiId(id),
            old: old.flatten().map(|image| left(image, row)),
            new: new.flatten(),
            neighbours: row.neighbours.clone().map_or(Some(Vec::new()), neighbours),
        })),
    })
}

/// The image of a row that left its tenant, or the table: without documents where another transaction may have changed those.
///
/// Whatever stays is compared with the present row, so that a stale half is found out. Of what is gone there is no present:
///
/// ```text
/// transaction A                            transaction B
/// moves the CI to another tenant
/// records (a, x=1) to none
///                                          updates ci_ext: x=1 to x=2, commits: polled, (a, x=2) is told
/// commits: polled, "it was (a, x=1)"
/// ```
///
/// A search for `tags.x=2` has the CI, and (a, x=1) would not say that it left. In SQLite every writer waits.
fn left(mut image: Image, row: &Row) -> Image {
    if row.new.is_none() && matches!(row.origin, Origin::Transaction(_)) {
        (image.tags, image.attributes) = (None, None);
    }
    image
}

fn neighbours(mut ids: Vec<Uuid>) -> Option<Vec<CiId>> {
    let few = ids.len() <= NEIGHBOURS;
    ids.sort_unstable();
    ids.dedup();
    few.then(|| ids.into_iter().map(CiId).collect())
}

fn relation(tenant: &TenantId, row: &Row) -> Event {
    let read = |text: &Option<String>| text.as_deref().map(image::relation);
    match (read(&row.old), read(&row.new)) {
        (Some(None), _) | (_, Some(None)) => Event::Tenant(tenant.clone()),
        (old, new) => Event::Relation(RelationChange {
            tenant: tenant.clone(),
            old: old.flatten(),
            new: new.flatten(),
        }),
    }
}

/// Tells that each transaction took every known state of a CI away and brought it back, with unknown documents.
///
/// Where no row tells neighbours the CI was there all the time, and none were asked for. A state that comes or goes then says nothing to
/// a graph whose filter it meets beside a neighbour, so it is also told that each state became each other, or the same with other
/// documents: of those nobody expects neighbours.
fn blurred(tenant: &TenantId, id: Uuid, rows: &[&Row], out: &mut Vec<Change>) {
    let (mut met, mut origins) = (HashSet::new(), Vec::new());
    origins.extend(
        rows.iter()
            .map(|row| row.origin)
            .filter(|origin| met.insert(*origin)),
    );
    let states = states(rows).filter(|_| origins.len() <= ORIGINS);
    // That CIs become visible to it is told by at least one row; the others were not asked.
    let around = rows.iter().find_map(|row| row.neighbours.clone());
    let asked = around.is_some();
    let around = around.map_or(Some(Vec::new()), neighbours);
    let event = |old: Option<&Image>, new: Option<&Image>| {
        Event::Ci(Box::new(CiChange {
            tenant: tenant.clone(),
            id: CiId(id),
            old: old.cloned(),
            new: new.cloned(),
            neighbours: around.clone(),
        }))
    };
    let events: Vec<Event> = match &states {
        None => vec![Event::Tenant(tenant.clone())],
        Some(states) => states
            .iter()
            .flat_map(|state| [event(Some(state), None), event(None, Some(state))])
            .chain(
                states
                    .iter()
                    .filter(|_| !asked)
                    .flat_map(|old| states.iter().map(|new| event(Some(old), Some(new)))),
            )
            .collect(),
    };
    for origin in origins {
        out.extend(events.iter().cloned().map(|event| Change { origin, event }));
    }
}

/// Every state of the columns that is known, without documents; none when one cannot be told, or there are many.
fn states(rows: &[&Row]) -> Option<Vec<Image>> {
    let current = rows.iter().map(|row| match &row.current {
        Current::New => &row.new,
        Current::Other(text) => text,
    });
    let recorded = rows.iter().flat_map(|row| [&row.old, &row.new]);
    let texts: BTreeSet<&str> = recorded
        .chain(current)
        .filter_map(|text| text.as_deref())
        .collect();
    let mut states: Vec<Image> = Vec::new();
    for text in texts {
        let mut state = image::ci(text)?;
        (state.tags, state.attributes) = (None, None);
        if !states.contains(&state) {
            states.push(state);
        }
    }
    (states.len() <= STATES).then_some(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn image(status: &str, x: u8) -> String {
        format!(r#"[1,"c","n","t",null,null,"{status}",null,null,null,null,null,false,[{{"x":{x}}},{{}}]]"#)
    }

    fn row(xid: u64, entity: Entity, old: (&str, u8), new: (&str, u8), current: (&str, u8)) -> Row {
        let (old, new, current) = (
            image(old.0, old.1),
            image(new.0, new.1),
            image(current.0, current.1),
        );
        Row {
            origin: Origin::Transaction(xid),
            entity,
            tenant: Some("acme".into()),
            id: Some(ID),
            current: if current == new {
                Current::New
            } else {
                Current::Other(Some(current))
            },
            old: Some(old),
            new: Some(new),
            neighbours: None,
            tenant_now: None,
        }
    }

    /// Whether some image that a transaction tells may be this state.
    fn tells(told: &[Change], xid: u64, status: &str, x: u8) -> bool {
        told.iter()
            .filter(|change| change.origin == Origin::Transaction(xid))
            .any(|change| {
                let Event::Ci(ci) = &change.event else { return true };
                ci.old.iter().chain(&ci.new).any(|image| {
                    let tag = image.tags.as_ref().is_none_or(|tags| tags["x"] == x);
                    image.status.as_deref() == Some(status) && tag
                })
            })
    }

    #[test]
    fn a_chain_is_told_as_it_was_recorded() {
        let rows = [
            row(5, Entity::Ci, ("a", 1), ("b", 1), ("b", 2)),
            row(5, Entity::Documents, ("b", 1), ("b", 2), ("b", 2)),
        ];
        let told = changes(&rows);
        assert_eq!(told.len(), 2);
        assert!(tells(&told, 5, "a", 1) && tells(&told, 5, "b", 2) && !tells(&told, 5, "a", 2));
    }

    #[test]
    fn two_transactions_that_did_not_see_each_other_tell_every_state() {
        let (ci, documents) = (
            row(5, Entity::Ci, ("a", 1), ("b", 1), ("b", 2)),
            row(6, Entity::Documents, ("a", 1), ("a", 2), ("b", 2)),
        );
        // Both in one poll, either of them alone: after or before a poll that had the other.
        for rows in [vec![ci.clone(), documents.clone()], vec![ci], vec![documents]] {
            let told = changes(&rows);
            for row in &rows {
                let Origin::Transaction(xid) = row.origin else {
                    unreachable!()
                };
                assert!(tells(&told, xid, "b", 2), "{rows:?}");
                assert!(tells(&told, xid, "b", 1) || xid == 6, "{rows:?}");
            }
        }
    }

    #[test]
    fn a_blurred_ci_that_was_there_all_the_time_is_told_to_have_changed() {
        let rows = [
            row(5, Entity::Ci, ("a", 1), ("b", 1), ("b", 2)),
            row(6, Entity::Documents, ("b", 1), ("b", 2), ("b", 2)),
        ];
        let changed = |told: &[Change], from: &str, to: &str| {
            told.iter().any(|change| {
                let Event::Ci(ci) = &change.event else {
                    return false;
                };
                let is = |image: &Option<Image>, status: &str| {
                    image
                        .as_ref()
                        .is_some_and(|image| image.status.as_deref() == Some(status))
                };
                is(&ci.old, from) && is(&ci.new, to)
            })
        };
        let told = changes(&rows);
        for (from, to) in [("a", "b"), ("b", "a"), ("a", "a"), ("b", "b")] {
            assert!(changed(&told, from, to), "{from} to {to}: {told:?}");
        }
        let mut rows = rows;
        rows[0].neighbours = Some(vec![Uuid::from_u128(9)]);
        assert!(!changed(&changes(&rows), "a", "b"), "its neighbours are told");
    }

    #[test]
    fn a_chain_over_two_transactions_and_tables_is_not_trusted() {
        let rows = [
            row(5, Entity::Ci, ("a", 1), ("b", 1), ("a", 2)),
            row(7, Entity::Ci, ("b", 1), ("a", 1), ("a", 2)),
            row(6, Entity::Documents, ("a", 1), ("a", 2), ("a", 2)),
        ];
        // Really: a1, 5 to b1, 6 to b2, 7 to a2.
        let told = changes(&rows);
        assert!(tells(&told, 6, "b", 2) && tells(&told, 7, "b", 2));
        let sequential: Vec<Row> = (1..)
            .zip(rows)
            .map(|(seq, row)| Row {
                origin: Origin::Sequence(seq),
                ..row
            })
            .collect();
        assert_eq!(changes(&sequential).len(), 3, "in SQLite nothing runs beside it");
    }

    #[test]
    fn documents_of_a_ci_that_moves_beside_them_are_told_to_both_tenants() {
        let mut row = row(5, Entity::Documents, ("a", 1), ("a", 2), ("a", 2));
        (row.current, row.tenant_now) = (Current::Other(None), Some("other".into()));
        let told = changes(&[row]);
        for name in ["acme", "other"] {
            let tenant = Event::Tenant(TenantId::new(name).unwrap());
            assert!(
                told.iter().any(|change| change.event == tenant),
                "{name}: {told:?}"
            );
        }
    }

    #[test]
    fn one_row_that_is_written_all_the_time_tells_its_tenant() {
        let rows: Vec<Row> = (0..70)
            .map(|n| row(n, Entity::Ci, ("a", 1), ("a", 2), ("a", 3)))
            .collect();
        let told = changes(&rows);
        assert_eq!(told.len(), 70);
        assert!(told.iter().all(|change| matches!(change.event, Event::Tenant(_))));
    }

    #[test]
    fn rows_that_nobody_can_ask_for_are_passed_over() {
        let tell = |change: fn(&mut Row)| {
            let mut row = row(5, Entity::Ci, ("a", 1), ("b", 1), ("b", 1));
            change(&mut row);
            changes(&[row])
                .into_iter()
                .map(|change| change.event)
                .collect::<Vec<_>>()
        };
        assert_eq!(tell(|row| row.tenant = Some(" ".into())), []);
        assert_eq!(tell(|row| row.tenant = None), []);
        let tenant = Event::Tenant(TenantId::new("acme").unwrap());
        let tenant = [tenant];
        assert_eq!(tell(|row| row.new = Some("null".into())), tenant);
        assert_eq!(tell(|row| row.id = None), tenant);
        assert_eq!(tell(|row| row.entity = Entity::of("t")), [Event::Everything]);
    }
}
