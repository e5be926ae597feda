//! Ranking: what comes before the sort of a search.

use crate::{Error, fold::fold, limits, text};

/// The rank of a CI whose code and name do not begin with the text that a search ranks by.
const ELSEWHERE: u8 = 4;

/// What results are ordered by before their sort: CIs of a lower rank come first, those of one rank by the sort.
///
/// Compared are folded forms ([`fold`](crate::fold::fold)), so "the same" and "begins with" mean in any case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Ranking {
    /// Nothing: all have rank 0.
    #[default]
    Plain,
    /// Folded identifiers, ascending, each once, at least one. Rank 0 has a CI whose code or name is one of them, rank 1 every
    /// other.
    ExactFirst(Vec<String>),
    /// One folded text, not empty. A CI has the lowest of these ranks that is true of it:
    ///
    /// | rank | |
    /// |---|---|
    /// | 0 | its code is the text |
    /// | 1 | its name is the text |
    /// | 2 | its code begins with the text |
    /// | 3 | its name begins with the text |
    /// | 4 | neither: the text is elsewhere in it, or not at all |
    ByMatch(String),
}

impl Ranking {
    /// The ranking by a list of identifiers: blank ones are left out, and without any it is plain.
    pub(crate) fn exact_first(identifiers: &[String]) -> Result<Self, Error> {
        text::at_most("identifiers", identifiers.len(), limits::KEYWORDS)?;
        let mut first = Vec::with_capacity(identifiers.len());
        for identifier in identifiers {
            let identifier = text::bounded("identifier", identifier.trim(), limits::KEYWORD_CHARS)?;
            if !identifier.is_empty() {
                first.push(fold(identifier));
            }
        }
        first.sort_unstable();
        first.dedup();
        Ok(if first.is_empty() {
            Self::Plain
        } else {
            Self::ExactFirst(first)
        })
    }

    /// The ranking by a text; plain by a blank one.
    pub(crate) fn by_match(by: &str) -> Result<Self, Error> {
        let by = text::bounded("text to rank by", by.trim(), limits::KEYWORD_CHARS)?;
        Ok(if by.is_empty() {
            Self::Plain
        } else {
            Self::ByMatch(fold(by))
        })
    }

    /// The rank of a CI with this folded code and name, 0 to [`last`](Self::last).
    pub fn rank(&self, code: &str, name: &str) -> u8 {
        match self {
            Self::Plain => 0,
            Self::ExactFirst(first) => {
                let is_one = |text: &str| first.binary_search_by(|known| known.as_str().cmp(text)).is_ok();
                u8::from(!is_one(code) && !is_one(name))
            }
            Self::ByMatch(by) if code == by => 0,
            Self::ByMatch(by) if name == by => 1,
            Self::ByMatch(by) if code.starts_with(by.as_str()) => 2,
            Self::ByMatch(by) if name.starts_with(by.as_str()) => 3,
            Self::ByMatch(_) => ELSEWHERE,
        }
    }

    /// The highest rank that a CI can have.
    pub fn last(&self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::ExactFirst(_) => 1,
            Self::ByMatch(_) => ELSEWHERE,
        }
    }

    /// Tells whether every CI has the same rank, so that the sort alone orders.
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_go_from_the_same_to_elsewhere() {
        let by = Ranking::by_match(" ERP ").unwrap();
        for (code, name, rank) in [
            ("erp", "erp", 0),
            ("erp-1", "erp", 1),
            ("erp-1", "erp x", 2),
            ("x", "erp x", 3),
            ("x-erp", "my erp", 4),
            ("x", "y", 4),
        ] {
            assert_eq!(by.rank(code, name), rank, "{code} {name}");
        }
        assert_eq!(by.last(), 4);
        let first = Ranking::exact_first(&["B".into(), " a".into(), "b".into(), String::new()]).unwrap();
        assert_eq!(first, Ranking::ExactFirst(vec!["a".into(), "b".into()]));
        assert_eq!(
            [first.rank("b", "x"), first.rank("x", "a"), first.rank("ab", "b ")],
            [0, 0, 1]
        );
    }

    #[test]
    fn nothing_to_rank_by_is_plain_and_too_much_is_refused() {
        assert!(Ranking::by_match("  ").unwrap().is_plain());
        assert!(Ranking::exact_first(&[" ".into()]).unwrap().is_plain());
        assert_eq!(Ranking::Plain.rank("a", "b"), Ranking::Plain.last());
        let long = "x".repeat(limits::KEYWORD_CHARS + 1);
        assert!(matches!(Ranking::by_match(&long), Err(Error::TooLong { .. })));
        assert!(matches!(
            Ranking::exact_first(&vec!["a".into(); limits::KEYWORDS + 1]),
            Err(Error::TooMany { .. })
        ));
    }
}
