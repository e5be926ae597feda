//! The panels of the dashboard, each a part of the page that is drawn again when its figures change.

use std::time::Duration;

use ci_runner::{EntrySummary, FeedState, KindSavings, Latency, Requests, Savings};
use maud::{Markup, html};

use super::words::{count, maybe_time, percent, size, things, time};
use crate::http::{AppState, drop_reason};

/// Rows of a table.
const ROWS: usize = 10;
/// Tenants that are shown: those with most entries.
const TENANTS: usize = 20;

/// All panels, by their places in the page.
pub(crate) fn all(app: &AppState) -> Vec<(&'static str, Markup)> {
    let savings = app.runner().savings();
    vec![
        ("figures", figures(app, &savings)),
        ("requests", requests(&savings)),
        ("latency", latency(app)),
        ("feed", feed(app)),
        ("fleet", fleet(app)),
        ("reasons", reasons(app)),
        ("hottest", hottest(app)),
        ("slowest", slowest(app)),
        ("drops", drops(app)),
        ("tenants", tenants(app)),
    ]
}

/// The requests of all kinds.
pub(crate) fn total(savings: &Savings) -> Requests {
    let mut total = Requests::default();
    for kind in &savings.by_kind {
        total.hits += kind.requests.hits;
        total.tier += kind.requests.tier;
        total.coalesced += kind.requests.coalesced;
        total.misses += kind.requests.misses;
        total.bypasses += kind.requests.bypasses;
        total.errors += kind.requests.errors;
    }
    total
}

/// One figure with its name.
fn figure(name: &str, value: &str, note: &str) -> Markup {
    html! {
        div class="figure" {
            dt { (name) }
            dd { (value) @if !note.is_empty() { small { (note) } } }
        }
    }
}

fn figures(app: &AppState, savings: &Savings) -> Markup {
    let (stats, requests, feed) = (app.runner().stats(), total(savings), app.runner().feed());
    let (cache, engine) = (&stats.cache, &stats.cache.engine);
    let most = format!("of {} at most", size(cache.max_size));
    html! {
        dl class="figures" {
            (figure("Hit rate", &percent(requests.hits, requests.total()), "of all requests since the start"))
            (figure("Requests", &count(requests.total()), ""))
            (figure("Queries saved", &count(savings.saved_statements()), "estimated"))
            (figure("Time saved", &time(savings.saved_time()), "estimated"))
            (figure("Entries", &size(cache.size), &most))
            (figure("Weight", &count(stats.weight), "bytes, about; 1 an entry where no bytes are set"))
            (figure("Evictions", &count(cache.evictions), "for want of room"))
            (figure("Expired", &count(engine.expirations), "their time was over"))
            (figure("Invalidated", &count(engine.invalidations), "by changes and by command"))
            (figure("Feed", feed.state.as_str(), &lag(feed.lag)))
        }
    }
}

fn lag(lag: Option<Duration>) -> String {
    match lag {
        Some(lag) => format!("at most {} behind", time(lag)),
        None => "lag unknown".into(),
    }
}

fn requests(savings: &Savings) -> Markup {
    let row = |name: &str, requests: &Requests, kind: Option<&KindSavings>| {
        html! {
            tr {
                th scope="row" { (name) }
                @for number in [requests.hits, requests.tier, requests.coalesced, requests.misses, requests.bypasses, requests.errors] {
                    td { (count(number)) }
                }
                td { (percent(requests.hits, requests.total())) }
                td { (kind.map_or_else(String::new, |kind| maybe_time(kind.mean_load_time()))) }
                td { (time(kind.map_or_else(|| savings.saved_time(), KindSavings::saved_time))) }
            }
        }
    };
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Question" }
                    @for name in ["Hits", "Shared", "Coalesced", "Misses", "Bypasses", "Errors", "Hit rate", "Mean load", "Saved"] {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody {
                @for kind in &savings.by_kind { (row(kind.kind.as_str(), &kind.requests, Some(kind))) }
                (row("all", &total(savings), None))
            }
        }
    }
}

fn latency(app: &AppState) -> Markup {
    let seen = app.runner().latencies();
    let row = |name: &str, latency: &Latency| {
        html! {
            tr {
                th scope="row" { (name) }
                td { (maybe_time(latency.median)) }
                td { (maybe_time(latency.p99)) }
                td { (count(latency.measured)) }
            }
        }
    };
    html! {
        table {
            thead { tr { th scope="col" { "" } th scope="col" { "Median" } th scope="col" { "99 %" } th scope="col" { "Count" } } }
            tbody { (row("Hits", &seen.hits)) (row("Loads", &seen.loads)) }
        }
        p class="note" { "Of the requests one in 64 is measured, of the loads all. Each figure is at most a quarter too high." }
    }
}

