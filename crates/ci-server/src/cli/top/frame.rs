//! One frame: what a service did since its start, and since the frame before.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

/// Most tenants that a frame shows.
const TENANTS: usize = 12;
/// Columns when the output is no terminal.
const WIDTH: u16 = 100;

/// What the service said at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) stats: Value,
    pub(super) savings: Value,
    pub(super) tenants: Value,
}

impl Sample {
    fn count(&self, name: &str) -> u64 {
        count(&self.stats, name)
    }
}

fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_default()
}

/// Draws a frame. Rates are of the time since the sample before, and missing in the first frame.
pub(super) fn render(
    address: &str,
    now: &Sample,
    before: Option<(&Sample, Duration)>,
    width: Option<u16>,
) -> String {
    let mut text = String::new();
    let rate = |name: &str| {
        let (before, took) = before?;
        Some(per_second(
            now.count(name).saturating_sub(before.count(name)),
            took,
        ))
    };
    let with_rate = |name: &str| match rate(name) {
        Some(rate) => format!("{} ({rate}/s)", grouped(now.count(name))),
        None => grouped(now.count(name)),
    };
    // Writing into a text cannot fail.
    let _ = writeln!(text, "{address}   {}", feed(&now.stats["feed"]));
    let _ = writeln!(
        text,
        "requests {}   hits {}   {} of all",
        with_rate("total_requests"),
        with_rate("hits"),
        percent(now.count("hits"), now.count("total_requests"))
    );
    let _ = writeln!(
        text,
        "entries {} of {}   evicted {}   expired {}   invalidated {}",
        grouped(now.count("size")),
        grouped(now.count("max_size")),
        with_rate("evictions"),
        with_rate("expirations"),
        with_rate("invalidations")
    );
    let _ = writeln!(
        text,
        "loads {}   failed {}   coalesced {}   statements {}   changes {}",
        with_rate("loads"),
        with_rate("load_failures"),
        with_rate("coalesced"),
        with_rate("statements"),
        with_rate("changes")
    );
    fleet(&mut text, now, before);
    kinds(&mut text, &now.savings);
    tenants(&mut text, &now.tenants);
    let columns = usize::from(width.unwrap_or(WIDTH));
    let lines = text
        .lines()
        .map(|line| line.chars().take(columns).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

/// How the feed does.
fn feed(feed: &Value) -> String {
    let state = feed["state"].as_str().unwrap_or("unknown");
    let lag = feed["lag_ms"].as_f64().map(|lag| format!(", {lag:.0} ms behind"));
    let trouble = feed["trouble"]
        .as_str()
        .map(|trouble| format!(" ({})", shown(trouble)));
    let trouble = trouble.filter(|_| state != "live").unwrap_or_default();
    format!("feed {}{}{trouble}", shown(state), lag.unwrap_or_default())
}

/// The shared tier and the standby, where there are any: what came of asking them.
fn fleet(text: &mut String, now: &Sample, before: Option<(&Sample, Duration)>) {
    for (name, part, outcomes, well) in [
        ("tier", "tier", "reads", "hit"),
        ("standby", "replica", "loads", "used"),
    ] {
        let told = &now.stats[part];
        if !told.is_object() {
            continue;
        }
        let of_well = count(&told[outcomes], well);
        let _ = write!(text, "{name} {well} {}", grouped(of_well));
        if let Some((before, took)) = before {
            let of_well_before = count(&before.stats[part][outcomes], well);
            let rate = per_second(of_well.saturating_sub(of_well_before), took);
            let _ = write!(text, " ({rate}/s)");
        }
        for (outcome, number) in told[outcomes].as_object().into_iter().flatten() {
            let number = number.as_u64().unwrap_or_default();
            if number > 0 && outcome != well {
                let _ = write!(text, "   {} {}", shown(outcome), grouped(number));
            }
        }
        if told["left_alone"] == true {
            let trouble = told["trouble"].as_str().unwrap_or("it failed");
            let _ = write!(text, "   left alone: {}", shown(trouble));
        }
        let _ = writeln!(text);
    }
}

fn kinds(text: &mut String, savings: &Value) {
    let _ = writeln!(
        text,
        "\n{:<12}{:>14}{:>14}{:>9}{:>12}{:>14}",
        "QUESTIONS", "hits", "loads", "hit rate", "ms a load", "saved s"
    );
    for kind in savings["items"].as_array().into_iter().flatten() {
        let (hits, misses) = (count(kind, "hits"), count(kind, "misses"));
        let load = kind["mean_load_ms"].as_f64().map(|ms| format!("{ms:.2}"));
        let _ = writeln!(
            text,
            "{:<12}{:>14}{:>14}{:>9}{:>12}{:>14.1}",
            shown(kind["kind"].as_str().unwrap_or_default()),
            grouped(hits),
            grouped(misses),
            percent(hits, hits + misses),
            load.unwrap_or_default(),
            kind["saved_s"].as_f64().unwrap_or_default()
        );
    }
}

/// Those with most entries.
fn tenants(text: &mut String, tenants: &Value) {
    let mut items: Vec<&Value> = tenants["items"].as_array().into_iter().flatten().collect();
    items.sort_by_key(|tenant| std::cmp::Reverse(count(tenant, "entries")));
    let _ = writeln!(
        text,
        "\n{:<32}{:>12}{:>12}{:>14}{:>9}{:>12}",
        format!("TENANTS ({})", items.len()),
        "entries",
        "share",
        "hits",
        "hit rate",
        "evicted"
    );
    for tenant in items.into_iter().take(TENANTS) {
        let (hits, misses) = (count(tenant, "hits"), count(tenant, "misses"));
        let name = shown(tenant["tenant"].as_str().unwrap_or_default());
        let name: String = name.chars().take(31).collect();
        let _ = writeln!(
            text,
            "{name:<32}{:>12}{:>12}{:>14}{:>9}{:>12}",
            grouped(count(tenant, "entries")),
            grouped(count(tenant, "share")),
            grouped(hits),
            percent(hits, hits + misses),
            grouped(count(tenant, "evictions"))
        );
    }
}

/// A text of the service: a control character must not reach the terminal.
fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "what is shown has three digits")]
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    format!("{:.1} %", part as f64 * 100.0 / whole as f64)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is shown has one digit after the point"
)]
fn per_second(count: u64, took: Duration) -> String {
    format!("{:.1}", count as f64 / took.as_secs_f64().max(0.001))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample(hits: u64) -> Sample {
        let tenant = |name: &str, entries: u64| json!({"tenant": name, "entries": entries, "share": 5, "hits": 3, "misses": 1, "evictions": 0});
        Sample {
            stats: json!({
                "feed": {"state": "live", "lag_ms": 3.7, "trouble": "was long ago"}, "hits": hits, "total_requests": 2 * hits,
                "size": 7, "max_size": 100_000, "evictions": 0, "loads": 4,
            }),
            savings: json!({"items": [
                {"kind": "search", "hits": 30, "misses": 10, "mean_load_ms": 1.234, "saved_s": 0.5},
                {"kind": "path", "hits": 0, "misses": 0, "saved_s": 0.0},
            ]}),
            tenants: json!({"items": [tenant("small", 1), tenant("large\u{1b}[2J", 6)]}),
        }
    }

    #[test]
    fn a_frame_shows_what_there_is_and_rates_from_the_second_on() {
        let first = render("http://a", &sample(1_234), None, None);
        assert!(
            first.starts_with("http://a   feed live, 4 ms behind\n"),
            "{first}"
        );
        assert!(
            first.contains("requests 2,468   hits 1,234   50.0 % of all"),
            "{first}"
        );
        assert!(first.contains("entries 7 of 100,000"), "{first}");
        assert!(!first.contains("/s"), "{first}");
        let search = first
            .lines()
            .find(|line| line.starts_with("search"))
            .expect("a line");
        let words: Vec<&str> = search.split_whitespace().collect();
        assert_eq!(words, ["search", "30", "10", "75.0", "%", "1.23", "0.5"]);
        let path = first
            .lines()
            .find(|line| line.starts_with("path"))
            .expect("a line");
        assert!(path.contains(" - "), "{path}");
        let (large, small) = (first.find("large").expect("it"), first.find("small").expect("it"));
        assert!(large < small && !first.contains('\u{1b}'), "{first}");

        let before = (&sample(1_234), Duration::from_secs(2));
        let second = render("http://a", &sample(1_334), Some(before), None);
        assert!(
            second.contains("requests 2,668 (100.0/s)   hits 1,334 (50.0/s)"),
            "{second}"
        );
        // A service that was started anew counts from nothing.
        let again = render(
            "http://a",
            &sample(4),
            Some((&sample(1_334), Duration::ZERO)),
            Some(20),
        );
        assert!(again.lines().all(|line| line.chars().count() <= 20), "{again}");
        assert!(again.contains("requests 8 (0.0/s)"), "{again}");
    }

    #[test]
    fn a_fleet_is_shown_where_there_is_one() {
        let shared = |hits: u64, left_alone: bool| {
            let mut sample = sample(1);
            sample.stats["tier"] = json!({
                "reads": {"hit": hits, "absent": 4, "corrupt": 0, "overtaken": 2}, "left_alone": left_alone, "trouble": "it did not\nanswer",
            });
            sample.stats["replica"] = json!({"loads": {"used": 7, "behind": 1}, "left_alone": false});
            sample
        };
        let alone = render("http://a", &sample(1), None, None);
        assert!(!alone.contains("tier") && !alone.contains("standby"), "{alone}");
        let first = render("http://a", &shared(1_000, false), None, None);
        assert!(
            first.contains("\ntier hit 1,000   absent 4   overtaken 2\n"),
            "{first}"
        );
        assert!(first.contains("\nstandby used 7   behind 1\n"), "{first}");
        let before = (&shared(1_000, false), Duration::from_secs(2));
        let second = render("http://a", &shared(1_010, true), Some(before), None);
        assert!(second.contains("\ntier hit 1,010 (5.0/s)   absent 4"), "{second}");
        assert!(
            second.contains("   left alone: it did not\u{fffd}answer\n"),
            "{second}"
        );
        // A tier that was taken away and came back with a service that was started anew.
        let again = render(
            "http://a",
            &shared(3, false),
            Some((&sample(1), Duration::from_secs(1))),
            None,
        );
        assert!(again.contains("tier hit 3 (3.0/s)"), "{again}");
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
