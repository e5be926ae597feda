//! Who follows a tenant's changes, breaks off and comes back ends up with what the database has.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeMap;
use std::time::Duration;

use ci_model::{CiCode, CiDraft, CiId, CiRef, Effect, Get, List, RelationDraft, TenantId, Token};
use ci_runner::{Level, News, Runner, Tenant, TenantChange};
use ci_tests::fixture::{Fixture, on_both};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What is waited for comes long before.
const PATIENCE: Duration = Duration::from_secs(120);
const CODES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn tenant(runner: &Runner, name: &str) -> Tenant {
    runner.tenant(TenantId::new(name).unwrap())
}

fn draft(code: &str, name: u32) -> CiDraft {
    CiDraft {
        ci_code: code.into(),
        ci_name: format!("n{name}"),
        ci_type: "t".into(),
        ..CiDraft::default()
    }
}

async fn runner(fixture: &Fixture, remembered: usize) -> Runner {
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .recent_changes(remembered)
        .build()
        .unwrap();
    assert!(runner.catch_up(Duration::from_secs(60)).await);
    runner
}

/// What a client holds of the CIs that it was told of: their names, read at the token that told of them.
#[derive(Default)]
struct Mirror {
    cis: BTreeMap<CiId, String>,
    token: Option<Token>,
    lost: u32,
}

impl Mirror {
    /// Takes in what there is now.
    async fn catch_up(&mut self, of: &Tenant) {
        let mut following = of.follow(self.token.clone());
        while let Some(news) = following.try_next() {
            match news {
                News::Changes(told) => {
                    let view = of.at(Level::AtLeast(told.token.clone()));
                    for change in told.changes {
                        self.take(&view, change).await;
                    }
                    self.token = Some(told.token);
                }
                News::Lost(token) => {
                    self.lost += 1;
                    self.read_all(&of.at(Level::AtLeast(token.clone()))).await;
                    self.token = Some(token);
                }
                _ => unreachable!("there is no other news"),
            }
        }
        self.token = following.token().or(self.token.take());
    }

    async fn take(&mut self, view: &Tenant, change: TenantChange) {
        match change {
            TenantChange::Ci { ci_id, .. } => match view.get(&Get::new(ci_id)).await.unwrap().value {
                Some(ci) => drop(self.cis.insert(ci_id, ci.summary.ci_name.clone())),
                None => drop(self.cis.remove(&ci_id)),
            },
            TenantChange::Anything => self.read_all(view).await,
            _ => {}
        }
    }

    async fn read_all(&mut self, view: &Tenant) {
        self.cis = all(view).await;
    }
}

async fn all(view: &Tenant) -> BTreeMap<CiId, String> {
    let page = view
        .list(&List::builder().limit(500).build().unwrap())
        .await
        .unwrap();
    let rows = page.value.items.iter();
    rows.map(|ci| (ci.ci_id, ci.ci_name.clone())).collect()
}

