//! Several questions of one snapshot in as few statements as can be.
//!
//! A page costs as many round trips as it has questions, unless they are asked together. Whatever is one statement by itself can be
//! part of a larger one ([`crate::sql::together`]). Only path searches, which take several, go by themselves, and in SQLite the
//! second level of all expansions is a second statement.

use ci_model::{Aggregate, Get, List, Question, Search, TenantId};
use serde_json::Value;
use uuid::Uuid;

use crate::answers::{cis, groups, page, summaries};
use crate::decode::{corrupt, present};
use crate::graph::Growth;
use crate::source::{Cells, Source};
use crate::sql::expansion::WIDTH;
use crate::sql::groups::{self as aggregates, Counts};
use crate::sql::together::{Part, together};
use crate::sql::{Binder, Dialect, Statement, select};
use crate::{Found, Result, path};

/// Most that the parts of a statement weigh together: with more, planning it takes longer than the round trips that it saves.
const PARTS: usize = 16;
/// What an expansion weighs, which is a dozen tables; everything else weighs 1.
const EXPANSION: usize = 4;
/// Columns of the short form of a CI, of a list's rows, and of a CI in full.
const SUMMARY: usize = 9;
const LIST: usize = SUMMARY + 2;
const DETAIL: usize = SUMMARY + 6;

/// See [`crate::Snapshot::ask_all`].
pub(crate) async fn ask_all<S: Source>(
    source: &mut S,
    tenant: &TenantId,
    questions: &[Question],
) -> Result<Vec<Found>> {
    let mut found: Vec<Option<Found>> = questions.iter().map(|_| None).collect();
    let (mut gets, mut asked) = (Vec::new(), Vec::new());
    for (at, question) in questions.iter().enumerate() {
        match question {
            Question::Get(get) => gets.push((at, get)),
            Question::Path(path) => found[at] = Some(Found::Path(path::path(source, tenant, path).await?)),
            Question::Search(search) => asked.push(Asked::Search(at, search)),
            Question::List(list) => asked.push(Asked::List(at, list)),
            Question::Aggregate(aggregate) => asked.push(Asked::Aggregate(at, aggregate)),
            Question::Expand(expand) => asked.push(Asked::Expand(at, Box::new(Growth::new(expand)))),
        }
    }
    if !gets.is_empty() {
        asked.push(Asked::Gets(gets));
    }
    // Expansions that are not done with the first statement go on together.
    while !asked.is_empty() {
        let mut unfinished = Vec::new();
        for parts in loads(asked) {
            let rows = read(source, tenant, &parts).await?;
            for (part, rows) in parts.into_iter().zip(rows) {
                unfinished.extend(part.take(tenant, &rows, S::DIALECT, &mut found)?);
            }
        }
        asked = unfinished;
    }
    found
        .into_iter()
        .map(|answer| present(answer, "of an answer"))
        .collect()
}

