//! Which CIs a question is about: keywords, filters, and whether deleted ones count.

use crate::{Error, Filter, fold::fold, limits, text};

/// Whether every keyword must be found in a CI or any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeywordMode {
    /// Every keyword: the strict search.
    All,
    /// At least one: the broad search.
    Any,
}

/// The CIs that a search, list or aggregate is about, in canonical form: keywords folded, sorted and without
/// duplicates, filters sorted and without duplicates.
///
/// A CI is selected when it is not soft-deleted (or deleted ones are asked for), every filter holds, and the keywords
/// are found: each keyword in any of code, name, type, subtype and category, in any case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selection {
    keywords: Vec<String>,
    mode: KeywordMode,
    filters: Vec<Filter>,
    include_deleted: bool,
}

impl Selection {
    /// Everything that is not deleted.
    pub fn all() -> Self {
        Self {
            keywords: Vec::new(),
            mode: KeywordMode::All,
            filters: Vec::new(),
            include_deleted: false,
        }
    }

    /// Checks keywords and filters and brings them into canonical form. Blank keywords are left out.
    ///
    /// # Errors
    /// More than 16 keywords or 32 filters, a keyword over 200 characters or with a control character.
    pub fn new<S: AsRef<str>>(
        keywords: &[S],
        mut filters: Vec<Filter>,
        include_deleted: bool,
    ) -> Result<Self, Error> {
        text::at_most("keywords", keywords.len(), limits::KEYWORDS)?;
        text::at_most("filters", filters.len(), limits::FILTERS)?;
        let keywords = normalised(keywords)?;
        filters.sort_unstable();
        filters.dedup();
        Ok(Self {
            keywords,
            mode: KeywordMode::All,
            filters,
            include_deleted,
        })
    }

    /// The folded keywords, ascending, without duplicates.
    pub fn keywords(&self) -> &[String] {
        &self.keywords
    }

    /// Whether all or any of the keywords must be found.
    pub fn mode(&self) -> KeywordMode {
        self.mode
    }

    /// The filters, all of which must hold.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// Whether soft-deleted CIs count.
    pub fn include_deleted(&self) -> bool {
        self.include_deleted
    }

    /// The broad form: the keywords and their parts (split at white space, `_` and `-`; of two characters or more), of
    /// which any must be found. Nothing when there are no keywords, or when it would ask the same again.
    pub fn broadened(&self) -> Option<Self> {
        let mut parts: Vec<String> = self.keywords.clone();
        let split = |c: char| c.is_whitespace() || c == '_' || c == '-';
        parts.extend(
            self.keywords
                .iter()
                .flat_map(|keyword| keyword.split(split))
                .filter(|part| part.chars().nth(1).is_some())
                .map(str::to_owned),
        );
        // Keywords stand before their parts, so the bound never cuts a keyword.
        parts.truncate(limits::BROAD_PARTS);
        parts.sort_unstable();
        parts.dedup();
        (parts.len() > 1).then(|| Self {
            keywords: parts,
            mode: KeywordMode::Any,
            ..self.clone()
        })
    }
}

/// Trims, folds, sorts and de-duplicates; drops blanks.
fn normalised<S: AsRef<str>>(keywords: &[S]) -> Result<Vec<String>, Error> {
    let mut folded = Vec::with_capacity(keywords.len());
    for keyword in keywords {
        let keyword = text::bounded("keyword", keyword.as_ref().trim(), limits::KEYWORD_CHARS)?;
        if !keyword.is_empty() {
            folded.push(fold(keyword));
        }
    }
    folded.sort_unstable();
    folded.dedup();
    Ok(folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_and_filters_have_one_form() {
        let filters = |order: [&str; 3]| {
            order
                .iter()
                .map(|f| Filter::parse(f).unwrap())
                .collect::<Vec<_>>()
        };
        let a = Selection::new(
            &[" ERP ", "db", "", "Db"],
            filters(["owner=x", "status=y", "owner=x"]),
            false,
        );
        let b = Selection::new(
            &["DB", "erp"],
            filters(["status=y", "owner=x", "status=y"]),
            false,
        );
        assert_eq!(a, b);
        assert_eq!(a.unwrap().keywords(), ["db", "erp"]);
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let new = |keywords: &[String]| Selection::new(keywords, vec![], false);
        let words: Vec<String> = (0..=limits::KEYWORDS).map(|n| n.to_string()).collect();
        assert!(new(&words[1..]).is_ok());
        assert!(matches!(new(&words), Err(Error::TooMany { .. })));
        assert!(new(&["é".repeat(limits::KEYWORD_CHARS)]).is_ok());
        assert!(matches!(
            new(&["é".repeat(limits::KEYWORD_CHARS + 1)]),
            Err(Error::TooLong { .. })
        ));
        assert!(matches!(
            new(&["a\u{1f}b".into()]),
            Err(Error::ControlCharacter { .. })
        ));
        let filters = vec![Filter::parse("owner=x").unwrap(); limits::FILTERS + 1];
        assert!(matches!(
            Selection::new::<&str>(&[], filters, false),
            Err(Error::TooMany { .. })
        ));
    }

    #[test]
    fn broad_form_has_keywords_and_their_parts() {
        let strict = Selection::new(&["app-erp_order x", "db"], vec![], false).unwrap();
        let broad = strict.broadened().unwrap();
        assert_eq!(broad.keywords(), ["app", "app-erp_order x", "db", "erp", "order"]);
        assert_eq!(broad.mode(), KeywordMode::Any);
        assert_eq!(Selection::new(&["db"], vec![], false).unwrap().broadened(), None);
        assert_eq!(Selection::all().broadened(), None);
    }
}
