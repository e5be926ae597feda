//! What bodies may be, for the OpenAPI document where their types say more than is asked for.

use utoipa::openapi::schema::Schema;
use utoipa::openapi::{OpenApi, PathItem, Ref, RefOr, Required};

/// A CI whose code the path has.
const NAMED_BY_PATH: &str = "NamedCiDraft";

/// Completes the descriptions of the bodies.
pub(crate) fn describe(document: &mut OpenApi) {
    named_by_path(document);
    // No line at all is an import of nothing.
    let import = document.paths.paths.get_mut("/v1/{tenant}/import");
    if let Some(PathItem { post: Some(post), .. }) = import
        && let Some(RefOr::T(body)) = &mut post.request_body
    {
        body.required = Some(Required::False);
    }
}

/// Tells that a CI is written without its code, too, where the path has it.
fn named_by_path(document: &mut OpenApi) {
    let Some(components) = &mut document.components else {
        return;
    };
    let Some(RefOr::T(Schema::Object(draft))) = components.schemas.get("CiDraft") else {
        return;
    };
    let mut draft = draft.clone();
    draft.required.retain(|name| name != "ci_code");
    let draft = RefOr::T(Schema::Object(draft));
    components.schemas.insert(NAMED_BY_PATH.to_owned(), draft);
    let one = document.paths.paths.get_mut("/v1/{tenant}/cis/{id_or_code}");
    if let Some(PathItem { put: Some(put), .. }) = one
        && let Some(RefOr::T(body)) = &mut put.request_body
    {
        for content in body.content.values_mut() {
            let RefOr::T(content) = content else { continue };
            content.schema = Some(Ref::from_schema_name(NAMED_BY_PATH).into());
        }
    }
}
