//! Questions that one statement answers together with the version of the state that it reads.
//!
//! A statement outside of a transaction sees one state, as a transaction does. Where one is enough, its rows have the state's columns besides, and
//! nothing has to be begun, asked for its version, and ended.

use ci_model::{Epoch, Question, TenantId, Version};

use crate::decode::present;
use crate::source::Cells;
use crate::sql::together::{Part, with_state};
use crate::sql::{Binder, Dialect, Statement};
use crate::together::Asked;
use crate::{Answers, Result};

/// Questions that are one statement.
pub(crate) struct Once<'a> {
    tenant: &'a TenantId,
    asked: Asked<'a>,
    questions: usize,
    width: usize,
}

impl<'a> Once<'a> {
    /// None when they are more than one statement, or one that has to be in a transaction.
    pub(crate) fn new(tenant: &'a TenantId, questions: &'a [Question]) -> Option<Self> {
        Some(Self {
            tenant,
            asked: Asked::single(questions)?,
            questions: questions.len(),
            width: 0,
        })
    }

    /// The statement; `state` gives the columns of the state and where they are read from.
    pub(crate) fn statement(
        &mut self,
        dialect: Dialect,
        state: impl FnOnce(&mut Binder) -> (String, &'static str),
    ) -> Statement {
        Statement::write(dialect, self.tenant, |binder| {
            let part: Part = self.asked.part(binder, None);
            self.width = part.width;
            let (columns, from) = state(binder);
            with_state(&part, &columns, from)
        })
    }

    /// The answers in its rows; `version` reads the state's columns of a row, from a position on.
    pub(crate) fn answers<R: Cells>(
        self,
        mut rows: Vec<R>,
        dialect: Dialect,
        version: impl FnOnce(&R, usize) -> Result<Option<(Epoch, Version)>>,
    ) -> Result<Answers> {
        let first = present(rows.first(), "of the state")?;
        let version = version(first, self.width + 1)?;
        if first.integer(self.width)?.is_none() {
            rows.clear();
        }
        let mut found: Vec<_> = std::iter::repeat_with(|| None).take(self.questions).collect();
        self.asked.take(self.tenant, &rows, dialect, &mut found)?;
        let found = found.into_iter().map(|answer| present(answer, "of an answer"));
        Ok(Answers {
            found: found.collect::<Result<_>>()?,
            version,
            statements: 1,
            version_statements: 0,
        })
    }
}
