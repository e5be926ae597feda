//! ci-cache-core
