//! What is deployed works: the unit of systemd, the file for containers, and the steps of the documentation.

mod newcomer;
mod units;

use std::path::{Path, PathBuf};

/// The repository.
fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are in the repository")
        .to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(checkout().join(path)).expect("a file of the repository")
}
