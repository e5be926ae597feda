//! The statements, written once for both databases.
//!
//! The text of a statement depends only on the shape of a question (which fields, operators, how many keywords), never
//! on its values: every value is bound. So a connection prepares few statements (more where several are one: each set of questions asked together has
//! a text of its own), and no input can become SQL.

pub(crate) mod expansion;
pub(crate) mod field;
pub(crate) mod fold;
pub(crate) mod graph;
pub(crate) mod groups;
pub(crate) mod keyword;
pub(crate) mod place;
pub(crate) mod relations;
pub(crate) mod select;
pub(crate) mod together;

use ci_model::{TenantId, Timestamp};
use uuid::Uuid;

/// Which database a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "sqlite", feature = "postgres")),
    allow(
        dead_code,
        reason = "statements are written for both, whichever driver is compiled in"
    )
)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A bound value. PostgreSQL takes lists as arrays, SQLite as JSON arrays.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Argument {
    Text(String),
    Id(Uuid),
    Integer(i64),
    Moment(Timestamp),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Moments(Vec<Timestamp>),
    Ids(Vec<Uuid>),
}

/// A statement ready to run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) arguments: Vec<Argument>,
    /// Whether one plan serves whatever the values are, so that PostgreSQL need not plan it for each.
    pub(crate) planned_once: bool,
}

impl Statement {
    /// Writes a statement about a tenant.
    pub(crate) fn write(
        dialect: Dialect,
        tenant: &TenantId,
        text: impl FnOnce(&mut Binder) -> String,
    ) -> Self {
        let mut binder = Binder::new(dialect, tenant);
        let text = text(&mut binder);
        Self {
            text,
            arguments: binder.arguments,
            planned_once: false,
        }
    }

    /// Says that one plan serves whatever the values are, if `yes`: that takes a statement whose tables are read in the order in which
    /// it is written and by their indexes.
    pub(crate) fn planned_once(self, yes: bool) -> Self {
        Self {
            planned_once: yes,
            ..self
        }
    }
}

/// Collects bound values while a statement is written.
#[derive(Debug)]
pub(crate) struct Binder {
    pub(crate) dialect: Dialect,
    arguments: Vec<Argument>,
}

impl Binder {
    /// A binder whose first value, `$1`, is the tenant: no statement goes without.
    fn new(dialect: Dialect, tenant: &TenantId) -> Self {
        Self {
            dialect,
            arguments: vec![Argument::Text(tenant.as_str().to_owned())],
        }
    }

    /// Binds a value and returns its name in the statement; a name may be used several times.
    pub(crate) fn bind(&mut self, argument: Argument) -> String {
        self.arguments.push(argument);
        format!("${}", self.arguments.len())
    }

    pub(crate) fn integer(&mut self, value: impl Into<i64>) -> String {
        self.bind(Argument::Integer(value.into()))
    }

    /// A bound number of rows, for LIMIT and OFFSET.
    ///
    /// SQLite looks at a bare variable there while it plans, and plans the statement anew whenever it is bound again, which takes longer than
    /// most of ours run. A sum is nothing to look at.
    pub(crate) fn rows(&mut self, value: impl Into<i64>) -> String {
        let name = self.integer(value);
        match self.dialect {
            Dialect::Postgres => name,
            Dialect::Sqlite => format!("({name} + 0)"),
        }
    }

    /// The condition that an expression is in a bound list.
    pub(crate) fn is_in(&self, value: &str, list: &str) -> String {
        match self.dialect {
            Dialect::Postgres => format!("{value} = ANY({list})"),
            Dialect::Sqlite => format!("{value} IN (SELECT value FROM json_each({list}))"),
        }
    }

    /// A text expression compared and sorted byte by byte, whatever the column's own collation is.
    pub(crate) fn bytes(&self, text: &str) -> String {
        match self.dialect {
            Dialect::Postgres => format!("{text} COLLATE \"C\""),
            Dialect::Sqlite => format!("{text} COLLATE BINARY"),
        }
    }

    /// The condition that a row of `ci` (or another table with a tenant) is the tenant's.
    pub(crate) fn own(&self, alias: &str) -> String {
        format!("{} = $1", self.bytes(&format!("{alias}.tenant_id")))
    }
}
