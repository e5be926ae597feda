//! Versions: which changes of a database a state of it includes.
//!
//! An answer is true at the version it was loaded at, and stays true at later ones as long as no change between matters to
//! it. So versions are never compared as numbers or times but by what they cover: in PostgreSQL a transaction with a lower
//! number may commit after one with a higher number.
//!
//! ```text
//! transaction 7 begins, writes
//!                               transaction 8 begins, writes, commits
//!                               a load sees 8 and not 7; a consumer that asks for "greater than 8" never sees 7
//! transaction 7 commits
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Error, sealed};

/// What a token may be at most, in bytes of text: room for some thousand transactions in progress.
const TOKEN_BYTES: usize = 64 << 10;
/// First byte of a token: the format of what follows.
const TOKEN_FORMAT: u8 = 1;

/// One uninterrupted history of a database, as a number that means nothing else.
///
/// Versions of two epochs cannot be compared: the database was restored, failed over, restarted or had its triggers
/// changed in between, and may have reused its numbers for other changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A change's place in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The change's own number, in the order of commits (SQLite: one writer at a time).
    Sequence(u64),
    /// The number of the transaction that made it, in the order of their beginnings (PostgreSQL).
    Transaction(u64),
}

/// A state of a database: the changes that it includes.
#[derive(Clone, PartialEq, Eq)]
pub enum Version {
    /// All changes up to this number.
    Sequence(u64),
    /// All changes of the transactions that were over.
    Snapshot(TxSnapshot),
}

/// The transactions that a PostgreSQL snapshot sees: all below `xmax` except those in progress.
#[derive(Clone, PartialEq, Eq)]
pub struct TxSnapshot {
    xmin: u64,
    xmax: u64,
    /// In progress, ascending, all from `xmin` and below `xmax`.
    in_progress: Arc<[u64]>,
}

impl TxSnapshot {
    /// Puts a snapshot together; the transactions in progress in any order.
    ///
    /// # Errors
    /// When `xmin` is above `xmax` or a transaction in progress is outside of them.
    pub fn new(xmin: u64, xmax: u64, mut in_progress: Vec<u64>) -> Result<Self, Error> {
        in_progress.sort_unstable();
        in_progress.dedup();
        let inside = |xid: &u64| (xmin..xmax).contains(xid);
        if xmin > xmax || !in_progress.iter().all(inside) {
            return Err(Error::value("snapshot", "xmin:xmax:xip with xmin <= xip < xmax"));
        }
        Ok(Self {
            xmin,
            xmax,
            in_progress: in_progress.into(),
        })
    }

    /// The lowest transaction that may be in progress: all below are over.
    pub fn xmin(&self) -> u64 {
        self.xmin
    }

    /// The first transaction that had not begun: it and all above are not seen.
    pub fn xmax(&self) -> u64 {
        self.xmax
    }

    /// The transactions in progress, ascending.
    pub fn in_progress(&self) -> &[u64] {
        &self.in_progress
    }

    /// Tells whether a transaction's changes are seen (if it committed).
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && self.in_progress.binary_search(&xid).is_err())
    }

    /// Tells whether this snapshot sees everything that the other sees.
    fn includes(&self, other: &Self) -> bool {
        // From our xmax on we see nothing, so the other must have had all of those in progress.
        let beyond = self.xmax..other.xmax.max(self.xmax);
        let in_progress = other.in_progress.iter().filter(|xid| beyond.contains(xid));
        in_progress.count() as u64 == beyond.end - beyond.start
            && !self.in_progress.iter().any(|xid| other.sees(*xid))
    }

    /// The snapshot that sees what either sees, and nothing else.
    fn union(&self, other: &Self) -> Self {
        let (last, first) = if self.xmax < other.xmax {
            (other, self)
        } else {
            (self, other)
        };
        // All others below its end the last one sees.
        let unseen = last.in_progress.iter().copied().filter(|xid| !first.sees(*xid));
        let in_progress: Arc<[u64]> = unseen.collect();
        Self {
            xmin: in_progress.first().copied().unwrap_or(last.xmax),
            xmax: last.xmax,
            in_progress,
        }
    }
}

