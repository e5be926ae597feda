//! The defect that this process is to notice: named in its environment by `cargo xtask check fuzz`.

#[path = "../../../crates/ci-cache-core/tests/fuzz/harness/mod.rs"]
pub(crate) mod harness;

use harness::Subject;

/// Breaks the rule of the cache that `CI_CACHE_PLANTED_DEFECT` names, if it names one.
///
/// # Panics
/// If there is no such rule: a defect that nobody planted would not be noticed either.
#[cfg(fuzzing)]
pub(crate) fn plant(cache: &Subject) {
    static NAME: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("CI_CACHE_PLANTED_DEFECT").ok());
    if let Some(name) = &*NAME {
        assert!(cache.plant_named(name), "no rule is called {name}");
    }
}

/// The twin in a build that cannot fuzz, and ships every rule.
#[cfg(not(fuzzing))]
pub(crate) fn plant(_: &Subject) {}
