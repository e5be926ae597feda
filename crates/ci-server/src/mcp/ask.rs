//! The questions about what is there: search, get, impact and related, path, count.

use std::collections::BTreeMap;

use ci_model::{Aggregate, CiRef, Expand, Filter, Graph, List, PathAnswer, Projection, View};
use rmcp::model::CallToolResult;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Freshness, Refusal, relation, summary};
use super::{Assistant, arguments};
use crate::http::{Origin, keywords};
use crate::search::{self, Found, Wanted};

/// How to get what was cut out of rows.
const WHOLE: &str = "`get` shows a CI whole, `fields` a part of it";
/// Most types that are counted one by one.
const TYPES: usize = 12;
/// Longest type that is counted by name, in bytes.
const TYPE_BYTES: usize = 48;
/// Bytes around a cursor.
const AROUND: usize = 16;
/// Of the room of a graph, what its CIs may take before its relations.
const NODES_PERCENT: usize = 65;

impl Assistant {
    pub(super) async fn search(&self, asked: arguments::Search) -> Result<CallToolResult, Refusal> {
        let arguments::Search {
            keywords: text,
            filters,
            sort,
            limit,
            cursor,
            total,
            fields,
            strict,
            include_deleted,
        } = asked;
        let words = keywords(text.as_deref().unwrap_or_default());
        let limit = limit.unwrap_or(ci_model::limits::SEARCH_DEFAULT);
        let wanted = Wanted {
            keywords: words,
            sort: sort.map(|sort| sort.parse()).transpose()?,
            strict,
            after: cursor.map(|cursor| cursor.parse()).transpose()?,
            total,
            fields,
            ..Wanted::default()
        };
        let selection = ci_model::Search::builder()
            .filters(parsed(&filters)?)
            .include_deleted(include_deleted);
        let request = wanted.clone().request(selection.clone().limit(limit))?;
        let found = search::find(&self.tenant, &request).await?;

        // A cursor is as long as the text that the order is by, and which one it is depends on how many rows have room beside it.
        let mut kept = found.next().map_or(0, |next| next.to_string().len());
        let answer = loop {
            let mut answer = self.answer();
            answer.keep(kept + AROUND);
            let shown = tell_found(&mut answer, &found);
            answer.release();
            let next = if shown < found.items.len() {
                self.cut(&mut answer, shown, found.items.len());
                // The cursor after the last that is shown is that of the same search for so many.
                let most = u32::try_from(shown).unwrap_or(limit);
                let shorter = wanted.clone().request(selection.clone().limit(most))?;
                shorter.next_cursor(found.mode, found.items.get(..shown).unwrap_or_default())?
            } else {
                found.next()
            };
            let Some(next) = next.map(|next| next.to_string()) else {
                break answer;
            };
            if answer.has_room(next.len() + AROUND) || next.len() <= kept {
                answer.set("next", next);
                break answer;
            }
            kept = next.len();
        };
        let origin = Origin::of_found(&found);
        Ok(answer.finish(&Freshness::from(&origin), WHOLE))
    }

    pub(super) async fn get(&self, asked: arguments::Get) -> Result<CallToolResult, Refusal> {
        let fields = match asked.fields.as_slice() {
            [] => None,
            fields => Some(Projection::new(fields)?),
        };
        let get = ci_model::Get::new(CiRef::parse(&asked.ci)?).include_deleted(asked.include_deleted);
        let told = self.tenant.get(&get).await?;
        let origin = Origin::of(&told);
        let ci = told.value.ok_or_else(|| Refusal::no_ci("`ci`"))?;
        let mut value = match fields {
            Some(fields) => json!(fields.of_detail(&ci)),
            None => json!(&*ci),
        };
        if let Some(members) = value.as_object_mut() {
            members.retain(|_, member| !member.is_null());
            // There is only this one.
            members.remove("tenant_id");
        }
        let mut answer = self.answer();
        answer.whole("ci", value);
        let how = "ask with `fields` for one of them, such as `attributes.KEY`";
        Ok(answer.finish(&Freshness::from(&origin), how))
    }

