//! The only file with `unsafe`: a lock whose readers write nothing shared, and a 16-byte compare.
//!
//! # The lock
//!
//! A [`BiasedLock`] is one word taken exclusively, by readers and writers alike, with one atomic exchange and released
//! by a plain store. While nobody writes it becomes biased: readers leave the word alone and only show
//! themselves in their thread's own [`Stripe`]. A writer takes the bias back, which waits for the readers on
//! display. So a read-only load scales without a shared line, and a load with writes pays one exchange, half of
//! what a read-write lock costs. (The idea of the bias: Dice and Kogan, BRAVO, USENIX ATC 2019.)
//!
//! Measured against `parking_lot::RwLock` around the same table (see docs/decisions): 1.3 times the hits on one thread,
//! 1.5 to 2 times on two.
//!
//! ```text
//! biased reader                           writer
//! stripe: odd                             takes the word
//! light fence                             biased = false
//! biased? yes: reads                      heavy fence
//! stripe: even                            waits until each odd stripe has moved
//!                                         writes
//! ```
//!
//! Either the reader's store is visible to the writer after its heavy fence, and the writer waits; or the reader's second
//! look at `biased` comes after the writer's store, and the reader goes the slow way. That is Dekker's argument; it
//! needs a full fence on both sides. The reader's is free: `membarrier(2)` makes every running thread of the
//! process execute a full barrier, so the writer pays for both (some microseconds, once per change from reading
//! to writing), and the reader's side is an order to the compiler only. Where the call is missing, no lock is ever
//! biased. The loom model replaces both fences with sequentially consistent ones.
//!
//! # What else is here
//!
//! [`match_byte`] compares 16 tags at once with SSE2, which every x86-64 processor has; the safe form, used elsewhere, is
//! its twin and the tests compare the two.

#![allow(
    unsafe_code,
    reason = "measured gains: the bias 1.3 to 2 times, the compare 1.15 times the hits; loom, shuttle and fuzzing cover both"
)]

use crate::rules::LockRule;
use crate::shim::{
    AtomicBool, AtomicU32, Condvar, Mutex, Ordering, lock as lock_mutex, spin_hint, yield_now,
};
use crate::stripes::{Stripe, Stripes};

/// Reads without a write between them after which a lock becomes biased: what taking a bias back costs
/// (some 5 us) over what a biased read saves (some 5 ns), so a wrong guess costs at most as much as it could save.
#[cfg(not(any(loom, shuttle)))]
const QUIET_READS: u32 = 1_024;
/// Models have no time for that.
#[cfg(any(loom, shuttle))]
const QUIET_READS: u32 = 1;

/// Tries to take the word before giving the processor away, and before going to sleep.
#[cfg(not(any(loom, shuttle)))]
const SPINS: (u32, u32) = (64, 80);
/// A model need not spin.
#[cfg(any(loom, shuttle))]
const SPINS: (u32, u32) = (0, 0);

/// How a reader got in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Beside other readers: the hit is counted on the reader's stripe.
    Beside,
    /// Holding the word: nobody else writes to the shard's counters now.
    Alone,
}

/// See the module's page.
#[repr(C)]
pub(crate) struct BiasedLock<T> {
    /// Readers need not take the word. Set by a holder that reads, cleared by a holder that is about to write.
    biased: AtomicBool,
    /// 1 while somebody holds the word.
    held: AtomicU32,
    /// Reads under the word since the last write. Written by holders only.
    quiet: AtomicU32,
    /// Threads that sleep, or are about to, until `held` is 0.
    sleepers: AtomicU32,
    /// Right behind the word, in the order of declaration: its first fields share its cache line.
    data: RawCell<T>,
    /// What sleepers wait on.
    queue: Mutex<()>,
    released: Condvar,
}

// SAFETY: `read` hands out `&T` to several threads at a time, which needs `T: Sync`; `write` hands out `&mut T` to one
// thread after another, which needs `T: Send`. All other fields are `Sync` themselves.
unsafe impl<T: Send + Sync> Sync for BiasedLock<T> {}
// SAFETY: owning the lock is owning its `T`.
unsafe impl<T: Send> Send for BiasedLock<T> {}

impl<T> BiasedLock<T> {
    /// Makes a free lock without bias.
    pub(crate) fn new(value: T) -> Self {
        Self {
            held: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            biased: AtomicBool::new(false),
            quiet: AtomicU32::new(0),
            queue: Mutex::new(()),
            released: Condvar::new(),
            data: RawCell::new(value),
        }
    }

