//! Figures and moments as pages show them.

use std::time::Duration;

/// A number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A number of things in memory.
pub(crate) fn size(number: usize) -> String {
    count(number as u64)
}

/// A length of time with three digits or so, in the unit that fits.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if duration == Duration::ZERO {
        "0".into()
    } else if seconds < 0.000_001 {
        format!("{} ns", duration.as_nanos())
    } else if seconds < 0.001 {
        format!("{:.1} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else if seconds < 7_200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3_600.0)
    }
}

/// The same where it may be unknown.
pub(crate) fn maybe_time(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "–".into(), time)
}

/// A part in percent; nothing of nothing.
#[expect(clippy::cast_precision_loss, reason = "one decimal needs no 64 bits")]
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".into();
    }
    format!("{:.1} %", part as f64 * 100.0 / whole as f64)
}

/// Some things, or one.
pub(crate) fn things(number: usize, one: &str, many: &str) -> String {
    let word = if number == 1 { one } else { many };
    format!("{} {word}", size(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (number, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), shown);
        }
        for (nanos, shown) in [
            (0, "0"),
            (640, "640 ns"),
            (1_500, "1.5 µs"),
            (2_340_000, "2.3 ms"),
            (61_000_000_000, "61.0 s"),
            (600_000_000_000, "10 min"),
            (9_000_000_000_000, "2.5 h"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), shown);
        }
        assert_eq!((percent(1, 3), percent(0, 0)), ("33.3 %".into(), "–".into()));
        assert_eq!(
            (things(1, "CI", "CIs"), things(2, "CI", "CIs")),
            ("1 CI".into(), "2 CIs".into())
        );
    }
}
