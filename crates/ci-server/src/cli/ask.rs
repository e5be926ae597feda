//! The commands that ask: search, get, list, aggregate, expand, path, stats.

use std::io::Write as _;
use std::sync::Arc;

use ci_model::{CiRef, TenantId, Token};
use ci_runner::{Answer, Reply, Runner, SearchMode, Tenant};
use ci_store::StoreOptions;
use serde::Serialize;

use super::args;
use super::failure::Failure;
use super::output::Output;
use super::table;
use crate::http::split_names;
use crate::search::{self, SearchBody, Wanted};
use crate::wire::{GroupsBody, RouteBody};

/// Entries of a cache that lives for one question.
const ENTRIES: usize = 64;

/// Opens the database and runs one question on it. A missing SQLite file is an error: a question makes no database.
async fn ask<T>(
    common: &args::Common,
    truth: &args::Truth,
    question: impl AsyncFnOnce(&Tenant) -> Result<Told<T>, Failure>,
) -> Result<T, Failure> {
    let tenant = TenantId::new(&common.tenant)?;
    let options = StoreOptions::default().create_if_missing(false);
    let store = ci_store::open(&common.database.database, &options).await?;
    let runner = Runner::builder(store).max_entries(ENTRIES).build()?;
    let told = question(&runner.tenant(tenant).at(truth.level())).await;
    runner.close().await;
    let Told { value, as_of } = told?;
    if truth.as_of {
        match as_of {
            Some(token) => writeln!(std::io::stderr(), "as of {token}")?,
            None => writeln!(std::io::stderr(), "as of no one state")?,
        }
    }
    Ok(value)
}

/// An answer, and the state at which it is true.
struct Told<T> {
    value: T,
    as_of: Option<Token>,
}

impl<T> From<Answer<T>> for Told<T> {
    fn from(answer: Answer<T>) -> Self {
        Self {
            value: answer.value,
            as_of: answer.as_of,
        }
    }
}

fn not_found(common: &args::Common, code: &str) -> Failure {
    Failure::NotFound {
        code: code.into(),
        tenant: common.tenant.clone(),
    }
}

pub(crate) async fn search(arguments: args::Search, output: &mut Output) -> Result<(), Failure> {
    let args::Search {
        common,
        truth,
        selection,
        sort,
        rank,
        limit,
        cursor,
        total,
        facet,
        fields,
        strict,
        keywords,
    } = arguments;
    let search = ci_model::Search::builder()
        .filters(selection.filters)
        .include_deleted(selection.include_deleted)
        .limit(limit);
    let names = |lists: &[String]| lists.iter().flat_map(|list| split_names(list)).collect();
    let wanted = Wanted {
        sort,
        strict,
        rank: rank.then(|| keywords.join(" ")),
        after: cursor,
        total,
        facets: names(&facet),
        facet_limit: None,
        fields: names(&fields),
        keywords,
    };
    let request = wanted.request(search)?;
    let found = ask(&common, &truth, async |tenant| {
        let found = search::find(tenant, &request).await?;
        let as_of = found.as_of.clone();
        Ok(Told { value: found, as_of })
    })
    .await?;
    if common.json {
        return output.json(&SearchBody::from(&found));
    }
    output.line(match &found.rows {
        Some(rows) => table::rows(rows, output.width()),
        None => table::cis(&found.items, output.width()),
    })?;
    for facet in &found.facets {
        output.line(table::groups(&facet.groups.items, output.width()))?;
    }
    let how = match found.mode {
        SearchMode::Strict => "",
        SearchMode::Recovered => ", by the identifiers in the text",
        SearchMode::Broad => ", by any of the keywords: nothing has all of them",
    };
    let of = found.total.map_or(String::new(), |total| format!(" of {total}"));
    let more = found.next().map_or(String::new(), |next| {
        format!("; there may be more: --limit, or --cursor {next}")
    });
    output.line(format_args!("{}{of} found{how}{more}", found.items.len()))
}

