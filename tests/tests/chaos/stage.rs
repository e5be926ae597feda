//! What readers, writers and faults share: the nodes, the questions, and what is known of the order of things.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use ci_model::Token;
use ci_tests::history::{Place, Raw, Timeline};
use ci_tests::store_contract::world::below;
use rand_chacha::ChaCha8Rng;

use super::node::Node;
use super::questions::Web;
use super::record::Write;

/// Tokens that go from hand to hand.
const TOKENS: usize = 24;

/// A history of the database that no other continues: it ends when another server or a restored copy takes its place.
#[derive(Debug)]
pub(crate) struct Era {
    /// Its place among all eras.
    pub(crate) number: usize,
    /// Where the database is, past all proxies.
    pub(crate) address: String,
    /// From when on it was what anybody could see.
    pub(crate) began: Instant,
    /// The epochs that were seen in it.
    pub(crate) epochs: BTreeSet<u64>,
    /// At this moment, at the latest, anybody could see this.
    pub(crate) floors: Vec<(Instant, Place)>,
    /// What really happened.
    pub(crate) line: Timeline,
    /// Rows of the record that are of rounds before the last.
    pub(crate) kept: usize,
}

impl Era {
    pub(crate) fn new(number: usize, address: String) -> Self {
        Self {
            number,
            address,
            began: Instant::now(),
            epochs: BTreeSet::new(),
            floors: Vec::new(),
            line: Timeline::default(),
            kept: 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) web: Web,
    pub(crate) nodes: Vec<Node>,
    /// Those that answers of this round may be of, the present one last.
    pub(crate) eras: Mutex<Vec<Era>>,
    /// Epochs of eras that are over for longer.
    pub(crate) gone: Mutex<BTreeSet<u64>>,
    /// Whether other programs find the database.
    pub(crate) is_there: AtomicBool,
    /// Whether the round is over.
    pub(crate) is_over: AtomicBool,
    pub(crate) answered: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// Numbers the writes through nodes.
    pub(crate) written: AtomicU64,
    pub(crate) commits: AtomicU64,
    /// Writes through nodes that were acknowledged.
    pub(crate) writes: Mutex<Vec<(usize, Write)>>,
    tokens: Mutex<VecDeque<Token>>,
}

impl Stage {
    pub(crate) fn new(web: Web, nodes: Vec<Node>, address: String) -> Self {
        Self {
            web,
            nodes,
            eras: Mutex::new(vec![Era::new(0, address)]),
            gone: Mutex::default(),
            is_there: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            written: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            writes: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    /// The present era's number and the database's address.
    pub(crate) fn now(&self) -> (usize, String) {
        let eras = self.eras.lock().unwrap();
        let last = eras.last().unwrap();
        (last.number, last.address.clone())
    }

    /// Begins another era.
    pub(crate) fn begin_era(&self, address: String) {
        let mut eras = self.eras.lock().unwrap();
        let number = eras.last().unwrap().number + 1;
        eras.push(Era::new(number, address));
    }

    pub(crate) fn with_era<T>(&self, number: usize, act: impl FnOnce(&mut Era) -> T) -> Option<T> {
        let mut eras = self.eras.lock().unwrap();
        eras.iter_mut().find(|era| era.number == number).map(act)
    }

    /// Notes what anybody can see now, in an era.
    pub(crate) fn note_floor(&self, era: usize, place: Place) {
        self.with_era(era, |era| era.floors.push((Instant::now(), place)));
    }

    /// Gives a token to whoever wants it.
    pub(crate) fn pass_on(&self, token: Token) {
        let mut tokens = self.tokens.lock().unwrap();
        if tokens.len() == TOKENS {
            tokens.pop_front();
        }
        tokens.push_back(token);
    }

    /// A token of anybody's, a new one more often than an old one.
    pub(crate) fn token(&self, random: &mut ChaCha8Rng) -> Option<Token> {
        let tokens = self.tokens.lock().unwrap();
        let newest = tokens.len().checked_sub(1)?;
        let back = below(random, tokens.len()).min(below(random, tokens.len()));
        tokens.get(newest - back).cloned()
    }

    /// A connection of another program, and the era that it is in; none while the database is away.
    pub(crate) async fn connect(&self) -> Option<(usize, Raw)> {
        if !self.is_there.load(SeqCst) {
            return None;
        }
        let (era, address) = self.now();
        let raw = Raw::connect(&address).await.ok()?;
        // Between the two another may have begun.
        (self.now().0 == era && self.is_there.load(SeqCst)).then_some((era, raw))
    }
}
