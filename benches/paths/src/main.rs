//! Runs one hot path of the engine, or of the runner, so many times: `hot-paths PATH TIMES`. Without arguments it names the paths.
//!
//! `cargo xtask test` runs it under callgrind, twice, and compares the difference with what `instructions.toml` has.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to its caller")]

mod runner;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use ci_cache_core::ci::matching::{Answered, Dependency};
use ci_cache_core::ci::{CiCache, CiCacheConfig, CoherentCiCache};
use ci_cache_core::coherence::{CoherenceOptions, Loaded};
use ci_cache_core::{Error, Lookup, SystemClock, Tick};
use ci_model::{CiId, CiSummary, Key, Question, Search, TenantId, Version};

/// Entries, as many as the predecessor had.
const ENTRIES: usize = 500;
/// Rows of an answer.
const ROWS: u8 = 10;

type Rows = Arc<[CiSummary]>;
type Coherent = CoherentCiCache<Rows, ()>;
/// What fails only if this program is wrong.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs a path so many times.
type Run = fn(usize) -> Result<()>;

/// The paths by their names.
const PATHS: [(&str, Run); 7] = [
    ("key", key),
    ("get", get),
    ("hit", hit),
    ("set", set),
    ("miss", miss),
    ("runner-search", runner::search),
    ("runner-get", runner::get),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, times)) = arguments
        .first()
        .zip(arguments.get(1).and_then(|times| times.parse().ok()))
    else {
        PATHS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let Some((_, path)) = PATHS.iter().find(|(known, _)| known == name) else {
        println!("no path is called {name}");
        return ExitCode::FAILURE;
    };
    match path(times) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tenant() -> Result<TenantId> {
    Ok(TenantId::new("acme")?)
}

/// Searches with two keywords each, no two alike.
fn questions(count: usize) -> Result<Vec<Question>> {
    (0..count)
        .map(|number| {
            let search = Search::builder()
                .keywords(["server".to_owned(), format!("erp-{number:05}")])
                .limit(u32::from(ROWS));
            Ok(search.build()?.into())
        })
        .collect()
}

fn rows() -> Result<Rows> {
    let row = |number: u8| {
        let code = format!("erp-server-{number:03}");
        Ok(CiSummary {
            ci_id: format!("00000000-0000-4000-8000-{number:012}").parse::<CiId>()?,
            ci_name: format!("ERP server {number}"),
            ci_type: "HW".into(),
            ci_subtype: Some("server".into()),
            ci_category: None,
            status: Some("active".into()),
            location: Some("Tokyo".into()),
            owner: Some("operations".into()),
            ci_code: ci_model::CiCode::new(code)?,
        })
    };
    (0..ROWS).map(row).collect::<Result<Vec<_>>>().map(Rows::from)
}

fn filled(owner: &TenantId, questions: &[Question]) -> Result<CiCache<Rows>> {
    let config = CiCacheConfig::new().max_size(ENTRIES);
    let cache = CiCache::new(config, Arc::new(SystemClock::new()))?;
    let rows = rows()?;
    for question in questions {
        cache.set(owner, question, Arc::clone(&rows));
    }
    Ok(cache)
}

/// The canonical key of a question.
fn key(times: usize) -> Result<()> {
    let (owner, questions) = (tenant()?, questions(ENTRIES)?);
    for number in 0..times {
        black_box(Key::new(&owner, black_box(&questions[number % ENTRIES])));
    }
    Ok(())
}

/// A hit of the cache that goes by time alone: key, look-up, a shared answer.
fn get(times: usize) -> Result<()> {
    let (owner, questions) = (tenant()?, questions(ENTRIES)?);
    let cache = filled(&owner, &questions)?;
    for number in 0..times {
        black_box(cache.get(&owner, black_box(&questions[number % ENTRIES])));
    }
    Ok(())
}

/// What is set anew, and another goes for it.
fn set(times: usize) -> Result<()> {
    let (owner, questions) = (tenant()?, questions(4 * ENTRIES)?);
    let cache = filled(&owner, &questions)?;
    let rows = rows()?;
    for number in 0..times {
        cache.set(&owner, &questions[number % questions.len()], Arc::clone(&rows));
    }
    Ok(())
}

fn coherent() -> std::result::Result<Coherent, Error> {
    let config = CiCacheConfig::new().max_size(ENTRIES);
    let cache = Coherent::new(config, &CoherenceOptions::default(), Arc::new(SystemClock::new()))?;
    cache.reset(1, Version::Sequence(1), Tick::default());
    Ok(cache)
}

/// Looks a question up, and if it is not there publishes its answer. Whether it was there.
fn asked(cache: &Coherent, owner: &TenantId, question: &Arc<Question>, rows: &Rows) -> Result<bool> {
    let key = Key::new(owner, question);
    match cache.lookup(owner, &key, question) {
        Lookup::Hit(found) => {
            black_box(Arc::clone(found.value.value().answer()));
            Ok(true)
        }
        Lookup::Lead(leader) => {
            let dependency = Dependency::new(owner, Arc::clone(question), Answered::Rows(rows));
            let loaded = Loaded {
                epoch: 1,
                version: Version::Sequence(1),
            };
            let dependency = dependency.ok_or("an answer of the question's kind")?;
            black_box(cache.publish(leader, question, Arc::clone(rows), loaded, dependency));
            Ok(false)
        }
        Lookup::Stale(..) | Lookup::Wait(_) => Err("nobody else asks".into()),
    }
}

/// A hit as a runner has it: the mark, the key, the look-up, a shared answer.
fn hit(times: usize) -> Result<()> {
    let (owner, rows, cache) = (tenant()?, rows()?, coherent()?);
    let questions: Vec<Arc<Question>> = questions(ENTRIES / 2)?.into_iter().map(Arc::new).collect();
    for question in &questions {
        asked(&cache, &owner, question, &rows)?;
    }
    for number in 0..times {
        black_box(cache.mark());
        if !asked(&cache, &owner, &questions[number % questions.len()], &rows)? {
            return Err("it was to be a hit".into());
        }
    }
    Ok(())
}

/// A miss as a runner has it, but for the load: key, look-up, registration, check, publication, eviction.
fn miss(times: usize) -> Result<()> {
    let (owner, rows, cache) = (tenant()?, rows()?, coherent()?);
    let questions: Vec<Arc<Question>> = questions(8 * ENTRIES)?.into_iter().map(Arc::new).collect();
    for number in 0..times {
        asked(&cache, &owner, &questions[number % questions.len()], &rows)?;
    }
    Ok(())
}