pub(crate) async fn get(arguments: args::Get, output: &mut Output) -> Result<(), Failure> {
    let args::Get {
        common,
        truth,
        include_deleted,
        code,
    } = arguments;
    let get = ci_model::Get::new(CiRef::parse(&code)?).include_deleted(include_deleted);
    let found = ask(&common, &truth, async |tenant| Ok(tenant.get(&get).await?.into())).await?;
    let ci = found.ok_or_else(|| not_found(&common, &code))?;
    if common.json {
        return output.json(&ci);
    }
    output.line(table::ci(&ci, output.width()))
}

pub(crate) async fn list(arguments: args::List, output: &mut Output) -> Result<(), Failure> {
    let args::List {
        common,
        truth,
        selection,
        limit,
        offset,
        order,
        no_total,
    } = arguments;
    let list = ci_model::List::builder()
        .filters(selection.filters)
        .include_deleted(selection.include_deleted)
        .limit(limit)
        .offset(offset)
        .order(order)
        .total(!no_total)
        .build()?;
    let page = ask(&common, &truth, async |tenant| {
        Ok(tenant.list(&list).await?.into())
    })
    .await?;
    if common.json {
        return output.json(&page);
    }
    output.line(table::cis(&page.items, output.width()))?;
    let of = page.total.map_or(String::new(), |total| format!(" of {total}"));
    output.line(format_args!("{}{of}, after {offset}", page.items.len()))
}

pub(crate) async fn aggregate(arguments: args::Aggregate, output: &mut Output) -> Result<(), Failure> {
    let args::Aggregate {
        common,
        truth,
        selection,
        group_by,
        distinct,
        limit,
        keywords,
    } = arguments;
    let mut aggregate = ci_model::Aggregate::builder()
        .keywords(keywords)
        .filters(selection.filters)
        .include_deleted(selection.include_deleted)
        .limit(limit);
    for field in group_by.iter().flat_map(|fields| split_names(fields)) {
        aggregate = aggregate.group_by(field);
    }
    if let Some(field) = distinct {
        aggregate = aggregate.distinct(field);
    }
    let aggregate = aggregate.build()?;
    let groups = ask(&common, &truth, async |tenant| {
        Ok(tenant.aggregate(&aggregate).await?.into())
    })
    .await?;
    if common.json {
        return output.json(&GroupsBody::from(&*groups));
    }
    output.line(table::groups(&groups.items, output.width()))?;
    let more = if groups.truncated {
        ", more were cut by --limit"
    } else {
        ""
    };
    output.line(format_args!("{} groups{more}", groups.items.len()))
}

pub(crate) async fn expand(arguments: args::Expand, output: &mut Output) -> Result<(), Failure> {
    let args::Expand {
        common,
        truth,
        follow,
        view,
        depth,
        max_nodes,
        max_edges,
        filters,
        include_deleted,
        code,
        others,
    } = arguments;
    let others: Vec<CiRef> = others
        .iter()
        .map(|code| CiRef::parse(code))
        .collect::<Result<_, _>>()?;
    let mut expand = ci_model::Expand::builder(CiRef::parse(&code)?, view)
        .roots(others)
        .filters(filters)
        .rel_types(follow.types)
        .max_nodes(max_nodes)
        .max_edges(max_edges)
        .include_deleted(include_deleted);
    if let Some(depth) = depth {
        expand = expand.depth(depth);
    }
    if let Some(direction) = follow.direction {
        expand = expand.direction(direction);
    }
    let expand = expand.build()?;
    let found = ask(&common, &truth, async |tenant| {
        Ok(tenant.expand(&expand).await?.into())
    })
    .await?;
    let graph = found.ok_or_else(|| not_found(&common, &code))?;
    if common.json {
        return output.json(&graph);
    }
    output.line(table::nodes(&graph, output.width()))?;
    output.line("")?;
    output.line(table::relations(&graph.relations, output.width()))?;
    output.line(format_args!(
        "\n{} CIs, {} relations",
        graph.items.len(),
        graph.relations.len()
    ))?;
    for root in &graph.missing {
        output.line(format_args!("{root} is not there"))?;
    }
    if graph.nodes_truncated {
        output.line("CIs were cut by --max-nodes")?;
    }
    if graph.edges_truncated {
        output.line("relations were cut by --max-edges")?;
    }
    Ok(())
}

