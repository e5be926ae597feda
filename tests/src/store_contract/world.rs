//! A small random CMDB in memory, with everything that makes text and JSON hard, and its form as SQL statements.

use std::fmt::Write as _;
use std::sync::OnceLock;

use ci_model::{
    CiCode, CiDetail, CiId, CiSummary, Criticality, Document, Image, RelationType, TenantId, Timestamp, json,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

/// Pieces of text: wildcards, quotes, control pictures, cases that fold oddly, characters of one to four bytes.
const PIECES: &[&str] = &[
    "erp",
    "ERP",
    "Order",
    "db",
    "1",
    "a",
    "%",
    "_",
    "\\",
    "'",
    "\"",
    "a%b_c",
    "[x]",
    "*",
    "?",
    ".",
    "Straße",
    "ẞ",
    "İ",
    "ı",
    "I",
    "i",
    "K",
    "k",
    "ſ",
    "S",
    "Σίσυφος",
    "σς",
    "é",
    "É",
    "e\u{301}",
    "数据库",
    "😀",
    "ǅ",
    "ǆ",
    "Ꭰ",
    "ꭰ",
    "\u{1c80}",
    "В",
    "ﬀ",
    "Å",
    "å",
    "µ",
    "μ",
    "AND",
    "NEAR(",
    "{",
    "$1",
    "--",
    ";",
];
/// What stands between them.
const JOINTS: &[&str] = &["", "", "-", "_", " ", "."];
/// Keys of documents, from plain to hostile.
const KEYS: &[&str] = &[
    "role",
    "a.b",
    "quo\"te",
    "back\\slash",
    "0",
    "[0]",
    "$",
    "é",
    "x y",
    "'",
    "deep",
    "ROLE",
    "a\"]",
    "#-1",
    "*",
];

/// A random number source of a seed.
pub fn seeded(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A number below `below`, which must not be 0.
pub fn below(random: &mut ChaCha8Rng, below: usize) -> usize {
    usize::try_from(random.next_u64() % below as u64).unwrap_or(0)
}

/// One of several.
///
/// # Panics
/// When there is none.
pub fn one_of<'a, T: ?Sized>(random: &mut ChaCha8Rng, all: &[&'a T]) -> &'a T {
    all[below(random, all.len())]
}

/// A random text of one to `most` pieces.
pub fn text(random: &mut ChaCha8Rng, most: usize) -> String {
    let mut text = String::from(one_of(random, PIECES));
    for _ in 0..below(random, most) {
        text.push_str(one_of(random, JOINTS));
        text.push_str(one_of(random, PIECES));
    }
    text
}

/// A document's key.
pub fn key(random: &mut ChaCha8Rng) -> &'static str {
    one_of(random, KEYS)
}

/// CIs and relations of two tenants.
#[derive(Debug)]
pub struct World {
    /// All CIs, in no order.
    pub cis: Vec<CiDetail>,
    /// Relations by position of their ends in `cis`.
    pub relations: Vec<Edge>,
    /// The rows of `cis` as predicates see them, made when they are first asked for.
    images: OnceLock<Vec<Image>>,
    /// For each of `cis` the positions of its relations, made when they are first asked for.
    ends: OnceLock<Vec<Vec<usize>>>,
}

/// A relation by position of its ends, and its type.
pub type Edge = (usize, usize, RelationType);

/// The tenant that questions are asked for.
///
/// # Panics
/// Never: the name is fine.
pub fn tenant() -> TenantId {
    TenantId::new("acme").expect("a good name")
}

/// The tenant whose rows must never be seen.
///
/// # Panics
/// Never: the name is fine.
pub fn stranger() -> TenantId {
    TenantId::new("acme corp").expect("a good name")
}

impl World {
    /// A world of given CIs, and of relations by position of their ends among them.
    pub fn new(cis: Vec<CiDetail>, relations: Vec<Edge>) -> Self {
        Self {
            cis,
            relations,
            images: OnceLock::new(),
            ends: OnceLock::new(),
        }
    }

    /// A world of `count` CIs and about `relations` relations, the same for the same seed.
    pub fn random(seed: u64, count: usize, relations: usize) -> Self {
        let mut random = seeded(seed);
        let cis: Vec<CiDetail> = (0..count).map(|at| ci(&mut random, at)).collect();
        let mut world = Self::new(cis, Vec::new());
        for _ in 0..relations {
            // A few hubs, so that levels overflow.
            let from = below(&mut random, count);
            let to = if below(&mut random, 3) == 0 {
                below(&mut random, 4)
            } else {
                below(&mut random, count)
            };
            let kind = one_of(
                &mut random,
                &["DEPENDS_ON", "RUNS_ON", "COMPOSED_OF", "ünlike", "USES"],
            );
            world.relate(from, to, kind);
        }
        world
    }

    /// The rows of `cis` as predicates see them, in the same order. Whoever changes `cis` afterwards says so by
    /// [`World::changed`].
    pub fn images(&self) -> &[Image] {
        self.images
            .get_or_init(|| self.cis.iter().map(Image::from).collect())
    }

    /// The relations with one end at a CI, in the order of `relations`. Whoever changes those afterwards says so by
    /// [`World::changed`].
    pub fn edges(&self, at: usize) -> impl Iterator<Item = &Edge> {
        let ends = self.ends.get_or_init(|| {
            let mut ends = vec![Vec::new(); self.cis.len()];
            for (place, (from, to, _)) in self.relations.iter().enumerate() {
                ends[*from].push(place);
                ends[*to].push(place);
            }
            ends
        });
        ends[at].iter().map(|place| &self.relations[*place])
    }

    /// Forgets what was made of rows and relations that have changed.
    pub fn changed(&mut self) {
        self.images = OnceLock::new();
        self.ends = OnceLock::new();
    }

