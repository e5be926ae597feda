//! Rules about the floors: a crate imports only from floors below it, and the lower ones know no driver and no runtime.

use super::manifests::{self, Dependency, Kind, Manifest};
use super::{File, Report, Tree};

/// Which siblings each crate may import in its product code: the architecture page as data.
const FLOORS: &[(&str, &[&str])] = &[
    ("ci-model", &[]),
    ("ci-cache-core", &["ci-model"]),
    ("ci-store", &["ci-model"]),
    ("ci-runner", &["ci-model", "ci-cache-core", "ci-store"]),
    ("ci-tier-redis", &["ci-runner"]),
    (
        "ci-bench",
        &["ci-model", "ci-cache-core", "ci-store", "ci-runner"],
    ),
    (
        "ci-server",
        &[
            "ci-model",
            "ci-cache-core",
            "ci-store",
            "ci-runner",
            "ci-tier-redis",
            "ci-bench",
        ],
    ),
    (
        "ci-tests",
        &[
            "ci-model",
            "ci-cache-core",
            "ci-store",
            "ci-runner",
            "ci-tier-redis",
            "ci-bench",
            "ci-server",
        ],
    ),
    (
        "ci-benches",
        &[
            "ci-model",
            "ci-cache-core",
            "ci-store",
            "ci-runner",
            "ci-bench",
            "ci-server",
        ],
    ),
    ("ci-measure", &[]),
    ("ci-hot-paths", &["ci-cache-core", "ci-model"]),
    ("ci-engine-bench", &["ci-cache-core", "ci-measure"]),
    (
        "ci-load-bench",
        &[
            "ci-model",
            "ci-cache-core",
            "ci-store",
            "ci-runner",
            "ci-bench",
            "ci-benches",
            "ci-measure",
        ],
    ),
    (
        "ci-fuzz",
        &["ci-model", "ci-cache-core", "ci-store", "ci-runner", "ci-server"],
    ),
    ("xtask", &[]),
];

/// Siblings a crate may import only behind a feature: it is of use without them.
const OPTIONAL: &[(&str, &str)] = &[("ci-cache-core", "ci-model"), ("ci-server", "ci-tier-redis")];

/// Runtimes, drivers and clients: none of them below the store and the runner.
const OUTSIDE: &[&str] = &[
    "async-std",
    "axum",
    "futures-executor",
    "hyper",
    "mio",
    "postgres",
    "redis",
    "reqwest",
    "rusqlite",
    "smol",
    "sqlx",
    "tokio",
    "tokio-postgres",
    "tokio-util",
    "tonic",
    "tower",
    "tower-http",
];

/// Crates whose product code does no input or output and has no runtime.
const PURE: &[&str] = &["ci-model", "ci-cache-core"];

/// Packages that look at the product from outside, and may name any driver.
const OUTSIDERS: &[&str] = &[
    "ci-tests",
    "ci-benches",
    "ci-engine-bench",
    "ci-load-bench",
    "ci-fuzz",
];

/// Drivers and the one crate that may name each.
const OWNED: &[(&str, &str)] = &[
    ("sqlx", "ci-store"),
    ("redis", "ci-tier-redis"),
    ("axum", "ci-server"),
];

/// The crate graph is the architecture's.
pub(crate) fn imports(tree: &Tree, report: &mut Report) {
    for (file, manifest) in manifests::members(tree) {
        let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == manifest.package) else {
            let cure =
                "give it its floor in FLOORS in xtask/src/tidy/floors.rs, as the architecture page says";
            report.add(
                &file.path,
                1,
                format!("the crate `{}` has no floor", manifest.package),
                cure,
            );
            continue;
        };
        for dependency in siblings(&manifest) {
            judge(file, &manifest, dependency, allowed, report);
        }
    }
}

fn siblings(manifest: &Manifest) -> impl Iterator<Item = &Dependency> {
    let sibling = |package: &str| FLOORS.iter().any(|(name, _)| *name == package);
    manifest
        .dependencies
        .iter()
        .filter(move |dependency| dependency.kind == Kind::Normal && sibling(&dependency.package))
}

fn judge(file: &File, manifest: &Manifest, dependency: &Dependency, allowed: &[&str], report: &mut Report) {
    let (from, to) = (manifest.package.as_str(), dependency.package.as_str());
    if !allowed.contains(&to) {
        let what = format!("`{from}` imports `{to}`, which is not below it");
        report.add(
            &file.path,
            dependency.line,
            what,
            "move what you need down a floor, or turn it into a trait",
        );
    } else if OPTIONAL.contains(&(from, to)) && !dependency.optional {
        let what = format!("`{from}` always imports `{to}`");
        report.add(
            &file.path,
            dependency.line,
            what,
            "make it `optional = true`, behind a feature",
        );
    }
}

