//! Random changes of a world: what becomes of it, what a change feed would tell, and the statements that do it.

use std::fmt::Write as _;

use ci_model::{
    CiChange, CiCode, CiDetail, CiId, Criticality, Event, Image, RelationChange, RelationImage, RelationType,
    TenantId, Timestamp, json,
};
use rand_chacha::ChaCha8Rng;

use super::World;
use super::world::{self, Edge, below, moment, one_of, quoted, stranger, tenant, text};

/// CIs of the tenant that every world keeps.
const FEWEST: usize = 4;
const KINDS: &[&str] = &["DEPENDS_ON", "RUNS_ON", "COMPOSED_OF", "ünlike", "USES"];

/// What one transaction did.
#[derive(Debug, Default)]
pub struct Step {
    /// In words.
    pub what: &'static str,
    /// What the feed tells, row by row.
    pub events: Vec<Event>,
    writes: Vec<Write>,
}

#[derive(Debug)]
enum Write {
    Insert(Box<CiDetail>),
    Update(Box<CiDetail>),
    Ext(Box<CiDetail>),
    Delete(CiId),
    Relate(TenantId, RelationImage),
    Unrelate(TenantId, RelationImage),
}

/// How changes are told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Telling {
    /// Leave parts of images and neighbours unknown now and then.
    pub vague: bool,
    /// Write what no checked writer does: columns with a separator in them, relations to nowhere.
    pub lawless: bool,
}

/// The tenant of what was deleted: a place in the world stays taken, as relations go by places.
fn nowhere() -> TenantId {
    TenantId::new("nowhere").expect("a good name")
}

/// Changes a world.
///
/// # Panics
/// When the world has fewer than four CIs of the tenant.
pub fn change(random: &mut ChaCha8Rng, world: &mut World, telling: Telling) -> Step {
    let mut teller = Teller {
        random,
        world,
        telling,
        step: Step::default(),
    };
    let what = match below(teller.random, 24) {
        0 | 1 => teller.insert(),
        2..=6 => teller.columns(),
        7 => teller.swap_codes(),
        8 => teller.take_code(),
        9..=11 => teller.delete_softly(),
        12 => teller.delete(),
        13 => teller.move_tenant(),
        14..=16 => teller.relate(),
        17 | 18 => teller.unrelate(),
        19 | 20 => teller.retarget(),
        21 => teller.touch(),
        _ => teller.documents(),
    };
    teller.step.what = what;
    let step = teller.step;
    world.changed();
    step
}

struct Teller<'a> {
    random: &'a mut ChaCha8Rng,
    world: &'a mut World,
    telling: Telling,
    step: Step,
}

