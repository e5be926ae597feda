//! What is loaded after answers were forgotten by hand is of use again, by the order of things and not by the clock's.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::{Clock, ManualClock};
use ci_model::Version;
use ci_runner::{Level, Runner, Source};
use ci_tests::fixture::Fixture;
use ci_tests::tier::{MemoryTier, until};

use super::{LONG, acme, builder, close, named, search};

/// Where the answer comes from, and the state at which it is true.
async fn found(runner: &Runner) -> (Source, Version) {
    let tenant = acme(runner).at(Level::Strong);
    let answer = tenant.search_strict(&search("erp")).await.unwrap();
    (answer.source, answer.as_of.unwrap().version)
}

/// A clock of one step a day: the poll that settles what was forgotten is of the same moment as the forgetting.
#[tokio::test]
async fn a_clock_that_stands_still_does_not_keep_what_was_forgotten_unsettled() {
    // SQLite has no state without a change.
    let fixture = Fixture::postgres().await;
    let (tier, clock) = (MemoryTier::new(), Arc::new(ManualClock::new()));
    let runner = builder(&fixture, &tier)
        .await
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build()
        .unwrap();
    assert!(runner.catch_up(LONG).await);
    acme(&runner)
        .upsert_cis(vec![named("erp-1", "ERP")])
        .await
        .unwrap();
    let (_, before) = found(&runner).await;
    runner.clear();
    // Nobody writes, and yet there is a later state at last: it was found up to where answers are forgotten, before.
    until("a later state is made", async || {
        assert!(runner.catch_up(LONG).await);
        found(&runner).await.1 != before
    })
    .await;
    let mut sources = Vec::new();
    // The later state may have been another transaction's, and ours come now.
    for _ in 0..10 {
        // What is in memory is past its time.
        clock.advance(Duration::from_secs(3_600));
        assert!(runner.catch_up(LONG).await);
        sources.push(found(&runner).await.0);
        runner.settle_tier(false).await;
    }
    assert!(
        sources.contains(&Source::Tier),
        "{sources:?}: {:?}",
        runner.stats().tier
    );
    close([runner]).await;
    fixture.finish().await;
}
