//! The second target: bytes that are, were or might be a snapshot, judged by a reader of its own.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::{Error, ManualClock, Restored};

use super::Plant;
use super::bytes::Bytes;
use super::operations::{Op, options};
use super::restore::{decode, encode};
use super::steps::Run;
use super::subject::{Ledger, Setup, Subject, Token};

const HEADER: usize = 24;
const TRAILER: usize = 8;
/// An entry without key and value.
const ENTRY: usize = 65;
/// Where the count of entries is.
const COUNT: std::ops::Range<usize> = 16..HEADER;
/// More changes than this make noise of any snapshot.
const MOST_CHANGES: usize = 16;

/// Decodes an input into a snapshot and a cache that imports it.
///
/// # Panics
/// If anything is imported that is no snapshot, or anything else than what it says, or too much memory is asked for (by whoever watches that).
pub(crate) fn check(input: &[u8], plant: Plant<'_>) {
    let mut bytes = Bytes::new(input);
    let importing = Setup::decode(&mut bytes);
    let elapsed = bytes.micros();
    let snapshot = match bytes.byte() % 4 {
        0 => bytes.rest().to_vec(),
        1 => sealed(bytes.rest().to_vec()),
        2 => changed(exported(&mut bytes, plant), &mut bytes),
        _ => {
            let mut body = exported(&mut bytes, plant);
            body.truncate(body.len() - TRAILER);
            sealed(changed(body, &mut bytes))
        }
    };
    import(&importing, &snapshot, elapsed, plant);
}

/// Fills a cache and exports it.
fn exported(bytes: &mut Bytes<'_>, plant: Plant<'_>) -> Vec<u8> {
    let mut run = Run::new(Setup::decode(bytes), plant);
    for _ in 0..bytes.byte() % 12 {
        let key = bytes.byte();
        let options = options(bytes);
        run.step(&Op::InsertWith(key, options));
    }
    run.step(&Op::Advance(bytes.micros()));
    run.step(&Op::Export(true));
    let snapshot = std::mem::take(&mut run.saved.bytes);
    run.finish();
    snapshot
}

/// Changes a snapshot by what the input says.
fn changed(mut snapshot: Vec<u8>, bytes: &mut Bytes<'_>) -> Vec<u8> {
    for _ in 0..MOST_CHANGES {
        let Some(what) = bytes.next() else { break };
        let place = usize::from(bytes.byte()) << 8 | usize::from(bytes.byte());
        let at = place.checked_rem(snapshot.len()).unwrap_or(0);
        match what % 7 {
            0 => {
                if let Some(byte) = snapshot.get_mut(at) {
                    *byte ^= bytes.byte();
                }
            }
            1 => snapshot.truncate(at),
            2 => snapshot.insert(at, bytes.byte()),
            3 => {
                let number = bytes.pick([0, 1, u64::from(u32::MAX), 1 << 40, u64::MAX >> 1, u64::MAX]);
                let span = at..snapshot.len().min(at + 8);
                let len = span.len();
                snapshot[span].copy_from_slice(&number.to_le_bytes()[..len]);
            }
            4 => {
                // An entry once more, or what looks like one.
                let end = snapshot.len().min(at + ENTRY + 9);
                snapshot.extend_from_within(at..end);
            }
            5 => {
                let end = snapshot.len().min(at + ENTRY + 9);
                drop(snapshot.drain(at..end));
            }
            _ => {
                if let Some(count) = snapshot.get_mut(COUNT) {
                    let number = (place as u64 >> 4).wrapping_shl(bytes.byte().into());
                    count.copy_from_slice(&number.to_le_bytes());
                }
            }
        }
    }
    snapshot
}

/// Ends a snapshot with the right checksum.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&body);
    body.extend_from_slice(&sum.to_le_bytes());
    body
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(bytes.len() as u64, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        sum ^ sum >> 32
    })
}

/// What bytes are.
#[derive(Debug)]
enum Read<'a> {
    Damaged,
    OtherFormat(u32),
    Snapshot {
        is_weighed: bool,
        entries: Vec<Entry<'a>>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    weight: u32,
    is_scoped: bool,
    fresh: u64,
    ttl: u64,
    key: &'a [u8],
    value: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Reads a snapshot by the description of its format.
fn read(bytes: &[u8]) -> Read<'_> {
    if bytes.len() < 12 || &bytes[..8] != b"CICACHE\x1A" {
        return Read::Damaged;
    }
    if half(bytes, 8) != 1 {
        return Read::OtherFormat(half(bytes, 8));
    }
    if bytes.len() < HEADER + TRAILER {
        return Read::Damaged;
    }
    let (body, trailer) = bytes.split_at(bytes.len() - TRAILER);
    let flags = half(bytes, 12);
    let mut entries = Vec::new();
    let mut at = HEADER;
    while at < body.len() {
        let Some(entry) = entry(&body[at..]) else {
            return Read::Damaged;
        };
        at += ENTRY + entry.key.len() + entry.value.len();
        entries.push(entry);
    }
    if checksum(body) != word(trailer, 0) || flags > 1 || entries.len() as u64 != word(bytes, COUNT.start) {
        return Read::Damaged;
    }
    Read::Snapshot {
        is_weighed: flags == 1,
        entries,
    }
}

fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let (head, rest) = bytes.split_at_checked(ENTRY)?;
    let (key, rest) = rest.split_at_checked(usize::try_from(word(head, 0)).ok()?)?;
    let (value, _) = rest.split_at_checked(usize::try_from(word(head, 8)).ok()?)?;
    (head[24] <= 1).then_some(Entry {
        weight: half(head, 16).max(1),
        is_scoped: head[24] == 1,
        fresh: word(head, 25),
        ttl: word(head, 33),
        key,
        value,
    })
}

/// Imports, and compares with what a reader of its own says.
fn import(setup: &Setup, snapshot: &[u8], elapsed: u64, plant: Plant<'_>) {
    let (clock, ledger) = (Arc::<ManualClock>::default(), Arc::<Ledger>::default());
    let cache = setup.build(&clock, &ledger, plant);
    let mut asked: Vec<(&[u8], &[u8])> = Vec::new();
    let imported = cache.import(snapshot, Duration::from_micros(elapsed), |key, value| {
        let (key, value) = (within(snapshot, key), within(snapshot, value));
        asked.push((key, value));
        let (key, id, weight) = decode(key, value)?;
        Some(Restored::new(key, Token::new(&ledger, key, id, weight)))
    });
    if let Err(wrong) = cache.validate() {
        panic!("not sound: {wrong}");
    }
    match (read(snapshot), imported) {
        (Read::Damaged, Err(Error::SnapshotDamaged { .. })) => assert!(asked.is_empty() && cache.is_empty()),
        (Read::OtherFormat(format), Err(Error::SnapshotFormat { found })) => {
            assert_eq!(format, found);
            assert!(asked.is_empty() && cache.is_empty());
        }
        (Read::Snapshot { is_weighed, entries }, Ok(imported)) => {
            let all = entries.len();
            let counted = imported.kept
                + imported.expired
                + imported.present
                + imported.unscoped
                + imported.undecoded
                + imported.crowded;
            assert_eq!(counted, all, "each is counted once: {imported:?}");
            let lasting = entries
                .into_iter()
                .filter(|entry| entry.fresh == u64::MAX || entry.fresh > elapsed);
            let lasting: Vec<Entry<'_>> = lasting.collect();
            assert_eq!(imported.expired, all - lasting.len());
            // The last ones are to be kept longest.
            let wanted = &lasting[lasting.len() - asked.len()..];
            assert!(
                wanted.iter().map(|entry| (entry.key, entry.value)).eq(asked),
                "others were asked for"
            );
            let takes_weights = is_weighed == setup.weighs;
            is_imported(&cache, wanted, elapsed, takes_weights);
            assert!(cache.len() <= imported.kept);
        }
        (read, imported) => panic!("{imported:?} of {read:?}"),
    }
    survives(&cache, setup, elapsed, plant);
    drop(cache);
    assert_eq!(ledger.alive(), 0, "values are left over");
}

/// The same bytes by their place in the snapshot: where else could they come from?
fn within<'a>(snapshot: &'a [u8], piece: &[u8]) -> &'a [u8] {
    let start = piece.as_ptr().addr().wrapping_sub(snapshot.as_ptr().addr());
    snapshot
        .get(start..start + piece.len())
        .expect("a piece of the snapshot")
}

/// Whatever is resident is one of these, with no more time than it had.
fn is_imported(cache: &Subject, wanted: &[Entry<'_>], elapsed: u64, takes_weights: bool) {
    assert!(cache.weight() <= cache.capacity() as u64);
    for listed in cache.entries(usize::MAX) {
        let mut matching = wanted.iter().filter(|entry| {
            let weighs = !takes_weights || entry.weight == listed.meta.weight;
            let is_it = |(key, id, weight)| {
                (key, id, weight) == (listed.key, listed.value.id(), listed.value.weight())
            };
            !entry.is_scoped && weighs && decode(entry.key, entry.value).is_some_and(is_it)
        });
        let lives = |entry: &Entry<'_>| {
            let end = entry.ttl.saturating_sub(elapsed);
            entry.ttl == u64::MAX || listed.meta.expires.is_some_and(|tick| tick.as_micros() <= end)
        };
        assert!(matching.any(lives), "nobody exported {listed:?}");
    }
}

/// What was imported can be used, exported and imported again, and ends.
fn survives(cache: &Subject, setup: &Setup, elapsed: u64, plant: Plant<'_>) {
    let (clock, ledger) = (Arc::<ManualClock>::default(), Arc::<Ledger>::default());
    let again = setup.build(&clock, &ledger, plant);
    let bytes = cache.export_all(|&key, token, key_out, value_out| encode(key, token, key_out, value_out));
    let imported = again.import(&bytes, Duration::ZERO, |key, value| {
        let (key, id, weight) = decode(key, value)?;
        Some(Restored::new(key, Token::new(&ledger, key, id, weight)))
    });
    let imported = imported.expect("what was exported");
    let fresh = cache.entries(usize::MAX).len();
    assert_eq!(imported.kept + imported.crowded, fresh, "{imported:?}");
    if setup.shards == 1 {
        assert_eq!(imported.crowded, 0, "what fitted once fits again");
    }
    clock.advance(Duration::from_micros(elapsed));
    again.purge();
    for key in 0..=setup.keys {
        again.insert(key, Token::new(&ledger, key, 7, 1));
        assert!(again.get(&key).is_none_or(|token| token.key() == key));
    }
    if let Err(wrong) = again.validate() {
        panic!("not sound: {wrong}");
    }
    drop(again);
    assert_eq!(ledger.alive(), 0, "values are left over");
}
