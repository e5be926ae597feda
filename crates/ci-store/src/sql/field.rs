//! Filters and fields in SQL; their meaning is that of `ci_model::Filter::matches`.

use ci_model::filter::{Condition, Filter, Operator, Value};
use ci_model::{Field, FieldKind};

use super::fold::sqlite_fold;
use super::{Argument, Binder, Dialect};

/// Whether a field is in a document, so that `ci_ext` must be joined as `e`.
pub(crate) fn is_document(field: &Field) -> bool {
    !matches!(field, Field::Column(_))
}

/// A field of a document: which one, and the bound keys of the path.
struct Document {
    column: &'static str,
    keys: Vec<String>,
}

impl Document {
    fn new(field: &Field, binder: &mut Binder) -> Option<Self> {
        let (column, path) = match field {
            Field::Column(_) => return None,
            Field::Tag(path) => ("e.tags", path),
            Field::Attribute(path) => ("e.attributes", path),
        };
        let keys = match binder.dialect {
            Dialect::Postgres => path
                .segments()
                .iter()
                .map(|key| binder.bind(Argument::Text(key.clone())))
                .collect(),
            Dialect::Sqlite => vec![binder.bind(Argument::Text(json_path(path.segments())))],
        };
        Some(Self { column, keys })
    }

    /// PostgreSQL: the value as `jsonb`. Key by key with the text operator, which never enters an array.
    fn jsonb(&self) -> String {
        self.keys
            .iter()
            .fold(self.column.to_owned(), |value, key| format!("{value} -> {key}"))
    }

    /// SQLite: a function of document and path.
    fn json(&self, function: &str) -> String {
        format!("{function}({}, {})", self.column, self.keys.concat())
    }

    /// The word for the value's type; `null` when there is none.
    fn kind(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Postgres => format!("coalesce(jsonb_typeof({}), 'null')", self.jsonb()),
            Dialect::Sqlite => format!("coalesce({}, 'null')", self.json("json_type")),
        }
    }

    /// The text of a scalar, as `ci_model::json::scalar_text` has it; NULL for anything else.
    fn text(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Postgres => format!("ci_scalar({})", self.jsonb()),
            Dialect::Sqlite => self.sqlite_text(),
        }
    }

    /// A number's own digits, without those that say nothing: `1.0`, `1e0` and `1` are one number.
    fn sqlite_text(&self) -> String {
        let (column, path) = (self.column, self.keys.concat());
        let (value, raw) = (format!("({column} ->> {path})"), format!("({column} -> {path})"));
        let real = format!(
            "CASE WHEN abs({value}) <= 9007199254740992.0 AND {value} = CAST({value} AS INTEGER) \
             THEN CAST(CAST({value} AS INTEGER) AS TEXT) WHEN {raw} GLOB '*[eE]*' THEN {raw} \
             ELSE rtrim(rtrim({raw}, '0'), '.') END"
        );
        format!(
            "CASE {kind} WHEN 'text' THEN {value} WHEN 'integer' THEN CASE {raw} WHEN '-0' THEN '0' ELSE {raw} END WHEN 'real' THEN {real} \
             WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' END",
            kind = self.json("json_type")
        )
    }
}

/// A SQLite JSON path of quoted keys, each with the escapes of a JSON text.
fn json_path(segments: &[String]) -> String {
    segments.iter().fold("$".to_owned(), |path, key| {
        format!("{path}.{}", serde_json::Value::String(key.clone()))
    })
}

/// A field's value: text in byte order, a number or a moment; NULL when there is none.
pub(crate) fn value(field: &Field, binder: &mut Binder) -> String {
    match (Document::new(field, binder), field) {
        (Some(document), _) => {
            let text = document.text(binder.dialect);
            binder.bytes(&format!("({text})"))
        }
        (None, Field::Column(column)) if column.kind() == FieldKind::Text => {
            binder.bytes(&format!("c.{}", column.as_str()))
        }
        (None, Field::Column(column)) => format!("c.{}", column.as_str()),
        (None, Field::Tag(_) | Field::Attribute(_)) => "NULL".into(),
    }
}

