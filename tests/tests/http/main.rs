//! The HTTP promises: answers and their origin, problems, the document, shutdown.

mod access;
mod answers;
mod broken;
mod document;
mod levels;
mod problems;
mod service;
mod socket;
