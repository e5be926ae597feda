//! Anchors: where dependencies are filed and changes are looked up.
//!
//! An anchor is the hash of a tenant, a kind and a content, seeded for the process, so that nobody can choose texts that
//! share one. What shares an anchor by chance costs a look and nothing else.

use std::hash::Hasher as _;

use ci_model::{CiId, Column, TenantId};
use foldhash::SharedSeed;
use foldhash::quality::{FoldHasher, RandomState};

use crate::coherence::Anchor;

/// What separates the columns of a search text.
const SEPARATOR: u32 = 0x1f;
/// A character's bits within a packed piece.
const CHAR_BITS: u32 = 21;
/// The bits of three characters, and of six.
const THREE: u64 = (1 << (3 * CHAR_BITS)) - 1;
const SIX: u128 = (1 << (6 * CHAR_BITS)) - 1;

/// Some characters in a row of a folded text, packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gram {
    Three(u64),
    /// Rarer than each of its trigrams: where names are made of the same words, those are in many of them.
    Six(u128),
}

/// Where a field of a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DocumentKind {
    Tags,
    Attributes,
}

/// What an anchor is made of.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Any,
    Id,
    Code,
    Column,
    Trigram,
    Hexagram,
    Document,
    UnknownDocuments,
    UnknownNeighbours,
    /// Graphs that depend on every relation of a type.
    EverywhereOfType,
    /// Graphs that depend on every relation.
    Everywhere,
    /// Graphs that depend on every CI that comes, goes or is renamed.
    EveryTurn,
}

/// The process's seeds.
#[derive(Debug, Clone)]
pub(super) struct Seeds(RandomState);

impl Seeds {
    pub(super) fn random() -> Self {
        Self(RandomState::default())
    }

    /// The anchors of a tenant.
    pub(super) fn of(&self, tenant: &TenantId) -> Anchors {
        use std::hash::BuildHasher as _;
        let mut hasher = self.0.build_hasher();
        hasher.write(tenant.as_str().as_bytes());
        Anchors {
            tenant: hasher.finish(),
            shared: SharedSeed::global_random(),
        }
    }
}

/// Makes the anchors of one tenant. Each costs a few nanoseconds and no allocation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchors {
    tenant: u64,
    shared: &'static SharedSeed,
}

/// A path into a document, as far as it was walked.
#[derive(Clone)]
pub(super) struct Walk(FoldHasher<'static>);

impl Anchors {
    fn hasher(self, kind: Kind) -> FoldHasher<'static> {
        // The low bits of the seed are all that kinds change; the hash mixes them into every bit.
        FoldHasher::with_seed(self.tenant ^ kind as u64, self.shared)
    }

    fn number(self, kind: Kind, number: u64) -> Anchor {
        let mut hasher = self.hasher(kind);
        hasher.write_u64(number);
        Anchor(hasher.finish())
    }

    fn text(self, kind: Kind, text: &str) -> Anchor {
        let mut hasher = self.hasher(kind);
        hasher.write(text.as_bytes());
        Anchor(hasher.finish())
    }

    /// Dependencies that no content finds.
    pub(super) fn any(self) -> Anchor {
        self.number(Kind::Any, 0)
    }

    /// A CI by id: gets, and graphs that have it.
    pub(super) fn id(self, id: CiId) -> Anchor {
        let mut hasher = self.hasher(Kind::Id);
        hasher.write(id.0.as_bytes());
        Anchor(hasher.finish())
    }

    /// A CI by code.
    pub(super) fn code(self, code: &str) -> Anchor {
        self.text(Kind::Code, code)
    }

    /// A text column with this value.
    pub(super) fn column(self, column: Column, value: &str) -> Anchor {
        let mut hasher = self.hasher(Kind::Column);
        hasher.write_u8(column as u8);
        hasher.write(value.as_bytes());
        Anchor(hasher.finish())
    }

    /// This criticality.
    pub(super) fn criticality(self, value: u8) -> Anchor {
        let mut hasher = self.hasher(Kind::Column);
        hasher.write_u8(Column::Criticality as u8);
        hasher.write_u8(value);
        Anchor(hasher.finish())
    }

    /// Three or six characters in a row of the search text.
    pub(super) fn gram(self, gram: Gram) -> Anchor {
        match gram {
            Gram::Three(packed) => self.number(Kind::Trigram, packed),
            Gram::Six(packed) => {
                let mut hasher = self.hasher(Kind::Hexagram);
                hasher.write_u128(packed);
                Anchor(hasher.finish())
            }
        }
    }

    /// The start of a path into a document.
    pub(super) fn walk(self, kind: DocumentKind) -> Walk {
        let mut hasher = self.hasher(Kind::Document);
        hasher.write_u8(kind as u8);
        Walk(hasher)
    }

    /// Selections by a document's value, for changes that do not tell the document.
    pub(super) fn unknown_documents(self) -> Anchor {
        self.number(Kind::UnknownDocuments, 0)
    }

    /// Graphs, for changes that do not tell the neighbours.
    pub(super) fn unknown_neighbours(self) -> Anchor {
        self.number(Kind::UnknownNeighbours, 0)
    }

    /// Graphs that depend on every relation of a type.
    pub(super) fn everywhere_of_type(self, rel_type: &str) -> Anchor {
        self.text(Kind::EverywhereOfType, rel_type)
    }

    /// Graphs that depend on every relation.
    pub(super) fn everywhere(self) -> Anchor {
        self.number(Kind::Everywhere, 0)
    }

    /// Graphs that depend on every CI that comes, goes or is renamed.
    pub(super) fn every_turn(self) -> Anchor {
        self.number(Kind::EveryTurn, 0)
    }
}

