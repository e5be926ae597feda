//! What the history checker is made of: a record of what really happened to a database, and what questions answer to it.
//!
//! Nothing here shares code with what it checks, beyond the words of [`ci_model`]: triggers of the test's own write down
//! every row's fate ([`audit`]), a [`Timeline`] says which of that a version includes and plays it back, and
//! [`truth`] answers questions to the state that comes out, the slow and obvious way.

pub mod audit;
pub mod meddler;
mod planted;
pub mod server;
pub mod state;
pub mod timeline;
pub mod truth;

pub use audit::{Audited, Deed, Raw};
pub use meddler::{FeedMode, Meddler, Meddling, Planted};
pub use server::{Ending, Server};
pub use state::State;
pub use timeline::{Place, Timeline};
