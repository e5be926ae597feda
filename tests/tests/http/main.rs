//! The HTTP promises: answers and their origin, problems, the document, metrics, shutdown.

mod access;
mod answers;
mod audit;
mod broken;
mod browsers;
mod changes;
mod conditional;
mod control;
mod document;
mod export;
mod fleet;
mod levels;
mod limits;
mod mcp;
mod metrics;
mod pages;
mod problems;
mod ready;
mod service;
mod sessions;
mod socket;
mod tls;
