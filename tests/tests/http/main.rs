//! The HTTP promises: answers and their origin, problems, the document, metrics, shutdown.

mod access;
mod answers;
mod broken;
mod document;
mod levels;
mod limits;
mod metrics;
mod problems;
mod ready;
mod service;
mod socket;
mod tls;
