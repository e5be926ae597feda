//! The dashboard of the cache, of all tenants together.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use maud::{Markup, html};

use super::layout::Shell;
use super::{live, panels};
use crate::http::{AppState, Params, Problem};

/// The places of the panels, with their headings, in the order of the page. The figures come before all.
const PLACES: &[(&str, &str, &str)] = &[
    ("requests", "Requests by outcome", "wider"),
    ("feed", "Change feed", ""),
    ("latency", "How long answers take", ""),
    ("fleet", "Fleet: shared tier and standby", ""),
    ("reasons", "Invalidations by reason", ""),
    ("tenants", "Tenants", "wide"),
    ("hottest", "Hottest keys", "wide"),
    ("slowest", "Slowest loads", "wide"),
    ("drops", "Recent drops and their cause", "full"),
];

/// The dashboard.
pub(crate) async fn page(
    State(app): State<AppState>,
    shell: Shell,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &[])?;
    live::run(&app);
    let mut drawn = panels::all(&app);
    let mut panel = |id: &str| {
        let at = drawn.iter().position(|(known, _)| *known == id);
        at.map_or_else(Markup::default, |at| drawn.swap_remove(at).1)
    };
    let content = html! {
        h1 { "Cache" span id="liveness" class="liveness" role="status" { "figures of the moment of loading" } }
        div class="dashboard" {
            section class="card full" aria-label="Figures" { div id="figures" data-panel { (panel("figures")) } }
            section class="card full" aria-labelledby="curve-title" {
                h2 id="curve-title" { "Hit rate and requests, the last ten minutes" }
                div id="curve" role="img" aria-label="Curve of the hit rate and of the requests a second"
                    data-history=(app.web().live.history()) data-live={ (shell.base) "/live" } {}
                noscript { p class="note" { "The curve takes a script." } }
            }
            @for (id, title, class) in PLACES {
                section class={ "card " (class) } aria-labelledby={ (id) "-title" } {
                    h2 id={ (id) "-title" } { (title) }
                    div id=(id) class="scroll" data-panel tabindex="0" role="region" aria-labelledby={ (id) "-title" } {
                        (panel(id))
                    }
                }
            }
            (controls(&shell))
        }
    };
    Ok(shell.page("Dashboard", &["uplot.min.js", "live.js"], &content))
}

/// What an administrator may do.
fn controls(shell: &Shell) -> Markup {
    let to = |command: &str| format!("{}/control/{command}", shell.base);
    html! {
        section class="card full controls" aria-labelledby="controls-title" {
            h2 id="controls-title" { "Controls" }
            form method="post" action=(to("clear")) hx-post=(to("clear")) hx-target="#done"
                hx-confirm="Forget every cached answer of every tenant?" {
                button type="submit" class="danger" id="clear" { "Clear everything" }
            }
            form method="post" action=(to("invalidate")) hx-post=(to("invalidate")) hx-target="#done" {
                fieldset {
                    legend { "Invalidate a tenant, or a CI of it" }
                    label { "Tenant " input name="tenant" required autocomplete="off"; }
                    label { "CI, by code or id " input name="ci" autocomplete="off" placeholder="all"; }
                    button type="submit" { "Invalidate" }
                }
            }
            form method="post" action=(to("invalidate")) hx-post=(to("invalidate")) hx-target="#done" {
                fieldset {
                    legend { "Invalidate a key" }
                    label { "Key " input name="key" required pattern="[0-9a-f]{8}" size="8" autocomplete="off"; }
                    button type="submit" { "Invalidate" }
                }
            }
            form method="post" action=(to("warm")) hx-post=(to("warm")) hx-target="#done" {
                fieldset {
                    legend { "Ask the hottest questions again, also those from before the last clear" }
                    label { "At most " input name="limit" type="number" min="1" max="1000" value="100"; }
                    button type="submit" { "Warm" }
                }
            }
            div id="done" role="status" aria-live="polite" {}
        }
    }
}
