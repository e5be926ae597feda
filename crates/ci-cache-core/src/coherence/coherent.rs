//! The handle: a cache with its dependency index, change log and watermark.

use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::Equivalent;

use super::domain::{Anchor, Domain};
use super::entry::Entry;
use super::history::Dropped;
use super::index::Ticket;
use super::options::CoherenceOptions;
use super::outcome::Why;
use super::rarity::Rarity;
use super::rules::ProtocolRules;
use super::state::State;
use super::stats::CoherenceStats;
use super::watermark::{Mark, Watermark};
use crate::builder::CacheBuilder;
use crate::cache::Cache;
use crate::clock::Tick;
use crate::entry::LookupOptions;
use crate::error::Error;
use crate::leader::{Leader, Lookup};
use crate::shim::{Mutex, MutexGuard, lock};

/// A shared entry of a coherent cache.
pub type Shared<V, D> = Arc<Entry<V, <D as Domain>::Version>>;

/// The duty to load that a look-up in a coherent cache may bring; end it with [`Coherent::publish`], or with its `answer`
/// or `fail`.
pub type CoherentLeader<K, V, D, E = Infallible> = Leader<K, Shared<V, D>, E>;

/// A cache whose entries go when a change of their source touches what they were made of.
///
/// A handle: clones share one cache. `V` is what is cached, `D` knows versions, changes and dependencies, `E` is the error of a
/// failed load. The module's page has the protocol.
///
/// Look-ups are the cache's own and take nothing of coherence: [`mark`](Self::mark) is two loads. Publishing takes the coherence
/// lock twice for a moment, and each change once.
pub struct Coherent<K, V, D: Domain, E = Infallible, S = RandomState> {
    pub(super) cache: Cache<K, Shared<V, D>, E, S>,
    pub(super) inner: Arc<Inner<K, D>>,
}

/// What clones share besides the cache.
pub(super) struct Inner<K, D: Domain> {
    pub(super) domain: D,
    pub(super) rarity: Rarity,
    /// Hashes groups.
    pub(super) hasher: RandomState,
    pub(super) watermark: Watermark<D::Version>,
    /// Changes arrive one batch after the other.
    pub(super) feed: Mutex<Feed<D::Version>>,
    pub(super) state: Mutex<State<K, D>>,
    pub(super) retired: Arc<Retired>,
    /// How many changes of a group in one batch are changes of everything in it.
    pub(super) bulk: usize,
    /// The rules of the protocol that tests break on purpose.
    pub(super) rules: ProtocolRules,
}

/// Where the feed stands.
#[derive(Debug)]
pub(super) struct Feed<S> {
    /// None before the first reset.
    pub(super) epoch: Option<u64>,
    /// All changes up to here were applied.
    pub(super) position: Option<S>,
    pub(super) polled_at: Tick,
    /// Why the mark is hidden, if it is.
    pub(super) suspended: Option<&'static str>,
    /// Whether no batch was applied since the last reset.
    pub(super) anew: bool,
}

/// Tickets of what left the cache. The cache tells of that by whatever thread displaced it, perhaps with locks of its caller's held:
/// so it is only noted, and the next holder of the coherence lock unregisters it.
#[derive(Debug)]
pub(super) struct Retired(Mutex<Vec<Ticket>>);

impl Retired {
    pub(super) fn push(&self, ticket: Ticket) {
        lock(&self.0).push(ticket);
    }

    fn take(&self) -> Vec<Ticket> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// What is followed, and whether readers may rely on it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status<S> {
    /// The epoch that is followed; none before the first [`reset`](Coherent::reset).
    pub epoch: Option<u64>,
    /// Up to where changes were applied.
    pub position: Option<S>,
    /// When the last good poll began.
    pub polled_at: Tick,
    /// Why there is no mark, if there is none.
    pub suspended: Option<&'static str>,
}

