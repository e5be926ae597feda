//! The statements, written once for both databases.

pub(crate) mod fold;
