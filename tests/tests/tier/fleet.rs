//! Nodes that start, that confirm what they use, that miss the same at once, and a campaign of all of it.

use std::sync::Arc;
use std::time::Duration;

use ci_model::{Get, Question};
use ci_runner::tier::{TierOutcome, TierRules};
use ci_runner::{Level, Runner, Source};
use ci_tests::fixture::{Fixture, on_both, patient};
use ci_tests::observed::{Control, Observed};
use ci_tests::tier::{Faults, MemoryTier};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{LONG, acme, ask, builder, close, found, named, options, reads, reference, runner, search};

/// Nodes that wait for each other's loads for as long as it takes, and what their stores do.
async fn waiting(
    fixture: &Fixture,
    tier: &Arc<MemoryTier>,
    count: usize,
) -> (Vec<Runner>, Vec<Arc<Control>>) {
    let (mut runners, mut controls) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (store, control) = Observed::around(fixture.open().await);
        let build = patient(store).tier(tier.clone(), options().wait(Duration::from_secs(10)));
        runners.push(build.tier_anywhere().build().unwrap());
        controls.push(control);
    }
    (runners, controls)
}

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
        // What the second has just loaded and put there is newer: the first confirms the other one.
        second.settle_tier(false).await;
        first.settle_tier(true).await;
        assert_eq!(first.stats().tier.unwrap().refreshed, 1);
        assert_eq!(
            found(&acme(&second), "crm").await,
            (vec!["crm-1".to_owned()], Source::Tier)
        );
        close([first, second]).await;
    })
    .await;
}

/// A node that has had answers from the tier confirms them like its own: whoever loaded them may be gone. They stay what they were: forgotten by a node that
/// has forgotten what was loaded until then.
#[tokio::test]
async fn what_came_from_the_tier_is_confirmed_too() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let first = runner(fixture, &tier).await;
        let second = runner(fixture, &tier).await;
        let third = builder(fixture, &tier).await.log_changes(4).build().unwrap();
        acme(&first)
            .upsert_cis(["erp-1", "crm-1"].map(|code| named(code, code)).to_vec())
            .await
            .unwrap();
        found(&acme(&first), "erp").await;
        first.settle_tier(false).await;
        for runner in [&second, &third] {
            assert!(runner.catch_up(LONG).await);
        }
        assert_eq!(found(&acme(&second), "erp").await.1, Source::Tier);
        // Until then its log reaches back, and it forgets what was loaded until now.
        first.clear();
        for round in 0..10 {
            let name = format!("web {round}");
            acme(&first)
                .upsert_cis(vec![named("web-1", &name)])
                .await
                .unwrap();
            assert!(third.catch_up(LONG).await);
        }
        assert!(second.catch_up(LONG).await);
        second.settle_tier(true).await;
        assert_eq!(second.stats().tier.unwrap().refreshed, 1);
        assert_eq!(
            found(&acme(&third), "erp").await,
            (vec!["erp-1".to_owned()], Source::Tier)
        );
        assert_eq!(found(&acme(&first), "erp").await.1, Source::Miss);
        assert_eq!(reads(&first, TierOutcome::Forgotten), 1);
        close([first, second, third]).await;
    })
    .await;
}

/// A node that has an answer from before does not put it over what another has loaded since, nor where somebody has taken it away.
#[tokio::test]
async fn what_another_has_put_there_stays() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let (first, second) = (runner(fixture, &tier).await, runner(fixture, &tier).await);
        let write = async |code: &str| {
            let draft = named(code, &format!("web {code}"));
            acme(&first).upsert_cis(vec![draft]).await.unwrap();
            assert!(second.catch_up(LONG).await);
        };
        write("erp-1").await;
        found(&acme(&first), "erp").await;
        first.settle_tier(false).await;
        assert_eq!(found(&acme(&second), "erp").await.1, Source::Tier);
        // The first loads anew, at a later state, and puts that there.
        write("other-1").await;
        first.clear();
        assert_eq!(found(&acme(&first), "erp").await.1, Source::Miss);
        first.settle_tier(false).await;
        let there = tier.dump();
        write("other-2").await;
        second.settle_tier(true).await;
        assert_eq!(tier.dump(), there);
        tier.flush();
        write("other-3").await;
        second.settle_tier(true).await;
        assert_eq!(
            (tier.dump().len(), second.stats().tier.unwrap().refreshed),
            (0, 0)
        );
        close([first, second]).await;
    })
    .await;
}

