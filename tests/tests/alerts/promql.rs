//! What an expression of PromQL names: metrics, labels and their values. Not a parser: promtool is that.

/// What follows `label` and an operator in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

/// A metric with what is asked of its labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
}

/// What an expression names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) selectors: Vec<Selector>,
    /// Labels in `by (...)` and the like.
    pub(crate) grouped: Vec<String>,
}

/// Words before a list of labels.
const GROUPINGS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words that name nothing.
const WORDS: &[&str] = &["and", "or", "unless", "bool", "offset", "inf", "nan"];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// Reads an expression.
pub(crate) fn named(expr: &str) -> Named {
    let tokens = tokens(expr);
    let mut named = Named::default();
    let mut rest = tokens.as_slice();
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let Token::Word(word) = token else { continue };
        let next = rest.first();
        if GROUPINGS.contains(&word.as_str()) && next == Some(&Token::Sign('(')) {
            let end = position(rest, ')');
            let labels = rest[..end].iter().filter_map(|token| match token {
                Token::Word(label) => Some(label.clone()),
                _ => None,
            });
            named.grouped.extend(labels);
            rest = &rest[end..];
        } else if next == Some(&Token::Sign('{')) {
            let end = position(rest, '}');
            named.selectors.push(Selector {
                metric: word.clone(),
                matchers: matchers(&rest[1..end]),
            });
            rest = &rest[end..];
        } else if next != Some(&Token::Sign('(')) && !is_keyword(word) {
            // Neither a function nor an aggregation nor an operator.
            let is_aggregation = matches!(next, Some(Token::Word(by)) if GROUPINGS.contains(&by.as_str()))
                && after_list(&rest[1..]) == Some(&Token::Sign('('));
            if !is_aggregation {
                named.selectors.push(Selector {
                    metric: word.clone(),
                    matchers: Vec::new(),
                });
            }
        }
    }
    named
}

/// Whether it names nothing.
fn is_keyword(word: &str) -> bool {
    let word = word.to_lowercase();
    [WORDS, GROUPINGS]
        .iter()
        .any(|words| words.contains(&word.as_str()))
}

/// What follows a list in parentheses.
fn after_list(tokens: &[Token]) -> Option<&Token> {
    tokens.get(position(tokens, ')') + 1)
}

fn position(tokens: &[Token], sign: char) -> usize {
    let at = tokens.iter().position(|token| *token == Token::Sign(sign));
    at.unwrap_or(tokens.len())
}

fn matchers(tokens: &[Token]) -> Vec<Matcher> {
    let parts = tokens.split(|token| *token == Token::Sign(','));
    parts
        .filter_map(|part| {
            let (Some(Token::Word(label)), Some(Token::Text(value))) = (part.first(), part.last()) else {
                return None;
            };
            let operator = part.iter().filter_map(|token| match token {
                Token::Sign(sign) => Some(*sign),
                _ => None,
            });
            Some(Matcher {
                label: label.clone(),
                operator: operator.collect(),
                value: value.clone(),
            })
        })
        .collect()
}

fn tokens(expr: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = expr.chars().peekable();
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_' || *c == ':';
    while let Some(c) = chars.next() {
        if c == '"' || c == '\'' {
            tokens.push(Token::Text(
                chars.by_ref().take_while(|other| *other != c).collect(),
            ));
        } else if c == '[' {
            // A range.
            chars.by_ref().find(|c| *c == ']');
        } else if c.is_ascii_digit() {
            while chars.next_if(|c| is_word(c) || *c == '.').is_some() {}
        } else if is_word(&c) {
            let mut word = String::from(c);
            while let Some(c) = chars.next_if(is_word) {
                word.push(c);
            }
            tokens.push(Token::Word(word));
        } else if !c.is_whitespace() {
            tokens.push(Token::Sign(c));
        }
    }
    tokens
}

#[test]
fn reads_what_is_named() {
    let named = named(
        "sum by (job, runner) (rate(a_total{x=\"1\",y=~\"b(c)\"}[5m])) / on (z) group_left b > 0.5e3 and up == 0 \
         unless sum(c) by (k) or Inf",
    );
    let metrics: Vec<&str> = named
        .selectors
        .iter()
        .map(|selector| selector.metric.as_str())
        .collect();
    assert_eq!(metrics, ["a_total", "b", "up", "c"]);
    assert_eq!(named.grouped, ["job", "runner", "z", "k"]);
    let matchers: Vec<(&str, &str, &str)> = named.selectors[0]
        .matchers
        .iter()
        .map(|matcher| {
            (
                matcher.label.as_str(),
                matcher.operator.as_str(),
                matcher.value.as_str(),
            )
        })
        .collect();
    assert_eq!(matchers, [("x", "=", "1"), ("y", "=~", "b(c)")]);
}
