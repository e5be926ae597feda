//! Installs PostgreSQL with apt, for fresh machines and containers where this program runs as root.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process;

/// The hook Debian asks before a package may start its service (see `invoke-rc.d(8)`).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Runs `apt-get update` and `apt-get install`, without letting the package start a service of its own.
pub(crate) fn with_apt() -> anyhow::Result<()> {
    println!("PostgreSQL is missing; installing the distribution's package (its own service stays off):");
    let _quiet = NoServices::declare(Path::new(POLICY))?;
    apt_get(&["update"])?;
    apt_get(&[
        "install",
        "-y",
        "--no-install-recommends",
        "postgresql",
        "postgresql-contrib",
    ])
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    println!("    apt-get {}", arguments.join(" "));
    let mut command = Command::new("apt-get");
    let status = process::run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))?;
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
