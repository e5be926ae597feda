//! Nodes that start, that confirm what they use, that miss the same at once, and a campaign of all of it.

use std::time::Duration;

use ci_model::{Get, Question};
use ci_runner::tier::{TierOutcome, TierRules};
use ci_runner::{Level, Source};
use ci_tests::fixture::{Fixture, on_both, patient};
use ci_tests::observed::Observed;
use ci_tests::tier::{Faults, MemoryTier};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{LONG, acme, ask, builder, close, found, named, options, reads, reference, runner, search};

/// Its log reaches back to a bookmark of another node, so it can prove what is in the tier.
#[tokio::test]
async fn a_runner_that_starts_can_use_the_tier_at_once() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let first = runner(fixture, &tier).await;
        while !tier.has_bookmark() {
            assert!(first.catch_up(LONG).await);
        }
        let drafts = ["erp-1", "crm-1"].map(|code| named(code, code));
        acme(&first).upsert_cis(drafts.to_vec()).await.unwrap();
        found(&acme(&first), "erp").await;
        found(&acme(&first), "crm").await;
        first.settle_tier(false).await;
        tier.set(Faults {
            loses_deletes: true,
            ..Faults::default()
        });
        acme(&first)
            .upsert_cis(vec![named("crm-1", "crm-1 new")])
            .await
            .unwrap();

        let cold = patient(fixture.open().await)
            .tier(tier.clone(), options().replay(Duration::ZERO))
            .tier_anywhere();
        let cold = cold.build().unwrap();
        assert!(cold.catch_up(LONG).await);
        assert_eq!(found(&acme(&cold), "erp").await.1, Source::Miss);
        assert_eq!(
            reads(&cold, TierOutcome::Floor),
            1,
            "it knows of no change before its start"
        );

        tier.restore(tier.dump());
        let warm = runner(fixture, &tier).await;
        assert_eq!(
            found(&acme(&warm), "erp").await,
            (vec!["erp-1".to_owned()], Source::Tier)
        );
        assert_eq!(
            found(&acme(&warm), "crm").await,
            (vec!["crm-1 new".to_owned()], Source::Miss)
        );
        assert_eq!(reads(&warm, TierOutcome::Overtaken), 1);
        close([first, cold, warm]).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_used_is_confirmed_anew() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let first = runner(fixture, &tier).await;
        let second = builder(fixture, &tier).await.log_changes(4).build().unwrap();
        acme(&first)
            .upsert_cis(["erp-1", "crm-1"].map(|code| named(code, code)).to_vec())
            .await
            .unwrap();
        assert!(second.catch_up(LONG).await);
        found(&acme(&first), "erp").await;
        found(&acme(&first), "crm").await;
        first.settle_tier(false).await;
        for round in 0..10 {
            let name = format!("web {round}");
            acme(&first)
                .upsert_cis(vec![named("web-1", &name)])
                .await
                .unwrap();
            assert!(second.catch_up(LONG).await);
        }
        assert_eq!(found(&acme(&second), "erp").await.1, Source::Miss);
        assert_eq!(
            reads(&second, TierOutcome::Floor),
            1,
            "the log does not reach back that far"
        );
        first.settle_tier(true).await;
        assert_eq!(first.stats().tier.unwrap().refreshed, 2);
        assert_eq!(
            found(&acme(&second), "crm").await,
            (vec!["crm-1".to_owned()], Source::Tier)
        );
        close([first, second]).await;
    })
    .await;
}

/// Ten nodes miss the same answers at once: one loads, the others wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn ten_runners_load_once() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let (mut runners, mut controls) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let (store, control) = Observed::around(fixture.open().await);
            let build = patient(store)
                .tier(tier.clone(), options().wait(Duration::from_secs(10)))
                .tier_anywhere();
            runners.push(build.build().unwrap());
            controls.push(control);
        }
        acme(&runners[0])
            .upsert_cis(vec![named("erp-1", "ERP")])
            .await
            .unwrap();
        for runner in &runners {
            assert!(runner.catch_up(LONG).await);
        }
        let questions: [Question; 2] = [search("erp").into(), Get::new(reference("erp-1")).into()];
        for (question, refused) in questions.into_iter().zip([9, 18]) {
            // Whoever loads is held until the nine others have missed: they ask at once, however the machine stalls.
            let gates: Vec<_> = controls.iter().map(|control| control.close_gate()).collect();
            let asking = runners.iter().map(|runner| {
                let (tenant, question) = (acme(runner), question.clone());
                tokio::spawn(async move { ask(&tenant, &question).await })
            });
            let asking: Vec<_> = asking.collect();
            tier.refused(refused).await;
            drop(gates);
            let mut sources = Vec::new();
            for asked in asking {
                sources.push(asked.await.unwrap().1);
            }
            let count = |of: Source| sources.iter().filter(|source| **source == of).count();
            assert_eq!((count(Source::Miss), count(Source::Tier)), (1, 9), "{question:?}");
        }
        close(runners).await;
    })
    .await;
}

