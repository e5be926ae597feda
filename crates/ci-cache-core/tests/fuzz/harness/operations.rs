//! The first target: an input is the settings of a cache and a sequence of operations.

use std::fmt;
use std::time::Duration;

use ci_cache_core::Ttl;

use super::Plant;
use super::bytes::Bytes;
use super::steps::Run;
use super::subject::Setup;

/// A longer sequence finds nothing that a shorter one does not, but slowly.
const MOST_STEPS: usize = 400;

/// Decodes an input, runs it on a cache and on the reference, and compares everything after each step.
///
/// # Panics
/// If they disagree, or an internal structure is not sound.
pub(crate) fn check(input: &[u8], plant: Plant<'_>) {
    let mut bytes = Bytes::new(input);
    let setup = Setup::decode(&mut bytes);
    let mut trace = Trace::new(&setup);
    let mut run = Run::new(setup, plant);
    for _ in 0..MOST_STEPS {
        let Some(op) = Op::decode(&mut bytes) else { break };
        trace.ops.push(op);
        run.step(&op);
    }
    run.finish();
}

/// How an insertion or a look-up is put under a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scoping {
    None,
    /// Under this scope, now.
    Now(u8),
    /// By the stamp that was taken last.
    Held,
}

/// Options of an operation, as decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) ttl: Ttl,
    pub(crate) idle: Option<u64>,
    pub(crate) revalidate: Option<u64>,
    pub(crate) error: Option<u64>,
    pub(crate) weight: Option<u32>,
    pub(crate) cost: u32,
    pub(crate) scoping: Scoping,
}

/// Which keys and values an operation on the whole cache is about: the ones that have a bit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    key_bit: u8,
    odd_values_only: bool,
}

impl Filter {
    pub(crate) fn matches(self, key: u8, value: Option<u32>) -> bool {
        key >> self.key_bit & 1 == 1 && (!self.odd_values_only || value.is_none_or(|id| id % 2 == 1))
    }
}

/// What an input may say about a computed entry.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Keep,
    Put,
    PutWith(Options),
    Remove,
}

/// An operation. Bytes that choose a leader or a waiter are taken modulo how many there are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Get(u8),
    Found(u8),
    State(u8),
    Peek(u8),
    /// So many times that the lock becomes biased.
    Hammer(u8),
    Insert(u8),
    InsertWith(u8, Options),
    Remove(u8),
    Compute(u8, Act),
    Lookup(u8, Options),
    Publish(u8, Option<Ttl>),
    Answer(u8),
    Fail(u8),
    Abandon(u8),
    IsDetached(u8),
    Poll(u8),
    Forget(u8),
    Load(u8, Options, bool),
    LoadMany([u8; 3], Options, bool),
    RemoveWhere(Filter),
    Retain(Filter),
    Clear,
    Purge,
    Resize(u8),
    Invalidate(u8),
    Stamp(u8),
    Advance(u64),
    List(u8),
    Export(bool),
    Import {
        elapsed: u64,
        scope: Option<u8>,
        skipped: Option<u8>,
    },
}

impl Op {
    pub(crate) fn decode(bytes: &mut Bytes<'_>) -> Option<Self> {
        let code = bytes.next()?;
        Some(match code % 48 {
            0..=3 => Self::Get(bytes.byte()),
            4 => Self::Found(bytes.byte()),
            5..=6 => Self::State(bytes.byte()),
            7 => Self::Peek(bytes.byte()),
            8..=11 => Self::Insert(bytes.byte()),
            12..=15 => Self::InsertWith(bytes.byte(), options(bytes)),
            16 => Self::Remove(bytes.byte()),
            17..=18 => Self::Compute(bytes.byte(), act(bytes)),
            19..=22 => Self::Lookup(bytes.byte(), options(bytes)),
            23..=24 => Self::Publish(bytes.byte(), None),
            25 => Self::Publish(bytes.byte(), Some(ttl(bytes))),
            26 => Self::Answer(bytes.byte()),
            27 => Self::Fail(bytes.byte()),
            28 => Self::Abandon(bytes.byte()),
            29 => Self::IsDetached(bytes.byte()),
            30 => Self::Poll(bytes.byte()),
            31 => Self::Forget(bytes.byte()),
            32 => Self::Load(bytes.byte(), options(bytes), !bytes.byte().is_multiple_of(4)),
            33 => {
                let keys = [bytes.byte(), bytes.byte(), bytes.byte()];
                Self::LoadMany(keys, options(bytes), !bytes.byte().is_multiple_of(4))
            }
            34 => Self::RemoveWhere(filter(bytes)),
            35 => Self::Retain(filter(bytes)),
            36 => Self::Clear,
            37 => Self::Purge,
            38 => Self::Resize(bytes.byte()),
            39 => Self::Invalidate(bytes.byte()),
            40 => Self::Stamp(bytes.byte()),
            41..=43 => Self::Advance(u64::from(bytes.byte() % 16)),
            44 => Self::Advance(bytes.micros()),
            45 => Self::List(bytes.byte()),
            46 => Self::Export(bytes.byte().is_multiple_of(2)),
            // The rare ones share a code.
            _ => match bytes.byte() {
                byte @ 0..=31 => Self::Hammer(byte),
                byte => Self::Import {
                    elapsed: if byte % 2 == 0 { 0 } else { bytes.micros() },
                    scope: (byte & 4 != 0).then(|| bytes.byte()),
                    skipped: (byte & 8 != 0).then(|| bytes.byte()),
                },
            },
        })
    }
}

fn ttl(bytes: &mut Bytes<'_>) -> Ttl {
    match bytes.byte() % 4 {
        0 => Ttl::Never,
        1 => Ttl::Inherit,
        _ => Ttl::After(Duration::from_micros(bytes.micros())),
    }
}

pub(super) fn options(bytes: &mut Bytes<'_>) -> Options {
    let flags = bytes.byte();
    let has = |bit: u8| flags >> bit & 1 == 1;
    Options {
        ttl: if has(0) { ttl(bytes) } else { Ttl::Inherit },
        idle: has(1).then(|| bytes.micros()),
        revalidate: has(2).then(|| bytes.micros()),
        error: has(3).then(|| bytes.micros()),
        weight: has(4).then(|| match bytes.byte() {
            255 => u32::MAX,
            byte => u32::from(byte % 32),
        }),
        scoping: match (has(5), has(6)) {
            (false, _) => Scoping::None,
            (true, false) => Scoping::Now(bytes.byte()),
            (true, true) => Scoping::Held,
        },
        cost: if has(7) { 1 << (bytes.byte() % 32) } else { 0 },
    }
}

fn act(bytes: &mut Bytes<'_>) -> Act {
    match bytes.byte() % 4 {
        0 => Act::Keep,
        1 => Act::Put,
        2 => Act::PutWith(options(bytes)),
        _ => Act::Remove,
    }
}

fn filter(bytes: &mut Bytes<'_>) -> Filter {
    let byte = bytes.byte();
    Filter {
        key_bit: byte % 8,
        odd_values_only: byte & 8 != 0,
    }
}

/// Says what was done when something goes wrong.
struct Trace {
    setup: String,
    ops: Vec<Op>,
}

impl Trace {
    fn new(setup: &impl fmt::Debug) -> Self {
        Self {
            setup: format!("{setup:?}"),
            ops: Vec::new(),
        }
    }
}

impl Drop for Trace {
    #[allow(clippy::print_stderr, reason = "what a failing test did is its message")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.setup);
            self.ops.iter().for_each(|op| eprintln!("  {op:?}"));
        }
    }
}
