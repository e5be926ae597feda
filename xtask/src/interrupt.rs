//! Signals as a question: "was this process asked to stop, and how?"
//!
//! The default action of SIGINT and SIGTERM ends a process without running a single `Drop`, which would leave the
//! private database running and its folder behind. So both only leave a note here; every wait of this program reads
//! the note, and the usual way out of `main` then cleans up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How the process was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ctrl-C: the terminal sent it to every process of the foreground group, so children in it know already.
    Keyboard,
    /// SIGTERM or SIGHUP: sent to this process alone, so children must be told.
    Asked,
}

impl Stop {
    /// The exit code shells use for a program that ended because of this signal.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Keyboard => 130,
            Self::Asked => 143,
        }
    }
}

const NONE: usize = 0;
const KEYBOARD: usize = 1;
const ASKED: usize = 2;

fn note() -> &'static Arc<AtomicUsize> {
    static NOTE: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
    NOTE.get_or_init(|| Arc::new(AtomicUsize::new(NONE)))
}

/// Replaces the default actions; call once, before the first child is started.
pub(crate) fn watch() -> anyhow::Result<()> {
    for (signal, value) in [(SIGINT, KEYBOARD), (SIGTERM, ASKED), (SIGHUP, ASKED)] {
        signal_hook::flag::register_usize(signal, Arc::clone(note()), value)
            .context("cannot watch for signals")?;
    }
    Ok(())
}

/// The latest request to stop, if there was one.
pub(crate) fn requested() -> Option<Stop> {
    match note().load(Ordering::SeqCst) {
        KEYBOARD => Some(Stop::Keyboard),
        ASKED => Some(Stop::Asked),
        _ => None,
    }
}