/// An older bookmark is of another history, as after a restart of the database, or where two databases share a tier.
#[tokio::test]
async fn bookmarks_of_another_history_are_passed_over() {
    on_both(async |fixture| {
        let others = if fixture.is_sqlite() {
            Fixture::sqlite()
        } else {
            Fixture::postgres().await
        };
        let tier = MemoryTier::new();
        let there = runner(&others, &tier).await;
        while !tier.has_bookmark() {
            assert!(there.catch_up(LONG).await);
        }
        close([there]).await;
        tier.age_bookmarks(2);
        let older = tier.bookmarks();
        let first = runner(fixture, &tier).await;
        while tier.bookmarks() == older {
            assert!(first.catch_up(LONG).await);
        }
        acme(&first)
            .upsert_cis(vec![named("erp-1", "erp-1")])
            .await
            .unwrap();
        found(&acme(&first), "erp").await;
        first.settle_tier(false).await;
        let late = runner(fixture, &tier).await;
        assert_eq!(
            found(&acme(&late), "erp").await,
            (vec!["erp-1".to_owned()], Source::Tier)
        );
        close([first, late]).await;
        others.finish().await;
    })
    .await;
}

/// What was committed since the file was written cannot be told any more; since the fleet's bookmark it can.
#[tokio::test]
async fn a_warm_file_that_is_too_old_does_not_keep_the_tier_from_being_used() {
    on_both(async |fixture| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("warm");
        let before = patient(fixture.open().await).warm_file(&file).build().unwrap();
        for code in ["erp-1", "crm-1"] {
            acme(&before).upsert_cis(vec![named(code, code)]).await.unwrap();
        }
        found(&acme(&before), "erp").await;
        assert!(before.catch_up(LONG).await);
        before.close().await;

        let store = fixture.open().await;
        for name in ["new", "newer"] {
            let other = runner(fixture, &MemoryTier::new()).await;
            acme(&other).upsert_cis(vec![named("erp-1", name)]).await.unwrap();
            other.close().await;
            fixture.forget(&*store).await;
        }
        store.close().await;

        let tier = MemoryTier::new();
        let fleet = runner(fixture, &tier).await;
        while !tier.has_bookmark() {
            assert!(fleet.catch_up(LONG).await);
        }
        acme(&fleet)
            .upsert_cis(vec![named("crm-1", "crm new")])
            .await
            .unwrap();
        for keyword in ["erp", "crm"] {
            found(&acme(&fleet), keyword).await;
        }
        fleet.settle_tier(false).await;
        // Who knows of no change before its start cannot prove what was loaded before this one.
        acme(&fleet)
            .upsert_cis(vec![named("web-1", "web")])
            .await
            .unwrap();
        let again = builder(fixture, &tier).await.warm_file(&file).build().unwrap();
        assert!(again.catch_up(LONG).await);
        assert!(again.warm().refused.is_some(), "{:?}", again.warm());
        let crm = found(&acme(&again), "crm").await;
        assert_eq!(crm, (vec!["crm new".to_owned()], Source::Tier));
        // Asked in the background, too.
        assert_eq!(found(&acme(&again), "erp").await.0, ["newer"]);
        assert!(reads(&again, TierOutcome::Hit) >= 2);
        assert_eq!(reads(&again, TierOutcome::Floor), 0);
        close([fleet, again]).await;
    })
    .await;
}

/// More changes of a tenant than are told apart in a running node: one that starts reads each of them.
#[tokio::test]
async fn many_changes_do_not_spoil_a_start() {
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
        let mut many: Vec<_> = (0..2_000).map(|at| named(&format!("web-{at}"), "web")).collect();
        many.push(named("crm-1", "crm-1 new"));
        acme(&first).upsert_cis(many).await.unwrap();
        let late = runner(fixture, &tier).await;
        assert_eq!(
            found(&acme(&late), "erp").await,
            (vec!["erp-1".to_owned()], Source::Tier)
        );
        assert_eq!(found(&acme(&late), "crm").await.1, Source::Miss);
        assert_eq!(reads(&late, TierOutcome::Overtaken), 1);
        close([first, late]).await;
    })
    .await;
}

