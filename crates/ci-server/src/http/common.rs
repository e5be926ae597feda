//! What all questions have in common, for the OpenAPI document: it is said once and put into the description of each.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Header, OpenApi, PathItem, RefOr, Required, Response};

/// The tags of questions about CIs.
const TAGS: [&str; 2] = ["questions", "graph"];

/// Completes the descriptions of all questions.
pub(crate) fn describe(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let PathItem { get, post, .. } = item;
        for (operation, is_conditional) in [(get, true), (post, false)] {
            if let Some(operation) = operation.as_mut().filter(|operation| is_question(operation)) {
                question(operation, is_conditional);
            }
        }
    }
}

fn is_question(operation: &Operation) -> bool {
    let tags = operation.tags.iter().flatten();
    tags.into_iter().any(|tag| TAGS.contains(&tag.as_str()))
}

fn question(operation: &mut Operation, is_conditional: bool) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.extend([
        parameter(
            "level",
            ParameterIn::Query,
            text(),
            "`cached` (default), `strong` or `bypass`",
        ),
        parameter(
            "max_lag_ms",
            ParameterIn::Query,
            number(),
            "How far behind a cached answer may be",
        ),
        parameter(
            "x-ci-token",
            ParameterIn::Header,
            text(),
            "A state that the answer must include at least",
        ),
    ]);
    if is_conditional {
        let about = "`etag` of an answer that the client has: it is sent again only if it differs";
        parameters.push(parameter("if-none-match", ParameterIn::Header, text(), about));
        let unchanged = Response::new("The answer that the client has still holds");
        let responses = &mut operation.responses.responses;
        responses.insert("304".to_owned(), RefOr::T(unchanged));
    }
    for status in ["200", "304"] {
        let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) else {
            continue;
        };
        let told = origin().into_iter().chain(validators());
        response
            .headers
            .extend(told.map(|(name, header)| (name.to_owned(), RefOr::T(header))));
    }
}

/// Where an answer came from and how true it is.
fn origin() -> [(&'static str, Header); 5] {
    [
        ("x-cache", header(text(), "`hit` or `miss`")),
        ("age", header(number(), "Seconds")),
        ("x-ci-source", header(text(), "`l1`, `l2`, `load` or `bypass`")),
        (
            "x-ci-lag",
            header(number(), "How far behind the database at most, in milliseconds"),
        ),
        (
            "x-ci-token",
            header(text(), "The state at which the answer is true"),
        ),
    ]
}

fn validators() -> [(&'static str, Header); 2] {
    [
        (
            "etag",
            header(text(), "Another one as soon as the body is another one"),
        ),
        (
            "cache-control",
            header(text(), "`private, no-cache`: ask whether a copy still holds"),
        ),
    ]
}

fn parameter(name: &str, place: ParameterIn, schema: Object, about: &str) -> RefOr<Parameter> {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .schema(Some(schema))
        .description(Some(about));
    RefOr::T(parameter.build())
}

fn header(schema: Object, about: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(about))
        .build()
}

fn text() -> Object {
    Object::with_type(Type::String)
}

fn number() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(0))
        .build()
}
