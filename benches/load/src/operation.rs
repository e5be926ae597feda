//! What is asked: an operation is what a user does at once, and each arm answers it in its own way.

use ci_model::{Aggregate, CiCode, Error, Expand, Filter, Get, List, ListOrder, Question, Search, View};

/// CIs that a traversal reaches at most: with so many the predecessor needs its 25 statements.
pub const TRAVERSED: u32 = 22;
/// Rows of a search.
pub const ROWS: u32 = 10;
/// By what a dashboard counts.
const COUNTED: [&str; 5] = ["ci_type", "ci_subtype", "status", "location", "owner"];

/// What is asked at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// One question.
    One(Question),
    /// Several that belong together, such as a dashboard.
    Page(Vec<Question>),
    /// A graph, and all columns of its CIs.
    Traverse(Expand),
}

impl Operation {
    /// The questions, each as it would be asked by itself.
    pub fn questions(&self) -> Vec<Question> {
        match self {
            Self::One(question) => vec![question.clone()],
            Self::Page(questions) => questions.clone(),
            Self::Traverse(expand) => vec![expand.clone().into()],
        }
    }
}

/// The predecessor's dashboard: how many CIs there are, in all and by five fields, the most critical and the latest. 15 statements in its
/// style: it counts the groups of each aggregate again, and the rows of each list.
///
/// # Errors
/// Never for these questions.
pub fn dashboard() -> Result<Operation, Error> {
    let mut questions: Vec<Question> = vec![Aggregate::builder().build()?.into()];
    for field in COUNTED {
        questions.push(Aggregate::builder().group_by(field).build()?.into());
    }
    for criticality in ["5", "4"] {
        let filter = Filter::new("criticality", "=", &[criticality])?;
        questions.push(Search::builder().filter(filter).limit(ROWS).build()?.into());
    }
    let latest = List::builder().order(ListOrder::Updated).limit(ROWS);
    questions.push(latest.build()?.into());
    Ok(Operation::Page(questions))
}

/// The predecessor's traversal: the dependencies around a CI, two steps both ways, with the CIs in full. About 25 statements in its style:
/// one for each CI's relations and one for each CI.
///
/// # Errors
/// Never for a code that is one.
pub fn traversal(root: &CiCode) -> Result<Operation, Error> {
    let expand = Expand::builder(root.clone(), View::Dependency);
    Ok(Operation::Traverse(expand.depth(2).max_nodes(TRAVERSED).build()?))
}

/// The predecessor's related look-ups: a CI, and a search for each of four that have to do with it. 5 statements in its style.
///
/// # Errors
/// For codes that cannot be keywords.
pub fn related(code: &CiCode, others: &[CiCode]) -> Result<Operation, Error> {
    let mut questions: Vec<Question> = vec![Get::new(code.clone()).into()];
    for other in others {
        questions.push(search(&[other.as_str().to_owned()], None)?);
    }
    Ok(Operation::Page(questions))
}

/// A search for keywords, of CIs of one status if there is one.
///
/// # Errors
/// For keywords that are too long or too many.
pub fn search(keywords: &[String], status: Option<&str>) -> Result<Question, Error> {
    let mut search = Search::builder().keywords(keywords.iter().cloned()).limit(ROWS);
    if let Some(status) = status {
        search = search.filter(Filter::new("status", "=", &[status])?);
    }
    Ok(search.build()?.into())
}