/// Divides parts among statements.
fn loads(asked: Vec<Asked<'_>>) -> Vec<Vec<Asked<'_>>> {
    let (mut loads, mut room) = (Vec::new(), 0);
    for part in asked {
        let weight = if matches!(part, Asked::Expand(..)) {
            EXPANSION
        } else {
            1
        };
        if weight > room {
            loads.push(Vec::new());
            room = PARTS;
        }
        room -= weight;
        if let Some(load) = loads.last_mut() {
            load.push(part);
        }
    }
    loads
}

/// What one part asks, with the places of its answers.
pub(crate) enum Asked<'a> {
    Gets(Vec<(usize, &'a Get)>),
    Search(usize, &'a Search),
    List(usize, &'a List),
    Aggregate(usize, &'a Aggregate),
    Expand(usize, Box<Growth<'a>>),
}

impl<'a> Asked<'a> {
    /// What is one statement that is planned for its values and runs outside of a transaction as well as in one: a search, a list, an
    /// aggregate, or gets.
    pub(crate) fn single(questions: &'a [Question]) -> Option<Self> {
        match questions {
            [Question::Search(search)] => Some(Self::Search(0, search)),
            [Question::List(list)] => Some(Self::List(0, list)),
            [Question::Aggregate(aggregate)] => Some(Self::Aggregate(0, aggregate)),
            _ => {
                let gets = questions.iter().enumerate().map(|(at, question)| match question {
                    Question::Get(get) => Some((at, get)),
                    _ => None,
                });
                let gets: Vec<_> = gets.collect::<Option<_>>()?;
                (!gets.is_empty()).then_some(Self::Gets(gets))
            }
        }
    }

    /// Whether one plan is as good for all values as a plan for each.
    fn has_one_plan(&self) -> bool {
        match self {
            Self::Gets(_) => true,
            Self::Expand(_, growth) => growth.has_one_plan(),
            // The first rows of an index. A total reads all, and behind an offset the planner counts on reading far.
            Self::List(_, list) => {
                list.selection().filters().is_empty() && list.offset() == 0 && !list.has_total()
            }
            // How many rows a keyword or a filter leaves is another matter for each value.
            Self::Search(..) | Self::Aggregate(..) => false,
        }
    }

    pub(crate) fn part(&self, binder: &mut Binder, counts: Option<&Counts<'_>>) -> Part {
        let (text, width) = match self {
            Self::Gets(gets) => (select::get_many(binder, gets.iter().map(|(_, get)| *get)), DETAIL),
            Self::Search(_, search) => (select::search(binder, search), SUMMARY),
            Self::List(_, list) => (select::list(binder, list), LIST),
            Self::Aggregate(_, aggregate) => {
                let width = aggregate.group_by().len() + 1 + usize::from(aggregate.distinct().is_some());
                let text = match counts {
                    Some(counts) => aggregates::aggregate_of(binder, aggregate, counts),
                    None => aggregates::aggregate(binder, aggregate),
                };
                (text, width)
            }
            Self::Expand(_, growth) => (growth.next(binder), WIDTH),
        };
        Part { text, width }
    }

    /// Puts the answers in the rows of this part in their places; gives it back if there is more to read.
    pub(crate) fn take(
        self,
        tenant: &TenantId,
        rows: &[impl Cells],
        dialect: Dialect,
        found: &mut [Option<Found>],
    ) -> Result<Option<Asked<'a>>> {
        let (at, answer) = match self {
            Self::Gets(gets) => {
                let all: Vec<Get> = gets.iter().map(|(_, get)| (*get).clone()).collect();
                for ((at, _), ci) in gets.iter().zip(cis(rows, tenant, &all)?) {
                    found[*at] = Some(Found::Ci(ci.map(Box::new)));
                }
                return Ok(None);
            }
            Self::Search(at, _) => (at, Found::Rows(summaries(rows)?)),
            Self::List(at, list) => (at, Found::List(page(rows, list)?)),
            Self::Aggregate(at, aggregate) => (at, Found::Groups(groups(rows, aggregate)?)),
            Self::Expand(at, mut growth) => {
                growth.take(rows, tenant, dialect)?;
                if growth.goes_on() {
                    return Ok(Some(Self::Expand(at, growth)));
                }
                (at, Found::Graph(growth.graph))
            }
        };
        found[at] = Some(answer);
        Ok(None)
    }
}

/// The aggregates among some parts, those of one selection together.
struct Counted<'a>(Vec<(&'a Aggregate, Option<Counts<'a>>)>);

impl<'a> Counted<'a> {
    fn of(parts: &[Asked<'a>]) -> Self {
        let mut alike: Vec<Vec<&'a Aggregate>> = Vec::new();
        for part in parts {
            let Asked::Aggregate(_, aggregate) = part else {
                continue;
            };
            let known = alike
                .iter_mut()
                .find(|known| known[0].selection() == aggregate.selection());
            match known {
                Some(known) => known.push(aggregate),
                None => alike.push(vec![aggregate]),
            }
        }
        let counts = alike.iter().enumerate();
        Self(
            counts
                .map(|(at, alike)| (alike[0], Counts::new(at, alike)))
                .collect(),
        )
    }

    /// The tables of counts.
    fn tables(&self, binder: &mut Binder) -> Vec<String> {
        let counted = self.0.iter();
        let counted = counted.filter_map(|(one, counts)| Some(counts.as_ref()?.table(binder, one)));
        counted.collect()
    }

    /// The counts that a part adds up.
    fn counts(&self, part: &Asked<'_>) -> Option<&Counts<'a>> {
        let Asked::Aggregate(_, aggregate) = part else {
            return None;
        };
        let alike = |(one, _): &&(&Aggregate, _)| one.selection() == aggregate.selection();
        self.0.iter().find(alike)?.1.as_ref()
    }
}

/// Reads the rows of several parts by one statement.
async fn read<S: Source>(source: &mut S, tenant: &TenantId, parts: &[Asked<'_>]) -> Result<Vec<Vec<Row>>> {
    let statement = Statement::write(S::DIALECT, tenant, |binder| {
        let counted = Counted::of(parts);
        let shared = counted.tables(binder);
        let parts = parts.iter().map(|one| one.part(binder, counted.counts(one)));
        let parts: Vec<Part> = parts.collect();
        together(binder, &shared, &parts)
    });
    // Only with an expansion is planning worth a round trip more.
    let has_expansion = parts.iter().any(|part| matches!(part, Asked::Expand(..)));
    let statement = statement.planned_once(has_expansion && parts.iter().all(Asked::has_one_plan));
    let mut rows: Vec<Vec<Row>> = parts.iter().map(|_| Vec::new()).collect();
    for row in source.rows(statement).await? {
        let part = present(row.integer(0)?, "part")?;
        let cells = present(row.text(1)?, "cells")?;
        let cells = serde_json::from_str(&cells).map_err(|_| corrupt("cells"))?;
        let part = usize::try_from(part).ok().and_then(|part| rows.get_mut(part));
        part.ok_or_else(|| corrupt("part"))?.push(Row(cells));
    }
    Ok(rows)
}

/// A row that came as JSON.
struct Row(Vec<Value>);

impl Row {
    fn cell(&self, at: usize) -> Result<&Value> {
        self.0.get(at).ok_or_else(|| corrupt("cells"))
    }
}

impl Cells for Row {
    fn text(&self, at: usize) -> Result<Option<String>> {
        match self.cell(at)? {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            Value::Number(number) => Ok(Some(number.to_string())),
            _ => Err(corrupt("cells")),
        }
    }

    fn integer(&self, at: usize) -> Result<Option<i64>> {
        match self.cell(at)? {
            Value::Null => Ok(None),
            number => number.as_i64().map(Some).ok_or_else(|| corrupt("cells")),
        }
    }

    fn id(&self, at: usize) -> Result<Option<Uuid>> {
        let text = self.text(at)?;
        let id = text.as_deref().map(Uuid::try_parse).transpose();
        id.map_err(|_| corrupt("ci_id"))
    }

    fn moment(&self, at: usize) -> Result<Option<ci_model::Timestamp>> {
        let text = self.text(at)?;
        let moment = text.as_deref().map(str::parse).transpose();
        moment.map_err(|_| corrupt("of a moment"))
    }
}
