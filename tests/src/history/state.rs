//! A state of the database, played back from the record.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ci_model::{CiDetail, CiId, Document, TenantId};

use super::audit::{Deed, Link};
use crate::store_contract::World;
use crate::store_contract::world;

/// All rows at one version.
#[derive(Debug, Clone, Default)]
pub struct State {
    cis: BTreeMap<CiId, Box<CiDetail>>,
    documents: BTreeMap<CiId, Box<(Document, Document)>>,
    links: BTreeSet<Link>,
    ages: HashMap<TenantId, Age>,
    clock: u64,
}

/// What has changed of a tenant: equal ages are equal rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Age {
    /// Counts changes of CIs.
    pub cis: u64,
    /// Counts changes of relations.
    pub links: u64,
}

impl State {
    /// The CIs there are, deleted ones too.
    pub fn cis(&self) -> impl Iterator<Item = &CiDetail> {
        self.cis.values().map(|ci| &**ci)
    }

    /// Plays one row of the record.
    pub fn play(&mut self, deed: &Deed) {
        self.clock += 1;
        match deed {
            Deed::Ci(id, row) => {
                let before = if let Some(row) = row {
                    self.touch(&row.tenant_id, false);
                    self.cis.insert(*id, row.clone())
                } else {
                    // Its documents and relations go with it, by their foreign keys.
                    self.documents.remove(id);
                    self.cis.remove(id)
                };
                if let Some(before) = before {
                    self.touch(&before.tenant_id, false);
                }
            }
            Deed::Documents(id, documents) => {
                match documents {
                    Some(documents) => self.documents.insert(*id, documents.clone()),
                    None => self.documents.remove(id),
                };
                if let Some(tenant) = self.cis.get(id).map(|ci| ci.tenant_id.clone()) {
                    self.touch(&tenant, false);
                }
            }
            Deed::Relation(link, there) => {
                if *there {
                    self.links.insert(link.clone());
                } else {
                    self.links.remove(link);
                }
                self.touch(&link.0, true);
            }
            Deed::Truncated(table) => {
                match table.as_str() {
                    "ci" => self.cis.clear(),
                    "ci_ext" => self.documents.clear(),
                    _ => self.links.clear(),
                }
                let clock = self.clock;
                for age in self.ages.values_mut() {
                    *age = Age {
                        cis: clock,
                        links: clock,
                    };
                }
            }
            Deed::Blind(_) => {}
        }
    }

    fn touch(&mut self, tenant: &TenantId, links: bool) {
        let age = self.ages.entry(tenant.clone()).or_default();
        *(if links { &mut age.links } else { &mut age.cis }) = self.clock;
    }

    /// How old a tenant's rows are.
    pub fn age(&self, tenant: &TenantId) -> Age {
        self.ages.get(tenant).copied().unwrap_or_default()
    }

    /// A tenant's rows in the form of the naive reference, which knows one tenant: its own.
    pub fn world(&self, tenant: &TenantId) -> World {
        let own = world::tenant();
        let mut cis = Vec::new();
        let mut places = HashMap::new();
        for (id, row) in self.cis.iter().filter(|(_, row)| row.tenant_id == *tenant) {
            places.insert(*id, cis.len());
            let (tags, attributes) = self
                .documents
                .get(id)
                .map(|both| (**both).clone())
                .unwrap_or_default();
            cis.push(CiDetail {
                tenant_id: own.clone(),
                tags,
                attributes,
                ..(**row).clone()
            });
        }
        let ends = self.links.iter().filter(|(owner, ..)| owner == tenant);
        let relations =
            ends.filter_map(|(_, from, to, kind)| Some((*places.get(from)?, *places.get(to)?, kind.clone())));
        let relations = relations.collect();
        World::new(cis, relations)
    }

    /// How many CIs a tenant has.
    pub fn count(&self, tenant: &TenantId) -> usize {
        self.cis.values().filter(|row| row.tenant_id == *tenant).count()
    }
}
