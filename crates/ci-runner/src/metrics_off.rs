//! Without the feature `metrics` nothing is recorded.

use std::sync::Arc;
use std::time::Duration;

/// Records nothing.
pub(crate) fn tier_called(_runner: &Arc<str>, _result: &'static str, _took: Duration) {}

/// Records nothing.
pub(crate) fn loaded(_runner: &Arc<str>, _operation: &'static str, _result: &'static str, _took: Duration) {}
