//! How fresh what a page shows is.

use std::time::Duration;

use maud::{Markup, html};

use super::words::time;
use crate::http::Origin;

/// One line: from where, how old, how far behind, true at which state. An answer of several `parts` has no one age.
pub(crate) fn fresh(origin: &Origin, has_parts: bool) -> Markup {
    html! {
        p class="fresh" data-source=(if origin.source().is_hit() { "hit" } else { "miss" }) {
            @if origin.source().is_hit() { "From memory (hit)" } @else { "From the database (miss)" }
            @if has_parts { ", all parts at one state" } @else if origin.age() > Duration::ZERO { ", " (time(origin.age())) " old" }
            @match origin.lag() {
                Some(lag) => { ", at most " (time(lag)) " behind the database" }
                None => ", nobody knows how far behind the database",
            }
            @if let Some(token) = origin.as_of() { ", as of " code title=(token) { (short(&token.to_string())) } }
            "."
        }
    }
}

/// The end of a token, where states differ.
fn short(token: &str) -> String {
    let mut end: Vec<char> = token.chars().rev().take(12).collect();
    end.reverse();
    end.into_iter().collect()
}
