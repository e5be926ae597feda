//! Who has which slots of a cluster: asked in the background, of several nodes at a time.
//!
//! A node that is cut off from the others tells what was, and says so once it knows: it answers that the cluster is down. The word of such a
//! node is taken if nobody else has one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ci_runner::tier::TierError;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use redis::{Value, cmd};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::address::Place;
use crate::link::Link;
use crate::server::{Manner, dial};
use crate::slots::Slots;
use crate::words;

/// Nodes that are asked at a time who has what: two that hang hold nobody up.
const ASKED: usize = 3;
/// Shortest time between two such questions: a node that stays away is a trouble of every call.
const PAUSE: Duration = Duration::from_millis(250);

/// What is known of a cluster, and what finds it out.
pub(crate) struct Known {
    /// The nodes that the address names: where to ask at first, and beside the others later.
    pub(crate) seeds: Vec<Place>,
    pub(crate) manner: Manner,
    pub(crate) connect_timeout: Duration,
    map: watch::Sender<Map>,
    pub(crate) links: Mutex<HashMap<Place, Link>>,
    /// Nodes whose last answers were that the cluster is down, or that they take no writes.
    doubted: Mutex<BTreeSet<Place>>,
    /// Raised by links, and by redirections.
    pub(crate) troubles: Arc<AtomicU64>,
    /// Which node is asked first, in turn: one that is cut off from the others tells what was.
    turn: AtomicUsize,
}

/// What is known of who has what.
struct Map {
    slots: Option<Arc<Slots>>,
    is_asked: bool,
    /// Why nothing is known.
    why: &'static str,
    /// Whether nobody answered when it was asked last.
    is_lost: bool,
    /// The troubles there had been before it was asked.
    troubles: u64,
    /// When it was asked last.
    at: Option<Instant>,
}

