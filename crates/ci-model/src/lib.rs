//! The domain of ci-cache, pure: configuration items, relations, questions, canonical keys and predicates.
//!
//! A CMDB is asked the same questions all day. To cache an answer, a question needs one canonical form ([`Key`]), and to
//! know whether a change matters to an answer, it needs a predicate on a row ([`Selection::matches`]). This crate has
//! both, and the checks that keep bad input from ever reaching a database.
//!
//! Three nouns: a [`CiDetail`] is one configuration item; a [`Question`] is what can be asked about many; a
//! [`TenantId`] says whose they are, and stands first in every key.
//!
//! Guaranteed: a question that exists is valid (construction checks it); equal questions of one tenant have equal keys
//! and different ones have different keys; two tenants never share a key. Not here: I/O, async, locks, clocks.
//!
//! ```
//! use ci_model::{Filter, Key, Question, Search, TenantId};
//!
//! # fn main() -> Result<(), ci_model::Error> {
//! let tenant = TenantId::new("acme")?;
//! let search = |words: [&str; 2]| -> Result<Question, ci_model::Error> {
//!     Ok(Search::builder().keywords(words).filter(Filter::parse("status=active")?).limit(20).build()?.into())
//! };
//! assert_eq!(Key::new(&tenant, &search(["ERP", " db"])?), Key::new(&tenant, &search(["db", "erp"])?));
//!
//! let refused = Filter::parse("colour=red").unwrap_err();
//! assert!(refused.to_string().contains("allowed are ci_type, ci_subtype"));
//! # Ok(())
//! # }
//! ```
//!
//! Limits are constants in [`limits`]. Modules in reading order: [`limits`], [`fold`], [`json`], [`filter`].

mod answer;
mod change;
mod ci;
mod error;
mod field;
pub mod filter;
mod fingerprint;
pub mod fold;
pub mod json;
mod key;
mod key_read;
pub mod limits;
mod outcome;
mod precondition;
mod predicate;
mod projection;
mod query;
mod question;
mod relation;
mod sealed;
mod selection;
mod tenant;
mod text;
mod timestamp;
mod version;
mod view;

pub use answer::{Graph, Group, GroupValue, Groups, ListPage, Node, PathAnswer, Route, Routes};
pub use change::{Change, CiChange, Event, Image, RelationChange, RelationImage};
pub use ci::{CiCode, CiDetail, CiDraft, CiId, CiRecord, CiRef, CiSummary, Criticality};
pub use error::Error;
pub use field::{Column, DocumentPath, Field, FieldKind};
pub use filter::Filter;
pub use fingerprint::Fingerprint;
pub use json::Document;
pub use key::Key;
pub use outcome::{CiOutcome, Effect, Rejection, RelationOutcome};
pub use precondition::Precondition;
pub use projection::{Projection, Row};
pub use query::{
    Aggregate, AggregateBuilder, Cursor, Distinct, Expand, ExpandBuilder, Get, List, ListBuilder, ListOrder,
    Order, Path, PathBuilder, Place, Ranking, Search, SearchBuilder, Sort, SortColumn,
};
pub use question::{Question, QuestionKind};
pub use relation::{Direction, Relation, RelationDraft, RelationRecord, RelationType};
pub use selection::{KeywordMode, Selection};
pub use tenant::TenantId;
pub use timestamp::Timestamp;
pub use version::{Epoch, Origin, Token, TxSnapshot, Version};
pub use view::{View, ViewPolicy};
