//! What becomes of each record of a batch of CIs.

use std::collections::HashMap;

use ci_model::{CiCode, CiId, CiOutcome, CiRecord, CiRef, Effect, Rejection, TenantId, Timestamp};
use uuid::Uuid;

use super::existing::Known;

/// A row to write: its id, and the record it is written from.
pub(crate) type Change<'a> = (CiId, &'a CiRecord);

/// What to write, and what to report.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// In the order of the records.
    pub(crate) outcomes: Vec<Result<CiOutcome, Rejection>>,
    /// Changes of codes, to be done one after the other before everything else: a later one may take a code that an
    /// earlier one leaves, and the database checks uniqueness row by row.
    pub(crate) renames: Vec<(CiId, CiCode)>,
    /// Rows to make, by tenant and code: the order in which indexes like them.
    pub(crate) inserts: Vec<Change<'a>>,
    /// Rows to replace, by id.
    pub(crate) updates: Vec<Change<'a>>,
}

/// A plan, or the ids that have to be looked up before there can be one.
#[derive(Debug)]
pub(crate) enum Planned<'a> {
    /// Complete.
    Ready(Plan<'a>),
    /// These ids must be known first.
    Ask(Vec<CiId>),
}

/// Decides as if the records were written one after the other, except that of several with one code only the last is
/// looked at.
///
/// A record without an id whose code is new gets [`CiId::derived`]. That id may be taken by the CI that had the code
/// when it was made and was renamed since; then the next of a fixed series of ids is taken, so that the same history
/// gives the same ids in every database.
pub(crate) fn plan<'a>(records: &'a [CiRecord], known: &'a Known) -> Planned<'a> {
    let mut estate = Estate::new(known);
    let last = last_of_each_code(records);
    let mut winners: HashMap<CiId, usize> = HashMap::new();
    let mut targets = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        let target = (last[&key(record)] == index).then(|| estate.place(record));
        if let Some(Ok(id)) = target {
            winners.insert(id, index);
        }
        targets.push(target);
    }
    if !estate.ask.is_empty() {
        return Planned::Ask(estate.ask);
    }
    let mut plan = Plan {
        outcomes: Vec::with_capacity(records.len()),
        renames: estate.renames,
        inserts: Vec::new(),
        updates: Vec::new(),
    };
    for (index, record) in records.iter().enumerate() {
        let by_code = || targets[last[&key(record)]].clone().and_then(Result::ok);
        let outcome = match targets[index].clone() {
            None => Ok(outcome(by_code().or(record.given_id), record, Effect::Superseded)),
            Some(Err(reason)) => Err(reason),
            Some(Ok(id)) if winners[&id] != index => Ok(outcome(Some(id), record, Effect::Superseded)),
            Some(Ok(id)) => Ok(plan.write(id, record, known)),
        };
        plan.outcomes.push(outcome);
    }
    plan.inserts.sort_by(|a, b| key(a.1).cmp(&key(b.1)));
    plan.updates.sort_by_key(|change| change.0);
    Planned::Ready(plan)
}

impl<'a> Plan<'a> {
    /// Notes what it takes to bring a row into the record's form.
    fn write(&mut self, id: CiId, record: &'a CiRecord, known: &Known) -> CiOutcome {
        let Some(existing) = known.rows.get(&id) else {
            self.inserts.push((id, record));
            return outcome(Some(id), record, Effect::Created);
        };
        if existing.is_as_given(record) {
            return outcome(Some(id), record, Effect::Unchanged);
        }
        self.updates.push((id, record));
        let renamed = existing.code != record.code.as_str();
        CiOutcome {
            // A code that this program would not accept is not one that anybody can ask for.
            previous_code: renamed.then(|| CiCode::new(&existing.code).ok()).flatten(),
            ..outcome(Some(id), record, Effect::Updated)
        }
    }
}

fn outcome(id: Option<CiId>, record: &CiRecord, effect: Effect) -> CiOutcome {
    CiOutcome {
        ci_id: id,
        ci_code: Some(record.code.clone()),
        previous_code: None,
        effect,
    }
}

fn key(record: &CiRecord) -> (&str, &str) {
    (record.tenant.as_str(), record.code.as_str())
}

fn last_of_each_code(records: &[CiRecord]) -> HashMap<(&str, &str), usize> {
    records
        .iter()
        .enumerate()
        .map(|(index, record)| (key(record), index))
        .collect()
}

