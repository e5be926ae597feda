//! How large the values are that a shared tier holds: docs/measurements.md and docs/scale.md say it of searches of ten rows.

use ci_bench::Estate;
use ci_model::{Search, TenantId};
use ci_store::WriteOptions;
use ci_tests::fixture::Fixture;
use ci_tests::tier::MemoryTier;

use super::{acme, runner};

/// CIs of the estate, and searches that have to be found for each of which there are ten.
const CIS: u64 = 3_000;
const SEARCHES: usize = 100;
const ROWS: usize = 10;

#[tokio::test]
async fn a_value_is_smaller_than_its_rows_as_json() {
    let fixture = Fixture::sqlite();
    let tier = MemoryTier::new();
    let runner = runner(&fixture, &tier).await;
    let tenant = TenantId::new("acme").unwrap();
    let estate = Estate::new(7, CIS);
    let cis = estate.cis().map(|draft| draft.check(&tenant).unwrap()).collect();
    let store = runner.store();
    store.upsert_cis(cis, WriteOptions::default()).await.unwrap();
    assert!(runner.catch_up(super::LONG).await);
    let mut words: Vec<String> = estate
        .cis()
        .map(|ci| ci.ci_code.chars().take(4).collect())
        .collect();
    words.extend(
        estate
            .cis()
            .map(|ci| ci.ci_code.chars().skip(1).take(4).collect()),
    );
    words.sort_unstable();
    words.dedup();
    let (mut json, mut values, mut searches) = (0, 0, 0);
    for word in words {
        let search = Search::builder().keyword(word.trim()).limit(10).build();
        let Ok(search) = search else { continue };
        tier.flush();
        let found = acme(&runner).search_strict(&search).await.unwrap();
        runner.settle_tier(false).await;
        let written: Vec<usize> = tier.dump().values().map(Vec::len).collect();
        if let [value] = written[..]
            && found.value.items.len() == ROWS
        {
            json += serde_json::to_vec(&found.value.items).unwrap().len();
            values += value;
            searches += 1;
        }
    }
    assert!(searches >= SEARCHES, "{searches}");
    println!(
        "{searches} searches of ten rows: a value has {} bytes, its rows as JSON {}",
        values / searches,
        json / searches
    );
    assert!(values < json, "{values} and {json} bytes in all");
}
