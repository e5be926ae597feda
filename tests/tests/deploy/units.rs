//! The unit of systemd and the file for containers say what the program understands.

use std::process::Command;

use ci_tests::program::Desk;

use super::read;

fn desk() -> Desk {
    Desk::new(env!("CARGO_BIN_EXE_ci-cache-tested"))
}

#[test]
fn the_units_commands_are_the_programs() {
    let unit = read("deploy/systemd/ci-cache.service");
    let desk = desk();
    desk.file("ci-cache.toml", "database = \"sqlite::memory:\"\n");
    let mut checked = 0;
    for line in unit.lines() {
        let Some((key, command)) = line.split_once("=/usr/bin/") else {
            continue;
        };
        assert!(key.starts_with("ExecStart"), "{line}");
        // A service would run on; that its arguments are understood is told by a wrong value at their end.
        let command = command.replace("/etc/ci-cache/", "");
        let done = desk.run(&format!("{command} --concurrency 0"));
        let told = done.err.contains("`concurrency` (from --concurrency)");
        assert!(done.code == 2 && told, "{command}: {}", done.err);
        checked += 1;
    }
    assert_eq!(checked, 2);
}

#[test]
fn systemd_understands_the_unit_and_finds_it_locked_up() {
    let desk = desk();
    let unit = read("deploy/systemd/ci-cache.service");
    // Whatever the machine: what the file has to say of itself.
    for line in [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "User=ci-cache",
    ] {
        assert!(unit.lines().any(|known| known == line), "{line}");
    }
    let program = desk.path("bin/ci-cache").display().to_string();
    desk.file("ci-cache.service", &unit.replace("/usr/bin/ci-cache", &program));
    let file = desk.path("ci-cache.service").display().to_string();
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).output();
    // Machines without systemd have nobody to ask.
    let Ok(verified) = analyze(&["verify", "--man=no", &file]) else {
        return;
    };
    let told = String::from_utf8_lossy(&verified.stderr).into_owned();
    let ours: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("ci-cache.service"))
        .collect();
    assert!(ours.is_empty(), "{told}");
    // From 0, locked up, to 100.
    let secure = analyze(&["security", "--offline=true", "--threshold=20", &file]).expect("it runs");
    assert!(
        secure.status.success(),
        "{}{}",
        String::from_utf8_lossy(&secure.stdout),
        String::from_utf8_lossy(&secure.stderr)
    );
}

#[test]
fn the_containers_variables_are_settings_and_its_user_is_nobody() {
    let file = read("deploy/container/Containerfile");
    let mut desk = desk();
    desk.set("CI_CACHE_DATABASE", "sqlite::memory:");
    let variables = file
        .lines()
        .filter_map(|line| line.strip_prefix("ENV ")?.split_once('='));
    let mut count = 0;
    for (name, value) in variables {
        desk.set(name, value);
        count += 1;
    }
    assert_eq!(count, 3);
    let checked = desk.run("ci-cache config check");
    assert_eq!(checked.code, 0, "{}", checked.err);
    assert!(!checked.out.contains("warning"), "{}", checked.out);
    assert!(file.lines().any(|line| line == "USER 65532:65532"));
    // The compiler is one that the workspace is built by.
    let manifest = read("Cargo.toml");
    let (_, version) = manifest.split_once("rust-version = \"").expect("a version");
    let (version, _) = version.split_once('"').expect("its end");
    assert!(
        file.contains(&format!("docker.io/library/rust:{version}-")),
        "{version}"
    );
}