    pub(super) async fn related(&self, asked: arguments::Related) -> Result<CallToolResult, Refusal> {
        let arguments::Related {
            ci,
            view,
            direction,
            depth,
            types,
            filters,
            limit,
        } = asked;
        let view = view.map_or(Ok(View::Summary), |view| view.parse())?;
        let mut expand = Expand::builder(CiRef::parse(&ci)?, view)
            .rel_types(types)
            .filters(parsed(&filters)?)
            // So that what limits the answer is the number of CIs, which can be asked for.
            .max_edges(ci_model::limits::EDGES);
        if let Some(depth) = depth {
            expand = expand.depth(depth);
        }
        if let Some(direction) = direction {
            expand = expand.direction(direction.parse()?);
        }
        if let Some(limit) = limit {
            expand = expand.max_nodes(limit);
        }
        let told = self.tenant.expand(&expand.build()?).await?;
        let origin = Origin::of(&told);
        let graph = told.value.ok_or_else(|| Refusal::no_ci("`ci`"))?;
        let mut answer = self.answer();
        tell_graph(&mut answer, &graph);
        Ok(answer.finish(&Freshness::from(&origin), WHOLE))
    }

    pub(super) async fn path(&self, asked: arguments::Path) -> Result<CallToolResult, Refusal> {
        let arguments::Path {
            from,
            to,
            max_hops,
            direction,
            types,
            most,
        } = asked;
        let mut path = ci_model::Path::builder(CiRef::parse(&from)?, CiRef::parse(&to)?)
            .max_hops(max_hops.unwrap_or(ci_model::limits::HOPS))
            .most(most.unwrap_or(1))
            .rel_types(types);
        if let Some(direction) = direction {
            path = path.direction(direction.parse()?);
        }
        let path = path.build()?;
        let told = self.tenant.path(&path).await?;
        let origin = Origin::of(&told);
        let Some(found) = told.value else {
            // The answer does not say which end is missing, and whoever asked wants to know.
            let start = ci_model::Get::new(path.from().clone());
            let is_there = self.tenant.get(&start).await?.value.is_some();
            return Err(Refusal::no_ci(if is_there { "`to`" } else { "`from`" }));
        };
        let mut answer = self.answer();
        answer.set(
            "hops",
            found
                .routes()
                .first()
                .map_or(Value::Null, |route| route.hops.into()),
        );
        if matches!(*found, PathAnswer::Several(_)) {
            answer.set("more_paths", found.is_truncated());
        }
        let all = found.routes().len();
        let routes = found.routes().iter().map(|route| {
            let items: Vec<Value> = route.items.iter().map(summary).collect();
            let relations: Vec<Value> = route.relations.iter().map(relation).collect();
            json!({"items": items, "relations": relations})
        });
        let shown = answer.rows("paths", routes, 100);
        if shown < all {
            answer.note(format!(
                "{} of {all} paths are not shown; ask for fewer, or for some relation types",
                all - shown
            ));
        }
        Ok(answer.finish(&Freshness::from(&origin), WHOLE))
    }

    pub(super) async fn count(&self, asked: arguments::Count) -> Result<CallToolResult, Refusal> {
        let mut aggregate = Aggregate::builder()
            .keywords(keywords(asked.keywords.as_deref().unwrap_or_default()))
            .filters(parsed(&asked.filters)?)
            .include_deleted(asked.include_deleted);
        for field in asked.group_by {
            aggregate = aggregate.group_by(field);
        }
        if let Some(field) = asked.distinct {
            aggregate = aggregate.distinct(field);
        }
        if let Some(limit) = asked.limit {
            aggregate = aggregate.limit(limit);
        }
        let told = self.tenant.aggregate(&aggregate.build()?).await?;
        let mut answer = self.answer();
        answer.set("truncated", told.value.truncated);
        let all = told.value.items.len();
        let shown = answer.rows("items", told.value.items.iter().map(|group| json!(group)), 100);
        if shown < all {
            answer.note(format!(
                "the {} smallest of {all} groups are not shown; ask with filters",
                all - shown
            ));
        }
        if told.value.truncated {
            answer.note(
                "there are more groups than `limit`, the smallest; ask with filters, or by fewer fields"
                    .into(),
            );
        }
        Ok(answer.finish(&Freshness::from(&Origin::of(&told)), "ask with filters"))
    }

    /// Says that CIs were cut.
    fn cut(&self, answer: &mut Answer, shown: usize, all: usize) {
        answer.note(format!(
            "{} of {all} CIs are not shown, since an answer has at most {} bytes; go on with `next` as `cursor`, or ask more narrowly",
            all - shown,
            self.bytes
        ));
    }

