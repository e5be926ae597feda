//! `ci-cache mcp` of a program that was built without it.

use super::args;
use super::failure::Failure;

#[expect(clippy::unused_async, reason = "the form of its twin")]
pub(crate) async fn mcp(arguments: args::Mcp) -> Result<(), Failure> {
    let args::Mcp {
        database,
        tenant,
        answer_bytes,
    } = arguments;
    drop((database.database, tenant, answer_bytes));
    Err(Failure::Input(
        "speak the Model Context Protocol: this program was built without it; build it with `cargo build --release --package ci-server --features mcp`".into(),
    ))
}