    /// Lets the caller read the value until the guard is dropped, beside other readers if the lock is biased.
    ///
    /// Under the guard neither the lock nor another with the same stripes may be used: that one's writer may hold its word and
    /// wait for this thread to go off display, while this thread waits for the word (the loom models found it). A guard that
    /// is forgotten holds up writers for ever, as a forgotten guard of any lock does.
    #[inline(always)]
    pub(crate) fn share<'a>(&'a self, stripes: &'a Stripes) -> ReadGuard<'a, T> {
        let pass = match self.enter(stripes) {
            Some(section) => Pass::Beside(section),
            None => Pass::Alone(self.take_to_read()),
        };
        ReadGuard {
            value: Peek(self.data.get()),
            _pass: pass,
        }
    }

    /// Runs `look` on the value as under a [`share`](Self::share) guard; it says also how many hits (0 or 1) to count if it reads
    /// [`Access::Beside`] others.
    ///
    /// What must be undone stays in registers; the guard is for a panic in `look` and is forgotten otherwise. (Held
    /// by a guard alone it lives in memory, because the code that unwinds takes the guard's address.)
    #[inline(always)]
    pub(crate) fn look<R>(&self, stripes: &Stripes, look: impl FnOnce(&T, Access) -> (R, u64)) -> R {
        let beside = self.enter(stripes).map(Section::into_parts);
        let guard = match beside {
            Some((stripe, entered)) => Unwinding::Beside(stripe, entered),
            None => Unwinding::Alone(self.take_to_read()),
        };
        let access = match beside {
            Some(_) => Access::Beside,
            None => Access::Alone,
        };
        let (result, hits) = {
            let value = Peek(self.data.get());
            // SAFETY: as in `ReadGuard::deref`; what lets us read ends below, after the reference and the pointer.
            look(unsafe { value.as_ref() }, access)
        };
        std::mem::forget(guard);
        match beside {
            Some((stripe, entered)) => stripe.leave(entered, hits),
            None => drop(Held(self)),
        }
        result
    }

    /// Goes on display as a reader, if the lock is biased and the thread has a stripe.
    #[inline(always)]
    fn enter<'a>(&self, stripes: &'a Stripes) -> Option<Section<'a>> {
        if !self.biased.load(Ordering::Relaxed) {
            return None;
        }
        let section = Section::enter(stripes.mine()?)?;
        if !LockRule::ReadersFence.is_broken() {
            barrier::light();
        }
        // Acquire: sees what the last writer wrote before the bias was set.
        let biased = self.biased.load(Ordering::Acquire) || LockRule::SecondLook.is_broken();
        biased.then_some(section)
    }

    /// Takes the word to read, and biases the lock after enough reads without a write.
    #[inline]
    fn take_to_read(&self) -> Held<'_, T> {
        let held = self.take();
        let quiet = self.quiet.load(Ordering::Relaxed) + 1;
        if quiet < QUIET_READS {
            self.quiet.store(quiet, Ordering::Relaxed);
        } else {
            self.bias();
        }
        held
    }

    /// Biases the lock. Called under the word: nobody writes.
    #[cold]
    fn bias(&self) {
        if barrier::is_available() {
            // Release: biased readers must see the last write.
            self.biased.store(true, Ordering::Release);
        }
    }

    /// Runs `act` on the value, alone. `stripes` must be those of every reader of this lock.
    ///
    /// `act` must not use the lock, nor may it run inside a `look` of the same thread.
    #[inline]
    pub(crate) fn write<R>(&self, stripes: &Stripes, act: impl FnOnce(&mut T) -> R) -> R {
        let _held = self.take();
        if self.quiet.load(Ordering::Relaxed) != 0 {
            self.quiet.store(0, Ordering::Relaxed);
        }
        if self.biased.load(Ordering::Relaxed) {
            self.revoke(stripes);
        }
        // SAFETY: we hold the word, so there is no other writer and no reader under it; the lock is not biased, and every
        // biased reader that came in before has left (`revoke`).
        self.data.with_mut(|value| act(unsafe { &mut *value }))
    }

    /// Takes the bias back and waits for the readers that came in by it. Called under the word.
    #[cold]
    fn revoke(&self, stripes: &Stripes) {
        self.biased.store(false, Ordering::Relaxed);
        if !barrier::heavy() {
            // Without the fence there is no telling who reads. Nothing has been touched: give up, loudly.
            self.biased.store(true, Ordering::Relaxed);
            panic!("membarrier was available when the process registered and is refused now");
        }
        for stripe in stripes.iter().filter(|_| !LockRule::RevokingWaits.is_broken()) {
            let seen = stripe.sequence();
            let mut tries = 0;
            while seen % 2 == 1 && stripe.sequence() == seen {
                pause(&mut tries);
            }
        }
    }

    #[inline]
    fn take(&self) -> Held<'_, T> {
        // Acquire pairs with the release in `Held::drop`.
        if self
            .held
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.take_slowly();
        }
        Held(self)
    }

    fn try_take(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
            && self
                .held
                .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    #[cold]
    fn take_slowly(&self) {
        let mut tries = 0;
        while tries < SPINS.1 {
            if self.try_take() {
                return;
            }
            pause(&mut tries);
        }
        self.sleep();
    }

    /// Waits asleep. The releaser stores `held`, passes a light fence and looks at `sleepers`; we add to `sleepers`, pass a heavy
    /// fence and look at `held`. So either it wakes us or we do not fall asleep; the mutex closes the gap between
    /// our last look and the sleep.
    fn sleep(&self) {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let fenced = barrier::heavy();
        let mut queue = lock_mutex(&self.queue);
        while !self.try_take() {
            if fenced {
                queue = self
                    .released
                    .wait(queue)
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
            } else {
                // Nobody promises to see us: come back by ourselves.
                drop(queue);
                yield_now();
                queue = lock_mutex(&self.queue);
            }
        }
        drop(queue);
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    #[cold]
    fn wake(&self) {
        // Under the mutex, so that whoever decided to sleep does so first.
        if !LockRule::WakingQueues.is_broken() {
            drop(lock_mutex(&self.queue));
        }
        self.released.notify_one();
    }
}

/// Waits a little, longer each time.
fn pause(tries: &mut u32) {
    if *tries < SPINS.0 {
        spin_hint();
    } else {
        yield_now();
    }
    *tries = tries.saturating_add(1);
}

/// The word, given back on drop, by a panic too.
struct Held<'a, T>(&'a BiasedLock<T>);

