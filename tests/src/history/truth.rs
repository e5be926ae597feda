//! What a question answers to a state of the database, by the naive reference.

use ci_model::{CiDetail, CiSummary, Graph, Groups, ListPage, PathAnswer, Question, TenantId};

use crate::store_contract::{World, reference};

/// An answer as it has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// Of a get.
    Ci(Option<Box<CiDetail>>),
    /// Of a search.
    Rows(Vec<CiSummary>),
    /// Of a list.
    List(ListPage),
    /// Of an aggregate.
    Groups(Groups),
    /// Of an expansion.
    Graph(Option<Graph>),
    /// Of a path.
    Path(Option<PathAnswer>),
}

/// Answers a question about a tenant's rows.
pub fn answer(world: &World, tenant: &TenantId, question: &Question) -> Truth {
    match question {
        Question::Get(get) => Truth::Ci(reference::get(world, get).map(|ci| {
            Box::new(CiDetail {
                tenant_id: tenant.clone(),
                ..ci
            })
        })),
        Question::Search(search) => Truth::Rows(reference::search(world, search)),
        Question::List(list) => Truth::List(reference::list(world, list)),
        Question::Aggregate(aggregate) => Truth::Groups(reference::aggregate(world, aggregate)),
        Question::Expand(expand) => Truth::Graph(reference::expand(world, expand)),
        Question::Path(path) => Truth::Path(reference::path(world, path)),
    }
}

/// Whether relations matter to it.
pub fn is_about_relations(question: &Question) -> bool {
    matches!(question, Question::Expand(_) | Question::Path(_))
}
