//! Which charts the report has, and what they show.

use super::charts::{self, Axis, Frame, Line};
use super::page::{Page, leading};
use super::text::{number, times};
use crate::arms::names;
use crate::run_file::Figure;

/// Who has a line, in the order of the colours.
const ARMS: [&str; 6] = [
    names::RUNNER,
    names::TTL,
    names::SHORT_TTL,
    names::REDIS,
    names::STORE,
    names::PREDECESSOR,
];
/// Those who cache.
const CACHES: usize = 4;

/// The charts by their names.
pub(super) fn drawn(page: Page<'_>) -> anyhow::Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("scenarios", speed_ups(page)?),
        ("latency", latency(page)?),
        (
            "staleness",
            by_rate(page, "stale", "Stale answers: desk, SQLite")?,
        ),
        ("hit-rate", by_rate(page, "hit rate", "Hit rate: desk, SQLite")?),
        ("threads", threads(page)?),
        ("memory", memory(page)?),
        ("sizes", sizes(page)?),
    ])
}

fn frame<'a>(title: &'a str, x: &'a str, y: &'a str) -> Frame<'a> {
    Frame { title, x, y }
}

/// A line for each arm that has points.
fn lines(arms: &[&str], points: impl Fn(&str) -> Vec<(f64, f64)>) -> Vec<Line> {
    arms.iter()
        .map(|arm| ((*arm).to_owned(), points(arm)))
        .filter(|(_, points)| !points.is_empty())
        .collect()
}

/// A point for each condition that begins with a number.
fn points<'a>(
    page: Page<'a>,
    of: impl Fn(&Figure) -> bool,
    value: impl Fn(&'a str) -> Option<f64>,
) -> Vec<(f64, f64)> {
    page.each(|figure| of(figure).then_some(figure.at.as_str()))
        .into_iter()
        .filter_map(|at| Some((leading(at)?, value(at)?)))
        .collect()
}

fn speed_ups(page: Page<'_>) -> anyhow::Result<String> {
    let bars: Vec<(String, f64)> = page
        .speed_ups()
        .into_iter()
        .flat_map(|(name, [cold, warm, ..])| {
            [("cold", cold), ("warm", warm)]
                .into_iter()
                .filter_map(move |(at, ratio)| Some((format!("{name}, {at} runner"), ratio?)))
        })
        .collect();
    let frame = frame("Speed-up over the predecessor (pooled)", "times faster", "");
    charts::bars(frame, &bars, times)
}

fn latency(page: Page<'_>) -> anyhow::Result<String> {
    let percentiles = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];
    let by_percentile = lines(&ARMS, |arm| {
        percentiles
            .iter()
            .filter_map(|(metric, percentile)| {
                let value = page.value(["mixes", "desk", "sqlite", arm, "10 writes/s", metric])?;
                Some((100.0 / (100.0 - percentile), value))
            })
            .collect()
    });
    let frame = frame(
        "Latency from the intended moment: desk, 10 writes/s, SQLite",
        "one answer in so many is slower (p50, p90, p99, p99.9)",
        "us",
    );
    charts::lines(frame, [Axis::Powers, Axis::Powers], &by_percentile)
}

fn by_rate(page: Page<'_>, metric: &str, title: &str) -> anyhow::Result<String> {
    let is_desk = |figure: &Figure| figure.section == "mixes" && figure.workload == "desk";
    let by_rate = lines(&ARMS[..CACHES], |arm| {
        points(page, is_desk, |at| {
            page.value(["mixes", "desk", "sqlite", arm, at, metric])
        })
    });
    let frame = frame(title, "writes a second", "% of the answers");
    charts::lines(frame, [Axis::Even, Axis::Even], &by_rate)
}

fn threads(page: Page<'_>) -> anyhow::Result<String> {
    let is_threads = |figure: &Figure| figure.section == "threads";
    let hits = lines(&[names::RUNNER], |arm| {
        points(page, is_threads, |at| {
            page.value(["threads", "warm gets", "", arm, at, "hits"])
        })
    });
    let frame = frame("Warm hits of one runner", "threads", "hits a second");
    charts::lines(frame, [Axis::Even, Axis::Even], &hits)
}

fn memory(page: Page<'_>) -> anyhow::Result<String> {
    let mut bars = Vec::new();
    for arm in [names::RUNNER, names::TTL] {
        for metric in ["an entry", "its rows as JSON"] {
            let name = ["memory", "searches of ten rows", "", arm, "500 entries", metric];
            bars.extend(page.value(name).map(|bytes| (format!("{arm}: {metric}"), bytes)));
        }
    }
    let frame = frame("A cached search of ten rows, of 500", "bytes", "");
    charts::bars(frame, &bars, number)
}

fn sizes(page: Page<'_>) -> anyhow::Result<String> {
    let is_size = |figure: &Figure| figure.section == "sizes";
    let mut by_size = Vec::new();
    for (database, shown) in [("sqlite", "SQLite"), ("postgres", "PostgreSQL")] {
        for (arm, points) in lines(&["predecessor", "runner, cold", "runner, warm"], |arm| {
            points(page, is_size, |at| {
                page.value(["sizes", "search by two keywords", database, arm, at, "p50"])
            })
        }) {
            by_size.push((format!("{arm}, {shown}"), points));
        }
    }
    let frame = frame("A search by two keywords, median", "CIs", "us");
    charts::lines(frame, [Axis::Powers, Axis::Powers], &by_size)
}
