//! The keywords of a selection in one piece of memory.
//!
//! A change looks at tens or hundreds of dependencies that share one of its anchors, and most of them fail at a keyword.
//! What that costs is memory: a question, its list of keywords and each of their texts lie in different places, and a look
//! at each is a cache miss of its own. Here all keywords are in one.

use ci_model::{KeywordMode, Selection};

/// Folded keywords, each after its length; the longest first, because it fails most often.
#[derive(Debug, Clone, Default)]
pub(super) struct Needles(Box<[u8]>);

impl Needles {
    /// The keywords that must all be found; empty where any is enough.
    pub(super) fn new(selection: &Selection) -> Self {
        if selection.mode() == KeywordMode::Any {
            return Self::default();
        }
        let mut keywords: Vec<&str> = selection.keywords().iter().map(String::as_str).collect();
        keywords.sort_by_key(|keyword| std::cmp::Reverse(keyword.len()));
        let mut bytes = Vec::new();
        for keyword in keywords {
            // A keyword has at most 200 characters.
            let Ok(length) = u16::try_from(keyword.len()) else {
                return Self::default();
            };
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(keyword.as_bytes());
        }
        Self(bytes.into())
    }

    /// Tells whether all are found in a folded search text.
    pub(super) fn found_in(&self, text: &str) -> bool {
        let mut rest = &*self.0;
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_le_bytes(*length));
            let Some((needle, after)) = after.split_at_checked(length) else {
                return true;
            };
            if !contains(text.as_bytes(), needle) {
                return false;
            }
            rest = after;
        }
        true
    }
}

/// Tells whether a text has a part in it. Both are UTF-8, so bytes are found where characters are.
fn contains(text: &[u8], part: &[u8]) -> bool {
    let [first, .., last] = part else {
        return part.first().is_none_or(|only| text.contains(only));
    };
    let Some(starts) = text.len().checked_sub(part.len() - 1) else {
        return false;
    };
    let (heads, tails) = (&text[..starts], &text[part.len() - 1..]);
    // Two bytes rule out nearly every place; the loop is one that compilers vectorise poorly but predict well.
    heads
        .iter()
        .zip(tails)
        .enumerate()
        .any(|(at, (head, tail))| head == first && tail == last && text[at..at + part.len()] == *part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_part_is_found_as_the_standard_library_finds_it(text in "[ab€é]{0,12}", part in "[ab€é]{0,4}") {
            prop_assert_eq!(contains(text.as_bytes(), part.as_bytes()), text.contains(&part));
        }

        #[test]
        fn all_must_be_found(text in "[abc]{0,12}", words in proptest::collection::vec("[abc]{1,3}", 0..4)) {
            let selection = Selection::new(&words, vec![], false).unwrap();
            let all = selection.keywords().iter().all(|word| text.contains(word));
            prop_assert_eq!(Needles::new(&selection).found_in(&text), all);
        }
    }

    #[test]
    fn any_of_several_rules_nothing_out() {
        let selection = Selection::new(&["app-erp"], vec![], false).unwrap();
        assert!(Needles::new(&selection.broadened().unwrap()).found_in("nothing"));
    }
}