impl Teller<'_> {
    /// A CI that is there, of the tenant that is asked most of the time.
    fn any(&mut self) -> usize {
        let (own, other) = (tenant(), stranger());
        let stranger = below(self.random, 12) == 0;
        loop {
            let at = below(self.random, self.world.cis.len());
            let owner = &self.world.cis[at].tenant_id;
            if *owner == own || (stranger && *owner == other) {
                return at;
            }
        }
    }

    fn fresh_code(&mut self) -> CiCode {
        let number = below(self.random, 1_000_000);
        CiCode::new(format!("{}-n{number}", text(self.random, 2))).expect("a code")
    }

    fn image(&mut self, at: usize) -> Image {
        Image::from(&self.world.cis[at])
    }

    /// Every CI that relations lead to or from.
    fn neighbours(&self, at: usize) -> Vec<CiId> {
        let ends = self.world.relations.iter().filter_map(|(from, to, _)| match at {
            _ if *from == at => Some(*to),
            _ if *to == at => Some(*from),
            _ => None,
        });
        ends.map(|other| self.world.cis[other].summary.ci_id).collect()
    }

    fn is_vague(&mut self) -> bool {
        self.telling.vague && below(self.random, 12) == 0
    }

    /// Tells a change of a row. Parts are unknown in both images or in one.
    fn tell(&mut self, at: usize, owner: TenantId, mut old: Option<Image>, mut new: Option<Image>) {
        let matters = match (&old, &new) {
            (Some(old), Some(new)) => old.deleted != new.deleted || old.code != new.code,
            _ => true,
        };
        let neighbours = if matters { self.neighbours(at) } else { Vec::new() };
        let hide: [fn(&mut Image); 3] = [
            |image| image.created_at = None,
            |image| image.updated_at = None,
            |image| (image.tags, image.attributes) = (None, None),
        ];
        for hide in hide {
            for image in [&mut old, &mut new] {
                if let Some(image) = image.as_mut().filter(|_| self.telling.vague)
                    && below(self.random, 10) == 0
                {
                    hide(image);
                }
            }
        }
        let vague = self.is_vague();
        self.step.events.push(Event::Ci(Box::new(CiChange {
            tenant: owner,
            id: self.world.cis[at].summary.ci_id,
            old,
            new,
            neighbours: (!vague).then_some(neighbours),
        })));
    }

    /// Changes a row and tells it.
    fn update(&mut self, at: usize, change: impl FnOnce(&mut CiDetail)) {
        let old = self.image(at);
        change(&mut self.world.cis[at]);
        let new = self.image(at);
        let ci = self.world.cis[at].clone();
        self.tell(at, ci.tenant_id.clone(), Some(old), Some(new));
        self.step.writes.push(Write::Update(Box::new(ci)));
    }

    fn insert(&mut self) -> &'static str {
        let at = self.world.cis.len();
        let mut ci = world::ci(self.random, at);
        ci.summary.ci_code = self.fresh_code();
        ci.summary.ci_id = CiId::derived(&ci.tenant_id, &ci.summary.ci_code);
        self.world.cis.push(ci.clone());
        let new = self.image(at);
        self.tell(at, ci.tenant_id.clone(), None, Some(new));
        self.step.writes.push(Write::Insert(Box::new(ci)));
        if below(self.random, 2) == 0 {
            let other = self.any();
            self.add_relation(at, other);
        }
        "insert"
    }

    fn columns(&mut self) -> &'static str {
        let at = self.any();
        let lawless = self.telling.lawless && below(self.random, 4) == 0;
        let donor = {
            let at = self.world.cis.len();
            world::ci(self.random, at)
        };
        let (which, code) = (below(self.random, 14), self.fresh_code());
        self.update(at, |ci| {
            let (own, new) = (&mut ci.summary, donor.summary);
            match which {
                0 | 1 if lawless => own.ci_name = format!("{}\u{1f}{}", new.ci_name, own.ci_name),
                0..=2 => own.ci_name = new.ci_name,
                3 => own.ci_type = new.ci_type,
                4 => own.ci_subtype = new.ci_subtype,
                5 => own.ci_category = new.ci_category,
                6 => own.status = new.status,
                7 => own.location = new.location,
                8 => own.owner = new.owner,
                9 => ci.criticality = donor.criticality,
                10 => ci.created_at = donor.created_at,
                _ => own.ci_code = code,
            }
        });
        "columns"
    }

    fn touch(&mut self) -> &'static str {
        let (at, moment) = (self.any(), moment(self.random));
        self.update(at, |ci| ci.updated_at = moment);
        "touch"
    }

    fn documents(&mut self) -> &'static str {
        let at = self.any();
        let old = self.image(at);
        let tags = below(self.random, 2) == 0;
        let document = world::document(self.random, "tags");
        let ci = &mut self.world.cis[at];
        if tags {
            ci.tags = document;
        } else {
            ci.attributes = document;
        }
        let ci = ci.clone();
        let new = self.image(at);
        self.tell(at, ci.tenant_id.clone(), Some(old), Some(new));
        self.step.writes.push(Write::Ext(Box::new(ci)));
        "documents"
    }

    fn swap_codes(&mut self) -> &'static str {
        let (one, other) = (self.any(), self.any());
        if one == other || self.world.cis[one].tenant_id != self.world.cis[other].tenant_id {
            return "nothing";
        }
        let codes = [one, other].map(|at| self.world.cis[at].summary.ci_code.clone());
        let between = self.fresh_code();
        let [first, second] = codes;
        self.update(one, |ci| ci.summary.ci_code = between);
        self.update(other, |ci| ci.summary.ci_code = first);
        self.update(one, |ci| ci.summary.ci_code = second);
        "swap codes"
    }

    fn take_code(&mut self) -> &'static str {
        let (one, other) = (self.any(), self.any());
        if one == other || self.world.cis[one].tenant_id != self.world.cis[other].tenant_id {
            return "nothing";
        }
        let (code, fresh) = (self.world.cis[one].summary.ci_code.clone(), self.fresh_code());
        self.update(one, |ci| ci.summary.ci_code = fresh);
        self.update(other, |ci| ci.summary.ci_code = code);
        "take code"
    }

    /// Deletes softly or brings back.
    fn delete_softly(&mut self) -> &'static str {
        let mut at = self.any();
        // Those that are deleted are few.
        for _ in 0..below(self.random, 2) * 6 {
            if self.world.cis[at].deleted_at.is_none() {
                at = self.any();
            }
        }
        let now = moment(self.random);
        self.update(at, |ci| {
            let deleted: Option<Timestamp> = ci.deleted_at.is_none().then_some(now);
            ci.deleted_at = deleted;
        });
        "delete softly or bring back"
    }

    fn delete(&mut self) -> &'static str {
        self.leave(nowhere());
        "delete"
    }

    fn move_tenant(&mut self) -> &'static str {
        self.leave(stranger());
        "move to another tenant"
    }

    /// Takes a CI away from its tenant, after its relations.
    fn leave(&mut self, to: TenantId) {
        let at = self.any();
        let owner = self.world.cis[at].tenant_id.clone();
        // The last few stay: a world without any has nothing that could change.
        let left = self
            .world
            .cis
            .iter()
            .filter(|ci| ci.tenant_id == tenant())
            .count();
        if owner == to || (owner == tenant() && left <= FEWEST) {
            return;
        }
        let old = self.image(at);
        let gone = to == nowhere();
        // Where nothing forbids it, relations stay behind and lead nowhere.
        let dangling = self.telling.lawless && gone && below(self.random, 3) == 0;
        let early = below(self.random, 2) == 0;
        if early {
            self.tell(at, owner.clone(), Some(old.clone()), None);
        }
        if !dangling {
            let (own, rest): (Vec<Edge>, Vec<Edge>) = std::mem::take(&mut self.world.relations)
                .into_iter()
                .partition(|edge| edge.0 == at || edge.1 == at);
            self.world.relations = rest;
            for edge in own {
                self.relation(&owner, Some(&edge), None);
            }
        }
        if !early {
            self.tell(at, owner, Some(old), None);
        }
        self.world.cis[at].tenant_id = to.clone();
        let ci = self.world.cis[at].clone();
        if gone {
            self.step.writes.push(Write::Delete(ci.summary.ci_id));
        } else {
            let new = self.image(at);
            self.tell(at, to, None, Some(new));
            self.step.writes.push(Write::Update(Box::new(ci)));
        }
    }

    /// Tells and writes a change of a relation; the world has it already.
    fn relation(&mut self, owner: &TenantId, old: Option<&Edge>, new: Option<&Edge>) {
        let image = |edge: &Edge| RelationImage {
            from: self.world.cis[edge.0].summary.ci_id,
            to: self.world.cis[edge.1].summary.ci_id,
            rel_type: edge.2.clone(),
        };
        let (old, new) = (old.map(image), new.map(image));
        let writes = [
            old.clone().map(|image| Write::Unrelate(owner.clone(), image)),
            new.clone().map(|image| Write::Relate(owner.clone(), image)),
        ];
        self.step.writes.extend(writes.into_iter().flatten());
        self.step.events.push(Event::Relation(RelationChange {
            tenant: owner.clone(),
            old,
            new,
        }));
    }

    fn add_relation(&mut self, from: usize, to: usize) {
        let before = self.world.relations.len();
        self.world.relate(from, to, one_of(self.random, KINDS));
        if self.world.relations.len() > before {
            let edge = self.world.relations[before].clone();
            let owner = self.world.cis[from].tenant_id.clone();
            self.relation(&owner, None, Some(&edge));
        }
    }

    fn relate(&mut self) -> &'static str {
        let (from, to) = (self.any(), self.any());
        self.add_relation(from, to);
        "relate"
    }

    /// A relation of a CI that is there.
    fn any_relation(&mut self) -> Option<usize> {
        let count = self.world.relations.len();
        let start = below(self.random, count.max(1));
        (0..count)
            .map(|n| (start + n) % count)
            .find(|at| self.world.cis[self.world.relations[*at].0].tenant_id != nowhere())
    }

    fn unrelate(&mut self) -> &'static str {
        let Some(at) = self.any_relation() else {
            return "nothing";
        };
        let edge = self.world.relations.swap_remove(at);
        let owner = self.world.cis[edge.0].tenant_id.clone();
        self.relation(&owner, Some(&edge), None);
        "unrelate"
    }

    fn retarget(&mut self) -> &'static str {
        let (Some(at), to) = (self.any_relation(), self.any()) else {
            return "nothing";
        };
        let old = self.world.relations[at].clone();
        let kind = RelationType::new(one_of(self.random, KINDS)).expect("a relation type");
        let new = if below(self.random, 2) == 0 {
            (old.0, to, old.2.clone())
        } else {
            (old.0, old.1, kind)
        };
        let owner = self.world.cis[old.0].tenant_id.clone();
        if new.0 == new.1 || self.world.cis[new.1].tenant_id != owner || self.world.relations.contains(&new) {
            return "nothing";
        }
        self.world.relations[at] = new.clone();
        self.relation(&owner, Some(&old), Some(&new));
        "retarget"
    }
}