fn feed(app: &AppState) -> Markup {
    let feed = app.runner().feed();
    let is_well = matches!(feed.state, FeedState::Live | FeedState::Absent);
    html! {
        table {
            tbody {
                tr { th scope="row" { "State" } td class=(if is_well { "good" } else { "bad" }) { (feed.state.as_str()) } }
                tr { th scope="row" { "Lag" } td { (maybe_time(feed.lag)) } }
                tr { th scope="row" { "Changes" } td { (count(feed.changes)) } }
                tr { th scope="row" { "Polls" } td { (count(feed.polls)) } }
                tr { th scope="row" { "Failed polls" } td { (count(feed.failures)) } }
                tr { th scope="row" { "Emptied by gaps" } td { (count(feed.epochs)) } }
            }
        }
        @if let Some(trouble) = &feed.trouble { p class="bad" { (trouble) } }
    }
}

/// The shared tier and the standby, where there are any.
fn fleet(app: &AppState) -> Markup {
    let stats = app.runner().stats();
    if stats.tier.is_none() && stats.replica.is_none() {
        return html! { p class="none" { "This service shares nothing and loads from no standby." } };
    }
    let outcomes = |name: &str, all: Vec<(&'static str, u64)>| {
        html! {
            @for (outcome, number) in all.into_iter().filter(|(_, number)| *number > 0) {
                tr { th scope="row" { (name) " " code { (outcome) } } td { (count(number)) } }
            }
        }
    };
    let asked = |name: &str, is_skipped: bool| {
        html! {
            tr {
                th scope="row" { (name) }
                td class=(if is_skipped { "bad" } else { "good" }) { (if is_skipped { "left alone: it failed" } else { "is asked" }) }
            }
        }
    };
    let tier = stats.tier.as_ref().map(|tier| {
        let reads = tier.reads.iter().map(|(outcome, number)| (outcome.as_str(), *number));
        html! {
            (asked("Shared tier", tier.is_skipped))
            (outcomes("Reads", reads.collect()))
            tr { th scope="row" { "Written, confirmed" } td { (count(tier.written)) ", " (count(tier.refreshed)) } }
            tr { th scope="row" { "Not written" } td { (count(tier.dropped + tier.over_budget + tier.unwritten)) } }
            tr { th scope="row" { "Waiting to be written" } td { (size(tier.waiting)) } }
            @if tier.is_listening || tier.rings_sent + tier.rings_failed + tier.rings_heard > 0 {
                tr {
                    th scope="row" { "Doorbell" }
                    td class=(if tier.is_listening { "good" } else { "bad" }) { (if tier.is_listening { "is heard" } else { "cannot be heard" }) }
                }
                tr { th scope="row" { "Rings sent, heard" } td { (count(tier.rings_sent)) ", " (count(tier.rings_heard)) } }
            }
        }
    });
    let replica = stats.replica.as_ref().map(|replica| {
        let loads = replica
            .loads
            .iter()
            .map(|(outcome, number)| (outcome.as_str(), *number));
        html! { (asked("Standby", replica.is_skipped)) (outcomes("Loads", loads.collect())) }
    });
    let troubles = [
        (
            "Shared tier",
            stats.tier.as_ref().and_then(|tier| tier.trouble.as_ref()),
        ),
        (
            "Standby",
            stats
                .replica
                .as_ref()
                .and_then(|replica| replica.trouble.as_ref()),
        ),
    ];
    html! {
        table { tbody { @if let Some(tier) = tier { (tier) } @if let Some(replica) = replica { (replica) } } }
        @for (name, trouble) in troubles {
            @if let Some(trouble) = trouble { p class="note" { (name) ", last trouble: " (trouble) } }
        }
    }
}

fn reasons(app: &AppState) -> Markup {
    let mut reasons: Vec<(String, u64)> = app
        .runner()
        .drop_reasons()
        .into_iter()
        .map(|(why, count)| (drop_reason(why), count))
        .collect();
    reasons.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let none = reasons.iter().all(|(_, count)| *count == 0);
    html! {
        @if none { p class="none" { "No change has hit an entry yet." } } @else {
            table {
                thead { tr { th scope="col" { "Reason" } th scope="col" { "Entries" } } }
                tbody {
                    @for (reason, number) in reasons.iter().filter(|(_, count)| *count > 0) {
                        tr { th scope="row" { code { (reason) } } td { (count(*number)) } }
                    }
                }
            }
        }
    }
}

