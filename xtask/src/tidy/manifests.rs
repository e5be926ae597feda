//! Rules about `Cargo.toml` files, and the reading of them for other rules: members inherit lints, versions and metadata.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{File, Report, Tree};

/// What a member's `[package]` takes from the workspace.
const INHERITED: &[&str] = &[
    "version",
    "edition",
    "rust-version",
    "license",
    "repository",
    "publish",
];

/// The three tables of dependencies, and whether they are only for tests.
const TABLES: &[(&str, Kind)] = &[
    ("dependencies", Kind::Normal),
    ("build-dependencies", Kind::Normal),
    ("dev-dependencies", Kind::Dev),
];

/// What a dependency is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Part of the product (or of its build).
    Normal,
    /// Only in tests and benches.
    Dev,
}

/// One dependency of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package, also when it is renamed.
    pub(crate) package: String,
    pub(crate) kind: Kind,
    pub(crate) line: usize,
    pub(crate) optional: bool,
    /// Its version comes from the workspace.
    inherits: bool,
}

/// What the rules need of one member's manifest.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    pub(crate) package: String,
    pub(crate) dependencies: Vec<Dependency>,
    /// Inherited keys of `[package]` that are written out, with their line.
    written_out: Vec<(&'static str, usize)>,
    inherits_lints: bool,
}

impl Manifest {
    /// Reads a member's manifest; `None` for one without a package.
    ///
    /// # Errors
    ///
    /// The line and the message for text that is not TOML.
    pub(crate) fn read(text: &str) -> Result<Option<Self>, (usize, String)> {
        let document = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (line_at(text, at), error.message().to_owned())
        })?;
        let document = document.get_ref();
        let Some((package_line, package)) = table(text, document, "package") else {
            return Ok(None);
        };
        let name = entry(package, "name").and_then(|value| value.get_ref().as_str());
        let mut manifest = Self {
            package: name.unwrap_or_default().to_owned(),
            ..Self::default()
        };
        for key in INHERITED {
            match entry(package, key) {
                Some(value) if inherits(value.get_ref()) => {}
                Some(value) => manifest
                    .written_out
                    .push((key, line_at(text, value.span().start))),
                None => manifest.written_out.push((key, package_line)),
            }
        }
        manifest.inherits_lints = entry(document, "lints").is_some_and(|lints| inherits(lints.get_ref()));
        manifest.read_dependencies(text, document);
        for (_, target) in table(text, document, "target")
            .iter()
            .flat_map(|(_, targets)| targets.iter())
        {
            if let Some(tables) = target.get_ref().as_table() {
                manifest.read_dependencies(text, tables);
            }
        }
        Ok(Some(manifest))
    }

    fn read_dependencies(&mut self, text: &str, tables: &DeTable<'_>) {
        for (name, kind) in TABLES {
            let Some((_, table)) = table(text, tables, name) else {
                continue;
            };
            for (key, value) in table {
                let value = value.get_ref();
                let field = |field| value.as_table().and_then(|table| entry(table, field));
                let renamed = field("package").and_then(|name| name.get_ref().as_str());
                self.dependencies.push(Dependency {
                    package: renamed.unwrap_or(key.get_ref()).to_owned(),
                    kind: *kind,
                    line: line_at(text, key.span().start),
                    optional: field("optional").and_then(|flag| flag.get_ref().as_bool()) == Some(true),
                    inherits: inherits(value),
                });
            }
        }
    }
}

/// Every member's manifest that can be read; what cannot be read is a finding of [`inheritance`].
pub(crate) fn members(tree: &Tree) -> impl Iterator<Item = (&File, Manifest)> {
    tree.manifests()
        .filter_map(|file| Some((file, Manifest::read(&file.text).ok()??)))
}

/// One version, one set of lints, one licence: stated in the workspace, inherited by its members.
pub(crate) fn inheritance(tree: &Tree, report: &mut Report) {
    for file in tree.manifests() {
        match Manifest::read(&file.text) {
            Ok(Some(manifest)) => judge(file, &manifest, report),
            Ok(None) => {}
            Err((line, message)) => report.add(
                &file.path,
                line,
                format!("not TOML: {message}"),
                "mend the syntax",
            ),
        }
    }
}

