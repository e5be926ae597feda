//! Filters: one field, one condition. Parsed and checked on construction.

use std::collections::BTreeSet;
use std::fmt;

use crate::field::split_expression;
use crate::{Criticality, Error, Field, FieldKind, Timestamp, fold::fold, limits, text};

const TEXT_OPERATORS: &str = "=, !=, contains, in, exists";
const ORDERED_OPERATORS: &str = "=, !=, in, exists, <, <=, >, >=";
const ALL_OPERATORS: &str = "=, !=, contains, in, exists, <, <=, >, >=";

/// A condition's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `=`: the same, byte for byte.
    Eq,
    /// `!=`: another value; an absent value is neither equal nor unequal.
    Ne,
    /// `contains`: the text has the value in it, in any case.
    Contains,
    /// `in`: one of several.
    In,
    /// `exists`: there is a value (or, with `false`, there is none).
    Exists,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl Operator {
    /// Every operator, in the order of their numbers in keys.
    pub(crate) const ALL: [Self; 9] = [
        Self::Eq,
        Self::Ne,
        Self::Contains,
        Self::In,
        Self::Exists,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
    ];

    /// The operator's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Contains => "contains",
            Self::In => "in",
            Self::Exists => "exists",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }

    /// Reads an operator; `field` only for the error's text.
    fn parse(word: &str, field: &str) -> Result<Self, Error> {
        Ok(match word {
            "=" | "==" => Self::Eq,
            "!=" => Self::Ne,
            "contains" | "~" => Self::Contains,
            "in" => Self::In,
            "exists" => Self::Exists,
            "<" => Self::Lt,
            "<=" => Self::Le,
            ">" => Self::Gt,
            ">=" => Self::Ge,
            _ => return Err(Error::operator(word, field, ALL_OPERATORS)),
        })
    }

    fn fits(self, kind: FieldKind) -> bool {
        match self {
            Self::Eq | Self::Ne | Self::In | Self::Exists => true,
            Self::Contains => kind == FieldKind::Text,
            Self::Lt | Self::Le | Self::Gt | Self::Ge => kind != FieldKind::Text,
        }
    }
}

/// A value to compare with, of the kind of its field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// A text.
    Text(String),
    /// A criticality.
    Criticality(Criticality),
    /// A moment.
    Moment(Timestamp),
}

impl Value {
    fn parse(field: &Field, value: &str) -> Result<Self, Error> {
        match field.kind() {
            FieldKind::Text => {
                text::bounded("filter value", value, limits::FILTER_VALUE_CHARS).map(|v| Self::Text(v.into()))
            }
            FieldKind::Criticality => value
                .trim()
                .parse::<i64>()
                .map_err(|_| Error::value("criticality", "a whole number from 1 to 5"))
                .and_then(Criticality::new)
                .map(Self::Criticality),
            FieldKind::Moment => value.parse().map(Self::Moment).map_err(|_| {
                Error::value(&field.to_string(), "a date and time such as 2026-01-31T08:00:00Z")
            }),
        }
    }
}

/// What a field's value must satisfy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Compared with one value; `Operator` is one of `=`, `!=`, `<`, `<=`, `>`, `>=`.
    Compare(Operator, Value),
    /// The text has this folded text in it; never empty.
    Contains(String),
    /// One of these; at least one.
    In(BTreeSet<Value>),
    /// There is a value (true) or none (false). A JSON null is no value; an array or object is one.
    Exists(bool),
}

/// One field and one condition on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    field: Field,
    condition: Condition,
}

impl Filter {
    /// Makes a filter from its three parts: a field's name, an operator's text and the values.
    ///
    /// `in` takes one or more values, `exists` none (there is a value) or one of `true` and `false`, every other
    /// operator exactly one.
    ///
    /// # Errors
    /// [`Error::UnknownField`], [`Error::UnknownOperator`] (also for an operator that does not fit the field),
    /// [`Error::InvalidValue`], or a limit.
    pub fn new<S: AsRef<str>>(field: &str, operator: &str, values: &[S]) -> Result<Self, Error> {
        let parsed: Field = field.parse()?;
        let operator = Operator::parse(operator, field)?;
        if !operator.fits(parsed.kind()) {
            let allowed = if parsed.kind() == FieldKind::Text {
                TEXT_OPERATORS
            } else {
                ORDERED_OPERATORS
            };
            return Err(Error::operator(operator.as_str(), field, allowed));
        }
        let condition = match operator {
            Operator::Exists => Condition::Exists(parse_exists(field, values)?),
            Operator::In => Condition::In(parse_in(&parsed, values)?),
            Operator::Contains => Condition::Contains(parse_contains(single(field, values)?)?),
            _ => Condition::Compare(operator, Value::parse(&parsed, single(field, values)?)?),
        };
        Ok(Self {
            field: parsed,
            condition,
        })
    }

    /// Reads an expression: `ci_type=SW`, `status!=retired`, `owner contains ops` (or `owner~ops`),
    /// `criticality>=4`, `location in a,b` (or `in ["a","b"]` as JSON), `tags.role exists`, `owner exists false`.
    ///
    /// The value is everything after the operator, spaces included; after a word operator one space is cut.
    ///
    /// # Errors
    /// Those of [`Filter::new`].
    pub fn parse(expression: &str) -> Result<Self, Error> {
        let (field, rest) = split_expression(expression.trim_start());
        let (operator, value) = split_operator(rest);
        match operator {
            "in" => Self::new(field, operator, &split_values(field, value)?),
            "exists" if value.trim().is_empty() => Self::new::<&str>(field, operator, &[]),
            _ => Self::new(field, operator, &[value]),
        }
    }

