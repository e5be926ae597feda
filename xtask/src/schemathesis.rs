//! `cargo xtask schemathesis`: requests that another program makes out of the OpenAPI document, against a running service, whose answers are
//! held against the document: no 5xx, no status, header or body that it does not tell, and nothing let in without a token.
//!
//! Twice: with values drawn for everything, and with the tenant and the codes of CIs that are there.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use crate::packages::{self, Package};
use crate::process;
use crate::test::expect_success;

/// The version that the service was last tested with. Another one may find more, or something else.
const VERSION: &str = "4.32.5";
/// What is left out of its checks: the document cannot tell all that makes a request fit (that two ends of a relation differ, what a filter or
/// a token looks like), so a request that fits the document may be refused. That nothing is refused with a status that is not told
/// is checked all the same.
const LEFT_OUT: &str = "positive_data_acceptance";
/// Longer than any answer may be held back (`wait_ms` of changes).
const PATIENCE_S: &str = "45";
/// CIs of the estate.
const CIS: usize = 40;

const PYTHON: Package = Package {
    what: "Python with its module venv, which schemathesis runs in,",
    apt: &["python3", "python3-venv"],
    dnf: &["python3"],
    apk: &["python3"],
    pacman: &["python"],
    zypper: &["python3"],
    brew: &["python"],
    elsewhere: "https://www.python.org/downloads/",
};

/// How much to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Most requests that are drawn for each operation, in each of its two runs
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    examples: u32,
    /// The same seed draws the same requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Installs the program, starts a service over a small estate, and asks it everything; the exit code says whether something was found.
pub(crate) fn command(root: &Path, options: &Options) -> anyhow::Result<u8> {
    let program = find_or_install(root)?;
    let mut build = process::cargo(root);
    expect_success(build.args(["build", "--package", "ci-server", "--all-features"]))?;
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    let service = Service::start(&root.join("target/debug/ci-cache"), folder.path())?;
    let mut worst = 0;
    for (name, parameters) in [("drawn", String::new()), ("estate", there())] {
        let config = folder.path().join(format!("{name}.toml"));
        let text = format!("headers = {{ Authorization = \"Bearer ${{CI_CACHE_TOKEN}}\" }}\n{parameters}");
        std::fs::write(&config, text).context("cannot write its configuration")?;
        let mut ask = Command::new(&program);
        ask.current_dir(folder.path())
            .arg("--config-file")
            .arg(&config)
            .args(["run", &format!("{}/openapi.json", service.address)])
            .args([
                "--checks",
                "all",
                "--exclude-checks",
                LEFT_OUT,
                "--continue-on-failure",
            ])
            .args(["--max-examples", &options.examples.to_string()])
            .args(["--seed", &options.seed.to_string()])
            .args(["--request-timeout", PATIENCE_S, "--warnings", "off"])
            .env("CI_CACHE_TOKEN", &service.token);
        worst = worst.max(process::exit_code(process::run(&mut ask)?));
    }
    service.stop()?;
    Ok(worst)
}

/// Values of what is in the estate, for parameters that would else be drawn. Each has one value: the program takes no list of them.
fn there() -> String {
    let (from, to) = (code(CIS - 1), code(0));
    format!(
        "[parameters]\n\"path.tenant\" = \"acme\"\n\"path.id_or_code\" = \"{from}\"\n\"query.from\" = \"{from}\"\n\"query.to\" = \"{to}\"\n\
         \"query.filter\" = \"tags.n>=3\"\n\"query.q\" = \"name\"\n\"query.root\" = \"{to}\"\n\"query.type\" = \"DEPENDS_ON\"\n\
         \"query.group_by\" = \"owner\"\n\"query.facet\" = \"tags.env\"\n\"query.fields\" = \"ci_code,tags.env\"\n\"query.sort\" = \"ci_name:desc\"\n"
    )
}

fn code(at: usize) -> String {
    format!("ci-{at}")
}

