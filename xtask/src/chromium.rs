//! Where Chromium is, in which the pages are tested, and how to get it when it is nowhere.

use std::path::PathBuf;

use crate::packages::{self, Package};

/// Where tests find the program.
pub(crate) const ENV: &str = "CI_CACHE_TEST_CHROMIUM";

/// What it is called.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

const PACKAGE: Package = Package {
    what: "Chromium, a browser,",
    apt: &["chromium"],
    dnf: &["chromium"],
    apk: &["chromium"],
    pacman: &["chromium"],
    zypper: &["chromium"],
    brew: &["--cask", "chromium"],
    elsewhere: "https://www.chromium.org/getting-involved/download-chromium/",
};

/// Finds the program, installing it when it is missing and this machine allows it.
pub(crate) fn find_or_install() -> anyhow::Result<PathBuf> {
    let find = || match std::env::var_os(ENV) {
        Some(named) => Some(named.into()),
        None => NAMES.iter().find_map(|name| packages::on_path(name)),
    };
    packages::find_or_install(&PACKAGE, find)
}
