//! What a cached search of ten rows takes beyond the rows themselves.
//!
//! Counted in a process of its own by a counting allocator, as the difference between a cache that is full and one that is empty: the
//! entry, its key, its rows, the index by which changes find it, all of it divided by the number of entries. "The rows themselves" are
//! their JSON, as a service would send them. A search that shares no row with another is the dearest case, and that is what is counted: rows are never
//! shared between answers.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ci_bench::Estate;
use ci_benches::tenant;
use ci_measure::number::real64;
use ci_measure::sibling;
use ci_model::Question;
use ci_runner::Reply;
use serde::{Deserialize, Serialize};

use super::{Bench, Name};
use crate::arms::{Arm, CAPACITY, Cached, RedisAside, Shown, Ttl, names};
use crate::operation::{Operation, ROWS, search};
use crate::plain::Plain;
use crate::run_file::Figure;

/// The section's name.
pub(super) const NAME: &str = "memory";
/// CIs of the estate that is searched.
const CIS: u64 = 3_000;
/// The predecessor's number of entries.
const ENTRIES: usize = 500;

/// Bytes of one cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    entries: u64,
    /// What the cache asked the allocator for.
    bytes: u64,
    /// The JSON of all rows.
    rows: u64,
}

/// Counts the runner's bytes and those of the caches as services write them.
pub(super) fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let program = match &bench.memory_program {
        Some(program) => program.clone(),
        None => sibling::path("load-memory")?,
    };
    let mut figures = Vec::new();
    let many = bench.scale.pick(4_000, 2_000, 600);
    let mut arms = vec![names::RUNNER, names::TTL];
    arms.extend(bench.servers.redis.is_some().then_some(names::REDIS));
    for arm in arms {
        for entries in [ENTRIES, many] {
            let mut command = Command::new(&program);
            command.args([arm, &entries.to_string(), &bench.seed.to_string()]);
            command.args(bench.servers.redis.as_slice());
            let counted: Counted = serde_json::from_str(&sibling::output(&mut command)?)?;
            let at = format!("{entries} entries");
            let name = Name {
                section: NAME,
                workload: "searches of ten rows",
                database: "",
                arm,
                at: &at,
            };
            let each = |bytes: u64| real64(bytes) / real64(counted.entries.max(1));
            figures.push(name.figure("an entry", "bytes", each(counted.bytes)));
            figures.push(name.figure("its rows as JSON", "bytes", each(counted.rows)));
            let over = each(counted.bytes) - each(counted.rows);
            figures.push(name.figure("over its rows", "bytes", over));
            figures.push(name.figure("in all", "bytes", real64(counted.bytes)));
        }
    }
    Ok(figures)
}

/// Fills a cache and counts, by `allocated`; the arguments are the arm, the number of entries, the seed, and where the Redis server is. Gives JSON.
///
/// # Errors
/// For other arguments, or when the database fails.
pub async fn count_memory(arguments: &[String], allocated: impl Fn() -> usize) -> anyhow::Result<String> {
    let (arm, entries, seed, redis) = match arguments {
        [arm, entries, seed] => (arm, entries, seed, None),
        [arm, entries, seed, redis] => (arm, entries, seed, Some(redis)),
        _ => anyhow::bail!("arguments: ARM ENTRIES SEED [REDIS]"),
    };
    let (entries, seed): (usize, u64) = (entries.parse()?, seed.parse()?);
    let place = ci_benches::sqlite(CIS)
        .await
        .map_err(|error| anyhow::anyhow!("cannot fill a database: {error}"))?;
    let mut searches = Vec::new();
    let mut rows = 0;
    for word in words(seed) {
        if searches.len() == entries {
            break;
        }
        let question = search(&[word], None)?;
        let Question::Search(asked) = &question else {
            continue;
        };
        let found = place.store.snapshot().await?.search(&tenant(), asked).await?;
        if found.len() == ROWS as usize {
            rows += serde_json::to_vec(&found)?.len();
            searches.push(Operation::One(question));
        }
    }
    ensure!(
        searches.len() == entries,
        "the estate has only {} searches of ten rows",
        searches.len()
    );
    let aside = match redis.filter(|_| arm == names::REDIS) {
        Some(address) => Some(RedisAside::connect(address, Arc::clone(&place.store), 3_600).await?),
        None => None,
    };
    if let Some(aside) = &aside {
        aside.forget().await?;
    }
    let aside = aside.map(Arc::new);
    // Redis's memory is the server's, which nobody else uses now.
    let used = async |aside: Option<&RedisAside>| match aside {
        Some(aside) => aside.used_memory().await,
        None => Ok(allocated()),
    };
    let before = used(aside.as_deref()).await?;
    let minute = Duration::from_secs(60);
    let cache: Arc<dyn Arm> = match &aside {
        Some(aside) => Arc::clone(aside) as _,
        None if arm == names::RUNNER => Arc::new(Cached::new(Arc::clone(&place.store), CAPACITY)?),
        None => Arc::new(Ttl::new(names::TTL, Arc::clone(&place.store), minute, CAPACITY)),
    };
    for asked in &searches {
        let outcome = cache.run(&tenant(), asked).await?;
        let is_whole = match &outcome.shown {
            Shown::Replies(replies) => {
                matches!(&replies[..], [Reply::Rows(rows)] if rows.len() == ROWS as usize)
            }
            Shown::Plain(replies) => {
                matches!(&replies[..], [Plain::Rows(rows)] if rows.len() == ROWS as usize)
            }
            Shown::Traversal(..) => false,
        };
        ensure!(is_whole, "an answer has other rows than before");
    }
    let bytes = used(aside.as_deref()).await?.saturating_sub(before);
    for asked in &searches {
        let outcome = cache.run(&tenant(), asked).await?;
        ensure!(
            outcome.hit,
            "an entry is not there any more: less was counted than it takes"
        );
    }
    cache.close().await;
    let counted = Counted {
        entries: entries as u64,
        bytes: bytes as u64,
        rows: rows as u64,
    };
    serde_json::to_string(&counted).context("numbers are JSON")
}

/// Parts of codes, each once, in an order of the seed: different words for which many CIs are found.
fn words(seed: u64) -> Vec<String> {
    let mut words = std::collections::BTreeSet::new();
    for ci in Estate::new(7, CIS).cis() {
        let code: Vec<char> = ci.ci_code.chars().collect();
        for length in 4..=9 {
            words.extend(code.windows(length).map(|part| part.iter().collect::<String>()));
        }
    }
    let mut words: Vec<String> = words.into_iter().filter(|word| word.trim() == word).collect();
    ci_measure::random::Random::new(seed).shuffle(&mut words);
    words
}
