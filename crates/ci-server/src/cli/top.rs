//! `ci-cache top`: what a running service does, again and again.

mod ask;
mod frame;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use super::args;
use super::failure::Failure;
use super::output::Output;
use ask::Service;
use frame::Sample;

/// The token of the service, where it has any. Never a flag: every process of a machine can read those.
const TOKEN: &str = "CI_CACHE_TOKEN";
/// To the first line, and the rest of the screen cleared.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

pub(crate) async fn top(arguments: &args::Top, output: &mut Output) -> Result<(), Failure> {
    let service = Service::new(&arguments.address, token(arguments)?, arguments.ca.as_deref())?;
    let pause = Duration::from_secs(arguments.every);
    let clears = std::io::stdout().is_terminal() && !arguments.once;
    let mut before: Option<(Sample, Instant)> = None;
    loop {
        let now = Instant::now();
        let sample = service.sample().await?;
        let since = before
            .as_ref()
            .map(|(sample, at)| (sample, now.saturating_duration_since(*at)));
        let frame = frame::render(&arguments.address, &sample, since, output.width());
        output.line(format_args!("{}{frame}", if clears { CLEAR } else { "" }))?;
        if arguments.once {
            return Ok(());
        }
        before = Some((sample, now));
        tokio::time::sleep(pause).await;
    }
}

fn token(arguments: &args::Top) -> Result<Option<String>, Failure> {
    let text = match &arguments.token_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|error| Failure::Input(format!("read the token in {}: {error}", path.display())))?,
        ),
        None => std::env::var(TOKEN).ok(),
    };
    Ok(text
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty()))
}