/// A get that the tier answers does not wait for another one that is gathered with it and has to be loaded.
#[tokio::test]
async fn what_the_tier_has_waits_for_no_load() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let first = runner(fixture, &tier).await;
        let (store, control) = Observed::around(fixture.open().await);
        let second = patient(store).tier(tier.clone(), options()).tier_anywhere();
        let second = second.build().unwrap();
        acme(&first)
            .upsert_cis(["erp-1", "erp-2"].map(|code| named(code, code)).to_vec())
            .await
            .unwrap();
        let get = |code: &str| Get::new(reference(code));
        acme(&first).get(&get("erp-1")).await.unwrap();
        first.settle_tier(false).await;
        assert!(second.catch_up(LONG).await);
        let (tenant, asked) = (acme(&second), tier.asked());
        let gate = control.close_gate();
        // Both are in the same batch: nothing else runs between the two.
        let loads = tokio::spawn({
            let (tenant, get) = (tenant.clone(), get("erp-2"));
            async move { tenant.get(&get).await.unwrap().source }
        });
        let shared = tokio::spawn({
            let (tenant, get) = (tenant.clone(), get("erp-1"));
            async move { tenant.get(&get).await.unwrap().source }
        });
        assert_eq!(shared.await.unwrap(), Source::Tier);
        assert_eq!(tier.asked(), asked + 1, "they were asked for together");
        assert!(!loads.is_finished());
        drop(gate);
        assert_eq!(loads.await.unwrap(), Source::Miss);
        close([first, second]).await;
    })
    .await;
}

/// Ten nodes miss the same answers at once: one loads, the others wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn ten_runners_load_once() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let (runners, controls) = waiting(fixture, &tier, 10).await;
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

/// Two nodes miss the same; the one that has the lease fails. The other one waits no longer: it has the lease now, and loads.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_fails_gives_its_lease_back() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let (runners, controls) = waiting(fixture, &tier, 2).await;
        acme(&runners[0])
            .upsert_cis(vec![named("erp-1", "ERP")])
            .await
            .unwrap();
        assert!(runners[1].catch_up(LONG).await);
        let gate = controls[0].close_gate();
        let failing = tokio::spawn({
            let tenant = acme(&runners[0]);
            async move { tenant.search_strict(&search("erp")).await }
        });
        while tier.leases() != (1, 1) {
            tokio::task::yield_now().await;
        }
        let waiting = tokio::spawn({
            let tenant = acme(&runners[1]);
            async move { found(&tenant, "erp").await }
        });
        tier.refused(1).await;
        controls[0].fail_nth(0);
        drop(gate);
        assert!(failing.await.unwrap().is_err());
        assert_eq!(waiting.await.unwrap(), (vec!["ERP".to_owned()], Source::Miss));
        assert_eq!(tier.leases().0, 2, "it took the lease that was given back");
        runners[1].settle_tier(false).await;
        assert_eq!(tier.leases(), (2, 0), "and gave it back as well");
        close(runners).await;
    })
    .await;
}

/// Two nodes that poll once a minute. The writes of one are seen by the other as soon as it rings; when rings are lost nothing is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_ring_wakes_the_others_and_nothing_more() {
    on_both(async |fixture| {
        const MINUTE: Duration = Duration::from_secs(60);
        let tier = MemoryTier::new();
        let mut runners = Vec::new();
        for _ in 0..2 {
            let build = builder(fixture, &tier).await;
            let build = build.tier(tier.clone(), options().doorbell(true));
            runners.push(build.poll_every(MINUTE).poll_idle(MINUTE).build().unwrap());
        }
        for runner in &runners {
            while !runner.stats().tier.unwrap().is_listening {
                tokio::task::yield_now().await;
            }
            assert!(runner.catch_up(LONG).await);
        }
        let [writer, other] = [&runners[0], &runners[1]];
        let changes = other.feed().changes;
        acme(writer)
            .upsert_cis(vec![named("erp-1", "ERP")])
            .await
            .unwrap();
        let woken = async {
            let is_heard = || other.stats().tier.unwrap().rings_heard > 0;
            // Who rings counts it after the others may have heard it.
            let is_counted = || writer.stats().tier.unwrap().rings_sent > 0;
            while other.feed().changes == changes || !is_heard() || !is_counted() {
                tokio::task::yield_now().await;
            }
        };
        let half = MINUTE / 2;
        tokio::time::timeout(half, woken)
            .await
            .expect("it does not wait for its next poll");
        assert_eq!(writer.stats().tier.unwrap().rings_sent, 1);
        assert_eq!(found(&acme(other), "erp").await.0, ["ERP"]);

        tier.set(Faults {
            loses_rings: true,
            ..Faults::default()
        });
        acme(writer)
            .upsert_cis(vec![named("erp-1", "ERP 2")])
            .await
            .unwrap();
        let strong = acme(other).at(Level::Strong);
        assert_eq!(found(&strong, "erp").await.0, ["ERP 2"]);
        close(runners).await;
    })
    .await;
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
