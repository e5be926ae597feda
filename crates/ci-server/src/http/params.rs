//! Query strings, read strictly: an unknown, repeated or ill-formed parameter is an error that names it.

use std::str::FromStr;

use ci_model::Filter;
use percent_encoding::percent_decode_str;

use super::level;
use super::problem::Problem;

/// The parameters of one request, of which every name is allowed.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query string. A silently ignored parameter would answer another question than the one that was meant.
    pub(crate) fn parse(query: Option<&str>, allowed: &[&str]) -> Result<Self, Problem> {
        let mut params = Vec::new();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| Problem::invalid("a parameter's name is not UTF-8"))?;
            if !allowed.contains(&name.as_str()) {
                return Err(unknown(&name, allowed));
            }
            let value = decode(value)
                .ok_or_else(|| Problem::invalid(format!("the value of `{name}` is not UTF-8")))?;
            params.push((name, value));
        }
        Ok(Self(params))
    }

    /// Reads the query string of a question, which may ask for a level as well.
    pub(crate) fn of_question(query: Option<&str>, allowed: &[&str]) -> Result<Self, Problem> {
        Self::parse(query, &[allowed, &level::PARAMS].concat())
    }

    /// Every value of a parameter that may be repeated.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may be there once.
    pub(crate) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Problem> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Problem::invalid(format!(
                "the parameter `{name}` is given more than once"
            ))),
            (value, None) => Ok(value),
        }
    }

    /// A parameter that must be there.
    pub(crate) fn required<'a>(&'a self, name: &'a str) -> Result<&'a str, Problem> {
        self.one(name)?
            .ok_or_else(|| Problem::invalid(format!("the parameter `{name}` is missing")))
    }

    /// A whole number.
    pub(crate) fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, Problem> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        let wrong = || {
            Problem::invalid(format!(
                "the parameter `{name}` must be a whole number within its range"
            ))
        };
        text.parse().map(Some).map_err(|_| wrong())
    }

    /// A word that is parsed by the domain.
    pub(crate) fn word<W>(&self, name: &str) -> Result<Option<W>, Problem>
    where
        W: FromStr<Err = ci_model::Error>,
    {
        Ok(self.one(name)?.map(str::parse).transpose()?)
    }

    /// `true` (also without a value) or `false`; false when absent.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(_) => Err(Problem::invalid(format!(
                "the parameter `{name}` must be true or false"
            ))),
        }
    }

    /// The filters.
    pub(crate) fn filters(&self) -> Result<Vec<Filter>, Problem> {
        Ok(self.all("filter").map(Filter::parse).collect::<Result<_, _>>()?)
    }

    /// A parameter whose values may be repeated or separated by commas.
    pub(crate) fn names(&self, name: &str) -> Vec<String> {
        self.all(name).flat_map(split_names).collect()
    }
}

/// Splits `a,b` outside double quotes, since the path of a tag may hold a comma.
pub(crate) fn split_names(text: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            _ => {
                quoted ^= c == '"';
                name.push(c);
            }
        }
    }
    names.push(name);
    names
        .into_iter()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Splits a search text into keywords: at white space, except within double quotes.
pub(crate) fn keywords(text: &str) -> Vec<String> {
    let (mut keywords, mut keyword, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => keywords.push(std::mem::take(&mut keyword)),
            c => keyword.push(c),
        }
    }
    keywords.push(keyword);
    keywords.retain(|keyword| !keyword.trim().is_empty());
    keywords
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Into::into)
}

fn unknown(name: &str, allowed: &[&str]) -> Problem {
    const SHOWN: usize = 64;
    let shown: String = name.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    let allowed = if allowed.is_empty() {
        "none".into()
    } else {
        allowed.join(", ")
    };
    Problem::invalid(format!(
        "the parameter `{shown}` is unknown; allowed are: {allowed}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_strays_named() {
        let params = Params::parse(
            Some("q=a+b%20c&filter=x&filter=%EA%B0%80&&strict"),
            &["q", "filter", "strict"],
        );
        let params = params.unwrap();
        assert_eq!(params.one("q").unwrap(), Some("a b c"));
        assert_eq!(params.all("filter").collect::<Vec<_>>(), ["x", "가"]);
        assert!(params.flag("strict").unwrap());
        assert!(params.one("filter").is_err());
        assert!(params.required("from").is_err());
        for wrong in ["colour=1", "q=%ff", "%ff=1"] {
            assert!(Params::parse(Some(wrong), &["q"]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quotes_keep_a_phrase() {
        assert_eq!(
            keywords(r#" erp  "order db" x"y z" "#),
            ["erp", "order db", "xy z"]
        );
        assert_eq!(
            keywords(r#"open "quote to the end"#),
            ["open", "quote to the end"]
        );
        assert!(keywords("  \"\" ").is_empty());
    }

    #[test]
    fn commas_separate_names_outside_quotes() {
        assert_eq!(
            split_names(r#"ci_type, tags."a,b" ,"#),
            ["ci_type", r#"tags."a,b""#]
        );
    }
}