impl FromStr for TxSnapshot {
    type Err = Error;

    /// Reads PostgreSQL's own form, `xmin:xmax:xip,xip,…`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::value("snapshot", "xmin:xmax:xip,xip,... in decimal");
        let number = |part: &str| part.parse::<u64>().map_err(|_| wrong());
        let mut parts = text.split(':');
        let (Some(xmin), Some(xmax), Some(list), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let in_progress = if list.is_empty() {
            Vec::new()
        } else {
            list.split(',').map(number).collect::<Result<_, _>>()?
        };
        Self::new(number(xmin)?, number(xmax)?, in_progress)
    }
}

impl fmt::Display for TxSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (at, xid) in self.in_progress.iter().enumerate() {
            write!(f, "{}{xid}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for TxSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Version {
    /// Tells whether this state includes a change. Never for a change of the other kind of database.
    pub fn covers(&self, origin: Origin) -> bool {
        match (self, origin) {
            (Self::Sequence(last), Origin::Sequence(number)) => number <= *last,
            (Self::Snapshot(snapshot), Origin::Transaction(xid)) => snapshot.sees(xid),
            _ => false,
        }
    }

    /// Tells whether this state includes every change that the other includes. Never for the other kind of database.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sequence(last), Self::Sequence(others)) => last >= others,
            (Self::Snapshot(snapshot), Self::Snapshot(others)) => snapshot.includes(others),
            _ => false,
        }
    }

    /// The state that includes what either includes, and nothing else; none for two kinds of database.
    pub fn union(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Sequence(last), Self::Sequence(others)) => Some(Self::Sequence(*last.max(others))),
            (Self::Snapshot(snapshot), Self::Snapshot(others)) => {
                Some(Self::Snapshot(snapshot.union(others)))
            }
            _ => None,
        }
    }
}

impl PartialOrd for Version {
    /// By what the two include; none where each includes something that the other does not.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.includes(other), other.includes(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(last) => write!(f, "{last}"),
            Self::Snapshot(snapshot) => snapshot.fmt(f),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

/// A version of an epoch, for callers to keep and give back: "at least as new as this".
///
/// Its text is opaque, has no order, and is refused when a single bit of it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The history.
    pub epoch: Epoch,
    /// The place in it.
    pub version: Version,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![TOKEN_FORMAT];
        bytes.extend_from_slice(&self.epoch.0.to_le_bytes());
        match &self.version {
            Version::Sequence(last) => {
                bytes.push(0);
                put(&mut bytes, *last);
            }
            Version::Snapshot(snapshot) => {
                bytes.push(1);
                put(&mut bytes, snapshot.xmin);
                put(&mut bytes, snapshot.xmax - snapshot.xmin);
                let mut before = snapshot.xmin;
                for xid in snapshot.in_progress.iter() {
                    put(&mut bytes, xid - before);
                    before = *xid;
                }
            }
        }
        sealed::write(f, &bytes)
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let token = decode(text).ok_or_else(refused)?;
        // One text per token: no upper case, no number in a longer form than it needs.
        if token.to_string() == text {
            Ok(token)
        } else {
            Err(refused())
        }
    }
}

fn refused() -> Error {
    Error::value("token", "a token as it came with an answer or a write")
}

fn decode(text: &str) -> Option<Token> {
    if text.len() > TOKEN_BYTES {
        return None;
    }
    let body = sealed::read(text)?;
    let (format, body) = body.split_first()?;
    let (epoch, body) = body.split_first_chunk::<8>()?;
    let (kind, mut rest) = body.split_first()?;
    let version = match (format, kind) {
        (&TOKEN_FORMAT, 0) => Version::Sequence(take(&mut rest)?),
        (&TOKEN_FORMAT, 1) => Version::Snapshot(take_snapshot(&mut rest)?),
        _ => return None,
    };
    rest.is_empty().then_some(Token {
        epoch: Epoch(u64::from_le_bytes(*epoch)),
        version,
    })
}

