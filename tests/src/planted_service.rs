//! A service with a defect: its feed loses every change, so that nothing is ever dropped.

use std::process::ExitCode;
use std::time::Duration;

use ci_runner::Runner;
use ci_server::http::{AppState, ServerOptions, serve};
use ci_store::StoreOptions;
use tokio::net::TcpListener;

use crate::history::{Meddler, Planted};

/// Serves the database that the arguments name (`--database ADDRESS`) on a free port until the process is killed, and prints its address as
/// `ci-cache serve` does. Other arguments are passed over.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--database");
    let Some(address) = arguments.nth(1) else {
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Runtime::new();
    let ended = runtime.map(|runtime| runtime.block_on(run(&address)));
    if matches!(ended, Ok(Ok(()))) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn run(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let options = StoreOptions::default().acquire_timeout(Duration::from_secs(1));
    let store = ci_store::open(address, &options).await?;
    let (store, _) = Meddler::around(store, Some(Planted::LosesAll));
    let runner = Runner::builder(store).build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "who starts it waits for the address")]
    {
        println!("listening on http://{}", listener.local_addr()?);
    }
    let state = AppState::new(runner, ServerOptions::default());
    Ok(serve(listener, state, std::future::pending()).await?)
}
