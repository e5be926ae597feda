//! A hot standby may cost time and never an answer: what it shows is told exactly or not at all, and is used only where it keeps what was promised.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "../feeding/mod.rs"]
mod feeding;
mod loads;
#[allow(dead_code, reason = "the fleet's campaign uses the rest")]
#[path = "../chaos/proxy.rs"]
mod proxy;
mod service;
mod silent;
mod stage;
mod states;

use stage::pause;
