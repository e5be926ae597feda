//! Conversions between counts and real numbers, in one place with their reason.

/// Turns a count into a real number; exact below 2^53, which no count here reaches.
#[expect(clippy::cast_precision_loss, reason = "counts of a run stay far below 2^53")]
pub fn real(count: usize) -> f64 {
    count as f64
}

/// Turns a count of 64 bits into a real number, like [`real`].
#[expect(clippy::cast_precision_loss, reason = "counts of a run stay far below 2^53")]
pub fn real64(count: u64) -> f64 {
    count as f64
}

/// Takes the given share of a count, rounded to the nearest whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count is a count"
)]
pub fn share(count: usize, share: f64) -> usize {
    (real(count) * share.max(0.0)).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_to_the_nearest() {
        assert_eq!(share(1_000, 0.001), 1);
        assert_eq!(share(1_999, 0.001), 2);
        assert_eq!(share(400, 0.001), 0);
        assert_eq!(share(10, -1.0), 0);
    }
}