pub(crate) async fn path(arguments: args::Path, output: &mut Output) -> Result<(), Failure> {
    let args::Path {
        common,
        truth,
        follow,
        max_hops,
        most,
        from,
        to,
    } = arguments;
    let mut path = ci_model::Path::builder(CiRef::parse(&from)?, CiRef::parse(&to)?)
        .max_hops(max_hops)
        .most(most)
        .rel_types(follow.types);
    if let Some(direction) = follow.direction {
        path = path.direction(direction);
    }
    let path = path.build()?;
    let missing = ci_model::Get::new(path.from().clone());
    let found = ask(&common, &truth, async |tenant| {
        let found = tenant.path(&path).await?;
        // The answer does not say which end is missing, and whoever asked wants to know.
        let start_is_there = found.value.is_some() || tenant.get(&missing).await?.value.is_some();
        Ok(Told {
            value: (found.value, start_is_there),
            as_of: found.as_of,
        })
    });
    let (found, start_is_there) = found.await?;
    let answer = found.ok_or_else(|| not_found(&common, if start_is_there { &to } else { &from }))?;
    let route = RouteBody::from(&*answer);
    if common.json {
        return output.json(&route);
    }
    let Some(hops) = route.hops else {
        return output.line(format_args!("no path of at most {max_hops} steps"));
    };
    for route in answer.routes() {
        output.line(table::cis(&route.items, output.width()))?;
        output.line("")?;
        output.line(table::relations(&route.relations, output.width()))?;
        output.line("")?;
    }
    let more = if answer.is_truncated() {
        ", more were cut by --most"
    } else {
        ""
    };
    let steps = if hops == 1 { "step" } else { "steps" };
    match answer.routes().len() {
        1 => output.line(format_args!("{hops} {steps}{more}")),
        paths => output.line(format_args!("{paths} paths of {hops} {steps}{more}")),
    }
}

/// What the database holds for a tenant.
#[derive(Serialize)]
struct StatsBody<'a> {
    /// Counts by type and subtype, the largest first.
    items: &'a [ci_model::Group],
    /// Whether there are more.
    truncated: bool,
    /// All CIs.
    total: u64,
    /// The kind of database.
    database: &'static str,
}

pub(crate) async fn stats(arguments: args::Stats, output: &mut Output) -> Result<(), Failure> {
    let args::Stats {
        common,
        truth,
        include_deleted,
    } = arguments;
    let count = |fields: &[&str]| {
        let all = ci_model::Aggregate::builder().include_deleted(include_deleted);
        let all = fields.iter().fold(all, |builder, field| builder.group_by(*field));
        all.limit(ci_model::limits::GROUPS).build()
    };
    let (by_type, all) = (count(&["ci_type", "ci_subtype"])?, count(&[])?);
    let (groups, total) = ask(&common, &truth, async |tenant| {
        let questions = vec![by_type.clone().into(), all.clone().into()];
        let page = tenant.page(questions).await?;
        let (Some(Reply::Groups(groups)), Some(Reply::Groups(total))) =
            (page.answers.first(), page.answers.get(1))
        else {
            return Err(ci_runner::Error::WrongKind.into());
        };
        Ok(Told {
            value: (
                Arc::clone(groups),
                total.items.first().map_or(0, |group| group.count),
            ),
            as_of: page.as_of,
        })
    })
    .await?;
    let database = if common.database.database.starts_with("sqlite:") {
        "sqlite"
    } else {
        "postgres"
    };
    if common.json {
        let (items, truncated) = (groups.items.as_slice(), groups.truncated);
        return output.json(&StatsBody {
            items,
            truncated,
            total,
            database,
        });
    }
    output.line(table::groups(&groups.items, output.width()))?;
    if groups.truncated {
        output.line("only the largest groups are shown")?;
    }
    output.line(format_args!(
        "{total} CIs of tenant {} in {database}",
        common.tenant
    ))
}