/// The pure crates stay pure, and each driver has one home.
pub(crate) fn drivers(tree: &Tree, report: &mut Report) {
    for (file, manifest) in manifests::members(tree) {
        let package = manifest.package.as_str();
        for dependency in manifest
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == Kind::Normal)
        {
            let name = dependency.package.as_str();
            let home = OWNED
                .iter()
                .find(|(driver, _)| *driver == name)
                .map(|(_, home)| *home);
            if PURE.contains(&package) && OUTSIDE.contains(&name) {
                let what = format!("`{package}` is pure and must not know `{name}`");
                report.add(
                    &file.path,
                    dependency.line,
                    what,
                    "do it on a higher floor and hand the result down",
                );
            } else if let Some(home) = home.filter(|home| *home != package && !OUTSIDERS.contains(&package)) {
                let what = format!("`{package}` must not know `{name}`");
                report.add(&file.path, dependency.line, what, format!("go through `{home}`"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;

    fn findings(rule: fn(&Tree, &mut Report), package: &str, rest: &str) -> Vec<String> {
        places(
            rule,
            &[(
                "x/Cargo.toml",
                &format!("[package]\nname = \"{package}\"\n{rest}\n"),
            )],
        )
    }

    #[test]
    fn finds_an_import_that_goes_up() {
        let up = "[dependencies]\nci-model.workspace = true\nci-runner.workspace = true";
        assert_eq!(findings(imports, "ci-store", up), ["x/Cargo.toml:5"]);
        assert_eq!(
            findings(
                imports,
                "ci-model",
                "[build-dependencies]\nci-bench.workspace = true"
            ),
            ["x/Cargo.toml:4"]
        );
        assert_eq!(
            findings(imports, "xtask", "[dependencies]\nci-model.workspace = true"),
            ["x/Cargo.toml:4"]
        );
        assert!(findings(imports, "ci-server", up).is_empty());
        assert!(
            findings(
                imports,
                "ci-store",
                "[dev-dependencies]\nci-runner.workspace = true"
            )
            .is_empty()
        );
    }

    #[test]
    fn finds_an_import_that_is_not_optional() {
        let always = "[dependencies]\nci-model.workspace = true";
        let optional = "[dependencies]\nci-model = { workspace = true, optional = true }";
        assert_eq!(findings(imports, "ci-cache-core", always), ["x/Cargo.toml:4"]);
        assert!(findings(imports, "ci-cache-core", optional).is_empty());
    }

    #[test]
    fn finds_a_crate_without_a_floor() {
        assert_eq!(findings(imports, "ci-novelty", ""), ["x/Cargo.toml:1"]);
    }

    #[test]
    fn finds_drivers_away_from_home() {
        let tokio = "[dependencies]\ntokio.workspace = true";
        assert_eq!(findings(drivers, "ci-model", tokio), ["x/Cargo.toml:4"]);
        assert_eq!(findings(drivers, "ci-cache-core", tokio), ["x/Cargo.toml:4"]);
        assert!(findings(drivers, "ci-runner", tokio).is_empty());
        assert!(
            findings(
                drivers,
                "ci-cache-core",
                "[dev-dependencies]\ntokio.workspace = true"
            )
            .is_empty()
        );
        assert_eq!(
            findings(drivers, "ci-runner", "[dependencies]\nsqlx.workspace = true"),
            ["x/Cargo.toml:4"]
        );
        assert_eq!(
            findings(drivers, "ci-store", "[dependencies]\naxum.workspace = true"),
            ["x/Cargo.toml:4"]
        );
        let renamed = "[dependencies]\ndb = { package = \"sqlx\", workspace = true }";
        assert_eq!(findings(drivers, "ci-server", renamed), ["x/Cargo.toml:4"]);
    }

    #[test]
    fn every_floor_only_lists_floors_before_it() {
        for (index, (name, allowed)) in FLOORS.iter().enumerate() {
            for below in *allowed {
                let position = FLOORS
                    .iter()
                    .position(|(name, _)| name == below)
                    .expect("a known crate");
                assert!(position < index, "{name} lists {below}, which is not below it");
            }
        }
    }
}
