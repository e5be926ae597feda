//! Which reader an input is for; the files beside this one say what has to be true of each.
//!
//! - `texts.rs`: tokens and cursors;
//! - `questions.rs`: questions from drawn parts, `keys.rs`: their keys;
//! - `requests.rs`: requests to the HTTP service, over the store of `nothing.rs`; `bodies.rs` and `shapes.rs`: JSON for them;
//! - `files.rs`: warm files, request logs and files of tokens;
//! - `planted.rs`: what each of them must notice.

mod bodies;
mod files;
mod keys;
mod nothing;
mod planted;
mod questions;
mod requests;
mod shapes;
mod texts;

pub use planted::Defect;

use crate::bytes::Bytes;

/// Gives an input to the reader that its first byte names.
///
/// # Panics
/// If the reader did wrong.
pub fn check(input: &[u8], planted: Option<Defect>) {
    let mut bytes = Bytes::new(input);
    match bytes.byte() % 8 {
        0 => texts::token(&mut bytes, planted),
        1 => texts::cursor(&mut bytes, planted),
        2 => keys::check(&mut bytes, planted),
        3 => files::warm(&mut bytes, planted),
        4 => files::log(&mut bytes, planted),
        5 => files::tokens(&mut bytes, planted),
        _ => requests::check(&mut bytes, planted),
    }
}
