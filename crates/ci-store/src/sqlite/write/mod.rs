//! Writes: one connection does them, one transaction each.

pub(super) mod cis;
mod relations;
mod rows;

pub(super) use cis::{delete_cis, upsert_cis};
pub(super) use relations::{delete_relations, upsert_relations};
