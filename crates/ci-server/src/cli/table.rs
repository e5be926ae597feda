//! Tables for people.

use super::config::Effective;
use crate::access::TokenInfo;
use ci_model::{CiDetail, CiSummary, Graph, Group, GroupValue, Relation, Row};
use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

/// A line under the header, and nothing else that a `grep` or an eye would have to skip.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─'));

/// A table without ruling that fits the terminal; as wide as it needs when the output is no terminal.
fn table(header: &[&str], width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header);
    if let Some(columns) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(columns);
    }
    table
}

/// A cell's text: a control character of the database must not reach the terminal.
fn cell(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn optional(text: Option<&String>) -> String {
    text.map(|text| cell(text)).unwrap_or_default()
}

const COLUMNS: [&str; 8] = [
    "CODE", "NAME", "TYPE", "SUBTYPE", "CATEGORY", "STATUS", "LOCATION", "OWNER",
];

fn columns(ci: &CiSummary) -> [String; 8] {
    [
        cell(ci.ci_code.as_str()),
        cell(&ci.ci_name),
        cell(&ci.ci_type),
        optional(ci.ci_subtype.as_ref()),
        optional(ci.ci_category.as_ref()),
        optional(ci.status.as_ref()),
        optional(ci.location.as_ref()),
        optional(ci.owner.as_ref()),
    ]
}

/// CIs, one per row.
pub(crate) fn cis(cis: &[CiSummary], width: Option<u16>) -> String {
    let mut table = table(&COLUMNS, width);
    for ci in cis {
        table.add_row(columns(ci));
    }
    table.trim_fmt()
}

/// The CIs of a graph, with their distance.
pub(crate) fn nodes(graph: &Graph, width: Option<u16>) -> String {
    let mut header = vec!["LEVEL"];
    header.extend(COLUMNS);
    let mut table = table(&header, width);
    for node in &graph.items {
        let mut row = vec![node.level.to_string()];
        row.extend(columns(&node.ci));
        table.add_row(row);
    }
    table.trim_fmt()
}

/// Relations, one per row.
pub(crate) fn relations(relations: &[Relation], width: Option<u16>) -> String {
    let mut table = table(&["FROM", "RELATION", "TO"], width);
    for relation in relations {
        table.add_row([
            cell(relation.from.as_str()),
            cell(relation.rel_type.as_str()),
            cell(relation.to.as_str()),
        ]);
    }
    table.trim_fmt()
}

/// Tokens, without their secrets.
pub(crate) fn tokens(tokens: &[TokenInfo], width: Option<u16>) -> String {
    let mut table = table(&["NAME", "ID", "ROLE", "TENANTS", "CREATED", "EXPIRES"], width);
    for token in tokens {
        table.add_row([
            cell(&token.name),
            cell(&token.id),
            token.role.to_string(),
            cell(&token.tenants.join(", ")),
            cell(&token.created),
            token.expires.as_deref().map(cell).unwrap_or_default(),
        ]);
    }
    table.trim_fmt()
}

/// Settings of the service as they hold, one per row.
pub(crate) fn settings(settings: &[Effective], width: Option<u16>) -> String {
    let mut table = table(&["SETTING", "VALUE", "FROM"], width);
    for one in settings {
        table.add_row([one.setting.to_owned(), cell(&one.value), one.from.clone()]);
    }
    table.trim_fmt()
}

/// Chosen fields of CIs, a column each.
pub(crate) fn rows(rows: &[Row], width: Option<u16>) -> String {
    let names = rows.first().map(|row| row.fields().map(|(name, _)| cell(name)));
    let header: Vec<String> = names.map(Iterator::collect).unwrap_or_default();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = table(&header, width);
    for row in rows {
        let value = |value: &serde_json::Value| match value {
            serde_json::Value::Null => String::new(),
            value => ci_model::json::scalar_text(value).unwrap_or_else(|| value.to_string()),
        };
        table.add_row(row.fields().map(|(_, field)| cell(&value(field))));
    }
    table.trim_fmt()
}

/// Groups, a column per field.
pub(crate) fn groups(groups: &[Group], width: Option<u16>) -> String {
    let mut header: Vec<String> = Vec::new();
    if let Some(first) = groups.first() {
        header.extend(first.values.iter().map(|(field, _)| field.to_uppercase()));
        header.push("COUNT".into());
        header.extend(first.distinct.map(|_| "DISTINCT".into()));
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = table(&header, width);
    for group in groups {
        let mut row: Vec<String> = group.values.iter().map(|(_, value)| group_value(value)).collect();
        row.push(group.count.to_string());
        row.extend(group.distinct.map(|distinct| distinct.to_string()));
        table.add_row(row);
    }
    table.trim_fmt()
}

fn group_value(value: &GroupValue) -> String {
    match value {
        GroupValue::Text(text) => cell(text),
        GroupValue::Number(number) => number.to_string(),
        GroupValue::Absent => "-".into(),
    }
}

/// One CI, a row per column that has a value.
pub(crate) fn ci(ci: &CiDetail, width: Option<u16>) -> String {
    let mut table = table(&["COLUMN", "VALUE"], width);
    let summary = &ci.summary;
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            table.add_row([name.to_owned(), value]);
        }
    };
    add("ci_id", summary.ci_id.to_string());
    add("ci_code", cell(summary.ci_code.as_str()));
    add("ci_name", cell(&summary.ci_name));
    add("ci_type", cell(&summary.ci_type));
    add("ci_subtype", optional(summary.ci_subtype.as_ref()));
    add("ci_category", optional(summary.ci_category.as_ref()));
    add("status", optional(summary.status.as_ref()));
    add(
        "criticality",
        ci.criticality
            .map(|value| value.get().to_string())
            .unwrap_or_default(),
    );
    add("location", optional(summary.location.as_ref()));
    add("owner", optional(summary.owner.as_ref()));
    add("tenant_id", cell(ci.tenant_id.as_str()));
    add("created_at", ci.created_at.to_string());
    add("updated_at", ci.updated_at.to_string());
    add(
        "deleted_at",
        ci.deleted_at.map(|moment| moment.to_string()).unwrap_or_default(),
    );
    for (root, document) in [("tags", &ci.tags), ("attributes", &ci.attributes)] {
        for (key, value) in document {
            let text = ci_model::json::scalar_text(value).unwrap_or_else(|| value.to_string());
            add(&cell(&format!("{root}.{key}")), cell(&text));
        }
    }
    table.trim_fmt()
}
