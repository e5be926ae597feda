//! CMDB questions for AI assistants, over the [Model Context Protocol](https://modelcontextprotocol.io).
//!
//! An assistant is answered for one tenant, whose name no tool takes: what it may see was decided before it was made. It only asks. Its answers
//! are bounded in bytes, say what was left out and how to get it, and how fresh they are.
//!
//! - `tools.rs`: what a model is told about the tools. `arguments.rs`: what they take.
//! - `ask.rs`, `changed.rs`: the questions. `answer.rs`: what their answers look like. `bound.rs`: how they are kept short.

mod answer;
mod arguments;
mod ask;
mod bound;
mod changed;
mod tools;

use std::ops::RangeInclusive;

use ci_model::TenantId;
use ci_runner::{Runner, Tenant};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use answer::Refusal;

/// Fewest bytes that an answer may be given.
const LEAST_BYTES: usize = 8_192;
/// Bytes of an answer where nothing is said: some four thousand tokens of a model.
pub(crate) const DEFAULT_BYTES: usize = 16_384;
/// How many bytes an answer may be given.
pub(crate) const ANSWER_BYTES: RangeInclusive<usize> = LEAST_BYTES..=1 << 20;

/// Answers one tenant's questions.
#[derive(Debug, Clone)]
pub(crate) struct Assistant {
    runner: Runner,
    tenant: Tenant,
    /// Most bytes of an answer's JSON.
    bytes: usize,
}

impl Assistant {
    /// Answers for a tenant, in at most so many bytes; a number outside [`ANSWER_BYTES`] is brought within.
    pub(crate) fn new(runner: Runner, tenant: TenantId, bytes: usize) -> Self {
        Self {
            tenant: runner.tenant(tenant),
            runner,
            bytes: bytes.clamp(*ANSWER_BYTES.start(), *ANSWER_BYTES.end()),
        }
    }

    async fn call(&self, name: &str, arguments: Map<String, Value>) -> Option<CallToolResult> {
        let told = match name {
            "search" => asked(arguments, async |asked| self.search(asked).await).await,
            "get" => asked(arguments, async |asked| self.get(asked).await).await,
            "impact" => {
                asked(arguments, async |asked: arguments::Impact| {
                    self.related(asked.into()).await
                })
                .await
            }
            "related" => asked(arguments, async |asked| self.related(asked).await).await,
            "path" => asked(arguments, async |asked| self.path(asked).await).await,
            "what_changed" => asked(arguments, async |asked| self.what_changed(asked).await).await,
            "count" => asked(arguments, async |asked| self.count(asked).await).await,
            _ => return None,
        };
        Some(told.unwrap_or_else(Refusal::result))
    }
}

/// Reads the arguments and asks.
async fn asked<A: DeserializeOwned>(
    arguments: Map<String, Value>,
    question: impl AsyncFnOnce(A) -> Result<CallToolResult, Refusal>,
) -> Result<CallToolResult, Refusal> {
    question(arguments::read(arguments).map_err(Refusal::new)?).await
}

impl ServerHandler for Assistant {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let name = Implementation::new("ci-cache", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities)
            .with_server_info(name)
            .with_instructions(tools::INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all().to_vec()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let told = self
            .call(&request.name, request.arguments.unwrap_or_default())
            .await;
        let Some(told) = told else {
            let names: Vec<&str> = tools::all().iter().map(|tool| &*tool.name).collect();
            let text = format!("there is no such tool; there are {}", names.join(", "));
            return Err(ErrorData::invalid_params(text, None));
        };
        Ok(told.into())
    }
}

/// What a client is told when it asks which tools there are, as JSON; `docs/mcp-tools.json` is this.
///
/// # Errors
/// Never: the tools are texts and schemas.
pub fn tool_list() -> Result<String, serde_json::Error> {
    let told = serde_json::json!({"instructions": tools::INSTRUCTIONS, "tools": tools::all()});
    serde_json::to_string_pretty(&told)
}
