//! From questions to answers over any [`Source`]; graphs are in [`crate::graph`].

use std::collections::HashMap;

use ci_model::{
    Aggregate, CiCode, CiDetail, CiId, CiRef, CiSummary, Column, Field, Get, Group, GroupValue, Groups, List,
    ListPage, Relation, RelationType, Search, TenantId,
};

use crate::Result;
use crate::decode::{corrupt, detail, present, summary};
use crate::source::{Cells, Source};
use crate::sql::groups::aggregate as groups_of;
use crate::sql::{Statement, relations as relations_of, select};

/// Position of the total in a row of a list, after the short columns.
const TOTAL: usize = 9;
/// Position of the moment that it is ordered by, after that.
const MOMENT: usize = TOTAL + 1;

/// See [`crate::Snapshot::search`].
pub(crate) async fn search<S: Source>(
    source: &mut S,
    tenant: &TenantId,
    search: &Search,
) -> Result<Vec<CiSummary>> {
    let statement = Statement::write(S::DIALECT, tenant, |binder| select::search(binder, search));
    summaries(&source.rows(statement).await?)
}

/// The CIs of a search's rows.
pub(crate) fn summaries(rows: &[impl Cells]) -> Result<Vec<CiSummary>> {
    rows.iter().map(|row| summary(row, 0)).collect()
}

/// See [`crate::Snapshot::list`].
pub(crate) async fn list<S: Source>(source: &mut S, tenant: &TenantId, list: &List) -> Result<ListPage> {
    let statement = Statement::write(S::DIALECT, tenant, |binder| select::list(binder, list));
    page(&source.rows(statement).await?, list)
}

/// The page of a list's rows.
pub(crate) fn page(rows: &[impl Cells], question: &List) -> Result<ListPage> {
    let total = rows.first().map(|row| row.integer(TOTAL)).transpose()?.flatten();
    let (mut items, mut last) = (Vec::with_capacity(rows.len()), None);
    for row in rows {
        // The one row of an empty page has the total alone.
        if row.id(0)?.is_some() {
            items.push(summary(row, 0)?);
            last = row.moment(MOMENT)?;
        }
    }
    let total = question.has_total().then(|| count(total)).transpose()?;
    Ok(ListPage { items, total, last })
}

/// See [`crate::Snapshot::aggregate`].
pub(crate) async fn aggregate<S: Source>(
    source: &mut S,
    tenant: &TenantId,
    question: &Aggregate,
) -> Result<Groups> {
    let statement = Statement::write(S::DIALECT, tenant, |binder| groups_of(binder, question));
    groups(&source.rows(statement).await?, question)
}

/// The groups of an aggregate's rows.
pub(crate) fn groups(rows: &[impl Cells], question: &Aggregate) -> Result<Groups> {
    let limit = question.limit() as usize;
    let fields = question.group_by();
    let items = rows.iter().take(limit).map(|row| {
        let values = fields
            .iter()
            .enumerate()
            .map(|(at, field)| Ok((field.to_string(), group_value(row, at, field)?)));
        let distinct = question.distinct().map(|_| count(row.integer(fields.len() + 1)?));
        Ok(Group {
            values: values.collect::<Result<_>>()?,
            count: count(row.integer(fields.len())?)?,
            distinct: distinct.transpose()?,
        })
    });
    Ok(Groups {
        items: items.collect::<Result<_>>()?,
        truncated: rows.len() > limit,
    })
}

fn group_value(row: &impl Cells, at: usize, field: &Field) -> Result<GroupValue> {
    Ok(if *field == Field::Column(Column::Criticality) {
        row.integer(at)?.map_or(GroupValue::Absent, GroupValue::Number)
    } else {
        row.text(at)?.map_or(GroupValue::Absent, GroupValue::Text)
    })
}

fn count(number: Option<i64>) -> Result<u64> {
    let number = present(number, "count")?;
    u64::try_from(number).map_err(|_| corrupt("count"))
}

/// See [`crate::Snapshot::get_many`].
pub(crate) async fn get_many<S: Source>(
    source: &mut S,
    tenant: &TenantId,
    gets: &[Get],
) -> Result<Vec<Option<CiDetail>>> {
    if gets.is_empty() {
        return Ok(Vec::new());
    }
    let statement = Statement::write(S::DIALECT, tenant, |binder| select::get_many(binder, gets.iter()));
    cis(&source.rows(statement).await?, tenant, gets)
}

/// See [`crate::Snapshot::relations`].
pub(crate) async fn relations<S: Source>(
    source: &mut S,
    tenant: &TenantId,
    after: Option<&Relation>,
    limit: u32,
) -> Result<Vec<Relation>> {
    let statement = Statement::write(S::DIALECT, tenant, |binder| {
        relations_of::page(binder, after, limit)
    });
    let relation = |row: &S::Row| {
        let code = |at| CiCode::new(present(row.text(at)?, "ci_code")?).map_err(|_| corrupt("ci_code"));
        let rel_type = present(row.text(2)?, "rel_type")?;
        Ok(Relation {
            from: code(0)?,
            to: code(1)?,
            rel_type: RelationType::new(rel_type).map_err(|_| corrupt("rel_type"))?,
            from_id: CiId(present(row.id(3)?, "from_id")?),
            to_id: CiId(present(row.id(4)?, "to_id")?),
        })
    };
    source.rows(statement).await?.iter().map(relation).collect()
}

/// The CIs of gets' rows, one for each get.
pub(crate) fn cis(rows: &[impl Cells], tenant: &TenantId, gets: &[Get]) -> Result<Vec<Option<CiDetail>>> {
    let found: Vec<CiDetail> = rows
        .iter()
        .map(|row| detail(row, 0, tenant))
        .collect::<Result<_>>()?;
    let mut by_id = HashMap::with_capacity(found.len());
    let mut by_code = HashMap::with_capacity(found.len());
    for ci in &found {
        by_id.insert(ci.summary.ci_id, ci);
        by_code.insert(&ci.summary.ci_code, ci);
    }
    let answer = gets.iter().map(|get| {
        let ci = match get.target() {
            CiRef::Id(id) => by_id.get(id),
            CiRef::Code(code) => by_code.get(code),
        };
        ci.filter(|ci| get.includes_deleted() || ci.deleted_at.is_none())
            .map(|ci| (*ci).clone())
    });
    Ok(answer.collect())
}