impl Known {
    pub(crate) fn new(seeds: Vec<Place>, manner: Manner, connect_timeout: Duration) -> Self {
        Self {
            seeds,
            manner,
            connect_timeout,
            map: watch::Sender::new(Map {
                slots: None,
                is_asked: false,
                why: "not connected yet",
                is_lost: false,
                troubles: 0,
                at: None,
            }),
            links: Mutex::default(),
            doubted: Mutex::default(),
            troubles: Arc::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Who has what, as far as it is known; waits for the first word alone.
    pub(crate) async fn slots(self: &Arc<Self>) -> Result<Arc<Slots>, TierError> {
        let mut maps = self.map.subscribe();
        let troubles = self.troubles.load(Ordering::Relaxed);
        let begins = self.map.send_if_modified(|map| {
            let is_rested = map.at.is_none_or(|at| at.elapsed() >= PAUSE);
            let wanted = map.slots.is_none() || (map.troubles != troubles && is_rested);
            let begins = wanted && !map.is_asked;
            map.is_asked |= begins;
            begins
        });
        if begins {
            tokio::spawn(learn(Attempt::new(Arc::clone(self), troubles)));
        }
        let settled = maps.wait_for(|map| map.slots.is_some() || !map.is_asked).await;
        let settled = settled.map_err(|_| TierError::new("the cluster was given up"))?;
        settled.slots.clone().ok_or_else(|| TierError::new(settled.why))
    }

    /// Who has what, without asking.
    pub(crate) fn told(&self) -> Option<Arc<Slots>> {
        self.map.borrow().slots.clone()
    }

    /// Whether nobody answered when it was asked last who has what.
    pub(crate) fn is_lost(&self) -> bool {
        self.map.borrow().is_lost
    }

    /// Something did not go as it does where what is known is so: it is asked again.
    pub(crate) fn trouble(&self) {
        self.troubles.fetch_add(1, Ordering::Relaxed);
    }

    /// A node answered that the cluster is down, or something else.
    pub(crate) fn doubt(&self, place: &Place, is_doubted: bool) {
        let mut doubted = self.doubted.lock();
        if !is_doubted {
            doubted.remove(place);
        } else if !doubted.contains(place) {
            doubted.insert(place.clone());
        }
    }

    pub(crate) fn is_doubted(&self, place: &Place) -> bool {
        self.doubted.lock().contains(place)
    }

    /// All nodes that are known and the seeds, each beginning with another one each time. Among three in a row is a seed as long as there are
    /// some: where all that is known is gone and hangs, they are not the last to be asked.
    pub(crate) fn places(&self) -> Vec<Place> {
        let told = self.told();
        let known: BTreeSet<&Place> = told.as_deref().map(Slots::places).unwrap_or_default();
        let mut seeds: Vec<&Place> = self.seeds.iter().filter(|seed| !known.contains(seed)).collect();
        let mut known: Vec<&Place> = known.into_iter().collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for all in [&mut known, &mut seeds] {
            let by = turn % all.len().max(1);
            all.rotate_left(by);
        }
        let mut seeds = seeds.into_iter();
        let mut places = Vec::new();
        for two in known.chunks(ASKED - 1) {
            places.extend(two.iter().copied());
            places.extend(seeds.next());
        }
        places.extend(seeds);
        places.into_iter().cloned().collect()
    }

    /// Asks one node, within half of the time: three that hang leave time for three others.
    async fn ask(&self, place: Place) -> Word {
        let share = self.connect_timeout / 2;
        let asked = async {
            let mut connection = dial(&self.manner.client(&place)?, share).await?;
            cmd("CLUSTER")
                .arg("SLOTS")
                .query_async::<Value>(&mut connection)
                .await
        };
        let said = match timeout(share, asked).await {
            Ok(Ok(answer)) => Slots::read(answer, &place).ok_or(None),
            Ok(Err(error)) => {
                tracing::debug!(why = words::of(&error), "cannot ask a node of the cluster");
                Err(words::of_account(&error))
            }
            Err(_) => {
                tracing::debug!("a node of the cluster takes too long");
                Err(None)
            }
        };
        Word {
            is_doubted: self.is_doubted(&place),
            said,
        }
    }
}

/// What a node says.
struct Word {
    is_doubted: bool,
    /// Who has what; or what keeps the account from asking, if it is that.
    said: Result<Slots, Option<&'static str>>,
}

/// What comes of asking: the first word of a node that is not doubted, else the first one.
#[derive(Default)]
struct Heard {
    slots: Option<Slots>,
    /// What keeps the account from asking.
    why: Option<&'static str>,
}

impl Heard {
    /// Takes a word; tells whether it is enough.
    fn take(&mut self, word: Word) -> bool {
        match word.said {
            Ok(slots) if !word.is_doubted => self.slots = Some(slots),
            Ok(slots) => {
                self.slots.get_or_insert(slots);
                return false;
            }
            // What somebody has to mend is told before all that mends itself.
            Err(why) => {
                self.why = why.or(self.why);
                return false;
            }
        }
        true
    }
}

/// An attempt to learn who has what, from before its task begins: should that be lost, even before its first step, nobody waits for it for ever.
struct Attempt {
    known: Arc<Known>,
    heard: Heard,
    /// Whether all have been heard whose word was wanted.
    is_over: bool,
    /// Those that there had been before.
    troubles: u64,
}

impl Attempt {
    fn new(known: Arc<Known>, troubles: u64) -> Self {
        Self {
            known,
            heard: Heard::default(),
            is_over: false,
            troubles,
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let slots = self.heard.slots.take();
        let why = match self.heard.why {
            Some(why) => why,
            None if self.is_over => "no node of the cluster tells who has what",
            None => "asking a cluster who has what takes too long",
        };
        self.known.map.send_modify(|map| {
            map.is_asked = false;
            map.at = Some(Instant::now());
            map.is_lost = slots.is_none() && self.is_over;
            match slots {
                Some(slots) => (map.slots, map.troubles) = (Some(Arc::new(slots)), self.troubles),
                None => map.why = why,
            }
        });
    }
}

/// Asks who has what.
async fn learn(mut attempt: Attempt) {
    let known = Arc::clone(&attempt.known);
    let words = stream::iter(known.places())
        .map(|place| known.ask(place))
        .buffer_unordered(ASKED);
    let mut words = Box::pin(words);
    let heard = &mut attempt.heard;
    let all = async {
        while let Some(word) = words.next().await {
            if heard.take(word) {
                break;
            }
        }
    };
    attempt.is_over = timeout(known.connect_timeout, all).await.is_ok();
    if let Some(slots) = &attempt.heard.slots {
        let places = slots.places();
        // Calls under way have clones.
        known.links.lock().retain(|place, _| places.contains(place));
        let is_asked = |place: &Place| places.contains(place) || known.seeds.contains(place);
        known.doubted.lock().retain(is_asked);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::address::{self, Address};
    use crate::options::Certificates;
    use crate::tls::Encryption;

    fn place(port: u16) -> Place {
        let host = "h".into();
        Place { host, port }
    }

    fn known(seeds: &[u16]) -> Arc<Known> {
        let Address::Cluster { account, .. } = address::parse("redis+cluster://h").unwrap().address else {
            unreachable!("it is one")
        };
        let encryption = Encryption::of(&Certificates::default(), false).unwrap();
        let manner = Manner::new(&account, 0, &encryption, false);
        let seeds = seeds.iter().map(|port| place(*port)).collect();
        Arc::new(Known::new(seeds, manner, Duration::from_secs(2)))
    }

    /// What a node says of masters, each of which has one slot.
    fn slots(masters: &[u16]) -> Slots {
        let range = |port: &u16| {
            let node = vec![Value::SimpleString("h".into()), Value::Int((*port).into())];
            let slot = Value::Int((*port).into());
            Value::Array(vec![slot.clone(), slot, Value::Array(node)])
        };
        Slots::read(Value::Array(masters.iter().map(range).collect()), &place(1)).unwrap()
    }

    fn tells(known: &Known, slots: Slots) {
        known.map.send_modify(|map| map.slots = Some(Arc::new(slots)));
    }

    #[test]
    fn a_seed_is_among_the_first_to_be_asked_however_many_are_known() {
        let known = known(&[101, 102, 1]);
        let ports = || known.places().iter().map(|place| place.port).collect::<Vec<_>>();
        assert_eq!(ports(), [101, 102, 1], "nobody is known");
        assert_eq!(ports(), [102, 1, 101]);
        tells(&known, slots(&[1, 2, 3, 4, 5, 6, 7]));
        let mut first = BTreeSet::new();
        for _ in 0..14 {
            let ports = ports();
            assert!(ports[..3].iter().any(|port| *port > 100), "{ports:?}");
            assert!(ports[3..6].iter().any(|port| *port > 100), "{ports:?}");
            first.extend(ports[..3].iter().copied());
            let all: BTreeSet<u16> = ports.iter().copied().collect();
            assert_eq!((ports.len(), all.len()), (9, 9), "each of them once: {ports:?}");
        }
        assert_eq!(first.len(), 9, "each of them is among the first at some time");
        tells(&known, slots(&[1]));
        assert_eq!(ports().len(), 3);
    }

    #[test]
    fn the_word_of_a_node_that_is_cut_off_is_the_last_that_counts() {
        let (old, new, third) = (slots(&[1, 2]), slots(&[2, 3]), slots(&[3, 4]));
        let word = |said, is_doubted| Word { is_doubted, said };
        let mut heard = Heard::default();
        assert!(!heard.take(word(Err(None), false)));
        assert!(!heard.take(word(Ok(old), true)), "somebody else may know better");
        assert_eq!(heard.slots, Some(slots(&[1, 2])), "unless nobody does");
        assert!(!heard.take(word(Ok(third), true)));
        assert_eq!(heard.slots, Some(slots(&[1, 2])));
        assert!(heard.take(word(Ok(new), false)));
        assert_eq!(heard.slots, Some(slots(&[2, 3])));
        let mut heard = Heard::default();
        assert!(!heard.take(word(Err(Some(words::REFUSED)), false)));
        assert!(!heard.take(word(Err(None), false)));
        assert_eq!(heard.why, Some(words::REFUSED));
    }

    #[test]
    fn doubts_are_kept_until_a_node_is_of_use() {
        let known = known(&[101]);
        assert!(!known.is_doubted(&place(1)));
        known.doubt(&place(1), true);
        known.doubt(&place(1), true);
        known.doubt(&place(2), false);
        assert!(known.is_doubted(&place(1)) && !known.is_doubted(&place(2)));
        known.doubt(&place(1), false);
        assert!(!known.is_doubted(&place(1)));
    }

    #[test]
    fn an_attempt_that_is_lost_before_its_first_step_holds_nobody_up() {
        let known = known(&[101]);
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut asked = pin!(known.slots());
            {
                let _entered = runtime.enter();
                let mut context = Context::from_waker(Waker::noop());
                assert!(asked.as_mut().poll(&mut context).is_pending());
            }
            // Its tasks end with it; none of them has begun.
            drop(runtime);
            let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let error = other.block_on(asked).err().unwrap().to_string();
            assert!(error.contains("takes too long"), "{error}");
            assert!(!known.is_lost(), "nobody was asked");
        }
    }
}
