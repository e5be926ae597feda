//! What a look at a shared tier finds, in programs with and without one.

/// What was found.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "without the feature every tier is away")
)]
pub(crate) enum Looked {
    /// It does not answer; says why.
    Away(String),
    /// It answers, but does not do what a service asks of it: which commands, and what was said of the first.
    Refuses(Vec<&'static str>, String),
    /// It gives back something else than was written.
    Mixes,
    /// It does everything. What it does when it is full, if the account may ask.
    Well(Option<Full>),
}

/// When a server is full, and what goes then.
#[derive(Debug)]
pub(crate) struct Full {
    /// Bytes that it may hold; 0 for as many as there are.
    pub(crate) most_bytes: u64,
    /// In the server's words.
    pub(crate) policy: String,
}
