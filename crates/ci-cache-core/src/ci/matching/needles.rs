//! The keywords of a selection in one piece of memory.
//!
//! A change looks at tens or hundreds of dependencies that share one of its anchors, and most of them fail at a keyword.
//! What that costs is memory: a question, its list of keywords and each of their texts lie in different places, and a look
//! at each is a cache miss of its own. Here all keywords are in one place, beside the footprint.

use ci_model::{CiChange, Image, KeywordMode, Selection};

use super::verdict::Verdict;

/// Places of a text that are looked at together.
const LANES: usize = 16;

/// What of the longest keyword is kept in place.
const HEAD: usize = 15;

/// Folded keywords that must all be found, the longest first, because it fails most often.
#[derive(Debug, Clone, Default)]
pub(super) struct Needles {
    /// The longest keyword, or its start.
    head: [u8; HEAD],
    length: u8,
    /// Whether nothing else is asked of a row than that it is not deleted.
    all: bool,
    /// The others, and the longest if it is longer, each after its length.
    rest: Box<[u8]>,
}

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
        let mut needles = Self::default();
        let longest = keywords.first().map_or(&[][..], |keyword| keyword.as_bytes());
        for (place, byte) in needles.head.iter_mut().zip(longest) {
            *place = *byte;
            needles.length += 1;
        }
        let mut rest = Vec::new();
        needles.all = all.is_some_and(|all| all.filters().is_empty() && !all.include_deleted());
        for keyword in keywords.iter().skip(usize::from(longest.len() <= HEAD)) {
            // A keyword has at most 200 characters. One that were longer would rule nothing out.
            if let Ok(length) = u16::try_from(keyword.len()) {
                rest.extend_from_slice(&length.to_le_bytes());
                rest.extend_from_slice(keyword.as_bytes());
            } else {
                needles.all = false;
            }
        }
        needles.rest = rest.into();
        needles
    }

    /// Tells whether they and its being there decide about a row.
    pub(super) fn are_all(&self) -> bool {
        self.all
    }

    /// Judges a row, if they decide; no row belongs to nothing.
    pub(super) fn verdict(&self, row: Option<&Image>) -> Option<Verdict> {
        self.all.then(|| match row {
            Some(row) if !row.deleted && self.found_in(row.search_text().as_bytes()) => Verdict::Yes,
            _ => Verdict::No,
        })
    }

    /// Tells whether a row may have all keywords before or after a change: where not, the change is nothing to the
    /// selection.
    pub(super) fn may_be_found(&self, change: &CiChange) -> bool {
        let mut rows = [&change.new, &change.old].into_iter().flatten();
        self.length == 0 || rows.any(|row| self.found_in(row.search_text().as_bytes()))
    }

    fn found_in(&self, text: &[u8]) -> bool {
        let head = self.head.get(..self.length.into()).unwrap_or_default();
        if !contains(text, head) {
            return false;
        }
        let mut rest = &*self.rest;
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let Some((needle, after)) = after.split_at_checked(u16::from_le_bytes(*length).into()) else {
                return true;
            };
            if !contains(text, needle) {
                return false;
            }
            rest = after;
        }
        true
    }
}

/// Tells whether a text has a part in it. Both are UTF-8, so bytes are found where characters are.
///
/// The standard library's search is made for long texts; in these of 50 to 100 bytes it costs 200 ns, this one a tenth:
/// first and last byte rule out 16 places at a time, in a loop that compilers turn into vector instructions.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "without branches the loop becomes vector instructions"
)]
fn contains(text: &[u8], part: &[u8]) -> bool {
    let (Some(first), Some(last)) = (part.first(), part.last()) else {
        return true;
    };
    let Some(places) = text.len().checked_sub(part.len() - 1) else {
        return false;
    };
    let (heads, tails) = (&text[..places], &text[part.len() - 1..]);
    let is_at = |at: usize| heads[at] == *first && tails[at] == *last && text[at..at + part.len()] == *part;
    let (head_blocks, _) = heads.as_chunks::<LANES>();
    let (tail_blocks, _) = tails.as_chunks::<LANES>();
    for (block, (head, tail)) in head_blocks.iter().zip(tail_blocks).enumerate() {
        let lanes = head.iter().zip(tail);
        let hits = lanes.fold(false, |hits, (head, tail)| {
            hits | ((head == first) & (tail == last))
        });
        let start = block * LANES;
        if hits && (start..start + LANES).any(is_at) {
            return true;
        }
    }
    (head_blocks.len() * LANES..places).any(is_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_must_be_found(text in "[abc]{0,40}", words in proptest::collection::vec("[abcé]{1,3}|[ab]{14,20}", 0..4)) {
            let selection = Selection::new(&words, vec![], false).unwrap();
            let all = selection.keywords().iter().all(|word| text.contains(word));
            prop_assert_eq!(Needles::new(Some(&selection)).found_in(text.as_bytes()), all);

        }

        #[test]
        fn a_part_is_found_as_the_standard_library_finds_it(text in "[ab€]{0,60}", part in "[ab€]{0,5}") {
            prop_assert_eq!(contains(text.as_bytes(), part.as_bytes()), text.contains(&part));
        }
    }

    #[test]
    fn any_of_several_rules_nothing_out() {
        let selection = Selection::new(&["app-erp"], vec![], false).unwrap();
        assert!(!Needles::new(Some(&selection)).found_in(b"nothing"));
        assert!(Needles::new(selection.broadened().as_ref()).found_in(b"nothing"));
        assert!(Needles::new(None).found_in(b"nothing"));
    }
}
