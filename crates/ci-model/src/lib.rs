//! ci-model
