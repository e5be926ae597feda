//! How much is written down about requests of callers whom nobody knows.

use std::time::Duration;

use ci_cache_core::Tick;
use parking_lot::Mutex;

use super::access::AUDIT;

/// Most lines of the audit log about them in a second: without a bound, anybody could fill the disk.
const LINES: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// What was written down in the present second, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<Written>);

#[derive(Debug, Default)]
struct Written {
    since: Tick,
    lines: u32,
    left_out: u64,
}

impl Strangers {
    /// Tells whether one more is written down; how many were not is said with the first one afterwards.
    pub(crate) fn is_told(&self, now: Tick) -> bool {
        let mut written = self.0.lock();
        if now.saturating_since(written.since) >= SECOND {
            let before = std::mem::replace(
                &mut *written,
                Written {
                    since: now,
                    ..Written::default()
                },
            );
            if before.left_out > 0 {
                tracing::warn!(
                    target: AUDIT,
                    refused = before.left_out,
                    "requests without a token that counts, beside those that have lines of their own"
                );
            }
        }
        let is_told = written.lines < LINES;
        written.lines += u32::from(is_told);
        written.left_out += u64::from(!is_told);
        is_told
    }
}

#[cfg(test)]
mod tests {
    use ci_cache_core::{Clock as _, ManualClock};

    use super::*;

    #[test]
    fn so_many_a_second_are_written_down() {
        let (clock, strangers) = (ManualClock::new(), Strangers::default());
        clock.advance(Duration::from_secs(5));
        let told = |times: u32| (0..times).filter(|_| strangers.is_told(clock.now())).count();
        assert_eq!(told(LINES + 5), LINES as usize);
        assert_eq!(strangers.0.lock().left_out, 5);
        clock.advance(SECOND);
        assert_eq!(told(1), 1);
        assert_eq!(strangers.0.lock().left_out, 0);
    }
}
