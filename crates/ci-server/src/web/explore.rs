//! The explorer: a search as one types, with facets.

use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use ci_model::{CiSummary, Filter, GroupValue, Search, TenantId};
use ci_runner::{Facet, SearchMode};
use maud::{Markup, PreEscaped, html};

use super::fresh::fresh;
use super::highlight::{highlighted, with_parts};
use super::layout::Shell;
use super::links::{Links, encoded};
use super::words::count;
use crate::http::{AppState, Origin, Params, Problem, Segments, keywords};
use crate::search::{Found, Wanted, find};

/// CIs of one page.
const ROWS: u32 = 25;
/// Values of one facet.
const VALUES: u32 = 8;
/// What the facets count, with their headings.
const FACETS: [(&str, &str); 4] = [
    ("ci_type", "Type"),
    ("status", "Status"),
    ("location", "Location"),
    ("owner", "Owner"),
];

/// Asks whose CIs; goes there if that is said.
pub(crate) async fn tenants(
    State(app): State<AppState>,
    shell: Shell,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["tenant"])?;
    if let Some(tenant) = params
        .one("tenant")?
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let tenant = TenantId::new(tenant)?;
        return Ok(Redirect::to(Links::new(&shell.base, tenant.as_str()).search()).into_response());
    }
    let mut names = shell.tenants();
    if shell.may_control() {
        // Others may not hear of them.
        names.extend(
            app.runner()
                .tenants()
                .into_iter()
                .map(|(tenant, _)| tenant.to_string()),
        );
    }
    let content = html! {
        h1 { "Explorer" }
        section class="card" {
            form class="find" method="get" {
                label for="tenant" { "Tenant" }
                input id="tenant" name="tenant" type="search" required autofocus autocomplete="off";
                button type="submit" { "Explore" }
            }
            @if !names.is_empty() {
                ul class="chips" {
                    @for name in &names {
                        li { a href=(Links::new(&shell.base, name).search()) { bdi { (name) } } }
                    }
                }
            }
        }
    };
    Ok(shell.page("Explorer", &[], &content))
}

/// What is looked for: a text, and values of facets.
#[derive(Debug, Clone, Default)]
struct Wish {
    text: String,
    /// Fields with the value that they must have, or without one.
    values: Vec<(&'static str, Option<String>)>,
}

impl Wish {
    fn read(params: &Params) -> Result<Self, Problem> {
        let mut values = Vec::new();
        for (field, _) in FACETS {
            let value = params.one(field)?;
            values.extend(value.map(|value| (field, Some(value.to_owned()))));
            if params.all("without").any(|without| without == field) {
                values.push((field, None));
            }
        }
        Ok(Self {
            text: params.one("q")?.unwrap_or_default().to_owned(),
            values,
        })
    }

    fn filters(&self) -> Result<Vec<Filter>, Problem> {
        let filter = |(field, value): &(&str, Option<String>)| match value {
            Some(value) => Filter::new(field, "=", &[value]),
            None => Filter::new(field, "exists", &["false"]),
        };
        Ok(self.values.iter().map(filter).collect::<Result<_, _>>()?)
    }

    /// The same without what a field must have.
    fn without(&self, field: &str) -> Self {
        let mut wish = self.clone();
        wish.values.retain(|(known, _)| *known != field);
        wish
    }

    fn with(&self, field: &'static str, value: Option<String>) -> Self {
        let mut wish = self.without(field);
        wish.values.push((field, value));
        wish
    }

