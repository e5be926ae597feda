//! Where curl is, with which the steps of the documentation are run, and how to get it when it is nowhere.

use std::path::PathBuf;

use crate::packages::{self, Package};

const PACKAGE: Package = Package {
    what: "curl, which asks over HTTP,",
    apt: &["curl"],
    dnf: &["curl"],
    apk: &["curl"],
    pacman: &["curl"],
    zypper: &["curl"],
    brew: &["curl"],
    elsewhere: "https://curl.se/download.html",
};

/// Finds the program, installing it when it is missing and this machine allows it.
pub(crate) fn find_or_install() -> anyhow::Result<PathBuf> {
    packages::find_or_install(&PACKAGE, || packages::on_path("curl"))
}
