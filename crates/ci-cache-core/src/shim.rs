//! The synchronisation primitives of the engine in one place, so that loom and shuttle can stand in for the
//! standard library: the rest of the crate names this module and never `std::sync` for these.
//!
//! `--cfg loom` explores every interleaving of a small model, `--cfg shuttle` random ones of a large model.

#[cfg(not(any(loom, shuttle)))]
pub(crate) use std_backed::*;

#[cfg(loom)]
pub(crate) use loom_backed::*;

#[cfg(shuttle)]
pub(crate) use shuttle_backed::*;

/// What ships.
#[cfg(not(any(loom, shuttle)))]
mod std_backed {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread::yield_now;

    /// What is read through an [`ArcCell`]: a shared value, seldom with its count raised.
    pub(crate) type ArcGuard<T> = arc_swap::Guard<std::sync::Arc<T>>;

    /// A shared value that is replaced as a whole and read without a lock.
    #[derive(Debug)]
    pub(crate) struct ArcCell<T>(arc_swap::ArcSwap<T>);

    impl<T> ArcCell<T> {
        /// Starts with a value.
        pub(crate) fn new(value: T) -> Self {
            Self(arc_swap::ArcSwap::from_pointee(value))
        }

        /// Reads it (acquires).
        #[inline]
        pub(crate) fn load(&self) -> ArcGuard<T> {
            self.0.load()
        }

        /// Replaces it (releases).
        pub(crate) fn store(&self, value: T) {
            self.0.store(std::sync::Arc::new(value));
        }
    }

    /// Tells the processor that this is a spin loop.
    pub(crate) fn spin_hint() {
        std::hint::spin_loop();
    }
}

/// Exhaustive exploration.
#[cfg(loom)]
mod loom_backed {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread::yield_now;

    pub(crate) use super::modelled::{ArcCell, ArcGuard};

    /// Lets another thread run: a spin loop never ends otherwise.
    pub(crate) fn spin_hint() {
        yield_now();
    }
}

/// Random exploration.
#[cfg(shuttle)]
mod shuttle_backed {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread::yield_now;

    pub(crate) use super::modelled::{ArcCell, ArcGuard};

    /// Lets another thread run: a spin loop never ends otherwise.
    pub(crate) fn spin_hint() {
        yield_now();
    }
}

/// What stands in for `arc_swap` where every step is to be seen: it orders no less, and no more than a lock does.
#[cfg(any(loom, shuttle))]
mod modelled {
    use std::sync::Arc;

    use super::{Mutex, lock};

    pub(crate) type ArcGuard<T> = Arc<T>;

    /// A shared value that is replaced as a whole.
    #[derive(Debug)]
    pub(crate) struct ArcCell<T>(Mutex<Arc<T>>);

    impl<T> ArcCell<T> {
        /// Starts with a value.
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(Arc::new(value)))
        }

        /// Reads it.
        pub(crate) fn load(&self) -> ArcGuard<T> {
            Arc::clone(&lock(&self.0))
        }

        /// Replaces it.
        pub(crate) fn store(&self, value: T) {
            let old = std::mem::replace(&mut *lock(&self.0), Arc::new(value));
            drop(old);
        }
    }
}

/// Locks a mutex whose holder may have panicked: everything these mutexes guard is valid at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
