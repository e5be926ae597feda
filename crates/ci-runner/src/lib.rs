//! ci-runner
