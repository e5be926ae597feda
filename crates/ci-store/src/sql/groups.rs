//! Aggregates as statements, by themselves or several over one table of counts.
//!
//! Aggregates of one selection each read all of its rows. Asked together they need not: the rows are read once, counted by every
//! combination of the values that any of the aggregates is about, and each aggregate adds up those counts. There are no more
//! combinations than rows, and mostly few: the dashboard of 63,665 CIs adds up 744 of them four times, instead of reading
//! four times all CIs. The facets of a search are counted the same way, and its keywords looked up once.

use ci_model::{Aggregate, Distinct, Field, FieldKind};

use super::select::rows;
use super::{Binder, field};

/// The counts that several aggregates of one selection are made from.
#[derive(Debug)]
pub(crate) struct Counts<'a> {
    /// The table's name.
    name: String,
    /// What it counts by: a column each, `v0`, `v1` and so on.
    fields: Vec<&'a Field>,
}

impl<'a> Counts<'a> {
    /// The counts for aggregates of the selection that the first one has; none for fewer than two.
    pub(crate) fn new(at: usize, aggregates: &[&'a Aggregate]) -> Option<Self> {
        if aggregates.len() < 2 {
            return None;
        }
        let mut fields: Vec<&Field> = Vec::new();
        for field in aggregates.iter().copied().flat_map(concerned) {
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        let name = format!("counts{at}");
        Some(Self { name, fields })
    }

    /// Writes the table: its name and the statement that fills it.
    pub(crate) fn table(&self, binder: &mut Binder, one: &Aggregate) -> String {
        let rows = rows(one.selection(), self.fields.iter().copied(), binder);
        let columns = self.fields.iter().enumerate();
        let columns: Vec<String> = columns
            .map(|(at, field)| format!("{} AS v{at}, ", field::value(field, binder)))
            .collect();
        format!(
            "{name} AS MATERIALIZED (SELECT {columns}count(*) AS members FROM {from} WHERE {conditions}{by})",
            name = self.name,
            columns = columns.concat(),
            from = rows.from,
            conditions = rows.conditions,
            by = grouped_by(self.fields.len()),
        )
    }

    /// The column of a field.
    fn column(&self, field: &Field) -> String {
        let at = self.fields.iter().position(|known| *known == field);
        // All fields of the aggregates that it is for are there; of another one nothing is known.
        at.map_or_else(|| "NULL".to_owned(), |at| format!("n.v{at}"))
    }
}

/// The fields that an aggregate is about.
fn concerned(aggregate: &Aggregate) -> impl Iterator<Item = &Field> {
    let distinct = aggregate.distinct().map(Distinct::field);
    aggregate.group_by().iter().chain(distinct)
}

/// Groups by the first columns.
fn grouped_by(columns: usize) -> String {
    let places: Vec<String> = (1..=columns).map(|at| at.to_string()).collect();
    if places.is_empty() {
        String::new()
    } else {
        format!(" GROUP BY {}", places.join(", "))
    }
}

/// The groups of an aggregate, one more than its limit: the values, the count and, if asked for, the distinct count.
pub(crate) fn aggregate(binder: &mut Binder, aggregate: &Aggregate) -> String {
    let rows = rows(aggregate.selection(), concerned(aggregate), binder);
    let from = format!("{} WHERE {}", rows.from, rows.conditions);
    groups(binder, aggregate, &from, "count(*)", field::value)
}

/// The same from counts that were made for it and others.
pub(crate) fn aggregate_of(binder: &mut Binder, aggregate: &Aggregate, counts: &Counts<'_>) -> String {
    // Of no row at all the sum is nothing; PostgreSQL's is a number of another type.
    let members = "CAST(coalesce(sum(n.members), 0) AS bigint)";
    let from = format!("{} AS n", counts.name);
    groups(binder, aggregate, &from, members, |field, binder| {
        let column = counts.column(field);
        if field.kind() == FieldKind::Text {
            binder.bytes(&column)
        } else {
            column
        }
    })
}

fn groups(
    binder: &mut Binder,
    aggregate: &Aggregate,
    from: &str,
    members: &str,
    value: impl Fn(&Field, &mut Binder) -> String,
) -> String {
    let by = aggregate.group_by();
    let mut columns = Vec::new();
    for (at, group) in by.iter().enumerate() {
        columns.push(format!("{} AS g{at}", value(group, binder)));
    }
    columns.push(format!("{members} AS members"));
    if let Some(distinct) = aggregate.distinct() {
        columns.push(format!(
            "count(DISTINCT {}) AS different",
            value(distinct.field(), binder)
        ));
    }
    let order: Vec<String> = (0..by.len()).map(|at| format!(", g.g{at} NULLS LAST")).collect();
    format!(
        "SELECT g.* FROM (SELECT {columns} FROM {from}{by}) AS g ORDER BY g.members DESC{order} LIMIT {limit}",
        columns = columns.join(", "),
        by = grouped_by(by.len()),
        order = order.concat(),
        limit = binder.rows(i64::from(aggregate.limit()) + 1),
    )
}
