//! `cargo xtask bench engine`: our cache against its peers, on keys and traces drawn or given for the run.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to its user")]

mod contender;
mod field;
mod key;
mod latency;
mod number;
mod options;
mod ours;
mod peers;
mod random;
mod report;
mod rounds;
mod statistics;
mod throughput;

use clap::Parser as _;

use options::Run;
use report::Section;

type Measure = fn(&Run) -> anyhow::Result<Section>;

/// The measurements in the order they are printed.
const MEASURES: &[(&str, Measure)] = &[
    (latency::NAME, latency::measure),
    (throughput::NAME, throughput::measure),
];

fn main() -> anyhow::Result<()> {
    let run = Run::parse();
    let _ticker = ours::Ticker::start();
    for (name, measure) in MEASURES {
        if run.wants(name) {
            println!("{}", measure(&run)?.tables());
        }
    }
    Ok(())
}