/// The condition that a filter holds; unknown counts as false, because conditions are only ever joined by AND.
pub(crate) fn condition(filter: &Filter, binder: &mut Binder) -> String {
    match filter.condition() {
        Condition::Exists(yes) => exists(filter.field(), *yes, binder),
        Condition::Compare(operator, operand) => {
            let value = if operator.is_ordered() {
                ordered(filter.field(), operand, binder)
            } else {
                value(filter.field(), binder)
            };
            let operand = binder.bind(argument(operand));
            format!("{value} {} {operand}", symbol(*operator))
        }
        Condition::Contains(part) => {
            let value = value(filter.field(), binder);
            let part = binder.bind(Argument::Text(part.clone()));
            format!("{} > 0", place_folded(&value, &part, binder))
        }
        Condition::NotContains(part) => {
            let value = value(filter.field(), binder);
            let part = binder.bind(Argument::Text(part.clone()));
            format!("{} = 0", place_folded(&value, &part, binder))
        }
        Condition::NotIn(values) => {
            let value = value(filter.field(), binder);
            let list = binder.bind(list(filter.field().kind(), values.iter()));
            // Of no value neither this nor its contrary is true.
            format!("NOT ({})", binder.is_in(&value, &list))
        }
        Condition::In(values) => {
            let value = value(filter.field(), binder);
            let list = binder.bind(list(filter.field().kind(), values.iter()));
            binder.is_in(&value, &list)
        }
    }
}

fn exists(field: &Field, yes: bool, binder: &mut Binder) -> String {
    match (Document::new(field, binder), yes) {
        (Some(document), true) => format!("{} <> 'null'", document.kind(binder.dialect)),
        (Some(document), false) => format!("{} = 'null'", document.kind(binder.dialect)),
        (None, true) => format!("{field} IS NOT NULL", field = value(field, binder)),
        (None, false) => format!("{field} IS NULL", field = value(field, binder)),
    }
}

/// A field's value where it has an order with an operand: in a document a number with a number, a text with a text.
fn ordered(field: &Field, operand: &Value, binder: &mut Binder) -> String {
    let is_number = matches!(operand, Value::Number(_));
    let Some(document) = Document::new(field, binder) else {
        return value(field, binder);
    };
    match (binder.dialect, is_number) {
        (Dialect::Postgres, false) => {
            let (json, text) = (document.jsonb(), document.text(binder.dialect));
            binder.bytes(&format!(
                "(CASE jsonb_typeof({json}) WHEN 'string' THEN {text} END)"
            ))
        }
        (Dialect::Sqlite, false) => {
            let text = document.text(binder.dialect);
            let kind = document.json("json_type");
            binder.bytes(&format!("(CASE {kind} WHEN 'text' THEN {text} END)"))
        }
        (Dialect::Postgres, true) => {
            let json = document.jsonb();
            format!("(CASE jsonb_typeof({json}) WHEN 'number' THEN ({json})::numeric END)")
        }
        (Dialect::Sqlite, true) => {
            let (kind, path) = (document.json("json_type"), document.keys.concat());
            format!(
                "(CASE WHEN {kind} IN ('integer', 'real') THEN {} ->> {path} END)",
                document.column
            )
        }
    }
}

/// Where a folded part is in a text that is folded here, from 1; 0 where it is not.
fn place_folded(text: &str, part: &str, binder: &Binder) -> String {
    match binder.dialect {
        Dialect::Postgres => format!("strpos(ci_fold({text}), {part})"),
        Dialect::Sqlite => {
            format!(
                "(SELECT instr({}, {part}) FROM (SELECT {text} AS text) AS v)",
                sqlite_fold("v.text")
            )
        }
    }
}

fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::Ne => "<>",
        Operator::Lt => "<",
        Operator::Le => "<=",
        Operator::Gt => ">",
        Operator::Ge => ">=",
        // The other operators are conditions of their own and never stand in a comparison.
        Operator::Eq
        | Operator::Contains
        | Operator::NotContains
        | Operator::In
        | Operator::NotIn
        | Operator::Exists => "=",
    }
}

fn argument(value: &Value) -> Argument {
    match value {
        Value::Text(text) => Argument::Text(text.clone()),
        Value::Criticality(criticality) => Argument::Integer(criticality.get().into()),
        Value::Moment(moment) => Argument::Moment(*moment),
        Value::Number(number) => Argument::Integer(*number),
    }
}

/// Several values of one kind as one argument: the statement is the same for any number of them.
fn list<'a>(kind: FieldKind, values: impl Iterator<Item = &'a Value>) -> Argument {
    let (mut texts, mut integers, mut moments) = (Vec::new(), Vec::new(), Vec::new());
    for value in values {
        match value {
            Value::Text(text) => texts.push(text.clone()),
            Value::Criticality(criticality) => integers.push(i64::from(criticality.get())),
            Value::Moment(moment) => moments.push(*moment),
            Value::Number(number) => integers.push(*number),
        }
    }
    match kind {
        FieldKind::Text => Argument::Texts(texts),
        FieldKind::Criticality => Argument::Integers(integers),
        FieldKind::Moment => Argument::Moments(moments),
    }
}
