//! What words a parameter takes, for the OpenAPI document: said once, for all operations that take it.

use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{OpenApi, PathItem, RefOr};

/// Parameters that take one word of a few.
const WORDS: [(&str, &[&str]); 5] = [
    ("direction", &["out", "in", "both"]),
    ("kind", &["cis", "relations"]),
    ("level", &["cached", "strong", "bypass"]),
    ("order", &["created", "updated"]),
    (
        "view",
        &["SUMMARY", "COMPOSITION", "DEPENDENCY", "IMPACT", "NEIGHBORS"],
    ),
];
/// What OpenAPI calls a parameter that may be there without a value.
const MAY_BE_EMPTY: &str = "allowEmptyValue";

/// Completes the descriptions of the parameters.
pub(crate) fn describe(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let PathItem {
            get,
            put,
            post,
            delete,
            ..
        } = item;
        [get, put, post, delete].into_iter().flatten().for_each(operation);
    }
}

fn operation(operation: &mut Operation) {
    let parameters = operation.parameters.iter_mut().flatten();
    for parameter in parameters {
        if let RefOr::T(parameter) = parameter
            && parameter.parameter_in == ParameterIn::Query
        {
            complete(parameter);
        }
    }
}

fn complete(parameter: &mut Parameter) {
    let words = WORDS.into_iter().find(|(name, _)| *name == parameter.name);
    if let Some((_, words)) = words {
        let word = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(words.iter().copied()));
        parameter.schema = Some(RefOr::T(Schema::Object(word.build())));
    } else if is_flag(parameter) {
        // The name alone says yes.
        parameter
            .extensions
            .get_or_insert_default()
            .insert(MAY_BE_EMPTY.to_owned(), true.into());
    }
}

fn is_flag(parameter: &Parameter) -> bool {
    let Some(RefOr::T(Schema::Object(object))) = &parameter.schema else {
        return false;
    };
    match &object.schema_type {
        SchemaType::Type(kind) => *kind == Type::Boolean,
        SchemaType::Array(kinds) => kinds.contains(&Type::Boolean),
        SchemaType::AnyValue => false,
    }
}
