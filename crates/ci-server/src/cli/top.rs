//! `ci-cache top`: what a running service does, again and again.

mod frame;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use super::args;
use super::failure::Failure;
use super::output::Output;
use super::service::Service;
use frame::Sample;

/// To the first line, and the rest of the screen cleared.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

pub(crate) async fn top(arguments: &args::Top, output: &mut Output) -> Result<(), Failure> {
    let service = Service::of(&arguments.service)?;
    let pause = Duration::from_secs(arguments.every);
    let clears = std::io::stdout().is_terminal() && !arguments.once;
    let mut before: Option<(Sample, Instant)> = None;
    loop {
        let now = Instant::now();
        let sample = sample(&service).await?;
        let since = before
            .as_ref()
            .map(|(sample, at)| (sample, now.saturating_duration_since(*at)));
        let frame = frame::render(&arguments.service.address, &sample, since, output.width());
        output.line(format_args!("{}{frame}", if clears { CLEAR } else { "" }))?;
        if arguments.once {
            return Ok(());
        }
        before = Some((sample, now));
        tokio::time::sleep(pause).await;
    }
}

/// Everything that a frame shows.
async fn sample(service: &Service) -> Result<Sample, Failure> {
    Ok(Sample {
        stats: service.get("/v1/cache/stats").await?,
        savings: service.get("/v1/cache/savings").await?,
        tenants: service.get("/v1/cache/tenants").await?,
    })
}
