//! The command line: `ci-cache`.

mod args;
mod ask;
mod audit;
mod config;
mod demo;
mod doctor;
mod failure;
mod import;
mod log;
mod manual;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(not(feature = "mcp"))]
#[path = "mcp_off.rs"]
mod mcp;
mod output;
mod reference;
mod serve;
mod service;
mod shell;
mod table;
mod token;
mod top;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::Failure;
use output::Output;

pub use config::configuration;
pub use reference::reference;

/// Runs the program with the arguments of the process; what it returns is the exit code that `--help` documents.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The service knows from its configuration what to log.
    if !matches!(cli.command, Command::Serve(_)) {
        log::start_for_command(cli.verbose);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(),
    };
    let code = match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    };
    // Whatever still waits for its input would be waited for.
    runtime.shutdown_background();
    code
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let mut output = Output::stdout();
    match cli.command {
        Command::Import(arguments) => import::import(arguments, &mut output).await,
        Command::Search(arguments) => ask::search(arguments, &mut output).await,
        Command::Get(arguments) => ask::get(arguments, &mut output).await,
        Command::List(arguments) => ask::list(arguments, &mut output).await,
        Command::Aggregate(arguments) => ask::aggregate(arguments, &mut output).await,
        Command::Expand(arguments) => ask::expand(arguments, &mut output).await,
        Command::Path(arguments) => ask::path(arguments, &mut output).await,
        Command::Stats(arguments) => ask::stats(arguments, &mut output).await,
        Command::Serve(given) => serve::serve(&given, cli.verbose, &mut output).await,
        Command::Config(arguments) => config::config(arguments, &mut output).await,
        Command::Doctor(arguments) => doctor::doctor(&arguments, &mut output).await,
        Command::Migrate(arguments) => doctor::migrate(&arguments, &mut output).await,
        Command::Audit(arguments) => audit::audit(&arguments, &mut output).await,
        Command::Top(arguments) => top::top(&arguments, &mut output).await,
        Command::Completions { shell } => manual::completions(shell, &mut output),
        Command::Man { command } => manual::page(&command, &mut output),
        Command::Mcp(arguments) => mcp::mcp(arguments).await,
        Command::Token(arguments) => token::token(arguments, &mut output),
        Command::Demo(arguments) => demo::demo(arguments, &mut output).await,
    }
}
