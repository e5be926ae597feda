//! Writes: one transaction each, which excludes other writers of its tenants.

mod cis;
mod relations;
mod rows;

pub(super) use cis::{analyze, delete_cis, upsert_cis};
pub(super) use relations::{delete_relations, upsert_relations};
