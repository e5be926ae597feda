//! The relations of a tenant, page by page.

use ci_model::Relation;

use super::{Argument, Binder};

/// Writes a page of the relations whose two ends are live, by start, type and end: the order of the table's own index.
pub(crate) fn page(binder: &mut Binder, after: Option<&Relation>, limit: u32) -> String {
    let own = binder.own("r");
    let after = after.map_or_else(String::new, |last| {
        let from = binder.bind(Argument::Id(last.from_id.0));
        let rel_type = binder.bind(Argument::Text(last.rel_type.as_str().to_owned()));
        let to = binder.bind(Argument::Id(last.to_id.0));
        format!(" AND (r.from_id, r.rel_type, r.to_id) > ({from}, {rel_type}, {to})")
    });
    let limit = binder.rows(limit);
    format!(
        "SELECT a.ci_code, b.ci_code, r.rel_type, r.from_id, r.to_id FROM ci_relation AS r \
         JOIN ci AS a ON a.ci_id = r.from_id JOIN ci AS b ON b.ci_id = r.to_id \
         WHERE {own} AND a.deleted_at IS NULL AND b.deleted_at IS NULL{after} \
         ORDER BY r.from_id, r.rel_type, r.to_id LIMIT {limit}"
    )
}