impl<K, V, D, E, S> Coherent<K, V, D, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    D: Domain,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Builds the cache that `builder` describes and makes it coherent. The builder's listener goes on hearing of what leaves,
    /// dropped entries included (as [`Cause::Removed`](crate::Cause::Removed)).
    ///
    /// Nothing is kept before the first [`reset`](Self::reset), and there is no mark.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] naming the setting, its value and what is allowed.
    pub fn new(
        builder: CacheBuilder<K, Shared<V, D>, S>,
        domain: D,
        options: &CoherenceOptions,
    ) -> Result<Self, Error> {
        Self::with_rules(builder, domain, options, ProtocolRules::SHIPPED)
    }

    /// Builds one that breaks a rule, for the tests of the tests.
    #[cfg(feature = "planted")]
    #[doc(hidden)]
    pub fn planted(
        builder: CacheBuilder<K, Shared<V, D>, S>,
        domain: D,
        options: &CoherenceOptions,
        rules: ProtocolRules,
    ) -> Result<Self, Error> {
        Self::with_rules(builder, domain, options, rules)
    }

    /// The same.
    pub(crate) fn with_rules(
        builder: CacheBuilder<K, Shared<V, D>, S>,
        domain: D,
        options: &CoherenceOptions,
        rules: ProtocolRules,
    ) -> Result<Self, Error> {
        options.validate()?;
        let retired = Arc::new(Retired(Mutex::new(Vec::new())));
        let note = Arc::clone(&retired);
        let builder = builder.tell_first(move |_, entry: &Shared<V, D>, _| note.push(entry.ticket));
        let feed = Feed {
            epoch: None,
            position: None,
            polled_at: Tick::default(),
            suspended: Some("nothing is followed yet"),
            anew: true,
        };
        Ok(Self {
            cache: builder.build()?,
            inner: Arc::new(Inner {
                domain,
                rarity: Rarity::new(),
                hasher: RandomState::default(),
                watermark: Watermark::new(),
                feed: Mutex::new(feed),
                state: Mutex::new(State::new(options)),
                retired,
                bulk: options.bulk,
                rules,
            }),
        })
    }

    /// Looks a key up: counts a hit or miss. Read the [`mark`](Self::mark) before.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<Shared<V, D>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.cache.get(key)
    }

    /// Looks a key up and, if it is not fresh, joins its flight or begins one: see [`Cache::lookup`]. Read the
    /// [`mark`](Self::mark) before; one who waited asks [`Entry::is_as_new_as`] of what it gets.
    pub fn lookup<Q>(&self, key: &Q, options: LookupOptions<'_>) -> Lookup<K, Shared<V, D>, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        self.cache.lookup(key, options)
    }

    /// Counts anchors of rows that were read, so that [`Domain::file`] knows which are rare. (Those of changes are sampled by
    /// itself.) Two counters an anchor, no lock.
    pub fn observe(&self, anchors: impl IntoIterator<Item = Anchor>) {
        anchors
            .into_iter()
            .for_each(|anchor| self.inner.rarity.observe(anchor));
    }

    /// Gives the statistics. Takes the coherence lock; walks the lists of the index to sum its memory.
    pub fn stats(&self) -> CoherenceStats {
        let state = self.inner.lock();
        let (log_records, log_bytes) = state.log.size();
        CoherenceStats {
            registrations: state.index.len(),
            groups: state.scopes.len(),
            index_bytes: state.index.bytes(),
            log_records,
            log_bytes,
            ..state.stats
        }
    }

    /// Counts the drops for each reason, in no order. Takes the coherence lock.
    pub fn reasons(&self) -> Vec<(Why<D::Reason>, u64)> {
        self.inner.lock().history.reasons()
    }

    /// Tells of the latest drops and of publications that a change hit, the latest last. Takes the coherence lock to copy them; they
    /// are put into words without it.
    pub fn history(&self) -> Vec<Dropped<K, D::Reason>> {
        let copied = self.inner.lock().history.copy();
        copied.into_iter().map(super::history::Past::tell).collect()
    }

    /// Counts what was dropped so far, as [`dropped_since`](Self::dropped_since) counts it.
    pub fn drops(&self) -> u64 {
        self.inner.lock().history.total()
    }

    /// Tells of the drops after the first `seen`, the latest last, and how many there have been altogether: what to give for `seen`
    /// the next time. Of those that are not remembered any more ([`CoherenceOptions::history`]) only the number is told.
    ///
    /// Cost: the coherence lock for a copy, and putting each into words outside of it.
    pub fn dropped_since(&self, seen: u64) -> (Vec<Dropped<K, D::Reason>>, u64) {
        let (copied, total) = {
            let inner = self.inner.lock();
            (inner.history.copy_since(seen), inner.history.total())
        };
        (
            copied.into_iter().map(super::history::Past::tell).collect(),
            total,
        )
    }

    /// Checks index, log and cache against each other while nobody else uses them; for tests, slow.
    ///
    /// # Errors
    /// Says what disagrees.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), String> {
        self.cache.purge();
        self.cache.validate()?;
        let mut resident = Vec::new();
        self.cache.remove_where(|_, entry| {
            resident.extend(entry.map(|entry| entry.ticket));
            false
        });
        let mut state = self.inner.lock();
        state.index.validate()?;
        state.log.validate()?;
        let ready = state.ready();
        let strangers = resident.iter().filter(|&&ticket| !state.is_ready(ticket)).count();
        if strangers > 0 || ready != resident.len() {
            return Err(format!(
                "{ready} registrations are ready, {} entries resident, {strangers} of them not registered",
                resident.len()
            ));
        }
        Ok(())
    }
}

