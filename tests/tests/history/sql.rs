//! What other programs write, as SQL.

use std::fmt::Write as _;

use ci_tests::store_contract::world::{below, one_of};
use rand_chacha::ChaCha8Rng;

use super::pool::{BULK, BULK_ROWS, KINDS, OWNERS, SLOTS, TENANTS, WORDS, code, id};

/// The present moment, in the form that the columns have.
fn now(sqlite: bool) -> &'static str {
    if sqlite {
        "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"
    } else {
        "clock_timestamp()"
    }
}

/// One statement, or a few that belong together.
pub(crate) fn statement(random: &mut ChaCha8Rng, sqlite: bool) -> String {
    let (slot, other) = (below(random, SLOTS), below(random, SLOTS));
    let (this, that, at) = (id(slot), id(other), now(sqlite));
    let owner = one_of(random, &OWNERS);
    let owned_by = one_of(random, &TENANTS);
    match below(random, 24) {
        0..4 => insert(random, slot, sqlite),
        4..6 => {
            let name = format!("{} {} {slot}", one_of(random, &WORDS), one_of(random, &WORDS));
            format!("UPDATE ci SET ci_name = '{name}', updated_at = {at} WHERE ci_id = '{this}'")
        }
        6 => format!(
            "UPDATE ci SET owner = NULL, criticality = {} WHERE ci_id = '{this}'",
            1 + below(random, 5)
        ),
        7 => format!("UPDATE ci SET owner = '{owner}', status = 'active' WHERE ci_id = '{this}'"),
        8 => format!(
            "UPDATE ci SET ci_code = '{}' WHERE ci_id = '{this}'",
            code(slot, below(random, 2) == 0)
        ),
        9 => format!("UPDATE ci SET deleted_at = {at} WHERE ci_id = '{this}' AND deleted_at IS NULL"),
        10 | 11 => format!("UPDATE ci SET deleted_at = NULL WHERE ci_id = '{this}'"),
        12 => format!("DELETE FROM ci WHERE ci_id = '{this}'"),
        13 => format!(
            "DELETE FROM ci_relation WHERE from_id = '{this}' OR to_id = '{this}'; \
             UPDATE ci SET tenant_id = '{owned_by}' WHERE ci_id = '{this}'"
        ),
        14..18 => relate(
            one_of(random, &KINDS),
            &format!("a.ci_id = '{this}' AND b.ci_id = '{that}'"),
        ),
        18 => format!("DELETE FROM ci_relation WHERE from_id = '{this}'"),
        19 => format!(
            "UPDATE ci_relation SET to_id = '{that}' WHERE from_id = '{this}' AND rel_type = '{}' AND EXISTS \
             (SELECT 1 FROM ci AS c WHERE c.ci_id = '{that}' AND c.tenant_id = ci_relation.tenant_id)",
            one_of(random, &KINDS)
        ),
        20 => format!(
            "UPDATE ci_ext SET tags = '{{\"role\": \"{}\"}}' WHERE ci_id = '{this}'",
            one_of(random, &["db", "web", "queue"])
        ),
        21 => format!("DELETE FROM ci_ext WHERE ci_id = '{this}'"),
        22 => format!("UPDATE ci SET updated_at = {at} WHERE tenant_id = '{owned_by}' AND ci_type = 'SW'"),
        _ => format!("UPDATE ci SET owner = '{owner}' WHERE tenant_id = '{owned_by}' AND criticality > 3"),
    }
}

/// Makes a CI with its documents unless it is there.
pub(crate) fn insert(random: &mut ChaCha8Rng, slot: usize, sqlite: bool) -> String {
    let pick = |random: &mut ChaCha8Rng, all: &[&str]| match below(random, all.len() + 1) {
        0 => "NULL".to_owned(),
        n => format!("'{}'", all[n - 1]),
    };
    let mut sql = format!(
        "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, ci_subtype, status, criticality, owner, \
         created_at, updated_at) VALUES ('{}', '{}', '{}', '{} {} {slot}', '{}', {}, {}, {}, {}, {at}, {at}) \
         ON CONFLICT DO NOTHING",
        id(slot),
        one_of(random, &TENANTS),
        code(slot, below(random, 8) == 0),
        one_of(random, &WORDS),
        one_of(random, &WORDS),
        one_of(random, &["SW", "HW"]),
        pick(random, &["server", "db"]),
        pick(random, &["active", "retired"]),
        1 + below(random, 5),
        pick(random, &OWNERS),
        at = now(sqlite),
    );
    if below(random, 2) == 0 {
        let _ = write!(
            sql,
            "; INSERT INTO ci_ext (ci_id, tags, attributes) SELECT c.ci_id, '{{\"role\": \"{}\"}}', '{{\"size\": {}}}' \
             FROM ci AS c WHERE c.ci_id = '{}' ON CONFLICT (ci_id) DO UPDATE SET tags = excluded.tags",
            one_of(random, &["db", "web"]),
            below(random, 9),
            id(slot),
        );
    }
    sql
}

fn relate(kind: &str, which: &str) -> String {
    format!(
        "INSERT INTO ci_relation (tenant_id, from_id, to_id, rel_type) SELECT a.tenant_id, a.ci_id, b.ci_id, '{kind}' \
         FROM ci AS a JOIN ci AS b ON b.tenant_id = a.tenant_id AND b.ci_id <> a.ci_id WHERE {which} \
         ON CONFLICT DO NOTHING"
    )
}

/// The world that everything begins with, or begins again with after everything went.
pub(crate) fn beginning(random: &mut ChaCha8Rng, sqlite: bool) -> String {
    let mut sql = String::new();
    for slot in 0..SLOTS {
        if below(random, 4) > 0 {
            let _ = writeln!(sql, "{};", insert(random, slot, sqlite));
        }
    }
    for _ in 0..SLOTS * 2 {
        let which = format!(
            "a.ci_id = '{}' AND b.ci_id = '{}'",
            id(below(random, SLOTS)),
            id(below(random, SLOTS))
        );
        let _ = writeln!(sql, "{};", relate(one_of(random, &KINDS), &which));
    }
    sql
}

/// The rows of the large tenant, unless they are there.
pub(crate) fn bulk(sqlite: bool) -> String {
    let (id, number) = if sqlite {
        (
            "printf('00000000-0000-4000-a000-%012d', n.i)",
            "printf('%05d', n.i)",
        )
    } else {
        (
            "('00000000-0000-4000-a000-' || lpad(n.i::text, 12, '0'))::uuid",
            "lpad(n.i::text, 5, '0')",
        )
    };
    format!(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
         INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, owner, created_at, updated_at) \
         SELECT {id}, '{BULK}', 'bulk-' || {number}, 'one of many', 'HW', 'ops', {at}, {at} FROM n WHERE true \
         ON CONFLICT DO NOTHING",
        last = BULK_ROWS - 1,
        at = now(sqlite),
    )
}

/// Does something to the feed's triggers (PostgreSQL): `DISABLE`, or `ENABLE ALWAYS`.
pub(crate) fn triggers(what: &str) -> String {
    let each = ["ci", "ci_ext", "ci_relation"].map(|table| {
        let triggers = ["rows", "truncate"].map(|name| format!("{what} TRIGGER \"CI_change_{name}\""));
        format!("ALTER TABLE {table} {};\n", triggers.join(", "))
    });
    each.concat()
}
