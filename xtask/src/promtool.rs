//! Where promtool is, which tests the alerts, and how to get it when it is nowhere. Prometheus itself is never started.

use std::path::PathBuf;

use crate::packages::{self, Package};

/// Where tests find the program.
pub(crate) const ENV: &str = "CI_CACHE_TEST_PROMTOOL";

const PACKAGE: Package = Package {
    what: "promtool, a part of Prometheus,",
    apt: &["prometheus"],
    dnf: &["golang-github-prometheus"],
    apk: &["prometheus"],
    pacman: &["prometheus"],
    zypper: &["golang-github-prometheus-prometheus"],
    brew: &["prometheus"],
    elsewhere: "https://prometheus.io/download/",
};

/// Finds the program, installing it when it is missing and this machine allows it.
pub(crate) fn find_or_install() -> anyhow::Result<PathBuf> {
    let find = || match std::env::var_os(ENV) {
        Some(named) => Some(named.into()),
        None => packages::on_path("promtool"),
    };
    packages::find_or_install(&PACKAGE, find)
}
