//! Postings: a slot, and what a change must have besides the anchor that led to it.

use super::domain::Anchor;

/// In a posting: the slot is filed under several anchors, so that one search may meet it more than once.
const OFTEN: u32 = 1 << 31;
/// The most registrations at a time.
pub(super) const MAX_SLOTS: usize = OFTEN as usize;

/// Anchors that a posting asks for besides its own.
const ALSO: usize = 4;

/// A slot filed under an anchor, with short marks of up to four anchors more that a change must have to touch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posting<H> {
    slot: u32,
    /// Marks; [`ANYTHING`] where there is none.
    also: [u16; ALSO],
    /// What the domain compares a change with.
    hint: H,
}

/// The mark that every search has.
const ANYTHING: u16 = 0;

/// Shortens an anchor: two anchors in 65,535 share a mark, which costs a look at the slot.
fn mark(anchor: Anchor) -> u16 {
    let mixed = anchor.0.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    u16::try_from(mixed >> 48).unwrap_or(ANYTHING).max(1)
}

impl<H: Copy> Posting<H> {
    /// Of a slot filed under this anchor alone.
    pub(super) fn once(slot: u32, anchor: Anchor, also: &[Anchor], hint: H) -> Self {
        let mut others = also.iter().filter(|&&other| other != anchor);
        let also = [(); ALSO].map(|()| others.next().map_or(ANYTHING, |&other| mark(other)));
        Self { slot, also, hint }
    }

    /// Of a slot filed under others too.
    pub(super) fn often(slot: u32, anchor: Anchor, also: &[Anchor], hint: H) -> Self {
        Self {
            slot: slot | OFTEN,
            ..Self::once(slot, anchor, also, hint)
        }
    }

    pub(super) fn slot(self) -> u32 {
        self.slot & !OFTEN
    }

    pub(super) fn hint(self) -> H {
        self.hint
    }

    pub(super) fn is_often(self) -> bool {
        self.slot & OFTEN != 0
    }
}

/// The marks of one search's anchors, a bit each.
#[derive(Debug)]
pub(super) struct Wanted(Box<[u64]>);

impl Wanted {
    /// What it holds in memory.
    pub(super) const BYTES: usize = 1 << 13;

    pub(super) fn new() -> Self {
        let mut words = vec![0; Self::BYTES / size_of::<u64>()];
        words[0] = 1;
        Self(words.into_boxed_slice())
    }

    fn has(&self, mark: u16) -> bool {
        self.0[usize::from(mark >> 6)] >> (mark & 63) & 1 != 0
    }

    /// Notes the anchors of a search.
    pub(super) fn fill(&mut self, anchors: &[Anchor]) {
        for mark in anchors.iter().map(|&anchor| mark(anchor)) {
            self.0[usize::from(mark >> 6)] |= 1 << (mark & 63);
        }
    }

    /// Forgets them.
    pub(super) fn empty(&mut self, anchors: &[Anchor]) {
        for mark in anchors.iter().map(|&anchor| mark(anchor)) {
            self.0[usize::from(mark >> 6)] = 0;
        }
        self.0[0] = 1;
    }

    /// Tells whether the search may have what a posting asks for.
    #[inline]
    pub(super) fn has_all_of<H>(&self, posting: &Posting<H>) -> bool {
        posting.also.iter().all(|&mark| self.has(mark))
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_posting_asks_for_four_anchors_besides_its_own() {
        let mut wanted = Wanted::new();
        let all @ [own, one, two, three, four, _] = [1, 2, 3, 4, 5, 6].map(Anchor);
        let posting = Posting::often(5, own, &all, ());
        assert_eq!((posting.slot(), posting.is_often()), (5, true));
        for (search, expected) in [
            (&[own][..], false),
            (&[own, one, two, three], false),
            (&[own, two, three, four], false),
            (&[one, two, three, four], true),
        ] {
            wanted.fill(search);
            assert_eq!(wanted.has_all_of(&posting), expected);
            assert!(wanted.has_all_of(&Posting::once(5, own, &[], ())));
            wanted.empty(search);
        }
        assert!(!wanted.has_all_of(&posting) && wanted.has_all_of(&Posting::once(5, own, &[own], ())));
    }
}
