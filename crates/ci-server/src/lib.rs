//! HTTP service and command line of ci-cache.
//!
//! A CMDB is asked by people, scripts and services; this crate is how they ask. [`http::router`] is the HTTP API to
//! mount in a service of your own, [`http::serve`] runs it alone, and [`cli::main`] is the `ci-cache` program.
//!
//! Guaranteed: every error is `application/problem+json` with a documented status, and never an empty success; every
//! route is in the OpenAPI document, since both are made from one list; bodies, time and the number of requests at
//! work are bounded, and so is what each tenant may ask. Who may ask what is decided by API tokens ([`access`]); [`http::Server`] encrypts by TLS.
//!
//! Feature `redis`, off by default: the services of a fleet share answers over Redis or Valkey. Feature `otel`, off by default: requests are traced to an OpenTelemetry collector. Feature `mcp`, off by default: AI assistants ask over the Model Context Protocol, by `ci-cache mcp` and at `/v1/{tenant}/mcp`.
//!
//! ```no_run
//! use ci_server::http::{AppState, ServerOptions, router};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = ci_store::open("sqlite:cmdb.db", &ci_store::StoreOptions::default()).await?;
//! let runner = ci_runner::Runner::builder(store).build()?;
//! let app = axum::Router::new().merge(router(AppState::new(runner, ServerOptions::default())));
//! # let _ = app;
//! # Ok(()) }
//! ```

pub mod access;
pub mod cli;
mod config;
mod fetch;
pub mod http;
#[cfg(feature = "mcp")]
pub mod mcp;
mod places;
mod search;
mod tenant_limits;
#[cfg(feature = "redis")]
mod tier;
#[cfg(not(feature = "redis"))]
#[path = "tier_off.rs"]
mod tier;
mod tier_looked;
#[cfg(feature = "otel")]
mod traces;
#[cfg(not(feature = "otel"))]
#[path = "traces_off.rs"]
mod traces;
mod web;
mod wire;
