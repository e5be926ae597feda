//! Matching: what a cached answer about configuration items depends on, and whether a change matters to it.
//!
//! [`Dependency`] is made of a question and its answer; [`CiDomain`] judges changes for [`crate::coherence`]. The judgement
//! is exact where the database's order and predicates can be told from the images of a change, and says yes where
//! they cannot:
//!
//! | answer | a change of a CI matters when |
//! |---|---|
//! | get | the CI is, or takes, or loses the id or code that is asked for |
//! | search | a row of the result leaves it or shows other columns; another one matches and sorts before the last row of a full result, or the result is not full; behind the cursor, where there is one |
//! | list | a row joins or leaves the selection, moves in the order, or shows other columns on the page |
//! | aggregate | a row joins or leaves the selection, or has another group's or distinct value |
//! | expand | a CI of the graph leaves it or shows other columns; one beside an expanded CI appears, or, in a graph that was cut, moves; a root that was missing comes. With filters, any CI that comes to pass them by a change that does not tell its neighbours |
//! | path | a CI of the route leaves it or shows other columns; one that was visited sorts elsewhere; one beside those appears; where there are more paths than shown, one that was visited goes |
//!
//! A change of a relation matters to an expansion when it leads from a CI that was expanded, the way that is followed; to
//! a path when one comes at a CI that was visited or one goes between two of the route, or of those that were visited where there are more paths than shown; to nothing else.
//!
//! Whoever says no must leave the *footprint* true as well as the answer: changes are judged one by one by what was
//! true when the answer was loaded.
//!
//! ```text
//! path a - b; visited are a, b, c
//! a relation c - d comes        the answer stays. If this did not matter ...
//! a relation d - b comes        ... neither would this: it touches no CI that is known to have been visited
//! ```

mod anchors;
mod dependency;
mod domain;
mod file;
mod graphs;
mod hint;
mod ids;
mod needles;
mod probe;
mod reason;
mod rows;
mod rules;
#[cfg(test)]
mod tests;
mod verdict;
mod weight;
mod window;

pub use dependency::{Answered, Dependency};
pub use domain::CiDomain;
pub use hint::{Hint, Sight};
pub use reason::Reason;
#[cfg(feature = "planted")]
pub use rules::Rule;