fn judge(file: &File, manifest: &Manifest, report: &mut Report) {
    for (key, line) in &manifest.written_out {
        let cure = format!("write `{key}.workspace = true`");
        report.add(
            &file.path,
            *line,
            format!("`{key}` does not come from the workspace"),
            cure,
        );
    }
    if !manifest.inherits_lints {
        report.add(
            &file.path,
            1,
            "the lints do not come from the workspace",
            "add `[lints]` with `workspace = true`",
        );
    }
    for dependency in manifest
        .dependencies
        .iter()
        .filter(|dependency| !dependency.inherits)
    {
        let what = format!("the version of `{}` is written here", dependency.package);
        let cure = "put it in [workspace.dependencies] and write `.workspace = true` here";
        report.add(&file.path, dependency.line, what, cure);
    }
}

fn inherits(value: &DeValue<'_>) -> bool {
    let table = value.as_table();
    table
        .and_then(|table| entry(table, "workspace"))
        .and_then(|flag| flag.get_ref().as_bool())
        == Some(true)
}

fn entry<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    table
        .iter()
        .find(|(name, _)| name.get_ref() == key)
        .map(|(_, value)| value)
}

/// A table by name, with the line it starts on.
fn table<'t, 'i>(text: &str, parent: &'t DeTable<'i>, key: &str) -> Option<(usize, &'t DeTable<'i>)> {
    let value = entry(parent, key)?;
    Some((line_at(text, value.span().start), value.get_ref().as_table()?))
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;

    const GOOD: &str = "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\nrepository.workspace = true\n\
        publish.workspace = true\n[lints]\nworkspace = true\n";

    #[test]
    fn a_member_that_inherits_everything_is_fine() {
        let text = format!(
            "{GOOD}[dependencies]\nserde.workspace = true\nx = {{ workspace = true, optional = true }}\n"
        );
        assert!(places(inheritance, &[("crates/a/Cargo.toml", &text)]).is_empty());
        assert!(places(inheritance, &[("Cargo.toml", "[workspace]\nmembers = []\n")]).is_empty());
    }

    #[test]
    fn finds_what_a_member_writes_out() {
        let text = GOOD.replace(
            "version.workspace = true\nedition",
            "version = \"1.0.0\"\nedition",
        ) + "[dependencies]\nserde = \"1\"\n[dev-dependencies.x]\nversion = \"2\"\n\
               [target.'cfg(unix)'.dependencies]\ny = { version = \"3\" }\n";
        let found = places(inheritance, &[("a/Cargo.toml", &text)]);
        assert_eq!(
            found,
            [
                "a/Cargo.toml:3",
                "a/Cargo.toml:12",
                "a/Cargo.toml:13",
                "a/Cargo.toml:16"
            ]
        );
    }

    #[test]
    fn finds_missing_lints_and_keys() {
        let text = GOOD
            .replace("[lints]\nworkspace = true\n", "")
            .replace("license.workspace = true\n", "");
        assert_eq!(places(inheritance, &[("a/Cargo.toml", &text)]).len(), 2);
        let own = GOOD.replace(
            "[lints]\nworkspace = true\n",
            "[lints.rust]\nunsafe_code = \"allow\"\n",
        );
        assert_eq!(places(inheritance, &[("a/Cargo.toml", &own)]), ["a/Cargo.toml:1"]);
    }

    #[test]
    fn says_where_the_syntax_is_wrong() {
        assert_eq!(
            places(inheritance, &[("a/Cargo.toml", "[package]\nname = \n")]),
            ["a/Cargo.toml:2"]
        );
    }

    #[test]
    fn sees_through_a_renamed_dependency() {
        let text = format!(
            "{GOOD}[dependencies]\ndb = {{ package = \"sqlx\", version = \"1\", optional = true }}\n"
        );
        let manifest = Manifest::read(&text).expect("TOML").expect("a package");
        let [found] = manifest.dependencies.as_slice() else {
            panic!("one dependency")
        };
        assert_eq!(
            (found.package.as_str(), found.kind, found.optional),
            ("sqlx", Kind::Normal, true)
        );
        assert_eq!(found.line, 12);
    }
}