fn hottest(app: &AppState) -> Markup {
    let entries = app.runner().hottest(ROWS);
    let about = |entry: &EntrySummary| {
        let mut about = entry.keywords.join(" ");
        if entry.filters > 0 {
            about = format!("{about} {}", things(entry.filters, "filter", "filters"));
        }
        about
    };
    html! {
        @if entries.is_empty() { p class="none" { "Nothing is cached." } } @else {
            table {
                thead {
                    tr {
                        @for name in ["Key", "Tenant", "Question", "About", "Hits", "Results", "Age"] {
                            th scope="col" class=[(name == "About").then_some("text")] { (name) }
                        }
                    }
                }
                tbody {
                    @for entry in &entries {
                        tr {
                            th scope="row" { code { (entry.key) } }
                            td { (entry.tenant) }
                            td { (entry.kind.as_str()) }
                            td class="text" { bdi { (about(entry)) } }
                            td { (count(entry.hits)) }
                            td { (size(entry.results)) }
                            td { (time(whole(entry.age))) }
                        }
                    }
                }
            }
            p class="note" { "Of the 1,000 entries that were used last." }
        }
    }
}

/// Whole seconds: what is drawn again every second for a fraction of one is drawn in vain.
fn whole(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

fn slowest(app: &AppState) -> Markup {
    let loads = app.runner().slowest_loads();
    let now = app.runner().now();
    html! {
        @if loads.is_empty() { p class="none" { "Nothing was loaded yet." } } @else {
            table {
                thead {
                    tr { @for name in ["Took", "Tenant", "Question", "Queries", "Ago"] {
                        th scope="col" class=[(name == "Question").then_some("text")] { (name) }
                    } }
                }
                tbody {
                    @for slow in loads.iter().take(ROWS) {
                        tr {
                            th scope="row" { (time(slow.load.took)) }
                            td { (slow.load.tenant) }
                            td class="text" { (slow.load.question) }
                            td { (count(slow.load.statements)) }
                            td { (time(whole(now.saturating_since(slow.at)))) }
                        }
                    }
                }
            }
            p class="note" { "Since the start." }
        }
    }
}

fn drops(app: &AppState) -> Markup {
    let (drops, now) = (app.runner().drops(), app.runner().now());
    html! {
        @if drops.is_empty() { p class="none" { "No change has dropped an entry yet." } } @else {
            table {
                thead { tr { @for name in ["Ago", "Key", "Reason", "Change"] {
                    th scope="col" class=[(name == "Change").then_some("text")] { (name) }
                } } }
                tbody {
                    @for dropped in drops.iter().rev().take(ROWS) {
                        tr {
                            th scope="row" { (time(whole(now.saturating_since(dropped.at)))) }
                            td { @match &dropped.key { Some(key) => code { (key.short()) }, None => "all" } }
                            td { code { (drop_reason(dropped.why)) } }
                            td class="text" { bdi { (dropped.change) } }
                        }
                    }
                }
            }
        }
    }
}

fn tenants(app: &AppState) -> Markup {
    let mut tenants = app.runner().tenants();
    let all = tenants.len();
    tenants.sort_by(|one, other| {
        other
            .1
            .entries
            .cmp(&one.1.entries)
            .then_with(|| one.0.cmp(&other.0))
    });
    tenants.truncate(TENANTS);
    html! {
        @if tenants.is_empty() { p class="none" { "No tenant has cached answers." } } @else {
            table {
                thead {
                    tr { @for name in ["Tenant", "Entries", "Share", "Hits", "Misses", "Evictions"] { th scope="col" { (name) } } }
                }
                tbody {
                    @for (tenant, stats) in &tenants {
                        tr {
                            th scope="row" { (tenant) }
                            td { (size(stats.entries)) }
                            @for number in [stats.share, stats.hits, stats.misses, stats.evictions] { td { (count(number)) } }
                        }
                    }
                }
            }
            @if all > tenants.len() {
                p class="note" { "The " (size(tenants.len())) " with most entries of " (size(all)) " tenants." }
            }
        }
    }
}
