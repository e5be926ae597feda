//! The peers, each adapted in a file of its own and configured as its documentation advises.

pub(crate) mod dash;
pub(crate) mod foyer;
pub(crate) mod mini;
pub(crate) mod moka;
pub(crate) mod plain;
pub(crate) mod quick;
pub(crate) mod stretto;
pub(crate) mod timed;
pub(crate) mod tiny;

pub(crate) use dash::Dash;
pub(crate) use foyer::Foyer;
pub(crate) use mini::Mini;
pub(crate) use moka::Moka;
pub(crate) use plain::Plain;
pub(crate) use quick::Quick;
pub(crate) use stretto::Stretto;
pub(crate) use timed::Timed;
pub(crate) use tiny::Tiny;
