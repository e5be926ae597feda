//! The ledger finds every kind of stale answer in an arm that is planted to give them, and none in arms that are true.

use std::collections::HashMap;
use std::sync::Arc;

use ci_bench::Estate;
use ci_benches::{Loaded, sqlite, tenant};
use ci_load_bench::arms::{Arm, Cached, Shown, Uncached};
use ci_load_bench::ledger::{Ledger, Stale};
use ci_load_bench::operation::{Operation, search};
use ci_model::{Aggregate, CiCode, Get, List, ListOrder, Question};

const SIZE: u64 = 120;

/// A place, a hot CI that is active, and operations about it.
async fn scene() -> (Loaded, CiCode, Vec<Operation>) {
    let place = sqlite(SIZE).await.expect("a database");
    let hot = Estate::new(7, SIZE)
        .cis()
        .find(|ci| ci.status.as_deref() == Some("active"))
        .expect("an active CI");
    let code = CiCode::new(&hot.ci_code).expect("a code");
    let words = [code.as_str().to_owned()];
    let latest = List::builder().order(ListOrder::Updated).limit(10);
    let questions: [Question; 5] = [
        Get::new(code.clone()).into(),
        search(&words, None).expect("a search"),
        search(&words, Some("maintenance")).expect("a search"),
        Aggregate::builder()
            .group_by("status")
            .build()
            .expect("counts")
            .into(),
        latest.build().expect("a list").into(),
    ];
    (place, code, questions.into_iter().map(Operation::One).collect())
}

/// Writes the hot CI once, to the end.
async fn written(ledger: &Ledger, arm: &dyn Arm) {
    let (number, record) = ledger.begin(0);
    arm.write(record).await.expect("written");
    ledger.acknowledge(number);
}

/// The planted arm: it gives its first answer for ever.
async fn frozen(arm: &dyn Arm, operations: &[Operation]) -> Vec<Shown> {
    let mut kept = Vec::new();
    for operation in operations {
        kept.push(arm.run(&tenant(), operation).await.expect("an answer").shown);
    }
    kept
}

#[tokio::test]
async fn every_kind_of_stale_answer_is_found() {
    let (place, code, operations) = scene().await;
    let store = Uncached::new(Arc::clone(&place.store));
    let ledger = Ledger::new(&*place.store, &tenant(), &[code], &operations)
        .await
        .expect("a ledger");
    let kept = frozen(&store, &operations).await;
    let since = ledger.since();
    for (operation, shown) in operations.iter().zip(&kept) {
        assert_eq!(
            ledger.judge(since, operation, shown),
            None,
            "nothing was written yet"
        );
    }
    written(&ledger, &store).await;
    let found: Vec<Option<Stale>> = operations
        .iter()
        .zip(&kept)
        .map(|(operation, shown)| ledger.judge(ledger.since(), operation, shown))
        .collect();
    assert_eq!(
        found,
        [
            Some(Stale::OldRow),
            Some(Stale::OldRow),
            Some(Stale::MissingRow),
            Some(Stale::Counts),
            Some(Stale::Order),
        ]
    );
    for (operation, shown) in operations.iter().zip(&kept) {
        assert_eq!(
            ledger.judge(since, operation, shown),
            None,
            "an answer to a question from before the write may be without it"
        );
    }
}

#[tokio::test]
async fn a_write_under_way_is_neither_required_nor_forbidden() {
    let (place, code, operations) = scene().await;
    let store = Uncached::new(Arc::clone(&place.store));
    let ledger = Ledger::new(&*place.store, &tenant(), &[code], &operations)
        .await
        .expect("a ledger");
    written(&ledger, &store).await;
    let before = frozen(&store, &operations).await;
    let (_, record) = ledger.begin(0);
    let since = ledger.since();
    for (operation, shown) in operations.iter().zip(&before) {
        assert_eq!(ledger.judge(since, operation, shown), None, "without it");
    }
    store
        .write(record)
        .await
        .expect("written, and not acknowledged yet");
    for (operation, shown) in operations.iter().zip(&frozen(&store, &operations).await) {
        assert_eq!(ledger.judge(since, operation, shown), None, "with it");
    }
}

#[tokio::test]
async fn the_runner_is_never_stale_and_another_ledgers_stamps_are_no_proof() {
    let (place, code, operations) = scene().await;
    let runner = Cached::new(Arc::clone(&place.store), 100).expect("a runner");
    for _ in 0..2 {
        let hot = [code.clone()];
        let ledger = Ledger::new(&*place.store, &tenant(), &hot, &operations)
            .await
            .expect("a ledger");
        let mut verdicts: HashMap<bool, u32> = HashMap::new();
        for _ in 0..6 {
            let old = frozen(&runner, &operations).await;
            written(&ledger, &runner).await;
            let since = ledger.since();
            for (operation, shown) in operations.iter().zip(&old) {
                let stale = ledger.judge(since, operation, shown).is_some();
                *verdicts.entry(stale).or_default() += 1;
            }
            for (operation, shown) in operations.iter().zip(&frozen(&runner, &operations).await) {
                assert_eq!(ledger.judge(since, operation, shown), None);
            }
        }
        // Without a limit's help a write changes each of these answers, except that the CI is gone from the page of another status.
        assert_eq!(verdicts.get(&true), Some(&(6 * 5)), "{verdicts:?}");
    }
    runner.close().await;
}