/// Who has which code while the batch is gone through.
struct Estate<'a> {
    known: &'a Known,
    holders: HashMap<(&'a str, &'a str), CiId>,
    /// Tenant and code of each row.
    places: HashMap<CiId, (&'a str, &'a str)>,
    /// Whose each code is, where the database allows a code only once.
    owners: Option<HashMap<&'a str, &'a str>>,
    renames: Vec<(CiId, CiCode)>,
    ask: Vec<CiId>,
}

impl<'a> Estate<'a> {
    fn new(known: &'a Known) -> Self {
        let holders = known.holders();
        let places = holders.iter().map(|(place, id)| (*id, *place)).collect();
        let texts = |(code, tenant): (&'a String, &'a String)| (code.as_str(), tenant.as_str());
        let owners = known
            .owners
            .as_ref()
            .map(|owners| owners.iter().map(texts).collect());
        Self {
            known,
            holders,
            places,
            owners,
            renames: Vec::new(),
            ask: Vec::new(),
        }
    }

    /// Finds the row of a record and gives it the record's code.
    fn place(&mut self, record: &'a CiRecord) -> Result<CiId, Rejection> {
        let place = key(record);
        let holder = self.holders.get(&place).copied();
        let id = match (record.given_id, holder) {
            (Some(id), _) if self.places.get(&id).is_some_and(|(tenant, _)| *tenant != place.0) => {
                return Err(Rejection::TakenByOtherTenant);
            }
            (Some(id), Some(holder)) if id != holder => return Err(Rejection::CodeTaken),
            (Some(id), _) => id,
            (None, Some(holder)) => holder,
            (None, None) => self.free_id(record),
        };
        if holder.is_some() {
            return Ok(id);
        }
        if self
            .owners
            .as_ref()
            .and_then(|owners| owners.get(place.1))
            .is_some_and(|owner| *owner != place.0)
        {
            return Err(Rejection::TakenByOtherTenant);
        }
        let left = self.places.insert(id, place);
        self.holders.insert(place, id);
        if let Some(left) = left {
            self.holders.remove(&left);
        }
        if let Some(owners) = &mut self.owners {
            left.map(|left| owners.remove(left.1));
            owners.insert(place.1, place.0);
        }
        if self.known.rows.contains_key(&id) {
            self.renames.push((id, record.code.clone()));
        }
        Ok(id)
    }

    /// The first id of the record's series that no row has.
    fn free_id(&mut self, record: &CiRecord) -> CiId {
        let mut id = CiId::derived(&record.tenant, &record.code);
        while self.places.contains_key(&id) {
            id = CiId(Uuid::new_v5(&id.0, b"renamed"));
        }
        if self.known.careful && !self.known.asked.contains(&id) {
            self.ask.push(id);
        }
        id
    }
}

/// What to delete, and what to report.
#[derive(Debug)]
pub(crate) struct Deletion {
    /// In the order of the targets.
    pub(crate) outcomes: Vec<CiOutcome>,
    /// Rows to delete softly.
    pub(crate) ids: Vec<CiId>,
}

/// Decides what becomes of each target. A CI that is deleted already is not there; neither is one of another tenant.
pub(crate) fn plan_deletion(tenant: &TenantId, targets: &[CiRef], known: &Known) -> Deletion {
    let holders = known.holders();
    let mut ids = Vec::new();
    let mut done = std::collections::HashSet::new();
    let outcomes = targets.iter().map(|target| {
        let id = match target {
            CiRef::Id(id) => Some(*id),
            CiRef::Code(code) => holders.get(&(tenant.as_str(), code.as_str())).copied(),
        };
        let row = id.and_then(|id| known.rows.get(&id));
        match row.filter(|row| row.tenant == tenant.as_str() && !row.is_deleted()) {
            Some(row) if done.insert(row.id) => {
                ids.push(row.id);
                CiOutcome {
                    ci_id: Some(row.id),
                    ci_code: CiCode::new(&row.code).ok(),
                    previous_code: None,
                    effect: Effect::Deleted,
                }
            }
            _ => missing(target),
        }
    });
    let outcomes = outcomes.collect();
    ids.sort_unstable();
    Deletion { outcomes, ids }
}

fn missing(target: &CiRef) -> CiOutcome {
    let (ci_id, ci_code) = match target {
        CiRef::Id(id) => (Some(*id), None),
        CiRef::Code(code) => (None, Some(code.clone())),
    };
    CiOutcome {
        ci_id,
        ci_code,
        previous_code: None,
        effect: Effect::Missing,
    }
}

/// The moments of a row that is written: `created_at` (nothing: keep it), `updated_at`.
pub(crate) fn moments(record: &CiRecord, at: Timestamp) -> (Option<Timestamp>, Timestamp) {
    (record.created_at, record.updated_at.unwrap_or(at))
}
