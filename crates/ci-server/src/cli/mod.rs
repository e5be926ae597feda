//! The command line: `ci-cache`.

mod args;
mod ask;
mod demo;
mod failure;
mod import;
mod output;
mod reference;
mod serve;
mod table;
mod token;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::Failure;
use output::Output;

pub use reference::reference;

/// Runs the program with the arguments of the process; what it returns is the exit code that `--help` documents.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
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
        Command::Serve(arguments) => serve::serve(arguments, &mut output).await,
        Command::Token(arguments) => token::token(arguments, &mut output),
        Command::Demo(arguments) => demo::demo(arguments, &mut output).await,
    }
}

/// Logs to stderr. A service tells what it does; a question only what goes wrong, unless asked.
fn start_logging(cli: &Cli) {
    let level = match (cli.verbose, &cli.command) {
        (0, Command::Serve(_)) => "info",
        (0, _) => "error",
        (1, _) => "info,ci_runner=debug,ci_server=debug,ci_store=debug",
        (_, _) => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("CI_CACHE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // Fails only when a host program has set its own subscriber, which then counts.
    let _ = subscriber.try_init();
}