impl Walk {
    /// One key further.
    pub(super) fn step(&self, key: &str) -> Self {
        let mut hasher = self.0.clone();
        hasher.write(key.as_bytes());
        hasher.write_u8(0xff);
        Self(hasher)
    }

    /// A scalar with this text at the end of the path.
    pub(super) fn value(&self, text: &str) -> Anchor {
        let mut hasher = self.0.clone();
        hasher.write_u8(0);
        hasher.write(text.as_bytes());
        Anchor(hasher.finish())
    }
}

/// Gives each three and each six characters in a row of a folded text; none that span two columns of a search text, since
/// no keyword has what separates them.
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub(super) fn grams(text: &str, mut each: impl FnMut(Gram)) {
    let (mut last, mut length) = (0_u128, 0_u32);
    let mut take = |c: u32| {
        if c == SEPARATOR {
            length = 0;
            return;
        }
        last = last << CHAR_BITS | u128::from(c);
        length += 1;
        if length >= 3 {
            each(Gram::Three(last as u64 & THREE));
        }
        if length >= 6 {
            each(Gram::Six(last & SIX));
        }
    };
    if text.is_ascii() {
        text.bytes().for_each(|byte| take(byte.into()));
    } else {
        text.chars().for_each(|c| take(c.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn all(text: &str) -> Vec<Gram> {
        let mut all = Vec::new();
        grams(text, |gram| all.push(gram));
        all
    }

    #[test]
    fn grams_of_a_part_are_among_those_of_the_whole() {
        assert!(all("ab\u{1f}cd\u{1f}\u{1f}").is_empty());
        assert_eq!(all("abcd").len(), 2);
        assert_eq!(all("abcdefg").len(), 5 + 2);
        assert_eq!(
            all("xabcdef").last(),
            all("yyabcdef").last(),
            "what stands before is no part"
        );
        let whole: BTreeSet<Gram> = all("größe-数据库-1\u{1f}x").into_iter().collect();
        for part in ["röß", "-数据", "库-1", "größe", "ße-数据库-1"] {
            assert!(all(part).iter().all(|gram| whole.contains(gram)), "{part}");
        }
        assert!(!whole.contains(&all("-1x")[0]));
    }

    #[test]
    fn kinds_contents_and_tenants_have_their_own() {
        let seeds = Seeds::random();
        let mut seen = BTreeSet::new();
        for name in ["a", "b"] {
            let anchors = seeds.of(&tenant(name));
            let tags = anchors.walk(DocumentKind::Tags);
            for anchor in [
                anchors.any(),
                anchors.everywhere(),
                anchors.every_turn(),
                anchors.unknown_documents(),
                anchors.unknown_neighbours(),
                anchors.code("x"),
                anchors.everywhere_of_type("x"),
                anchors.column(Column::Owner, "x"),
                anchors.column(Column::Status, "x"),
                anchors.criticality(1),
                anchors.id(CiId("0189d7a4-1111-4222-8333-444455556666".parse().unwrap())),
                anchors.gram(Gram::Three(0)),
                anchors.gram(Gram::Six(0)),
                tags.step("a").step("b").value("c"),
                tags.step("a").value("bc"),
                tags.step("ab").value("c"),
                anchors.walk(DocumentKind::Attributes).step("ab").value("c"),
            ] {
                assert!(seen.insert(anchor));
            }
            assert_eq!(anchors.code("x"), seeds.of(&tenant(name)).code("x"));
        }
    }
}
