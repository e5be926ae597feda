//! How many hits a second does the service answer over HTTP, next to an axum handler that does nothing but return the same bytes?
//!
//! Both are asked over the loopback by the same load, in turn, several rounds each, so that what the machine does meanwhile is in both.
//! The handler to compare with has axum's own server and no middleware, no limits, no access check, no headers but the type of its
//! body. With `CI_CACHE_SOAK_SECS` set the service is asked for so long instead, and the memory of the process is told all along.
#![allow(missing_docs, reason = "a benchmark has no interface")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]
#![allow(clippy::print_stdout, reason = "the figures are what is asked for")]

mod load;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use ci_benches::{Loaded, sqlite, tenant};
use ci_runner::Runner;
use ci_server::access::{Access, NewToken, Role, Tenants, TokenFile};
use ci_server::http::{AppState, Exporter, ServerOptions, serve};
use hdrhistogram::Histogram;
use load::Load;
use tokio::net::TcpListener;

const CIS: u64 = 20_000;
/// Rounds of each, and how long one is.
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
/// How often the memory is told in a soak.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What is asked: what it is called, and its path and query.
fn questions(code: &str) -> Vec<(&'static str, String)> {
    let acme = tenant();
    vec![
        ("get", format!("/v1/{acme}/cis/{code}")),
        ("search", format!("/v1/{acme}/cis?q=server&limit=10")),
        ("list", format!("/v1/{acme}/list?limit=50")),
        ("CI page", format!("/v1/{acme}/cis/{code}/page")),
        ("dashboard", format!("/v1/{acme}/dashboard")),
    ]
}

/// Starts the service as `ci-cache serve --tokens` does, and gives its address and a token.
async fn service(loaded: &Loaded, folder: &std::path::Path) -> (SocketAddr, String) {
    let file = folder.join("tokens.json");
    let token = TokenFile::change(&file, |tokens| {
        tokens.create(NewToken {
            name: "load".into(),
            role: Role::Read,
            tenants: Tenants::All,
            expires: None,
        })
    });
    let token = token.unwrap();
    let runner = Runner::builder(loaded.store.clone()).build().unwrap();
    let options = ServerOptions::default().metrics(Exporter::new());
    let state = AppState::guarded(runner, options, Access::by_file(&file).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, state, std::future::pending()));
    (address, token)
}

/// Starts a handler that returns these bytes.
async fn bare(body: Bytes) -> SocketAddr {
    let handler = move || {
        let body = body.clone();
        async move { ([(CONTENT_TYPE, "application/json")], body) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/{*path}", get(handler));
    let served = axum::serve(listener, router);
    tokio::spawn(async move { served.await.unwrap() });
    address
}

/// What one side did in its rounds.
struct Side {
    rates: Vec<f64>,
    times: Histogram<u64>,
}

impl Side {
    fn new() -> Self {
        Self {
            rates: Vec::new(),
            times: Histogram::new(3).unwrap(),
        }
    }

    fn round(&mut self, load: &Load) {
        let (answered, times) = load.run(ROUND);
        self.rates.push(answered);
        self.times.add(&times).unwrap();
    }

    fn median(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_unstable_by(f64::total_cmp);
        rates[rates.len() / 2]
    }

    fn percentile(&self, percentile: f64) -> u64 {
        self.times.value_at_quantile(percentile / 100.0)
    }
}

/// Tells whether a question is to be asked: those that the command line names, or all.
fn is_chosen(name: &str) -> bool {
    let mut named = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .peekable();
    named.peek().is_none() || named.any(|argument| argument == name)
}

fn compare(runtime: &tokio::runtime::Runtime, loaded: &Loaded, code: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (ours, token) = runtime.block_on(service(loaded, folder.path()));
    for (name, path) in questions(code).into_iter().filter(|(name, _)| is_chosen(name)) {
        let asked = Load::new(ours, &path, Some(&token));
        asked.once();
        let answer = asked.once();
        assert_eq!(answer.header("x-cache"), Some("hit"), "{path}");
        let body = Bytes::from(answer.body);
        let plain = Load::new(runtime.block_on(bare(body.clone())), &path, Some(&token));
        assert_eq!(Bytes::from(plain.once().body), body);
        let mut sides = [Side::new(), Side::new()];
        for round in 0..ROUNDS {
            for at in [round % 2, 1 - round % 2] {
                sides[at].round([&asked, &plain][at]);
            }
        }
        let [ours, bare] = &sides;
        println!(
            "{name}, {} bytes: {:.0} requests/s, bare handler {:.0}: ratio {:.2}; p50 {} us against {}, p99 {} us against {}",
            body.len(),
            ours.median(),
            bare.median(),
            ours.median() / bare.median(),
            ours.percentile(50.0),
            bare.percentile(50.0),
            ours.percentile(99.0),
            bare.percentile(99.0),
        );
    }
}

/// Memory of this process in MiB: its own, and pages of files that it reads through a map (of SQLite's, up to the size of the file, which the system
/// takes back when it needs them).
struct Memory {
    own: u64,
    mapped: u64,
}

impl Memory {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
            kib.unwrap_or(0) / 1024
        };
        Self {
            own: mib("RssAnon:"),
            mapped: mib("RssFile:"),
        }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MiB, and {} MiB of mapped files", self.own, self.mapped)
    }
}

fn soak(runtime: &tokio::runtime::Runtime, loaded: &Loaded, codes: &[String], length: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let (ours, token) = runtime.block_on(service(loaded, folder.path()));
    let began = Instant::now();
    let loads: Vec<Load> = codes
        .iter()
        .flat_map(|code| questions(code))
        .map(|(_, path)| Load::new(ours, &path, Some(&token)))
        .collect();
    // Every question once: what is measured is how long answers take no more room, not how they come to have it.
    loads.iter().for_each(|load| drop(load.once()));
    let (mut asked, mut told) = (0, Duration::ZERO);
    for load in loads.iter().cycle() {
        load.run(Duration::from_millis(500));
        asked += 1;
        if began.elapsed() >= told {
            println!("{:>4} s: {}", began.elapsed().as_secs(), Memory::now());
            told += TELL_EVERY;
        }
        if began.elapsed() >= length {
            break;
        }
    }
    println!("{asked} parts, {} at the end", Memory::now());
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let loaded = runtime.block_on(sqlite(CIS)).unwrap();
    let codes: Vec<String> = ci_bench::Estate::new(7, CIS)
        .cis()
        .take(200)
        .map(|ci| ci.ci_code)
        .collect();
    match std::env::var("CI_CACHE_SOAK_SECS").ok() {
        Some(secs) => soak(
            &runtime,
            &loaded,
            &codes,
            Duration::from_secs(secs.parse().unwrap()),
        ),
        None => compare(&runtime, &loaded, &codes[0]),
    }
}
