//! The HTTP promises: answers and their origin, problems, the document, metrics, shutdown.

mod access;
mod answers;
mod broken;
mod conditional;
mod control;
mod document;
mod levels;
mod metrics;
mod pages;
mod problems;
mod service;
mod sessions;
mod socket;
