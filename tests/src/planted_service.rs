//! Services with a defect, which tests have to find.

use std::env::args;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ci_runner::tier::{TierOptions, TierRules};
use ci_runner::{Runner, RunnerBuilder};
use ci_server::http::{AppState, ServerOptions, serve};
use ci_store::StoreOptions;
use ci_tier_redis::{RedisOptions, RedisTier};
use tokio::net::TcpListener;

use crate::history::{Meddler, Planted};

/// The variable that makes the program of this package a service with a defect.
pub const VARIABLE: &str = "CI_CACHE_TESTED_DEFECT";

/// What is wrong with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Its feed loses every change, so that nothing is ever dropped.
    LosesAll,
    /// It takes what the shared tier has for true: plain cache-aside.
    TrustsTier,
}

impl Defect {
    const ALL: [Self; 2] = [Self::LosesAll, Self::TrustsTier];

    /// Its name, as [`VARIABLE`] has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LosesAll => "loses-all",
            Self::TrustsTier => "trusts-tier",
        }
    }
}

/// Serves as [`VARIABLE`] says: the database that the arguments name (`--database ADDRESS`), with its shared tier (`--tier-url ADDRESS`) if they
/// name one, on a free port until the process is killed, and prints its address as `ci-cache serve` does. Other arguments are passed over.
///
/// Nothing if the variable is not set; an end with exit code 2 if it names no defect.
pub fn main() -> Option<ExitCode> {
    let name = std::env::var_os(VARIABLE)?;
    let defect = Defect::ALL.into_iter().find(|defect| defect.name() == name);
    let (Some(defect), Some(address)) = (defect, argument("--database")) else {
        return Some(ExitCode::from(2));
    };
    let runtime = tokio::runtime::Runtime::new();
    let ended = runtime.map(|runtime| runtime.block_on(run(defect, &address)));
    Some(if matches!(ended, Ok(Ok(()))) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn argument(name: &str) -> Option<String> {
    args().skip_while(|argument| argument != name).nth(1)
}

async fn run(defect: Defect, address: &str) -> Result<(), Box<dyn std::error::Error>> {
    // As the campaign's sound nodes have it, so that the defect is all that makes the difference.
    let options = StoreOptions::default()
        .acquire_timeout(Duration::from_secs(1))
        .statement_timeout(Duration::from_secs(3));
    let store = ci_store::open(address, &options).await?;
    let planted = (defect == Defect::LosesAll).then_some(Planted::LosesAll);
    let (store, _) = Meddler::around(store, planted);
    let builder = Runner::builder(store)
        .max_entries(80)
        .poll_every(Duration::from_millis(15));
    let runner = shared(builder, defect)?.build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "who starts it waits for the address")]
    {
        println!("listening on http://{}", listener.local_addr()?);
    }
    let state = AppState::new(runner, ServerOptions::default());
    Ok(serve(listener, state, std::future::pending()).await?)
}

fn shared(builder: RunnerBuilder, defect: Defect) -> Result<RunnerBuilder, ci_tier_redis::Error> {
    let Some(address) = argument("--tier-url") else {
        return Ok(builder);
    };
    let tier = RedisTier::new(&address, RedisOptions::new())?;
    let options = TierOptions::new().timeout(Duration::from_millis(250));
    let rules = match defect {
        Defect::TrustsTier => TierRules::TrustsValues,
        Defect::LosesAll => TierRules::Kept,
    };
    Ok(builder.tier(Arc::new(tier), options).tier_rules(rules))
}