impl Step {
    /// The statements of the transaction.
    pub fn sql(&self, sqlite: bool) -> String {
        let mut sql = String::from("BEGIN;\n");
        for write in &self.writes {
            write.sql(&mut sql, sqlite);
        }
        sql.push_str("COMMIT;");
        sql
    }
}

impl Write {
    fn sql(&self, sql: &mut String, sqlite: bool) {
        let cast = if sqlite { "" } else { "::jsonb" };
        let optional = |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), quoted);
        let _ = match self {
            Self::Insert(ci) => {
                world::write_ci(sql, ci, sqlite);
                Ok(())
            }
            Self::Update(ci) => {
                let own = &ci.summary;
                writeln!(
                    sql,
                    "UPDATE ci SET tenant_id = {}, ci_code = {}, ci_name = {}, ci_type = {}, ci_subtype = {}, \
                     ci_category = {}, status = {}, criticality = {}, location = {}, owner = {}, created_at = '{}', \
                     updated_at = '{}', deleted_at = {} WHERE ci_id = '{}';",
                    quoted(ci.tenant_id.as_str()),
                    quoted(own.ci_code.as_str()),
                    quoted(&own.ci_name),
                    quoted(&own.ci_type),
                    optional(&own.ci_subtype),
                    optional(&own.ci_category),
                    optional(&own.status),
                    ci.criticality
                        .map(Criticality::get)
                        .map_or("NULL".to_owned(), |n| n.to_string()),
                    optional(&own.location),
                    optional(&own.owner),
                    ci.created_at,
                    ci.updated_at,
                    ci.deleted_at
                        .map_or("NULL".to_owned(), |moment| format!("'{moment}'")),
                    own.ci_id,
                )
            }
            Self::Ext(ci) => writeln!(
                sql,
                "DELETE FROM ci_ext WHERE ci_id = '{id}'; \
                 INSERT INTO ci_ext (ci_id, tags, attributes) VALUES ('{id}', {}{cast}, {}{cast});",
                quoted(&json::to_text(&ci.tags)),
                quoted(&json::to_text(&ci.attributes)),
                id = ci.summary.ci_id,
            ),
            Self::Delete(id) => writeln!(sql, "DELETE FROM ci WHERE ci_id = '{id}';"),
            Self::Relate(owner, image) => writeln!(
                sql,
                "INSERT INTO ci_relation (tenant_id, from_id, to_id, rel_type) VALUES ({}, '{}', '{}', {});",
                quoted(owner.as_str()),
                image.from,
                image.to,
                quoted(image.rel_type.as_str()),
            ),
            Self::Unrelate(owner, image) => writeln!(
                sql,
                "DELETE FROM ci_relation WHERE tenant_id = {} AND from_id = '{}' AND to_id = '{}' AND rel_type = {};",
                quoted(owner.as_str()),
                image.from,
                image.to,
                quoted(image.rel_type.as_str()),
            ),
        };
    }
}