    fn address(&self, links: &Links, cursor: Option<&str>) -> String {
        let mut parts = Vec::new();
        if !self.text.is_empty() {
            parts.push(format!("q={}", encoded(&self.text)));
        }
        for (field, value) in &self.values {
            parts.push(match value {
                Some(value) => format!("{field}={}", encoded(value)),
                None => format!("without={field}"),
            });
        }
        parts.extend(cursor.map(|cursor| format!("cursor={}", encoded(cursor))));
        if parts.is_empty() {
            links.search().to_owned()
        } else {
            format!("{}?{}", links.search(), parts.join("&"))
        }
    }
}

/// The search of a tenant; for htmx its results alone.
pub(crate) async fn search(
    shell: Shell,
    segments: Segments,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let allowed = ["q", "ci_type", "status", "location", "owner", "without", "cursor"];
    let params = Params::of_question(query.as_deref(), &allowed)?;
    let view = segments.view(&params)?;
    let wish = Wish::read(&params)?;
    let wanted = Wanted {
        keywords: keywords(&wish.text),
        rank: Some(wish.text.clone()).filter(|text| !text.trim().is_empty()),
        after: params.word("cursor")?,
        total: true,
        facets: FACETS.iter().map(|(field, _)| (*field).to_owned()).collect(),
        facet_limit: Some(VALUES),
        ..Wanted::default()
    };
    let asked = Search::builder().filters(wish.filters()?).limit(ROWS);
    let request = wanted.request(asked)?;
    let found = find(&view, &request).await?;
    let links = Links::new(&shell.base, view.id().as_str());
    let results = results(&wish, &found, &links);
    if shell.is_part {
        return Ok(Html(results.into_string()).into_response());
    }
    let content = html! {
        h1 { "Explorer: " bdi { (view.id()) } }
        (form(&wish, &links))
        div id="results" { (results) }
    };
    Ok(shell.page("Explorer", &[], &content))
}

fn form(wish: &Wish, links: &Links) -> Markup {
    html! {
        form class="find" role="search" method="get" action=(links.search()) hx-get=(links.search()) hx-target="#results"
            hx-trigger="input delay:200ms, submit" hx-sync="this:replace" hx-replace-url="true" hx-indicator="#busy" {
            label for="q" { "Search" }
            input id="q" name="q" type="search" value=(wish.text) autofocus autocomplete="off" spellcheck="false"
                placeholder="code, name, type, category";
            @for (field, value) in &wish.values {
                @match value {
                    Some(value) => input type="hidden" name=(field) value=(value);,
                    None => input type="hidden" name="without" value=(field);,
                }
            }
            button type="submit" { "Search" }
            span id="busy" class="htmx-indicator" aria-hidden="true" { "searching" }
        }
    }
}

fn results(wish: &Wish, found: &Found<'_>, links: &Links) -> Markup {
    let words = keywords(&wish.text);
    let (marked, how) = match found.mode {
        SearchMode::Strict => (words, ""),
        SearchMode::Recovered => (
            with_parts(&words),
            "Nothing has all of these words; this is what the identifiers in them name. ",
        ),
        SearchMode::Broad => (
            with_parts(&words),
            "Nothing has all of these words; this is what has any of them. ",
        ),
    };
    let total = found.total.unwrap_or(found.items.len() as u64);
    html! {
        (chosen(wish, links))
        div class="found" {
            section class="card" aria-label="Results" {
                p role="status" id="total" { (how) strong { (count(total)) } @if total == 1 { " CI" } @else { " CIs" } }
                (fresh(&Origin::of_found(found), true))
                ul class="rows" {
                    @for ci in found.items.iter() { li { (row(ci, &marked, links)) } }
                }
                @if let Some(next) = found.next() {
                    p { a rel="next" href=(wish.address(links, Some(&next.to_string()))) { "Next page" } }
                }
            }
            aside class="card" aria-label="Facets" {
                @for (facet, (field, title)) in found.facets.iter().zip(FACETS) { (values(wish, facet, field, title, links)) }
            }
        }
    }
}

/// What is chosen, each with the way to let it go.
fn chosen(wish: &Wish, links: &Links) -> Markup {
    if wish.values.is_empty() {
        return PreEscaped(String::new());
    }
    html! {
        ul class="chips" aria-label="Chosen" {
            @for (field, value) in &wish.values {
                @let title = title(field);
                li {
                    a href=(wish.without(field).address(links, None)) {
                        (title) ": " bdi { (value.as_deref().unwrap_or("none")) } " ×"
                        span class="skip" { " remove" }
                    }
                }
            }
        }
    }
}

fn title(field: &str) -> &'static str {
    FACETS
        .iter()
        .find(|(known, _)| *known == field)
        .map_or("", |(_, title)| title)
}

fn row(ci: &CiSummary, marked: &[String], links: &Links) -> Markup {
    let marked = |text: &str| highlighted(text, marked);
    html! {
        a class="code" href=(links.ci(&ci.ci_code, ci.ci_id)) { (marked(ci.ci_code.as_str())) } " " (marked(&ci.ci_name))
        div class="facts" {
            (marked(&ci.ci_type))
            @for text in [&ci.ci_subtype, &ci.ci_category].into_iter().flatten() { " · " (marked(text)) }
            @for text in [&ci.status, &ci.location, &ci.owner].into_iter().flatten() { " · " bdi { (text) } }
        }
    }
}

fn values(wish: &Wish, facet: &Facet, field: &'static str, title: &str, links: &Links) -> Markup {
    html! {
        div class="facet" {
            h2 { (title) }
            ul {
                @for group in &facet.groups.items {
                    @let value = group.values.first().map(|(_, value)| value);
                    @let (shown, wanted) = match value {
                        Some(GroupValue::Text(text)) => (text.clone(), Some(text.clone())),
                        Some(GroupValue::Number(number)) => (number.to_string(), Some(number.to_string())),
                        Some(GroupValue::Absent) | None => ("none".to_owned(), None),
                    };
                    li {
                        a href=(wish.with(field, wanted).address(links, None)) { bdi { (shown) } }
                        span { (count(group.count)) }
                    }
                }
            }
            @if facet.groups.truncated { p class="note" { "and more" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_all_that_is_wished() {
        let links = Links::new("", "acme");
        let wish = Wish {
            text: "a&b c".into(),
            values: vec![("ci_type", Some("S=W".into())), ("owner", None)],
        };
        let address = wish.address(&links, None);
        assert_eq!(address, "/explore/acme?q=a%26b%20c&ci_type=S%3DW&without=owner");
        let query = address.split_once('?').map(|(_, query)| query);
        let params =
            Params::parse(query, &["q", "ci_type", "status", "location", "owner", "without"]).unwrap();
        assert_eq!(Wish::read(&params).unwrap().address(&links, None), address);
        assert_eq!(
            wish.without("owner").without("ci_type").address(&links, None),
            "/explore/acme?q=a%26b%20c"
        );
        assert_eq!(
            Wish::default().address(&links, Some("x")),
            "/explore/acme?cursor=x"
        );
        assert_eq!(wish.filters().unwrap().len(), 2);
    }
}
