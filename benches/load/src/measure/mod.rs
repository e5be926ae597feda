//! The measurements, in the order of the report. Each gives figures; none of them knows of tables or charts.

mod fleet;
mod memory;
mod micro;
mod mix;
mod replay;
mod scenario;
mod series;
mod situations;
mod sizes;
mod threads;

use ci_benches::Loaded;

use crate::place::Servers;
use crate::run_file::Figure;

pub use memory::count_memory;
pub use replay::replay;
pub use series::{Name, Series, Times};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As much as the report needs: about 15 minutes.
    Full,
    /// An impression: about 2 minutes.
    Quick,
    /// As little as shows that it works: for tests.
    Tiny,
}

impl Scale {
    /// One of three, by the scale.
    pub fn pick<T>(self, full: T, quick: T, tiny: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Tiny => tiny,
        }
    }
}

/// What a measurement works with.
#[derive(Debug)]
pub struct Bench {
    /// How much.
    pub scale: Scale,
    /// What everything is drawn from.
    pub seed: u64,
    /// Against which servers.
    pub servers: Servers,
    /// The program that counts memory; the one that lies beside this one when none is named.
    pub memory_program: Option<std::path::PathBuf>,
}

/// The sections of the report, by the names that select them.
pub const SECTIONS: &[&str] = &[
    "scenarios",
    "mixes",
    "steps",
    "situations",
    "replay",
    "threads",
    "memory",
    "sizes",
    "fleet",
];

/// Tells whether a section is part of every whole run: one that needs a server of Redis is not, where none was found.
pub fn is_part_of_every_run(section: &str) -> bool {
    section != fleet::NAME
}

impl Bench {
    /// Runs one section.
    ///
    /// # Errors
    /// When a database or an arm fails.
    pub async fn section(&self, name: &str) -> anyhow::Result<Vec<Figure>> {
        match name {
            "scenarios" => scenario::measure(self).await,
            "mixes" => mix::measure(self).await,
            "steps" => micro::measure(self).await,
            "situations" => situations::measure(self).await,
            "threads" => threads::measure(self).await,
            "sizes" => sizes::measure(self).await,
            "fleet" => fleet::measure(self).await,
            "memory" => memory::measure(self),
            "replay" => replay::measure(self).await,
            _ => anyhow::bail!("no section is called {name}"),
        }
    }
}

/// What a database is called in a figure.
fn database(place: &Loaded) -> &'static str {
    place.name
}
