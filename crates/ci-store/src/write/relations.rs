//! What becomes of each record of a batch of relations.

use std::collections::HashMap;

use ci_model::{CiId, CiRef, Effect, Rejection, RelationOutcome, RelationRecord, RelationType, TenantId};

/// Where CIs are: ids that are there, by tenant, and codes with their ids. Soft-deleted CIs are there.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    ids: HashMap<CiId, String>,
    codes: HashMap<(String, String), CiId>,
}

impl Ends {
    pub(crate) fn add(&mut self, id: CiId, tenant: String, code: String) {
        self.ids.insert(id, tenant.clone());
        self.codes.insert((tenant, code), id);
    }

    fn find(&self, tenant: &TenantId, end: &CiRef) -> Option<CiId> {
        match end {
            CiRef::Id(id) => self
                .ids
                .get(id)
                .filter(|owner| *owner == tenant.as_str())
                .map(|_| *id),
            CiRef::Code(code) => self
                .codes
                .get(&(tenant.as_str().to_owned(), code.as_str().to_owned()))
                .copied(),
        }
    }
}

/// A relation with its ends found: the key of its row, in the order of the table's primary key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Edge {
    pub(crate) tenant: TenantId,
    pub(crate) from: CiId,
    pub(crate) rel_type: RelationType,
    pub(crate) to: CiId,
}

impl Edge {
    fn outcome(&self, effect: Effect) -> RelationOutcome {
        RelationOutcome {
            from_id: Some(self.from),
            to_id: Some(self.to),
            rel_type: self.rel_type.clone(),
            effect,
        }
    }
}

/// What to make, in the order of the primary key, and what each record is about.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Each once.
    pub(crate) edges: Vec<Edge>,
    /// Per record its edge, and whether it is the last with it.
    records: Vec<Result<(Edge, bool), Rejection>>,
}

/// Finds the ends of each record.
pub(crate) fn plan(records: &[RelationRecord], ends: &Ends) -> Plan {
    let found: Vec<Result<Edge, Rejection>> = records.iter().map(|record| edge(record, ends)).collect();
    let mut last = HashMap::new();
    for (index, edge) in found.iter().enumerate() {
        if let Ok(edge) = edge {
            last.insert(edge.clone(), index);
        }
    }
    let records = found
        .into_iter()
        .enumerate()
        .map(|(index, edge)| {
            edge.map(|edge| (last[&edge] == index, edge))
                .map(|(wins, edge)| (edge, wins))
        })
        .collect();
    let mut edges: Vec<Edge> = last.into_keys().collect();
    edges.sort_unstable();
    Plan { edges, records }
}

fn edge(record: &RelationRecord, ends: &Ends) -> Result<Edge, Rejection> {
    let from = ends
        .find(&record.tenant, &record.from)
        .ok_or(Rejection::FromMissing)?;
    let to = ends
        .find(&record.tenant, &record.to)
        .ok_or(Rejection::ToMissing)?;
    if from == to {
        return Err(Rejection::SelfRelation);
    }
    Ok(Edge {
        tenant: record.tenant.clone(),
        from,
        rel_type: record.rel_type.clone(),
        to,
    })
}

impl Plan {
    /// What to report, once it is known which edges were made (sorted); the others were there.
    pub(crate) fn outcomes(self, made: &[Edge]) -> Vec<Result<RelationOutcome, Rejection>> {
        let effect = |edge: &Edge, wins| match wins {
            false => Effect::Superseded,
            true if made.binary_search(edge).is_ok() => Effect::Created,
            true => Effect::Unchanged,
        };
        self.records
            .into_iter()
            .map(|record| record.map(|(edge, wins)| edge.outcome(effect(&edge, wins))))
            .collect()
    }

    /// The rejections alone, for the decision whether to write at all.
    pub(crate) fn rejections(&self) -> Vec<Result<(), Rejection>> {
        self.records
            .iter()
            .map(|record| record.as_ref().map(drop).map_err(Clone::clone))
            .collect()
    }

    /// What to report of a deletion, once it is known which edges were there (sorted). Of several records with one
    /// edge the last deletes it.
    pub(crate) fn deletion_outcomes(
        self,
        records: &[RelationRecord],
        ends: &Ends,
        gone: &[Edge],
    ) -> Vec<RelationOutcome> {
        let outcomes = self
            .records
            .into_iter()
            .zip(records)
            .map(|(found, record)| match found {
                Ok((edge, false)) => edge.outcome(Effect::Superseded),
                Ok((edge, true)) if gone.binary_search(&edge).is_ok() => edge.outcome(Effect::Deleted),
                Ok((edge, true)) => edge.outcome(Effect::Missing),
                Err(_) => RelationOutcome {
                    from_id: ends.find(&record.tenant, &record.from),
                    to_id: ends.find(&record.tenant, &record.to),
                    rel_type: record.rel_type.clone(),
                    effect: Effect::Missing,
                },
            });
        outcomes.collect()
    }
}
