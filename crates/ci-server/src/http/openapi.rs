//! The routes and their OpenAPI document: one list makes both, so neither can have what the other lacks.

use std::sync::LazyLock;

use ci_model::{
    CiDetail, CiDraft, CiOutcome, CiSummary, Effect, Graph, ListPage, Node, Relation, RelationDraft,
    RelationOutcome,
};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::ProblemBody;
use super::{
    AppState, audit, bodies, cache, changes, common, control, desk, export, graph, health, import, metrics,
    read, saved, words, write,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ci-cache",
        description = "Search and get configuration items through the cache. Every error is application/problem+json.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(
        ProblemBody, CiDetail, CiDraft, CiOutcome, CiSummary, Effect, Graph, ListPage, Node, Relation, RelationDraft,
        RelationOutcome,
    )),
    modifiers(&Bearer),
    security(("token" = [])),
    tags(
        (name = "questions", description = "What is there"),
        (name = "graph", description = "What is connected to what"),
        (name = "changes", description = "What changed, told to those who follow it"),
        (name = "writes", description = "Changes; what they touch is dropped from the cache before they are answered"),
        (name = "cache", description = "What the cache does"),
        (name = "service", description = "Probes, metrics and this document"),
    ),
)]
struct Document;

/// Says how a token is sent.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "Of `ci-cache token create`. A service without tokens, on localhost, lets everybody in",
            ))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Every route with its description.
pub(crate) fn api() -> OpenApiRouter<AppState> {
    let mut router = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(read::search))
        .routes(routes!(read::list))
        .routes(routes!(read::get, write::put_ci, write::delete_ci))
        .routes(routes!(graph::expand))
        .routes(routes!(graph::path))
        .routes(routes!(desk::dashboard))
        .routes(routes!(desk::page))
        .routes(routes!(desk::traversal))
        .routes(routes!(read::aggregate))
        .routes(routes!(read::batch_get))
        .routes(routes!(changes::changes))
        .routes(routes!(export::export))
        .routes(routes!(write::put_relation, write::delete_relation))
        .routes(routes!(import::import))
        .routes(routes!(cache::stats))
        .routes(routes!(cache::entries))
        .routes(routes!(cache::drops))
        .routes(routes!(control::post_clear))
        .routes(routes!(control::post_invalidate))
        .routes(routes!(control::post_warm))
        .routes(routes!(audit::audits, audit::post_audit))
        .routes(routes!(saved::savings))
        .routes(routes!(saved::tenants))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(health::openapi_json));
    common::describe(router.get_openapi_mut());
    words::describe(router.get_openapi_mut());
    bodies::describe(router.get_openapi_mut());
    router
}

/// Gives the OpenAPI document of the service, as JSON. Made once per process.
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let document = api().into_openapi();
        // A document has only text keys, so it always has a JSON form.
        document.to_pretty_json().unwrap_or_default()
    });
    &TEXT
}
