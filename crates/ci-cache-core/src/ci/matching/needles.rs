//! The keywords of a selection in one piece of memory.
//!
//! A change looks at tens or hundreds of dependencies that share one of its anchors, and most of them fail at a keyword.
//! What that costs is memory: a question, its list of keywords and each of their texts lie in different places, and a look
//! at each is a cache miss of its own. Here all keywords are in one place, beside the footprint.

use ci_model::{CiChange, KeywordMode, Selection};

/// Between two keywords; no keyword has a control character.
const SEPARATOR: char = '\u{1f}';

/// Folded keywords that must all be found, the longest first, because it fails most often.
#[derive(Debug, Clone, Default)]
pub(super) struct Needles(Box<str>);

impl Needles {
    /// The keywords of a selection; none where any of them is enough.
    pub(super) fn new(selection: Option<&Selection>) -> Self {
        let all = selection.filter(|selection| selection.mode() == KeywordMode::All);
        let mut keywords: Vec<&str> = all
            .into_iter()
            .flat_map(Selection::keywords)
            .map(String::as_str)
            .collect();
        keywords.sort_by_key(|keyword| std::cmp::Reverse(keyword.len()));
        Self(keywords.join(SEPARATOR.encode_utf8(&mut [0; 4])).into())
    }

    /// Tells whether a row may have all keywords before or after a change: where not, the change is nothing to the
    /// selection.
    pub(super) fn may_be_found(&self, change: &CiChange) -> bool {
        let mut rows = [&change.new, &change.old].into_iter().flatten();
        self.0.is_empty() || rows.any(|row| self.found_in(row.search_text()))
    }

    fn found_in(&self, text: &str) -> bool {
        self.0.split(SEPARATOR).all(|keyword| text.contains(keyword))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_must_be_found(text in "[abc]{0,12}", words in proptest::collection::vec("[abcé]{1,3}", 0..4)) {
            let selection = Selection::new(&words, vec![], false).unwrap();
            let all = selection.keywords().iter().all(|word| text.contains(word));
            prop_assert_eq!(Needles::new(Some(&selection)).found_in(&text), all);
        }
    }

    #[test]
    fn any_of_several_rules_nothing_out() {
        let selection = Selection::new(&["app-erp"], vec![], false).unwrap();
        assert!(!Needles::new(Some(&selection)).found_in("nothing"));
        assert!(Needles::new(selection.broadened().as_ref()).found_in("nothing"));
        assert!(Needles::new(None).found_in("nothing"));
    }
}