impl<T> Drop for Held<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.held.store(0, Ordering::Release);
        if !LockRule::ReleaseFences.is_broken() {
            barrier::light();
        }
        if self.0.sleepers.load(Ordering::Relaxed) != 0 && !LockRule::ReleaseWakes.is_broken() {
            self.0.wake();
        }
    }
}

/// Shared access to the value. The pointer goes before the pass: fields are dropped in order.
pub(crate) struct ReadGuard<'a, T> {
    value: Peek<T>,
    _pass: Pass<'a, T>,
}

impl<T> std::ops::Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: no `&mut T` exists until the pass is dropped. Under the word: a `&mut T` exists only under the word. Beside
        // others: a writer first clears `biased` and passes a heavy fence; since `biased` was still set after our light
        // fence, the writer's look at our stripe comes after our `enter` and it waits (module page).
        unsafe { self.value.as_ref() }
    }
}

/// How a reader got in, and out again on drop.
#[expect(dead_code, reason = "held until dropped")]
enum Pass<'a, T> {
    Beside(Section<'a>),
    Alone(Held<'a, T>),
}

/// What a panic in a look must undo.
enum Unwinding<'a, T> {
    Beside(&'a Stripe, u64),
    Alone(#[expect(dead_code, reason = "held until dropped")] Held<'a, T>),
}

impl<T> Drop for Unwinding<'_, T> {
    #[cold]
    fn drop(&mut self) {
        if let Self::Beside(stripe, entered) = self {
            stripe.leave(*entered, 0);
        }
    }
}

/// A reader on display, off again on drop, by a panic too. A thread that reads another lock meanwhile takes that
/// one's word: a stripe shows one section at a time, so that it does not matter which of two guards is dropped first.
struct Section<'a> {
    stripe: &'a Stripe,
    /// Where to return to.
    entered: u64,
}

impl<'a> Section<'a> {
    #[inline]
    fn enter(stripe: &'a Stripe) -> Option<Self> {
        Some(Self {
            entered: stripe.enter()?,
            stripe,
        })
    }
}

impl<'a> Section<'a> {
    /// Leaves it to the caller to leave.
    #[inline(always)]
    fn into_parts(self) -> (&'a Stripe, u64) {
        let parts = (self.stripe, self.entered);
        std::mem::forget(self);
        parts
    }
}

impl Drop for Section<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.stripe.leave(self.entered, 0);
    }
}

/// A pointer to the value that is only read through; neither sent to nor shared with other threads.
#[cfg(not(loom))]
struct Peek<T>(*const T);

