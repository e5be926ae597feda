//! Generated documentation equals the committed one. `CI_CACHE_REGENERATE=1 cargo test -p ci-server --test generated`
//! writes it anew.

use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- help: generated -->\n";
const END: &str = "<!-- /help -->";

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name)
}

fn is_same(name: &str, expected: &str) {
    let path = docs(name);
    if std::env::var_os("CI_CACHE_REGENERATE").is_some() {
        std::fs::write(&path, expected).expect("the file is written");
    }
    let committed = std::fs::read_to_string(&path).expect("the file is there");
    assert!(
        committed == expected,
        "docs/{name} is not what the program says now; write it anew with \
         CI_CACHE_REGENERATE=1 cargo test -p ci-server --test generated"
    );
}

#[test]
fn the_help_in_the_documentation_is_the_programs() {
    let page = std::fs::read_to_string(docs("cli.md")).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the place of the help begins");
    let (_, after) = rest.split_once(END).expect("the place of the help ends");
    let expected = format!("{before}{BEGIN}\n{}{END}{after}", ci_server::cli::reference());
    is_same("cli.md", &expected);
}

#[test]
fn the_settings_in_the_documentation_are_the_programs() {
    let page = std::fs::read_to_string(docs("configuration.md")).expect("the page is there");
    let begin = "<!-- settings: generated -->\n";
    let (before, rest) = page.split_once(begin).expect("the place of the settings begins");
    let (_, after) = rest.split_once("<!-- /settings -->").expect("it ends");
    let expected = format!(
        "{before}{begin}{}\n<!-- /settings -->{after}",
        ci_server::cli::configuration()
    );
    is_same("configuration.md", &expected);
}

#[test]
fn the_committed_openapi_document_is_the_services() {
    is_same("openapi.json", &format!("{}\n", ci_server::http::document()));
}

#[cfg(feature = "mcp")]
#[test]
fn the_committed_list_of_tools_is_the_programs() {
    let told = ci_server::mcp::tool_list().expect("JSON");
    is_same("mcp-tools.json", &format!("{told}\n"));
}
