//! The bytes of a snapshot; knows no cache.
//!
//! ```text
//! header    magic (8 bytes), format (u32), flags (u32: 1 = weighed), entries (u64)
//! entry     key length, value length (u64 each), weight, cost (u32 each), scoped (u8),
//!           fresh, ttl, idle, revalidate, error (u64 each, microseconds, all ones: none); key; value
//! trailer   checksum of all before it (u64)
//! ```
//!
//! All little-endian. Nothing is allocated by a length that was read: lengths only cut slices.

use crate::error::Error;
use crate::rules::Rules;
use crate::shard::Particulars;

const MAGIC: &[u8; 8] = b"CICACHE\x1A";
/// Raised with every change of the layout.
pub(super) const FORMAT: u32 = 1;
/// Where the count of the entries is.
#[cfg(test)]
const COUNT_AT: usize = 16;
const HEADER: usize = 24;
const TRAILER: usize = 8;

/// Begins a snapshot.
pub(super) fn begin(is_weighed: bool, count: usize, body: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body + TRAILER);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&u32::from(is_weighed).to_le_bytes());
    bytes.extend_from_slice(&(count as u64).to_le_bytes());
    bytes
}

/// Appends one entry.
pub(super) fn push(bytes: &mut Vec<u8>, told: &Particulars, key: &[u8], value: &[u8]) {
    bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&told.weight.to_le_bytes());
    bytes.extend_from_slice(&told.cost.to_le_bytes());
    bytes.push(u8::from(told.is_scoped));
    for time in [told.fresh, told.ttl, told.idle, told.revalidate, told.error] {
        bytes.extend_from_slice(&time.to_le_bytes());
    }
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
}

/// Ends a snapshot.
pub(super) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Mixes word after word by steps that can be undone, so any change within one word changes the sum for certain, and any
/// other with a chance of one in 2^64 of being missed. Against accidents, not against forgers.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        sum ^= sum >> 32;
    }
    sum
}

/// An entry, still in its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) told: Particulars,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// A snapshot whose every byte was checked.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    pub(super) is_weighed: bool,
    /// The entry to be kept longest comes last.
    pub(super) records: Vec<Record<'a>>,
}

/// Checks a snapshot as a whole and cuts it into entries.
pub(super) fn open(bytes: &[u8], rules: Rules) -> Result<Opened<'_>, Error> {
    let mut head = Reader(bytes);
    if head.take(MAGIC.len() as u64) != Some(MAGIC.as_slice()) {
        return Err(damaged("it does not begin like a snapshot"));
    }
    let format = head.u32().ok_or(damaged("it ends within the header"))?;
    // Before the checksum: another format may have another.
    if format != FORMAT {
        return Err(Error::SnapshotFormat { found: format });
    }
    let flags = head.u32().ok_or(damaged("it ends within the header"))?;
    let count = head.u64().ok_or(damaged("it ends within the header"))?;
    let Some((body, trailer)) = bytes.split_last_chunk::<TRAILER>() else {
        return Err(damaged("it ends within the header"));
    };
    let is_whole = checksum(body) == u64::from_le_bytes(*trailer) || rules.reads_damaged_snapshots();
    if body.len() < HEADER || !is_whole {
        return Err(damaged("its checksum does not match"));
    }
    if flags > 1 {
        return Err(damaged("it has unknown flags"));
    }
    let mut reader = Reader(body.get(HEADER..).unwrap_or_default());
    let mut records = Vec::new();
    if rules.trusts_counts() {
        records.reserve(usize::try_from(count).unwrap_or(usize::MAX));
    }
    while !reader.0.is_empty() {
        records.push(reader.record().ok_or(damaged("an entry is cut short"))?);
    }
    if records.len() as u64 != count {
        return Err(damaged("it has more or fewer entries than it says"));
    }
    Ok(Opened {
        is_weighed: flags == 1,
        records,
    })
}

fn damaged(reason: &'static str) -> Error {
    Error::SnapshotDamaged { reason }
}

/// Cuts pieces off the front; nothing if too little is left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (piece, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(piece)
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (piece, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*piece)
    }

    fn u32(&mut self) -> Option<u32> {
        self.chunk().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_le_bytes)
    }

    fn record(&mut self) -> Option<Record<'a>> {
        let (key, value) = (self.u64()?, self.u64()?);
        let told = Particulars {
            weight: self.u32()?,
            cost: self.u32()?,
            is_scoped: match self.chunk()? {
                [0] => false,
                [1] => true,
                _ => return None,
            },
            fresh: self.u64()?,
            ttl: self.u64()?,
            idle: self.u64()?,
            revalidate: self.u64()?,
            error: self.u64()?,
        };
        Some(Record {
            told,
            key: self.take(key)?,
            value: self.take(value)?,
        })
    }
}

/// Changes the count of a snapshot without its trailer; for tests.
#[cfg(test)]
pub(super) fn recount(body: &mut [u8], count: u64) {
    body[COUNT_AT..HEADER].copy_from_slice(&count.to_le_bytes());
}
