//! ci-bench
