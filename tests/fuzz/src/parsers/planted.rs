//! Defects that the target must notice before it may say that there are none.

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A token or a cursor with a wrong checksum is taken.
    TakesAnyChecksum,
    /// A token or a cursor is taken in capitals, too: one content has several texts.
    TakesCapitals,
    /// A question about deleted CIs has the key of the one without.
    KeysForgetDeleted,
    /// Two tenants have the same keys.
    KeysForgetTheTenant,
    /// A damaged warm file is read as far as it goes.
    ReadsDamagedFiles,
    /// Every question of a log is read as one of the same tenant.
    LogsForgetTheTenant,
    /// The last token of a file is lost.
    LosesTokens,
    /// A handler panics when its search finds nothing.
    HandlersPanic,
    /// What is wrong with a request is told in plain text.
    RefusesInPlainText,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::TakesAnyChecksum,
        Self::TakesCapitals,
        Self::KeysForgetDeleted,
        Self::KeysForgetTheTenant,
        Self::ReadsDamagedFiles,
        Self::LogsForgetTheTenant,
        Self::LosesTokens,
        Self::HandlersPanic,
        Self::RefusesInPlainText,
    ];

    /// The defect that `CI_CACHE_PLANTED_DEFECT` names, if it names one.
    ///
    /// # Panics
    /// If there is no such defect: what nobody planted would not be noticed either.
    pub fn of_environment() -> Option<Self> {
        let name = std::env::var("CI_CACHE_PLANTED_DEFECT").ok()?;
        let known = Self::ALL.into_iter().find(|defect| format!("{defect:?}") == name);
        assert!(known.is_some(), "no defect is called {name}");
        known
    }
}
