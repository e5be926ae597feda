//! A question in readable words, for logs and events: what was asked about, without any value.
//!
//! Keywords, codes and the values of filters may be anything, secrets among them, so they are counted and not shown. The key's
//! short form tells which question it was: `Runner::entries` and the HTTP service list entries by it.

use std::fmt;

use ci_model::filter::Condition;
use ci_model::{
    Aggregate, CiRef, Direction, Expand, Filter, KeywordMode, List, Path, Question, Ranking, Search,
    Selection,
};

/// Writes a question's shape, such as `search: 2 keywords, owner =, tags.env exists; limit 20`.
pub(crate) struct Shape<'a>(pub(crate) &'a Question);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.0.kind().as_str())?;
        match self.0 {
            Question::Get(get) => f.write_str(by(get.target())),
            Question::Search(question) => search(f, question),
            Question::List(question) => list(f, question),
            Question::Aggregate(question) => aggregate(f, question),
            Question::Expand(question) => expand(f, question),
            Question::Path(question) => path(f, question),
        }
    }
}

/// How a CI is named.
fn by(target: &CiRef) -> &'static str {
    match target {
        CiRef::Id(_) => "by id",
        CiRef::Code(_) => "by code",
    }
}

fn selection(f: &mut fmt::Formatter<'_>, selection: &Selection) -> fmt::Result {
    let any = if selection.mode() == KeywordMode::Any {
        "any of "
    } else {
        ""
    };
    write!(f, "{any}{} keywords", selection.keywords().len())?;
    for filter in selection.filters() {
        write!(f, ", {} {}", filter.field(), operator(filter))?;
    }
    if selection.include_deleted() {
        f.write_str(", deleted too")?;
    }
    Ok(())
}

fn operator(filter: &Filter) -> &'static str {
    match filter.condition() {
        Condition::Compare(operator, _) => operator.as_str(),
        Condition::Contains(_) => "contains",
        Condition::In(_) => "in",
        Condition::NotContains(_) => "not contains",
        Condition::NotIn(_) => "not in",
        Condition::Exists(true) => "exists",
        Condition::Exists(false) => "exists not",
    }
}

fn search(f: &mut fmt::Formatter<'_>, search: &Search) -> fmt::Result {
    selection(f, search.selection())?;
    match search.ranking() {
        Ranking::ExactFirst(_) => f.write_str("; exact matches first")?,
        Ranking::ByMatch(_) => f.write_str("; best matches first")?,
        _ => {}
    }
    if search.start().is_some() {
        f.write_str("; after a cursor")?;
    }
    write!(f, "; limit {}", search.limit())
}

fn list(f: &mut fmt::Formatter<'_>, list: &List) -> fmt::Result {
    selection(f, list.selection())?;
    write!(f, "; limit {}, offset {}", list.limit(), list.offset())?;
    f.write_str(if list.has_total() { "" } else { ", no total" })
}

fn aggregate(f: &mut fmt::Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    selection(f, aggregate.selection())?;
    f.write_str("; by")?;
    for field in aggregate.group_by() {
        write!(f, " {field}")?;
    }
    if let Some(distinct) = aggregate.distinct() {
        write!(f, ", distinct {}", distinct.field())?;
    }
    write!(f, "; limit {}", aggregate.limit())
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Out => "outwards",
        Direction::In => "inwards",
        Direction::Both => "both ways",
    }
}

fn expand(f: &mut fmt::Formatter<'_>, expand: &Expand) -> fmt::Result {
    match expand.roots() {
        [root] => f.write_str(by(root))?,
        roots => write!(f, "{} roots", roots.len())?,
    }
    for filter in expand.admitted().filters() {
        write!(f, ", {} {}", filter.field(), operator(filter))?;
    }
    write!(
        f,
        ", {}, depth {}, {} relation types; at most {} nodes, {} edges",
        direction(expand.direction()),
        expand.depth(),
        expand.rel_types().len(),
        expand.max_nodes(),
        expand.max_edges()
    )
}

fn path(f: &mut fmt::Formatter<'_>, path: &Path) -> fmt::Result {
    write!(
        f,
        "{} and {}, {}, {} relation types; at most {} hops",
        by(path.from()),
        by(path.to()),
        direction(path.direction()),
        path.rel_types().len(),
        path.max_hops()
    )?;
    if path.most() > 1 {
        write!(f, ", {} paths", path.most())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ci_model::{CiCode, Get, View};

    #[test]
    fn a_question_is_readable_and_shows_no_value() {
        let code = || CiRef::from(CiCode::new("canary").unwrap());
        let filters = ["owner=canary", "tags.env in canary,b", "location exists false"]
            .map(|filter| Filter::parse(filter).unwrap());
        let cases: [(Question, &str); 8] = [
            (Get::new(code()).into(), "get: by code"),
            (
                Search::builder()
                    .keywords(["canary", "x"])
                    .filters(filters.clone())
                    .exact_first(["canary"])
                    .build()
                    .unwrap()
                    .into(),
                "search: 2 keywords, location exists not, owner =, tags.env in; exact matches first; limit",
            ),
            (
                List::builder().offset(40).build().unwrap().into(),
                "list: 0 keywords; limit",
            ),
            (
                Aggregate::builder()
                    .group_by("owner")
                    .group_by("tags.env")
                    .distinct("status")
                    .include_deleted(true)
                    .build()
                    .unwrap()
                    .into(),
                "aggregate: 0 keywords, deleted too; by owner tags.env, distinct status; limit",
            ),
            (
                Expand::builder(code(), View::Impact).build().unwrap().into(),
                "expand: by code, ",
            ),
            (
                Path::builder(code(), code()).max_hops(3).build().unwrap().into(),
                "path: by code and by code, ",
            ),
            (
                Expand::builder(code(), View::Impact)
                    .roots([CiCode::new("canary-2").unwrap()])
                    .filters(filters)
                    .build()
                    .unwrap()
                    .into(),
                "expand: 2 roots, location exists not, owner =, tags.env in, inwards",
            ),
            (
                Path::builder(code(), code()).most(3).build().unwrap().into(),
                "path: by code and by code, both ways, 0 relation types; at most 6 hops, 3 paths",
            ),
        ];
        for (question, start) in cases {
            let shape = Shape(&question).to_string();
            assert!(shape.starts_with(start), "{shape}");
            assert!(!shape.contains("canary"), "{shape}");
        }
    }
}