#[cfg(not(loom))]
impl<T> Peek<T> {
    /// # Safety
    /// No `&mut T` may exist as long as the reference lives.
    #[inline]
    unsafe fn as_ref(&self) -> &T {
        // SAFETY: the pointer comes from the cell of a lock that outlives the guard; the rest is the caller's promise.
        unsafe { &*self.0 }
    }
}

/// The same, watched by loom until it is dropped.
#[cfg(loom)]
struct Peek<T>(loom::cell::ConstPtr<T>);

#[cfg(loom)]
impl<T> Peek<T> {
    /// # Safety
    /// No `&mut T` may exist as long as the reference lives.
    unsafe fn as_ref(&self) -> &T {
        // SAFETY: the caller's promise, which loom checks.
        unsafe { self.0.deref() }
    }
}

/// The value, as loom wants to see it touched.
#[cfg(loom)]
type RawCell<T> = loom::cell::UnsafeCell<T>;

/// The value: the standard cell with loom's interface.
#[cfg(not(loom))]
struct RawCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> RawCell<T> {
    fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    fn get(&self) -> *const T {
        self.0.get()
    }

    #[inline]
    fn with_mut<R>(&self, act: impl FnOnce(*mut T) -> R) -> R {
        act(self.0.get())
    }
}

/// The asymmetric fence by `membarrier(2)`.
#[cfg(all(target_os = "linux", not(any(loom, shuttle))))]
mod barrier {
    use std::sync::LazyLock;
    use std::sync::atomic::{Ordering, compiler_fence};

    /// Registration, once per process; children of `fork` inherit it.
    static REGISTERED: LazyLock<bool> =
        LazyLock::new(|| command(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));

    fn command(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes three integers, touches no memory of ours and reports refusal by its result.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Tells whether the kernel offers it.
    pub(super) fn is_available() -> bool {
        *REGISTERED
    }

    /// The cheap side: the compiler keeps the order; the other side makes the processor keep it.
    #[inline]
    pub(super) fn light() {
        compiler_fence(Ordering::SeqCst);
    }

    /// The dear side: every running thread of the process passes a full barrier before this returns; false if
    /// the kernel refuses.
    pub(super) fn heavy() -> bool {
        is_available() && command(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }
}

/// Elsewhere there is no such fence: no lock is biased, and sleepers come back by themselves.
#[cfg(not(any(target_os = "linux", loom, shuttle)))]
mod barrier {
    /// Never.
    pub(super) fn is_available() -> bool {
        false
    }

    /// Nothing relies on it.
    #[inline]
    pub(super) fn light() {}

    /// Refused.
    pub(super) fn heavy() -> bool {
        false
    }
}

/// In models both sides are full fences: what the kernel's call amounts to.
#[cfg(any(loom, shuttle))]
mod barrier {
    /// Always.
    pub(super) fn is_available() -> bool {
        true
    }

    /// A full fence.
    pub(super) fn light() {
        fence();
    }

    /// A full fence.
    pub(super) fn heavy() -> bool {
        fence();
        true
    }

    #[cfg(loom)]
    fn fence() {
        loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
    }

    /// Shuttle's memory is sequentially consistent as it is.
    #[cfg(shuttle)]
    fn fence() {}
}

/// Gives the bytes of two words that equal `byte`: bit i for byte i, counted from the low end of the first word.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn match_byte(words: [u64; 2], byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // SAFETY: SSE2 belongs to every x86-64 target; the intrinsics take and give values only.
    let bits = unsafe {
        let tags = _mm_set_epi64x(words[1].cast_signed(), words[0].cast_signed());
        _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(byte.cast_signed())))
    };
    bits.cast_unsigned()
}

/// Gives the bytes of two words that equal `byte`: bit i for byte i, counted from the low end of the first word.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn match_byte(words: [u64; 2], byte: u8) -> u32 {
    match_byte_portable(words, byte)
}

/// The safe twin of [`match_byte`].
#[cfg(any(test, not(target_arch = "x86_64")))]
fn match_byte_portable(words: [u64; 2], byte: u8) -> u32 {
    let bytes = words.into_iter().flat_map(u64::to_le_bytes);
    bytes
        .enumerate()
        .fold(0, |bits, (index, other)| bits | u32::from(other == byte) << index)
}

/// The mistake that AddressSanitizer has to notice, if it is there at all.
#[cfg(all(test, asan))]
fn read_freed_memory() -> u64 {
    let value = Box::new(7);
    let place = &raw const *value;
    drop(value);
    // SAFETY: none; this is wrong. It runs in a process of its own, which must not survive it.
    unsafe { place.read_volatile() }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
#[path = "raw_tests.rs"]
mod tests;
