//! `ci-cache mcp`: the Model Context Protocol over stdin and stdout.

use ci_model::TenantId;
use ci_runner::Runner;
use ci_store::StoreOptions;
use rmcp::ServiceExt as _;
use rmcp::service::ServerInitializeError;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::io::stdio_pipes;

use super::args;
use super::failure::Failure;
use super::serve::stop_signal;
use crate::mcp::Assistant;

/// Longest message, in bytes; a longer one is dropped.
const MESSAGE_BYTES: usize = 1 << 20;
/// Entries of a cache that lives as long as a conversation.
const ENTRIES: usize = 10_000;

/// Answers until stdin ends or the process is told to stop. A missing SQLite file is an error: an assistant makes no database.
pub(crate) async fn mcp(arguments: args::Mcp) -> Result<(), Failure> {
    let tenant = TenantId::new(&arguments.tenant)?;
    let options = StoreOptions::default().create_if_missing(false);
    let store = ci_store::open(&arguments.database.database, &options).await?;
    let runner = Runner::builder(store).max_entries(ENTRIES).build()?;
    let stop = stop_signal()?;
    let bytes = usize::try_from(arguments.answer_bytes).unwrap_or(usize::MAX);
    let ended = tokio::select! {
        ended = converse(Assistant::new(runner.clone(), tenant, bytes)) => ended,
        () = stop => Ok(()),
    };
    runner.close().await;
    ended
}

async fn converse(assistant: Assistant) -> Result<(), Failure> {
    let (input, output) = stdio_pipes();
    let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(MESSAGE_BYTES);
    let broken =
        |error: &dyn std::fmt::Display| Failure::Other(format!("speak the Model Context Protocol: {error}"));
    match assistant.serve(transport).await {
        Ok(conversation) => match conversation.waiting().await {
            Ok(_) => Ok(()),
            Err(error) => Err(broken(&error)),
        },
        // Whoever started it had nothing to ask.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(broken(&error)),
    }
}
