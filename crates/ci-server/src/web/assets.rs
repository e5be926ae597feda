//! What pages load: scripts and styles, embedded in the program.

use std::fmt::Write as _;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::http::{Problem, ProblemKind};

#[derive(RustEmbed)]
#[folder = "src/web/assets"]
struct Assets;

/// An address has its content's hash, so what is at it never changes.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

/// Answers with a file.
pub(crate) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let Some(file) = Assets::get(&name) else {
        return Err(Problem::new(ProblemKind::RouteNotFound, "there is no such file"));
    };
    let kind = match name.rsplit_once('.').map(|(_, end)| end) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        // The licences.
        _ => "text/plain; charset=utf-8",
    };
    Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, FOR_GOOD)], file.data).into_response())
}

/// The address of a file below the place where the service is mounted.
pub(crate) fn address(base: &str, name: &str) -> String {
    let mut address = format!("{base}/assets/{name}");
    if let Some(file) = Assets::get(name) {
        address.push_str("?v=");
        for byte in &file.metadata.sha256_hash()[..4] {
            // Writing to a text never fails.
            let _ = write!(address, "{byte:02x}");
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pages_load_is_embedded_and_small() {
        let names: Vec<String> = Assets::iter().map(std::borrow::Cow::into_owned).collect();
        for name in [
            "ci-cache.css",
            "graph.js",
            "htmx.min.js",
            "live.js",
            "uplot.min.css",
            "uplot.min.js",
        ] {
            assert!(names.iter().any(|known| known == name), "{name} is missing");
            assert!(address("/x", name).starts_with(&format!("/x/assets/{name}?v=")));
        }
        let bytes: usize = names
            .iter()
            .filter_map(|name| Assets::get(name))
            .map(|file| file.data.len())
            .sum();
        assert!(bytes < 150_000, "{bytes} bytes");
    }
}
