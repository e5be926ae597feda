//! `ci-cache config`: checking and explaining the configuration of the service.

use serde::Serialize;

use super::args::{ConfigCheck, Configuration};
use super::failure::Failure;
use super::output::Output;
use super::table;
use crate::config::{self, Config, Plan, Resolved};

pub(crate) async fn config(arguments: Configuration, output: &mut Output) -> Result<(), Failure> {
    match arguments {
        Configuration::Check(arguments) => check(&arguments, output).await,
        Configuration::Example => output.line(config::example().trim_end()),
    }
}

/// Gives the table of every setting of the service, as Markdown.
pub fn configuration() -> String {
    config::table()
}

/// A setting as it holds, without what is secret.
#[derive(Debug, Serialize)]
pub(crate) struct Effective {
    pub(crate) setting: &'static str,
    pub(crate) value: String,
    pub(crate) from: String,
}

impl From<&Resolved> for Effective {
    fn from(resolved: &Resolved) -> Self {
        Self {
            setting: resolved.setting.key,
            value: config::redacted(&resolved.text),
            from: resolved.origin.to_string(),
        }
    }
}

#[derive(Serialize)]
struct Checked {
    settings: Vec<Effective>,
    warnings: Vec<String>,
}

async fn check(arguments: &ConfigCheck, output: &mut Output) -> Result<(), Failure> {
    let config = Config::load(&arguments.settings.0)?;
    Plan::of(&config).await?;
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let checked = Checked {
        settings: config.resolved.iter().map(Effective::from).collect(),
        warnings: config::strange_variables(names),
    };
    if arguments.json {
        return output.json(&checked);
    }
    output.line(table::settings(&checked.settings, output.width()))?;
    for warning in &checked.warnings {
        output.line(format_args!("warning: {warning}"))?;
    }
    Ok(())
}