async fn write(acme: &Tenant, random: &mut ChaCha8Rng) {
    let code = CODES[random.random_range(0..CODES.len())];
    match random.random_range(0..6) {
        0 => drop(
            acme.delete_cis(vec![CiRef::from(CiCode::new(code).unwrap())])
                .await
                .unwrap(),
        ),
        1 => {
            let other = CODES[random.random_range(0..CODES.len())];
            // Refused where an end is not there, or both are the same.
            let _ = acme
                .upsert_relations(vec![RelationDraft::new(code, "USES", other)])
                .await;
        }
        2 => {
            let all = CODES.map(|code| draft(code, random.random_range(0..9)));
            acme.upsert_cis(all.to_vec()).await.unwrap();
        }
        _ => drop(
            acme.upsert_cis(vec![draft(code, random.random_range(0..9))])
                .await
                .unwrap(),
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_comes_and_goes_ends_with_what_the_database_has() {
    on_both(async |fixture| {
        // So little is remembered in the second that a client that stays away long has lost changes, and is told so.
        for (remembered, loses) in [(8_192, false), (40, true)] {
            let runner = runner(fixture, remembered).await;
            let (acme, other) = (tenant(&runner, "acme"), tenant(&runner, "other"));
            let mut random = ChaCha8Rng::seed_from_u64(7);
            let mut mirrors = [Mirror::default(), Mirror::default(), Mirror::default()];
            for mirror in &mut mirrors {
                mirror.read_all(&acme.strong()).await;
                mirror.catch_up(&acme).await;
            }
            for round in 0..60_u32 {
                write(&acme, &mut random).await;
                write(&other, &mut random).await;
                for (mirror, every) in mirrors.iter_mut().zip([1, 3, 20]) {
                    if round % every == 0 {
                        mirror.catch_up(&acme).await;
                    }
                }
            }
            let expected = all(&acme.strong()).await;
            for mirror in &mut mirrors {
                mirror.catch_up(&acme).await;
                assert_eq!(mirror.cis, expected);
            }
            assert_eq!(mirrors[0].lost, 0, "who is always there loses nothing");
            assert_eq!(mirrors[2].lost > 0, loses);
            runner.close().await;
        }
    })
    .await;
}

#[tokio::test]
async fn changes_are_told_with_what_they_did_and_to_their_tenant_alone() {
    on_both(async |fixture| {
        let runner = runner(fixture, 100).await;
        let (acme, other) = (tenant(&runner, "acme"), tenant(&runner, "other"));
        let (mut mine, mut others) = (acme.follow(None), other.follow(None));
        acme.upsert_cis(vec![draft("a", 1)]).await.unwrap();
        acme.upsert_cis(vec![draft("a", 2), draft("b", 1)]).await.unwrap();
        acme.upsert_relations(vec![RelationDraft::new("a", "USES", "b")])
            .await
            .unwrap();
        let written = acme
            .delete_cis(vec![CiCode::new("a").unwrap().into()])
            .await
            .unwrap();
        let mut told = Vec::new();
        let mut last = None;
        while let Some(news) = mine.try_next() {
            let News::Changes(changes) = news else {
                panic!("nothing is lost: {news:?}");
            };
            last = Some(changes.token);
            for change in changes.changes {
                told.push(match change {
                    TenantChange::Ci { effect, ci_code, .. } => (effect, ci_code),
                    TenantChange::Relation { effect, rel_type, .. } => (effect, rel_type.to_string()),
                    other => panic!("{other:?}"),
                });
            }
        }
        let expected = [
            (Effect::Created, "a"),
            (Effect::Updated, "a"),
            (Effect::Created, "b"),
            (Effect::Created, "USES"),
            (Effect::Deleted, "a"),
        ];
        assert_eq!(told, expected.map(|(effect, what)| (effect, what.to_owned())));
        // A write may have waited for a poll after the one that told of it, and other databases' transactions number the polls apart.
        let (last, token): (Token, Token) = (last.unwrap(), written.token.clone().unwrap());
        assert_eq!(last.epoch, token.epoch);
        assert!(token.version.includes(&last.version));
        let level = Level::AtLeast(last.clone());
        let read = acme.at(level).get_by_code("a").await.unwrap();
        assert!(read.value.is_none(), "the last token includes the last write");
        assert_eq!(others.try_next(), None);
        // Who comes back with a token is told what came after it.
        let mut again = acme.follow(Some(last));
        assert_eq!(again.try_next(), None);
        acme.upsert_cis(vec![draft("a", 3)]).await.unwrap();
        let waited = tokio::time::timeout(PATIENCE, again.next()).await;
        assert!(matches!(waited.unwrap(), Some(News::Changes(_))));
        // A token of another database, or of one that was restored.
        let foreign = Token {
            epoch: ci_model::Epoch(7),
            version: written.token.unwrap().version,
        };
        let news = acme.follow(Some(foreign)).try_next();
        assert!(matches!(news, Some(News::Lost(_))), "{news:?}");
        runner.close().await;
    })
    .await;
}

/// On PostgreSQL the order in which several transactions wrote a CI's row and its documents between two polls is not told: then it is told
/// that something happened to the CI, and never that a CI that is there is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_known_of_a_ci_is_not_told() {
    on_both(async |fixture| {
        const LONG: Duration = Duration::from_secs(60);
        let builder = ci_tests::fixture::patient(fixture.open().await)
            .poll_every(LONG)
            .poll_idle(LONG);
        let runner = builder.build().unwrap();
        let acme = tenant(&runner, "acme");
        acme.upsert_cis(vec![draft("b", 1)]).await.unwrap();
        acme.delete_cis(vec![CiCode::new("b").unwrap().into()])
            .await
            .unwrap();
        let mut following = acme.follow(None);
        // Brought back under a name that sorts before the old one, and then its documents: two transactions, one poll.
        fixture
            .execute("UPDATE ci SET deleted_at = NULL, ci_name = 'a' WHERE ci_code = 'b'")
            .await;
        fixture.execute("UPDATE ci_ext SET tags = '{\"x\": 1}'").await;
        let there = acme.strong().get_by_code("b").await.unwrap().value;
        assert_eq!(there.unwrap().summary.ci_name, "a");
        let mut told = Vec::new();
        while let Some(News::Changes(news)) = following.try_next() {
            told.extend(news.changes);
        }
        let is_gone = |change: &TenantChange| {
            matches!(
                change,
                TenantChange::Ci {
                    effect: Effect::Deleted,
                    ..
                }
            )
        };
        assert!(!told.is_empty() && !told.iter().any(is_gone), "{told:?}");
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_follower_ends_with_its_runner() {
    let fixture = Fixture::sqlite();
    let runner = runner(&fixture, 0).await;
    let acme = tenant(&runner, "acme");
    let mut following = acme.follow(None);
    acme.upsert_cis(vec![draft("a", 1)]).await.unwrap();
    let news = following.try_next();
    assert!(
        matches!(news, Some(News::Lost(_))),
        "what nobody remembers is lost: {news:?}"
    );
    assert_eq!(following.try_next(), None);
    runner.close().await;
    let ended = tokio::time::timeout(PATIENCE, following.next()).await;
    assert_eq!(ended.unwrap(), None);
}