/// The program, in an environment of its own below `target`.
fn find_or_install(root: &Path) -> anyhow::Result<PathBuf> {
    let home = root.join("target/schemathesis").join(VERSION);
    let program = home.join("bin/st");
    if program.is_file() {
        return Ok(program);
    }
    let python = packages::find_or_install(&PYTHON, || packages::on_path("python3"))?;
    println!("installing schemathesis {VERSION} into {}", home.display());
    let made = expect_success(Command::new(&python).args(["-m", "venv"]).arg(&home));
    if made.is_err() && packages::may_install() {
        // Debian's python3 comes without it.
        packages::install(&PYTHON)?;
        expect_success(Command::new(&python).args(["-m", "venv"]).arg(&home))?;
    } else {
        made?;
    }
    expect_success(
        Command::new(home.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .arg(format!("schemathesis=={VERSION}")),
    )?;
    Ok(program)
}

/// A service with tokens, over an estate of one tenant; it ends with this.
struct Service {
    child: Child,
    address: String,
    /// Of an administrator.
    token: String,
}

impl Service {
    fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let (cis, relations) = estate();
        std::fs::write(folder.join("cis.jsonl"), cis)?;
        std::fs::write(folder.join("relations.jsonl"), relations)?;
        let run = |arguments: &[&str]| {
            let mut command = Command::new(program);
            command
                .current_dir(folder)
                .args(arguments)
                .env("CI_CACHE_DATABASE", "sqlite:cmdb.db");
            command
        };
        let import = [
            "import",
            "cis.jsonl",
            "--relations",
            "relations.jsonl",
            "--tenant",
            "acme",
        ];
        expect_success(&mut run(&import))?;
        let token = ["token", "create", "--tokens", "tokens.json", "--name", "admin"];
        let token = process::output_of(run(&token).args(["--role", "admin", "--all-tenants"]))?;
        let mut serve = run(&["serve", "--listen", "127.0.0.1:0", "--tokens", "tokens.json"]);
        // What it logs is read when something is found.
        let log = std::fs::File::create(folder.join("service.log"))?;
        serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = serve.spawn().context("the service does not start")?;
        let out = child.stdout.take().context("the service has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let service = Self {
            child,
            address: line.trim().rsplit(' ').next().unwrap_or_default().to_owned(),
            token: token.trim().to_owned(),
        };
        ensure!(
            service.address.starts_with("http://"),
            "the service ended without an address: {}",
            std::fs::read_to_string(folder.join("service.log")).unwrap_or_default()
        );
        Ok(service)
    }

    /// Stops it as a supervisor does. One that had crashed meanwhile has another exit code.
    fn stop(mut self) -> anyhow::Result<()> {
        const GRACE: Duration = Duration::from_secs(30);
        process::signal(&self.child, Signal::TERM);
        ensure!(
            process::ends_within(&mut self.child, GRACE),
            "the service does not stop"
        );
        let status = self.child.wait()?;
        ensure!(status.success(), "the service ended with {status}");
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended, unless something failed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CIs with documents and every column, and a chain of relations with some across.
fn estate() -> (String, String) {
    let (mut cis, mut relations) = (String::new(), String::new());
    for at in 0..CIS {
        let (code, kind) = (code(at), ["SW", "HW", "SYSTEM"][at % 3]);
        // Writing into a text cannot fail.
        let _ = writeln!(
            cis,
            r#"{{"ci_code": "{code}", "ci_name": "{code} name", "ci_type": "{kind}", "status": "active", "owner": "team {}", "criticality": {}, "tags": {{"n": {at}, "env": "prod"}}, "attributes": {{"net": {{"ip": "10.0.0.{at}"}}}}}}"#,
            at % 4,
            at % 5 + 1
        );
    }
    for at in 1..CIS {
        for (to, kind) in [(at - 1, "DEPENDS_ON"), (at / 2, "RUNS_ON")] {
            let _ = writeln!(
                relations,
                r#"{{"from": "{}", "to": "{}", "rel_type": "{kind}"}}"#,
                code(at),
                code(to)
            );
        }
    }
    (cis, relations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estate_is_a_line_for_each_and_what_is_asked_for_is_in_it() {
        let (cis, relations) = estate();
        assert_eq!(
            (cis.lines().count(), relations.lines().count()),
            (CIS, 2 * (CIS - 1))
        );
        let there = there();
        for name in ["path.id_or_code", "query.from", "query.to", "query.root"] {
            let start = format!("\"{name}\" = \"");
            let code = there
                .lines()
                .find_map(|line| line.strip_prefix(&start)?.strip_suffix('"'));
            let code = code.expect("a value");
            assert!(cis.contains(&format!("\"ci_code\": \"{code}\"")), "{name}");
        }
    }
}
