//! What readers, writers and faults share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use ci_model::Token;
use ci_runner::Runner;
use ci_tests::history::{Meddling, Place, Raw};
use ci_tests::store_contract::world::below;
use rand_chacha::ChaCha8Rng;

use super::pool::Pool;
use super::record::{Ledger, Write};

/// Tokens that go from hand to hand.
const TOKENS: usize = 24;
/// A writer writes after so many answers,
const ANSWERS_A_WRITE: u64 = 40;
/// or after so long.
const LONGEST_PAUSE: Duration = Duration::from_millis(150);

#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) address: String,
    pub(crate) runner: Runner,
    pub(crate) meddling: Arc<Meddling>,
    pub(crate) pool: Pool,
    /// Questions that were answered, since the beginning.
    pub(crate) answered: AtomicU64,
    /// And those that ended in an error.
    pub(crate) errors: AtomicU64,
    /// When so many are answered the round is over.
    pub(crate) enough: AtomicU64,
    /// Numbers the writes through the runner.
    pub(crate) written: AtomicU64,
    pub(crate) ledger: Mutex<Ledger>,
    tokens: Mutex<VecDeque<Token>>,
}

impl Scene {
    pub(crate) fn new(address: String, runner: Runner, meddling: Arc<Meddling>, pool: Pool) -> Self {
        Self {
            address,
            runner,
            meddling,
            pool,
            answered: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            enough: AtomicU64::new(0),
            written: AtomicU64::new(0),
            ledger: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.address.starts_with("sqlite:")
    }

    pub(crate) fn is_over(&self) -> bool {
        self.answered.load(SeqCst) >= self.enough.load(SeqCst)
    }

    /// Waits until it is a writer's turn again, or the round is over.
    pub(crate) async fn turn(&self) {
        self.hold(ANSWERS_A_WRITE, LONGEST_PAUSE).await;
    }

    /// Waits until so many more questions are answered, at most so long.
    pub(crate) async fn hold(&self, answers: u64, at_most: Duration) {
        let (until, began) = (self.answered.load(SeqCst) + answers, Instant::now());
        while self.answered.load(SeqCst) < until && began.elapsed() < at_most && !self.is_over() {
            self.pause(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn pause(&self, time: Duration) {
        let _over = tokio::time::timeout(time, std::future::pending::<()>()).await;
    }

    /// Gives a token to whoever wants it.
    pub(crate) fn pass_on(&self, token: Token) {
        let mut tokens = self.tokens.lock().unwrap();
        if tokens.len() == TOKENS {
            tokens.pop_front();
        }
        tokens.push_back(token);
    }

    /// A token of anybody's.
    pub(crate) fn token(&self, random: &mut ChaCha8Rng) -> Option<Token> {
        let tokens = self.tokens.lock().unwrap();
        let newest = tokens.len().checked_sub(1)?;
        // New ones more often than old ones.
        let back = below(random, tokens.len()).min(below(random, tokens.len()));
        tokens.get(newest - back).cloned()
    }

    pub(crate) fn note_floor(&self, place: Place) {
        self.ledger.lock().unwrap().floors.push((Instant::now(), place));
    }

    pub(crate) fn note_write(&self, write: Write) {
        self.ledger.lock().unwrap().writes.push(write);
    }

    /// A connection of another program; none while the database is away.
    pub(crate) async fn connect(&self) -> Option<Raw> {
        Raw::connect(&self.address).await.ok()
    }
}