/// Who has the lease never answers: the others wait as long as they may, and load.
#[tokio::test]
async fn a_lease_holds_nobody_up_for_long() {
    let (fixture, tier) = (Fixture::sqlite(), MemoryTier::new());
    tier.set(Faults {
        loses_puts: true,
        loses_deletes: true,
        ..Faults::default()
    });
    let mut runners = Vec::new();
    for _ in 0..3 {
        let build = builder(&fixture, &tier)
            .await
            .tier(tier.clone(), options().wait(Duration::from_millis(200)));
        runners.push(build.build().unwrap());
    }
    acme(&runners[0])
        .upsert_cis(vec![named("erp-1", "ERP")])
        .await
        .unwrap();
    for runner in &runners {
        assert!(runner.catch_up(LONG).await);
        assert_eq!(
            found(&acme(runner), "erp").await,
            (vec!["ERP".to_owned()], Source::Miss)
        );
    }
    assert!(tier.asked() > 3, "the others looked again: {}", tier.asked());
    close(runners).await;
    fixture.finish().await;
}

/// Random writes, questions of three runners and faults of the tier; each answer is compared with the database. Says how many were wrong.
async fn campaign(fixture: &Fixture, rules: TierRules, seed: u64) -> (usize, u64) {
    let tier = MemoryTier::new();
    let mut runners = Vec::new();
    for _ in 0..3 {
        let build = builder(fixture, &tier).await.max_entries(8).log_changes(40);
        runners.push(build.tier_rules(rules).build().unwrap());
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut wrong, mut old) = (0, Vec::new());
    for step in 0..400 {
        let at = random.random_range(0..runners.len());
        let tenant = acme(&runners[at]);
        match random.random_range(0..10) {
            0 | 1 => {
                let code = format!("ci-{}", random.random_range(0..12));
                let name = format!("name {} {step}", ["erp", "crm", "web"][random.random_range(0..3)]);
                tenant.upsert_cis(vec![named(&code, &name)]).await.unwrap();
            }
            2 => old.push(tier.dump()),
            3 if !old.is_empty() => tier.restore(old[random.random_range(0..old.len())].clone()),
            4 => tier.set(Faults {
                loses_deletes: random.random(),
                loses_puts: random.random_ratio(1, 4),
                ..Faults::default()
            }),
            5 if random.random_ratio(1, 8) => tier.flush(),
            _ => {
                let question: Question = match random.random_range(0..4) {
                    0 => Get::new(reference(&format!("ci-{}", random.random_range(0..12)))).into(),
                    _ => search(["erp", "crm", "web"][random.random_range(0..3)]).into(),
                };
                let (answer, _) = ask(&tenant.at(Level::Strong), &question).await;
                let (truth, _) = ask(&tenant.at(Level::Bypass), &question).await;
                wrong += usize::from(answer != truth);
                runners[at].settle_tier(random.random_ratio(1, 10)).await;
            }
        }
    }
    let shared = runners.iter().map(|runner| reads(runner, TierOutcome::Hit)).sum();
    close(runners).await;
    (wrong, shared)
}

#[tokio::test]
async fn no_answer_of_a_campaign_is_wrong() {
    on_both(async |fixture| {
        let (wrong, shared) = campaign(fixture, TierRules::Kept, 8).await;
        assert_eq!(wrong, 0);
        assert!(shared > 20, "the tier answered {shared} times");
    })
    .await;
}

#[tokio::test]
async fn the_campaign_finds_plain_cache_aside() {
    let fixture = Fixture::sqlite();
    let (wrong, _) = campaign(&fixture, TierRules::TrustsValues, 8).await;
    assert!(wrong > 0, "the campaign has teeth");
    fixture.finish().await;
}