    /// Adds a relation unless it is there, leads to itself or crosses a tenant.
    ///
    /// # Panics
    /// When `kind` is no relation type.
    pub fn relate(&mut self, from: usize, to: usize, kind: &str) {
        let relation = (from, to, RelationType::new(kind).expect("a relation type"));
        if from != to
            && self.cis[from].tenant_id == self.cis[to].tenant_id
            && !self.relations.contains(&relation)
        {
            self.relations.push(relation);
            self.ends = OnceLock::new();
        }
    }

    /// The statements that another program would write the world with.
    pub fn sql(&self, sqlite: bool) -> String {
        let mut sql = String::from("BEGIN;\n");
        for ci in &self.cis {
            write_ci(&mut sql, ci, sqlite);
        }
        for (from, to, kind) in &self.relations {
            let (from, to) = (&self.cis[*from], &self.cis[*to]);
            let _ = writeln!(
                sql,
                "INSERT INTO ci_relation (tenant_id, from_id, to_id, rel_type) VALUES ({}, '{}', '{}', {});",
                quoted(from.tenant_id.as_str()),
                from.summary.ci_id,
                to.summary.ci_id,
                quoted(kind.as_str())
            );
        }
        sql.push_str("COMMIT;");
        sql
    }
}

/// The statements that insert a CI.
pub(super) fn write_ci(sql: &mut String, ci: &CiDetail, sqlite: bool) {
    let optional = |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), quoted);
    let summary = &ci.summary;
    let _ = writeln!(
        sql,
        "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, ci_subtype, ci_category, status, criticality, \
         location, owner, created_at, updated_at, deleted_at) VALUES ('{}', {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, \
         '{}', '{}', {});",
        summary.ci_id,
        quoted(ci.tenant_id.as_str()),
        quoted(summary.ci_code.as_str()),
        quoted(&summary.ci_name),
        quoted(&summary.ci_type),
        optional(&summary.ci_subtype),
        optional(&summary.ci_category),
        optional(&summary.status),
        ci.criticality
            .map_or("NULL".to_owned(), |value| value.get().to_string()),
        optional(&summary.location),
        optional(&summary.owner),
        ci.created_at,
        ci.updated_at,
        ci.deleted_at
            .map_or("NULL".to_owned(), |moment| format!("'{moment}'")),
    );
    // A CI without documents has no row in `ci_ext`.
    if !ci.tags.is_empty() || !ci.attributes.is_empty() {
        let cast = if sqlite { "" } else { "::jsonb" };
        let _ = writeln!(
            sql,
            "INSERT INTO ci_ext (ci_id, tags, attributes) VALUES ('{}', {}{cast}, {}{cast});",
            summary.ci_id,
            quoted(&json::to_text(&ci.tags)),
            quoted(&json::to_text(&ci.attributes)),
        );
    }
}

/// A SQL text literal.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn ci(random: &mut ChaCha8Rng, at: usize) -> CiDetail {
    let tenant_id = if below(random, 5) == 0 {
        stranger()
    } else {
        tenant()
    };
    let created_at = moment(random);
    let pick = |random: &mut ChaCha8Rng, all: &[&str]| match below(random, all.len() + 1) {
        0 => None,
        n => Some(all[n - 1].to_owned()),
    };
    let code = CiCode::new(format!("{}-{at}", text(random, 2))).expect("a code");
    CiDetail {
        summary: CiSummary {
            ci_id: CiId::derived(&tenant_id, &code),
            ci_code: code,
            ci_name: text(random, 4),
            ci_type: one_of(random, &["SW", "HW", "SYSTEM", "sw"]).to_owned(),
            ci_subtype: pick(random, &["server", "db", "Größe", "os"]),
            ci_category: pick(random, &["ops", "OPS", "a_b", "ß%"]),
            status: pick(random, &["active", "retired", "Active"]),
            location: pick(random, &["Zürich", "ZÜRICH", "Αθήνα", "a'b"]),
            owner: pick(random, &["team-a", "Team_A", "%"]),
        },
        tenant_id,
        criticality: Criticality::new(i64::try_from(below(random, 8)).unwrap_or(0)).ok(),
        created_at,
        updated_at: moment(random),
        deleted_at: (below(random, 8) == 0).then(|| moment(random)),
        tags: document(random, "tags"),
        attributes: document(random, "attributes"),
    }
}

/// One of a few moments, so that they are often equal.
///
/// # Panics
/// Never: the moments are in range.
pub fn moment(random: &mut ChaCha8Rng) -> Timestamp {
    let steps = i64::try_from(below(random, 12)).unwrap_or(0);
    Timestamp::from_micros(1_767_225_600_000_000 + steps * 1_000_001).expect("a moment")
}

pub(super) fn document(random: &mut ChaCha8Rng, what: &'static str) -> Document {
    let mut document = Document::new();
    for _ in 0..below(random, 5) {
        document.insert(key(random).to_owned(), value(random, 3));
    }
    json::normalised(what, document).expect("a document")
}

fn value(random: &mut ChaCha8Rng, depth: usize) -> Value {
    match below(random, if depth == 0 { 12 } else { 16 }) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(false),
        3 => json!(below(random, 4)),
        4 => json!(-1),
        5 => json!(1.5),
        6 => json!(1e300),
        7 => json!(1e-7),
        8 => json!(u64::MAX),
        9 => json!("1.5"),
        10 => json!(""),
        11 => json!(text(random, 2)),
        12 => json!([text(random, 1), 1]),
        13 => json!([{"role": "x", "0": "y"}]),
        _ => {
            let mut inner = serde_json::Map::new();
            for _ in 0..=below(random, 2) {
                inner.insert(key(random).to_owned(), value(random, depth - 1));
            }
            Value::Object(inner)
        }
    }
}
