//! ci-store