    /// The field.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// The condition.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}

/// Splits the operator from the value.
fn split_operator(rest: &str) -> (&str, &str) {
    let rest = rest.trim_start();
    let symbols = rest
        .find(|c| !matches!(c, '=' | '!' | '<' | '>' | '~'))
        .unwrap_or(rest.len());
    // At most two: `=` may be followed by a value that begins with such a character, as in `tags.a=>b`.
    let length = match rest.as_bytes() {
        [b'!' | b'<' | b'>' | b'=', b'=', ..] => 2,
        _ if symbols > 0 => 1,
        _ => {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, value) = rest.split_at(end);
            return (word, value.strip_prefix(char::is_whitespace).unwrap_or(value));
        }
    };
    rest.split_at(length)
}

fn split_values(field: &str, text: &str) -> Result<Vec<String>, Error> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text)
            .map_err(|_| Error::value(field, "values separated by commas, or a JSON array of texts"));
    }
    Ok(text.split(',').map(|value| value.trim().to_owned()).collect())
}

fn single<'a, S: AsRef<str>>(field: &str, values: &'a [S]) -> Result<&'a str, Error> {
    match values {
        [value] => Ok(value.as_ref()),
        _ => Err(Error::value(field, "exactly one value")),
    }
}

fn parse_exists<S: AsRef<str>>(field: &str, values: &[S]) -> Result<bool, Error> {
    match values {
        [] => Ok(true),
        [value] if value.as_ref().trim() == "true" => Ok(true),
        [value] if value.as_ref().trim() == "false" => Ok(false),
        _ => Err(Error::value(field, "true or false after `exists`")),
    }
}

fn parse_in<S: AsRef<str>>(field: &Field, values: &[S]) -> Result<BTreeSet<Value>, Error> {
    if values.is_empty() {
        return Err(Error::Empty {
            what: "list of `in` values",
        });
    }
    text::at_most("`in` values", values.len(), limits::IN_VALUES)?;
    values
        .iter()
        .map(|value| Value::parse(field, value.as_ref()))
        .collect()
}

fn parse_contains(value: &str) -> Result<String, Error> {
    if value.is_empty() {
        return Err(Error::Empty {
            what: "value of `contains`",
        });
    }
    text::bounded("filter value", value, limits::FILTER_VALUE_CHARS).map(fold)
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Criticality(value) => write!(f, "{}", value.get()),
            Self::Moment(moment) => moment.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::Text(value.into())
    }

    #[test]
    fn expressions_of_every_operator() {
        let compare = |op, value: &str| Condition::Compare(op, text(value));
        for (expression, field, condition) in [
            ("ci_type=SW", "ci_type", compare(Operator::Eq, "SW")),
            (
                "owner=Debian Games Team",
                "owner",
                compare(Operator::Eq, "Debian Games Team"),
            ),
            ("tags.a=>b", "tags.a", compare(Operator::Eq, ">b")),
            ("tags.a=", "tags.a", compare(Operator::Eq, "")),
            ("status != retired", "status", compare(Operator::Ne, " retired")),
            (
                "owner contains OPS team",
                "owner",
                Condition::Contains("ops team".into()),
            ),
            ("owner~50%_", "owner", Condition::Contains("50%_".into())),
            (
                "location in b, a,a",
                "location",
                Condition::In([text("a"), text("b")].into()),
            ),
            (
                r#"location in ["a,b"]"#,
                "location",
                Condition::In([text("a,b")].into()),
            ),
            ("owner exists", "owner", Condition::Exists(true)),
            ("owner exists false", "owner", Condition::Exists(false)),
            (r#"tags."a=b"=c"#, r#"tags."a=b""#, compare(Operator::Eq, "c")),
        ] {
            let filter = Filter::parse(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
            assert_eq!(filter.field().to_string(), field, "{expression}");
            assert_eq!(filter.condition(), &condition, "{expression}");
        }
        let filter = Filter::parse("criticality>=4").unwrap();
        let four = Value::Criticality(Criticality::new(4).unwrap());
        assert_eq!(filter.condition(), &Condition::Compare(Operator::Ge, four));
        assert!(Filter::parse("created_at<2026-01-31").is_ok());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (expression, part) in [
            ("colour=red", "colour"),
            ("ci_type", "operator ``"),
            ("ci_type like x", "operator `like`"),
            ("ci_type>A", "`>` on `ci_type`: allowed are =, !=, contains"),
            ("criticality contains 1", "`contains` on `criticality`"),
            ("criticality=6", "6 is outside 1 to 5"),
            ("criticality=high", "whole number"),
            ("created_at>soon", "created_at"),
            ("owner exists maybe", "true or false"),
            ("owner contains ", "empty"),
            ("owner=a\0b", "U+0000"),
        ] {
            let error = Filter::parse(expression).unwrap_err().to_string();
            assert!(error.contains(part), "{expression}: {error}");
        }
        let many: Vec<String> = (0..=limits::IN_VALUES).map(|n| n.to_string()).collect();
        assert!(Filter::new("owner", "in", &many[1..]).is_ok());
        assert!(matches!(
            Filter::new("owner", "in", &many),
            Err(Error::TooMany { .. })
        ));
        let long = "x".repeat(limits::FILTER_VALUE_CHARS + 1);
        assert!(matches!(
            Filter::new("owner", "=", &[&long]),
            Err(Error::TooLong { .. })
        ));
    }
}
