//! A cache that is bounded by bytes takes no more than that of the allocator.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::alloc::System;

use cap::Cap;
use ci_bench::Estate;
use ci_model::{Aggregate, CiDraft, CiRef, Expand, Get, List, RelationDraft, Search, TenantId, View};
use ci_runner::Tenant;
use ci_tests::fixture::Fixture;

/// Counts what is asked for; sets no limit. SQLite's own memory is not in it.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const MIB: usize = 1 << 20;
/// What the cache may take, and how much more that may be in truth; and what a runner takes without any answer.
const BOUND: usize = 8 * MIB;
const MOST: usize = BOUND + BOUND / 4 + 2 * MIB;
const CIS: u64 = 2_000;

async fn fill(tenant: &Tenant) -> Vec<CiRef> {
    let estate = Estate::new(3, CIS);
    let cis: Vec<CiDraft> = estate.cis().collect();
    let refs = cis.iter().map(|ci| CiRef::parse(&ci.ci_code).unwrap()).collect();
    tenant.upsert_cis(cis).await.unwrap();
    let relations: Vec<RelationDraft> = estate.relations().collect();
    tenant.upsert_relations(relations).await.unwrap();
    refs
}

/// Asks something of every kind that was not asked before.
async fn ask(tenant: &Tenant, cis: &[CiRef], number: usize) {
    let ci = &cis[number % cis.len()];
    let offset = u32::try_from(number % cis.len()).unwrap();
    let list = List::builder().limit(500).offset(offset).build().unwrap();
    tenant.list(&list).await.unwrap();
    tenant.get(&Get::new(ci.clone())).await.unwrap();
    let graph = Expand::builder(ci.clone(), View::Summary).build().unwrap();
    tenant.expand(&graph).await.unwrap();
    let search = Search::builder().keyword(format!("{number:x}")).limit(50);
    tenant.search(&search.build().unwrap()).await.unwrap();
    let groups = Aggregate::builder()
        .keywords([number.to_string()])
        .group_by("owner");
    tenant.aggregate(&groups.build().unwrap()).await.unwrap();
}

#[tokio::test]
async fn memory_stays_within_the_bytes_that_were_set() {
    let fixture = Fixture::sqlite();
    let builder = ci_tests::fixture::patient(fixture.open().await).max_bytes(BOUND as u64);
    let runner = builder.build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    let cis = fill(&tenant).await;
    let before = ALLOCATOR.allocated();
    for number in 0..200 {
        ask(&tenant, &cis, number).await;
        let taken = ALLOCATOR.allocated().saturating_sub(before);
        assert!(
            taken <= MOST,
            "{taken} bytes after {number} rounds, {:?}",
            runner.stats()
        );
    }
    // It was full, and said about what it took.
    let stats = runner.stats();
    let taken = ALLOCATOR.allocated().saturating_sub(before);
    assert!(stats.weight > (BOUND * 3 / 4) as u64, "{stats:?}");
    assert!(taken > BOUND / 2, "{taken} bytes, {stats:?}");
    println!(
        "{taken} bytes taken, {} weighed, {} entries",
        stats.weight, stats.cache.size
    );
    runner.close().await;
}
