//! Programs that the tests need and that are not Rust: found on the PATH, installed with apt where this program runs as root (fresh
//! machines and containers), and otherwise named with the command that brings them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process;

/// The hook Debian asks before a package may start its service (see `invoke-rc.d(8)`).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// What package managers call something.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name for people.
    pub(crate) what: &'static str,
    pub(crate) apt: &'static [&'static str],
    pub(crate) dnf: &'static [&'static str],
    pub(crate) apk: &'static [&'static str],
    pub(crate) pacman: &'static [&'static str],
    pub(crate) zypper: &'static [&'static str],
    pub(crate) brew: &'static [&'static str],
    /// Where it is to be had without any of them.
    pub(crate) elsewhere: &'static str,
}

impl Package {
    /// The command that installs it on this machine, or where to look.
    pub(crate) fn advice(&self) -> String {
        self.advice_for(Manager::of_this_machine())
    }

    fn advice_for(&self, manager: Option<Manager>) -> String {
        let (command, packages) = match manager {
            Some(Manager::Apt) => ("sudo apt-get update && sudo apt-get install -y", self.apt),
            Some(Manager::Dnf) => ("sudo dnf install -y", self.dnf),
            Some(Manager::Apk) => ("sudo apk add", self.apk),
            Some(Manager::Pacman) => ("sudo pacman -S --noconfirm", self.pacman),
            Some(Manager::Zypper) => ("sudo zypper install -y", self.zypper),
            Some(Manager::Brew) => ("brew install", self.brew),
            None => return format!("install it from {}", self.elsewhere),
        };
        format!("{command} {}", packages.join(" "))
    }
}

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Apk,
    Pacman,
    Zypper,
    Brew,
}

impl Manager {
    const ALL: &[(&str, Self)] = &[
        ("apt-get", Self::Apt),
        ("dnf", Self::Dnf),
        ("apk", Self::Apk),
        ("pacman", Self::Pacman),
        ("zypper", Self::Zypper),
        ("brew", Self::Brew),
    ];

    fn of_this_machine() -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(program, _)| on_path(program).is_some())
            .map(|(_, manager)| *manager)
    }
}

/// Finds a program, installing it when it is missing and this machine allows it.
pub(crate) fn find_or_install(
    package: &Package,
    find: impl Fn() -> Option<PathBuf>,
) -> anyhow::Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if may_install() {
        install(package)?;
        return find().with_context(|| format!("apt-get did not bring {}", package.what));
    }
    bail!(
        "{} is not on this machine; run this first:\n    {}",
        package.what,
        package.advice()
    )
}

/// The full path of a program on the PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Whether [`install`] may be tried: there is apt, and we are root.
pub(crate) fn may_install() -> bool {
    Manager::of_this_machine() == Some(Manager::Apt) && rustix::process::geteuid().is_root()
}

/// Runs `apt-get update` and `apt-get install`, without letting the package start a service of its own.
pub(crate) fn install(package: &Package) -> anyhow::Result<()> {
    println!(
        "{} is missing; installing the distribution's package (its own service stays off):",
        package.what
    );
    let _quiet = NoServices::declare(Path::new(POLICY))?;
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], package.apt].concat())
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    println!("    apt-get {}", arguments.join(" "));
    let mut command = Command::new("apt-get");
    // A mirror that does not answer at once, or another that installs, is no reason to fail.
    let patience = ["-o", "Acquire::Retries=5", "-o", "DPkg::Lock::Timeout=300"];
    command.args(patience).args(arguments);
    let status = process::run(command.env("DEBIAN_FRONTEND", "noninteractive"))?;
    if !status.success() {
        bail!("apt-get {} failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// Forbids services to start while it lives; leaves an existing policy of the machine alone.
struct NoServices<'a>(Option<&'a Path>);

impl<'a> NoServices<'a> {
    fn declare(policy: &'a Path) -> anyhow::Result<Self> {
        if policy.exists() {
            return Ok(Self(None));
        }
        let declared = Self(Some(policy));
        std::fs::write(policy, "#!/bin/sh\nexit 101\n").context("cannot write the service policy")?;
        std::fs::set_permissions(policy, std::fs::Permissions::from_mode(0o755))
            .context("cannot make the service policy executable")?;
        Ok(declared)
    }
}

impl Drop for NoServices<'_> {
    fn drop(&mut self) {
        if let Some(policy) = self.0 {
            let _ = std::fs::remove_file(policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_a_command_of_the_machine() {
        let package = Package {
            what: "it",
            apt: &["a", "b"],
            dnf: &[],
            apk: &[],
            pacman: &[],
            zypper: &[],
            brew: &["c"],
            elsewhere: "https://example.org/",
        };
        assert!(
            package
                .advice_for(Some(Manager::Apt))
                .ends_with("sudo apt-get install -y a b")
        );
        assert_eq!(package.advice_for(Some(Manager::Brew)), "brew install c");
        assert_eq!(package.advice_for(None), "install it from https://example.org/");
    }

    #[test]
    fn the_service_policy_goes_when_the_installation_is_over() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let policy = dir.path().join("policy-rc.d");
        let declared = NoServices::declare(&policy).expect("declared");
        let status = Command::new(&policy).status().expect("it runs");
        assert_eq!(
            status.code(),
            Some(101),
            "101 is the answer for: action forbidden"
        );
        drop(declared);
        assert!(!policy.exists());
    }

    #[test]
    fn a_policy_of_the_machine_is_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let policy = dir.path().join("policy-rc.d");
        std::fs::write(&policy, "theirs").expect("a file");
        drop(NoServices::declare(&policy).expect("declared"));
        assert_eq!(std::fs::read_to_string(&policy).expect("still there"), "theirs");
    }
}
