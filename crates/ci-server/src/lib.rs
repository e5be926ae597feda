//! ci-server
