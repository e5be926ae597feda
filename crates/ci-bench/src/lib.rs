//! Workloads and generators for ci-cache: the seeded estate.
//!
//! Tests, benchmarks and the demo need a CMDB of any size that looks like a real one and is the same every time. An
//! [`Estate`] is that: business systems made of apps, on application and web servers, databases, operating systems and
//! servers, at sites with networks, storage, firewalls, monitoring and control systems, with the relations between
//! them.
//!
//! Guaranteed: the same seed and size give the same bytes on every machine and with every version of the dependencies;
//! a smaller estate of one seed is the beginning of a larger one; codes are unique; both ends of every relation exist;
//! no relation occurs twice or leads from a CI to itself. Memory is constant: one system is held at a time, and the
//! iterators can make a million CIs as well as ten.
//!
//! ```
//! let estate = ci_bench::Estate::new(7, 300);
//! assert_eq!(estate.cis().count(), 300);
//! let app = estate.cis().find(|ci| ci.ci_subtype.as_deref() == Some("app")).map(|ci| ci.ci_code);
//! assert_eq!(app.as_deref(), Some("app-iam-login-01-1"));
//! ```

mod cell;
mod draw;
mod estate;
mod jsonl;
mod words;

pub use estate::{Cis, Estate, Relations};
pub use jsonl::{write_ci, write_relation};
