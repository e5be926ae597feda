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

    /// Lets another thread run: a spin loop never ends otherwise.
    pub(crate) fn spin_hint() {
        yield_now();
    }
}

/// Locks a mutex whose holder may have panicked: everything these mutexes guard is valid at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