fn take_snapshot(rest: &mut &[u8]) -> Option<TxSnapshot> {
    let xmin = take(rest)?;
    let xmax = xmin.checked_add(take(rest)?)?;
    let (mut in_progress, mut last) = (Vec::new(), xmin);
    while !rest.is_empty() {
        last = last.checked_add(take(rest)?)?;
        in_progress.push(last);
    }
    TxSnapshot::new(xmin, xmax, in_progress).ok()
}

/// Appends a number, seven bits a byte, the low ones first (LEB128).
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front.
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(text: &str) -> Version {
        Version::Snapshot(text.parse().unwrap())
    }

    #[test]
    fn a_snapshot_covers_what_was_over() {
        let version = snapshot("10:15:10,12");
        let covered: Vec<u64> = (8..18)
            .filter(|xid| version.covers(Origin::Transaction(*xid)))
            .collect();
        assert_eq!(covered, [8, 9, 11, 13, 14]);
        assert!(!version.covers(Origin::Sequence(1)), "another kind of database");
        assert!(Version::Sequence(7).covers(Origin::Sequence(7)));
        assert!(!Version::Sequence(7).covers(Origin::Sequence(8)));
        assert!(!Version::Sequence(7).includes(&version));
    }

    #[test]
    fn only_well_formed_snapshots_are_read() {
        for text in ["10:10:", "10:12:10,11", "0:1:"] {
            assert_eq!(text.parse::<TxSnapshot>().unwrap().to_string(), text);
        }
        for text in [
            "", "1", "1:2", "2:1:", "1:5:5", "1:5:0", "1:5:2:", "a:5:", "1:5:,", "-1:2:",
        ] {
            assert!(text.parse::<TxSnapshot>().is_err(), "{text}");
        }
    }

    fn snapshots() -> impl Strategy<Value = TxSnapshot> {
        (0_u64..12, 0_u64..12, proptest::collection::vec(0_u64..12, 0..6)).prop_map(|(a, b, xip)| {
            let (xmin, xmax) = (a.min(b), a.max(b));
            let inside = xip.into_iter().filter(|xid| (xmin..xmax).contains(xid));
            TxSnapshot::new(xmin, xmax, inside.collect()).unwrap()
        })
    }

    proptest! {
        #[test]
        fn inclusion_is_that_of_the_sets(a in snapshots(), b in snapshots()) {
            let expected = (0..30).all(|xid| a.sees(xid) || !b.sees(xid));
            prop_assert_eq!(a.includes(&b), expected, "{} {}", a, b);
        }

        #[test]
        fn a_union_is_that_of_the_sets(a in snapshots(), b in snapshots()) {
            let both = a.union(&b);
            for xid in 0..30 {
                prop_assert_eq!(both.sees(xid), a.sees(xid) || b.sees(xid), "{} {}: {}", a, b, both);
            }
            let read: TxSnapshot = both.to_string().parse().unwrap();
            prop_assert_eq!(read, both);
        }

        #[test]
        fn tokens_read_back_and_reject_every_flipped_bit(
            epoch: u64, large in any::<u64>(), snapshot in snapshots(), sequence: bool,
        ) {
            let version = if sequence { Version::Sequence(large) } else { Version::Snapshot(snapshot) };
            let token = Token { epoch: Epoch(epoch), version };
            let text = token.to_string();
            prop_assert_eq!(text.parse::<Token>().unwrap(), token);
            for bit in 0..text.len() * 8 {
                let mut bytes = text.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let refused = String::from_utf8(bytes).map_or(true, |text| text.parse::<Token>().is_err());
                prop_assert!(refused, "bit {}", bit);
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,80}", hex in "[0-9a-f]{0,80}") {
            let _ = (text.parse::<Token>(), hex.parse::<Token>());
        }
    }
}