impl<K, V, D: Domain, E, S> Coherent<K, V, D, E, S> {
    /// The cache: for looking up in other ways, listing, counting, removing, clearing and resizing. Entries come from publications
    /// alone; one put under another key by hand is nobody's responsibility.
    pub fn cache(&self) -> &Cache<K, Shared<V, D>, E, S> {
        &self.cache
    }

    /// The domain.
    pub fn domain(&self) -> &D {
        &self.inner.domain
    }

    /// Reads the mark: a state of the source that every entry found *afterwards* is true at (or at its own state, where that has
    /// more: see [`Mark::as_of`]). None while nobody knows: nothing is followed, or the feed is suspended; hits are then true at
    /// their own version, and how fresh that is nobody can tell.
    ///
    /// Two loads, no lock.
    ///
    /// # Read it before the look-up
    ///
    /// ```text
    /// reader                                 feed
    /// looks up, finds an entry
    ///                                        drops the entry, raises the mark
    /// reads the mark
    /// claims the old value for the new mark
    /// ```
    ///
    /// The other way round it cannot happen: a change is applied in the order log, drop, mark. So whoever reads a mark finds nothing
    /// afterwards that a change below it hits.
    #[inline]
    pub fn mark(&self) -> Option<Mark<D::Version>> {
        self.inner.watermark.read()
    }

    /// Tells what is followed. Waits for a batch that is being applied.
    pub fn status(&self) -> Status<D::Version> {
        let feed = lock(&self.inner.feed);
        Status {
            epoch: feed.epoch,
            position: feed.position.clone(),
            polled_at: feed.polled_at,
            suspended: feed.suspended,
        }
    }
}

impl<K, D: Domain> Inner<K, D> {
    /// Takes the coherence lock, and unregisters what left the cache meanwhile.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<K, D>> {
        let mut state = lock(&self.state);
        for ticket in self.retired.take() {
            // Drops a key and a dependency under the lock: plain data, by the contract of `Domain`.
            drop(state.index.remove(ticket));
        }
        state
    }

    /// Hashes a group.
    pub(super) fn hash(&self, group: &D::Group) -> u64 {
        self.hasher.hash_one(group)
    }
}

impl<K, V, D: Domain, E, S> Clone for Coherent<K, V, D, E, S> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, V, D: Domain, E, S> fmt::Debug for Coherent<K, V, D, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coherent")
            .field("cache", &self.cache)
            .field("mark", &self.mark())
            .finish_non_exhaustive()
    }
}
