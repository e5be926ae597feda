//! The questions, one file each. Every one is checked on construction: what exists can be asked.

mod aggregate;
mod cursor;
mod expand;
mod get;
mod list;
mod path;
mod ranking;
mod search;

pub use aggregate::{Aggregate, AggregateBuilder, Distinct};
pub use cursor::{Cursor, Place};
pub use expand::{Expand, ExpandBuilder};
pub use get::Get;
pub use list::{List, ListBuilder, ListOrder};
pub use path::{Path, PathBuilder};
pub use ranking::Ranking;
pub use search::{Order, Search, SearchBuilder, Sort, SortColumn};
