//! Filters: one field, one condition. Parsed and checked on construction.

use std::collections::BTreeSet;
use std::fmt;

use crate::field::split_expression;
use crate::{Criticality, Error, Field, FieldKind, Timestamp, fold::fold, limits, text};

const ORDERED_OPERATORS: &str = "=, !=, in, not in, exists, <, <=, >, >=";
const ALL_OPERATORS: &str = "=, !=, contains, not contains, in, not in, exists, <, <=, >, >=";
/// Numbers below this are the same in binary floating point, so that every database compares them alike.
const EXACT: i64 = 1 << 53;

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
    /// `not contains`: there is a text, and it does not have the value in it, in any case.
    NotContains,
    /// `not in`: another value than each of several; an absent value is neither in nor not in.
    NotIn,
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
            Self::NotContains => "not contains",
            Self::NotIn => "not in",
        }
    }

    /// Reads an operator; `field` only for the error's text.
    fn parse(word: &str, field: &str) -> Result<Self, Error> {
        let mut words = word.split_whitespace();
        if let (Some("not"), Some(second), None) = (words.next(), words.next(), words.next()) {
            return match second {
                "in" => Ok(Self::NotIn),
                "contains" => Ok(Self::NotContains),
                _ => Err(Error::operator(word, field, ALL_OPERATORS)),
            };
        }
        Ok(match word {
            "=" | "==" => Self::Eq,
            "!=" => Self::Ne,
            "contains" | "~" => Self::Contains,
            "!~" => Self::NotContains,
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
            Self::Contains | Self::NotContains => kind == FieldKind::Text,
            _ => true,
        }
    }

    /// Tells whether it asks for an order.
    pub fn is_ordered(self) -> bool {
        matches!(self, Self::Lt | Self::Le | Self::Gt | Self::Ge)
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
    /// A whole number that the numbers in a document are compared with; its absolute value is below 2^53.
    Number(i64),
}

impl Value {
    /// Reads what a field's order is asked of. In a document numbers are compared with numbers and texts with texts: a whole number
    /// is a number, everything else and what is in double quotes a text.
    fn parse_ordered(field: &Field, value: &str) -> Result<Self, Error> {
        let trimmed = value.trim();
        if matches!(field, Field::Column(_)) {
            return Self::parse(field, value);
        }
        match trimmed.parse::<i64>() {
            Ok(number) if number.unsigned_abs() < EXACT.unsigned_abs() => Ok(Self::Number(number)),
            Err(_) if trimmed.parse::<f64>().is_err() => {
                let quoted = trimmed.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                Self::parse(field, quoted.unwrap_or(value))
            }
            _ => Err(Error::value(
                &field.to_string(),
                "a whole number below 2^53, or a text (in double quotes where it looks like a number)",
            )),
        }
    }

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
    ///
    /// The order of texts is that of their bytes. In a document only texts have an order with a text, and only numbers with a
    /// number. Fractions are compared as the database holds them: PostgreSQL keeps every digit, SQLite some sixteen.
    Compare(Operator, Value),
    /// The text has this folded text in it; never empty.
    Contains(String),
    /// One of these; at least one.
    In(BTreeSet<Value>),
    /// There is a value (true) or none (false). A JSON null is no value; an array or object is one.
    Exists(bool),
    /// There is a text, and it does not have this folded text in it; never empty.
    NotContains(String),
    /// There is a value, and it is none of these; at least one.
    NotIn(BTreeSet<Value>),
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
    /// `in` and `not in` take one or more values, `exists` none (there is a value) or one of `true` and `false`, every other
    /// operator exactly one.
    ///
    /// # Errors
    /// [`Error::UnknownField`], [`Error::UnknownOperator`] (also for an operator that does not fit the field),
    /// [`Error::InvalidValue`], or a limit.
    pub fn new<S: AsRef<str>>(field: &str, operator: &str, values: &[S]) -> Result<Self, Error> {
        let parsed: Field = field.parse()?;
        let operator = Operator::parse(operator, field)?;
        if !operator.fits(parsed.kind()) {
            return Err(Error::operator(operator.as_str(), field, ORDERED_OPERATORS));
        }
        let condition = match operator {
            Operator::Exists => Condition::Exists(parse_exists(field, values)?),
            Operator::In => Condition::In(parse_in(&parsed, values)?),
            Operator::NotIn => Condition::NotIn(parse_in(&parsed, values)?),
            Operator::Contains => Condition::Contains(parse_contains(single(field, values)?)?),
            Operator::NotContains => Condition::NotContains(parse_contains(single(field, values)?)?),
            _ if operator.is_ordered() => {
                Condition::Compare(operator, Value::parse_ordered(&parsed, single(field, values)?)?)
            }
            _ => Condition::Compare(operator, Value::parse(&parsed, single(field, values)?)?),
        };
        Ok(Self {
            field: parsed,
            condition,
        })
    }

    /// Reads an expression: `ci_type=SW`, `status!=retired`, `owner contains ops` (or `owner~ops`), `owner not contains ops` (or
    /// `owner!~ops`), `criticality>=4`, `attributes.cpu>=8`, `location in a,b` (or `in ["a","b"]` as JSON), `location not in a,b`,
    /// `tags.role exists`, `owner exists false`.
    ///
    /// The value is everything after the operator, spaces included; after a word operator one space is cut.
    ///
    /// # Errors
    /// Those of [`Filter::new`].
    pub fn parse(expression: &str) -> Result<Self, Error> {
        let (field, rest) = split_expression(expression.trim_start());
        let (operator, value) = split_operator(rest);
        let is_list = operator.split_whitespace().next_back() == Some("in");
        match operator {
            _ if is_list => Self::new(field, operator, &split_values(field, value)?),
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
        [b'!' | b'<' | b'>' | b'=', b'=', ..] | [b'!', b'~', ..] => 2,
        _ if symbols > 0 => 1,
        _ => {
            let mut end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            if &rest[..end] == "not" {
                let second = rest.len() - rest[end..].trim_start().len();
                let length = rest[second..].find(char::is_whitespace);
                end = length.map_or(rest.len(), |length| second + length);
            }
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
            Self::Number(number) => number.fmt(f),
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
            (
                "owner not contains OPS",
                "owner",
                Condition::NotContains("ops".into()),
            ),
            ("owner!~OPS", "owner", Condition::NotContains("ops".into())),
            (
                "location not  in b,a",
                "location",
                Condition::NotIn([text("a"), text("b")].into()),
            ),
            ("owner>=m", "owner", compare(Operator::Ge, "m")),
            ("owner<10", "owner", compare(Operator::Lt, "10")),
            (
                "tags.until<2026-01",
                "tags.until",
                compare(Operator::Lt, "2026-01"),
            ),
            (
                r#"tags.until>"2026""#,
                "tags.until",
                compare(Operator::Gt, "2026"),
            ),
            (
                "tags.n > -8",
                "tags.n",
                Condition::Compare(Operator::Gt, Value::Number(-8)),
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
            ("ci_type not like x", "operator `not like`"),
            ("ci_type not", "operator `not`"),
            (
                "criticality contains 1",
                "`contains` on `criticality`: allowed are =, !=, in, not in",
            ),
            ("created_at !~ 1", "`not contains` on `created_at`"),
            ("tags.n>=1.5", "a whole number"),
            ("tags.n<9007199254740992", "a whole number"),
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
