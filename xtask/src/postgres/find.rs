//! Where the PostgreSQL programs are, and how to get them when they are nowhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::packages::{self, Package};
use crate::process;

/// The oldest major version the store supports.
pub(crate) const OLDEST: u32 = 15;

/// Folders of distributions that keep the server programs off the PATH; each may hold one folder per version.
const VERSIONED: &[(&str, &str)] = &[
    ("/usr/lib/postgresql", "bin"),
    ("/usr/lib64/postgresql", "bin"),
    ("/usr/libexec", ""),
    ("/usr", "bin"),
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
];

/// What distributions call it.
const PACKAGE: Package = Package {
    what: "PostgreSQL",
    apt: &["postgresql", "postgresql-contrib"],
    dnf: &["postgresql-server", "postgresql-contrib"],
    apk: &["postgresql", "postgresql-contrib"],
    pacman: &["postgresql"],
    zypper: &["postgresql-server", "postgresql-contrib"],
    brew: &["postgresql@17"],
    elsewhere: "https://www.postgresql.org/download/",
};

/// An installation of the server programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    /// The folder that holds `initdb` and `postgres`.
    pub(crate) bin: PathBuf,
    /// Its major version, at least [`OLDEST`].
    pub(crate) major: u32,
}

/// Finds the server programs, installing them when they are missing and this machine allows it.
pub(crate) fn find_or_install() -> anyhow::Result<Programs> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if packages::may_install() {
        packages::install(&PACKAGE)?;
        return find().with_context(|| {
            format!(
                "apt-get brought no PostgreSQL {OLDEST} or newer; add the repository of apt.postgresql.org and repeat"
            )
        });
    }
    bail!(
        "no PostgreSQL {OLDEST} or newer (initdb, postgres) on this machine; run this first:\n    {}",
        PACKAGE.advice()
    )
}

fn find() -> Option<Programs> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter_map(|dir| installation(&dir));
    let usable = |found: &Programs| found.major >= OLDEST;
    // The PATH is the user's choice and comes first; among the distribution's folders the newest wins.
    on_path.into_iter().find(usable).or_else(|| {
        let folders = VERSIONED
            .iter()
            .flat_map(|(base, below)| version_folders(Path::new(base), below));
        newest(folders.filter_map(|dir| installation(&dir)).filter(usable))
    })
}

fn newest(found: impl Iterator<Item = Programs>) -> Option<Programs> {
    found.max_by_key(|programs| programs.major)
}

/// Folders like `BASE/15/bin`, `BASE/postgresql17` or `BASE/postgresql@17/bin`.
fn version_folders(base: &Path, below: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    let named = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("postgresql") || name.starts_with("pgsql") || name.parse::<u32>().is_ok()
    });
    named.map(|entry| entry.path().join(below)).collect()
}

/// The installation in `dir`, when both programs are there and say their version.
///
/// `initdb` may be a link on the PATH; the folder it points to is the one that holds all programs of its version.
fn installation(dir: &Path) -> Option<Programs> {
    let initdb = dir.join("initdb").canonicalize().ok()?;
    let bin = initdb.parent()?.to_path_buf();
    let version = process::output_of(Command::new(bin.join("postgres")).arg("--version")).ok()?;
    Some(Programs {
        major: major_of(&version)?,
        bin,
    })
}

/// The 15 of `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn major_of(version: &str) -> Option<u32> {
    let digits = version
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_version_of_every_packaging() {
        assert_eq!(
            major_of("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_of("postgres (PostgreSQL) 9.6.24"), Some(9));
        assert_eq!(major_of("command not found"), None);
    }

    #[test]
    fn prefers_the_newest_of_several() {
        let at = |major| Programs {
            bin: PathBuf::from(format!("v{major}")),
            major,
        };
        assert_eq!(newest([at(15), at(17), at(16)].into_iter()), Some(at(17)));
        assert_eq!(newest(std::iter::empty()), None);
    }

    #[test]
    fn a_folder_without_the_programs_is_no_installation() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(installation(dir.path()), None);
        std::fs::write(dir.path().join("initdb"), "").expect("a file");
        assert_eq!(installation(dir.path()), None, "initdb alone is not enough");
    }

    #[test]
    fn follows_a_link_to_the_folder_of_the_version() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (real, link) = (dir.path().join("lib/16/bin"), dir.path().join("bin"));
        std::fs::create_dir_all(&real).expect("a folder");
        std::fs::create_dir_all(&link).expect("a folder");
        std::fs::write(real.join("initdb"), "").expect("a file");
        let postgres = real.join("postgres");
        std::fs::write(&postgres, "#!/bin/sh\necho 'postgres (PostgreSQL) 16.4'\n").expect("a file");
        std::fs::set_permissions(&postgres, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        std::os::unix::fs::symlink(real.join("initdb"), link.join("initdb")).expect("a link");

        let found = installation(&link).expect("an installation");
        assert_eq!(found.major, 16);
        assert_eq!(found.bin, real.canonicalize().expect("a path"));
        assert_eq!(version_folders(&dir.path().join("lib"), "bin"), [real]);
    }
}
