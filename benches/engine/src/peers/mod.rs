//! The peers, each adapted in a file of its own and configured as its documentation advises.

pub(crate) mod moka;
pub(crate) mod plain;
pub(crate) mod quick;

pub(crate) use moka::Moka;
pub(crate) use plain::Plain;
pub(crate) use quick::Quick;