    /// An answer with all its room.
    pub(super) fn answer(&self) -> Answer {
        Answer::new(self.bytes)
    }

    /// The CIs that were changed last.
    pub(super) async fn changed_last(&self, limit: u32) -> Result<CallToolResult, Refusal> {
        let list = List::builder()
            .order(ci_model::ListOrder::Updated)
            .limit(limit)
            .total(false)
            .build()?;
        let told = self.tenant.list(&list).await?;
        let origin = Origin::of(&told);
        let mut answer = self.answer();
        answer.set("next", origin.as_of().map(ToString::to_string));
        let all = told.value.items.len();
        let shown = answer.rows("items", told.value.items.iter().map(summary), 100);
        if shown < all {
            answer.note(format!("the {} that were changed before these are not shown; `search` with a filter on updated_at finds them", all - shown));
        }
        Ok(answer.finish(&Freshness::from(&origin), WHOLE))
    }
}

fn parsed(filters: &[String]) -> Result<Vec<Filter>, ci_model::Error> {
    filters.iter().map(|filter| Filter::parse(filter)).collect()
}

/// Tells what a search found, as much as has room; says how many CIs those are.
fn tell_found(answer: &mut Answer, found: &Found<'_>) -> usize {
    answer.set("mode", json!(found.mode));
    if let Some(total) = found.total {
        answer.set("total", total);
    }
    match &found.rows {
        Some(rows) => answer.rows("items", rows.iter().map(|row| json!(row)), 100),
        None => answer.rows("items", found.items.iter().map(summary), 100),
    }
}

/// Tells a graph: what was found in all, then as many CIs as have room, then the relations between those.
fn tell_graph(answer: &mut Answer, graph: &Graph) {
    let is_complete = !graph.nodes_truncated && !graph.edges_truncated;
    answer.set("found", found(graph, is_complete));
    let nodes = graph.items.iter().map(|node| {
        let mut row = summary(&node.ci);
        row["level"] = node.level.into();
        row
    });
    let shown = answer.rows("items", nodes, NODES_PERCENT);
    let codes: Vec<_> = graph.items.iter().take(shown).map(|node| node.ci.ci_id).collect();
    let between = |one: &&ci_model::Relation| codes.contains(&one.from_id) && codes.contains(&one.to_id);
    let relations: Vec<Value> = graph.relations.iter().filter(between).map(relation).collect();
    let told = answer.rows("relations", relations.into_iter(), 100);
    if shown < graph.items.len() || told < graph.relations.len() {
        answer.note(format!(
            "{} of {} CIs and {} of {} relations are not shown; ask with filters, a smaller depth or some relation types",
            graph.items.len() - shown,
            graph.items.len(),
            graph.relations.len() - told,
            graph.relations.len()
        ));
    }
    if !is_complete {
        let what = if graph.nodes_truncated {
            "CIs than `limit`"
        } else {
            "relations than one answer counts"
        };
        answer.note(format!("there are more {what}: the counts in `found` are lower bounds; ask with a larger limit or more narrowly"));
    }
}

/// What a graph holds beside its start.
fn found(graph: &Graph, is_complete: bool) -> Value {
    let (mut by_level, mut by_type) = (BTreeMap::<String, u64>::new(), BTreeMap::<&str, u64>::new());
    let others = graph.items.iter().filter(|node| node.level > 0);
    for node in others.clone() {
        *by_level.entry(node.level.to_string()).or_default() += 1;
        *by_type.entry(&node.ci.ci_type).or_default() += 1;
    }
    let mut largest: Vec<(&str, u64)> = by_type.into_iter().collect();
    largest.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let mut types = Map::new();
    let mut rest = 0;
    for (at, (name, count)) in largest.into_iter().enumerate() {
        // A type is a short text of an open set; many or long ones would take the room of the CIs.
        if at < TYPES && name.len() <= TYPE_BYTES {
            types.insert(name.to_owned(), count.into());
        } else {
            rest += count;
        }
    }
    if rest > 0 {
        types.insert("(others)".into(), rest.into());
    }
    json!({
        "cis": others.count(),
        "relations": graph.relations.len(),
        "by_level": by_level,
        "by_type": types,
        "complete": is_complete,
    })
}
