//! `ci-cache doctor`: what a service needs, looked at one by one, with what mends each.

mod local;
mod shared;

use ci_store::{Finding, Remedy, Verdict};
use serde::Serialize;

use super::args::{Doctor, Migrate};
use super::failure::Failure;
use super::output::Output;
use super::shell;
use crate::access::Access;
use crate::config::{Config, Given, Origin, Plan, redacted};

pub(crate) async fn doctor(arguments: &Doctor, output: &mut Output) -> Result<(), Failure> {
    let given = &arguments.settings.0;
    let (findings, migrate) = Box::pin(look(given)).await;
    let reports: Vec<Report> = findings
        .iter()
        .map(|finding| Report::of(finding, &migrate))
        .collect();
    let failures = count(&findings, Verdict::Failure);
    let warnings = count(&findings, Verdict::Warning);
    if arguments.json {
        output.json(&Examined {
            failures,
            warnings,
            checks: &reports,
        })?;
    } else {
        for report in &reports {
            output.line(report)?;
        }
        output.line(format_args!(
            "{} checks, {warnings} warnings, {failures} failures",
            reports.len()
        ))?;
    }
    if failures > 0 {
        return Err(Failure::Unwell(failures));
    }
    Ok(())
}

/// Makes or updates tables and triggers, and ends.
pub(crate) async fn migrate(arguments: &Migrate, output: &mut Output) -> Result<(), Failure> {
    let config = Config::load(&arguments.settings.0)?;
    let plan = Plan::of(&config).await?;
    let store = ci_store::open(&plan.settings.database, &plan.store_options()).await?;
    store.close().await;
    output.line("the database is ready: its tables and triggers are those of this program")
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings
        .iter()
        .filter(|finding| finding.verdict == verdict)
        .count()
}

/// Everything, and the command that makes what the database lacks.
async fn look(given: &Given) -> (Vec<Finding>, Vec<String>) {
    const CHECK: &str = "configuration";
    let mut migrate = vec!["ci-cache".to_owned(), "migrate".to_owned()];
    if let Some(path) = &given.file {
        migrate.extend(["--config".to_owned(), path.display().to_string()]);
    }
    let planned = match Config::load(given) {
        Ok(config) => Plan::of(&config).await.map(|plan| (config, plan)),
        Err(error) => Err(error),
    };
    let (config, plan) = match planned {
        Ok(planned) => planned,
        Err(error) => {
            let remedy =
                Remedy::Advice("correct what is told; `ci-cache config example` prints every setting".into());
            return (vec![Finding::failure(CHECK, error.0.join("; "), remedy)], migrate);
        }
    };
    if config.origin("database") == Some(Origin::Flag) {
        migrate.extend(["--database".to_owned(), redacted(&plan.settings.database)]);
    }
    let given_ones = config
        .resolved
        .iter()
        .filter(|one| one.origin != Origin::Default)
        .count();
    let what = format!("{given_ones} settings are given, and all fit");
    let mut findings = vec![Finding::ok(CHECK, what)];
    findings.extend(local::findings(given, &config, &plan));
    findings.extend(keys(&plan).await);
    findings.extend(shared::tier(&plan).await);
    let settings = &plan.settings;
    findings.extend(ci_store::examine(&settings.database, &plan.store_options(), settings.retention).await);
    if let Some(replica) = &settings.replica_url {
        findings.push(ci_store::examine_replica(&settings.database, replica, &plan.store_options()).await);
    }
    (findings, migrate)
}

/// Whether the keys of JWTs can be fetched from their provider.
async fn keys(plan: &Plan) -> Option<Finding> {
    const CHECK: &str = "keys";
    plan.settings.jwks_url.as_ref()?;
    let fetched = match Access::by_jwt(plan.jwt()?) {
        Ok(access) => access.fetch_keys().await,
        Err(error) => Err(error),
    };
    Some(match fetched {
        Ok(()) => Finding::ok(CHECK, "the provider sends keys that can be used"),
        Err(error) => {
            let advice = "give `jwks_uri` of ISSUER/.well-known/openid-configuration, let this machine reach it, and trust its certificate (SSL_CERT_FILE names a file of authorities); \
                or put the set into a file and name it with `jwt_keys`";
            Finding::failure(CHECK, format!("failed to {error}"), Remedy::Advice(advice.into()))
        }
    })
}

#[derive(Serialize)]
struct Examined<'a> {
    failures: usize,
    warnings: usize,
    checks: &'a [Report],
}

/// A finding as it is printed.
#[derive(Serialize)]
struct Report {
    check: &'static str,
    verdict: &'static str,
    what: String,
    /// A command of the shell that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// A statement that mends it, and who may run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sql: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// What mends it where no command does.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Report {
    fn of(finding: &Finding, migrate: &[String]) -> Self {
        let mut report = Self {
            check: finding.check,
            verdict: match finding.verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Failure => "failure",
            },
            what: finding.what.clone(),
            command: None,
            sql: None,
            by: None,
            advice: None,
        };
        match finding.remedy.clone() {
            Some(Remedy::Open) => report.command = Some(shell::line(&[migrate.to_vec()])),
            Some(Remedy::Commands(commands)) => report.command = Some(shell::line(&commands)),
            Some(Remedy::Statement { by, sql }) => (report.by, report.sql) = (Some(by), Some(sql)),
            Some(Remedy::Advice(advice)) => report.advice = Some(advice),
            Some(_) | None => {}
        }
        report
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<8}{}: {}", self.verdict, self.check, self.what)?;
        if let Some(command) = &self.command {
            write!(f, "\n        run: {command}")?;
        }
        if let (Some(sql), Some(by)) = (&self.sql, &self.by) {
            write!(f, "\n        run in psql, as {by}: {sql};")?;
        }
        if let Some(advice) = &self.advice {
            write!(f, "\n        {advice}")?;
        }
        Ok(())
    }
}
