//! What goes wrong meanwhile.

use std::process::Command;
use std::time::Duration;

use ci_runner::{FeedState, Level};
use ci_tests::history::audit::{RawError, dropped, feed_triggers, made};
use ci_tests::history::server::Ending;
use ci_tests::history::{FeedMode, Raw, Server};
use ci_tests::store_contract::world::{below, one_of, seeded};
use rand_chacha::ChaCha8Rng;

use super::pool::{BULK, OWNERS, TENANTS, tenant};
use super::scene::Scene;
use super::sql;

/// What is waited for comes long before, unless something else is wrong.
const STEP: Duration = Duration::from_secs(20);
/// How often a load is held until it is too old, at most.
const OUTLIVING: u32 = 3;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    FeedStalled,
    FeedFailing,
    FeedLate,
    FeedTarrying,
    FeedKilled,
    BackendsKilled,
    Restarted,
    Crashed,
    ForeignTransaction,
    Truncated,
    AllDeleted,
    TriggersGone,
    TriggersGoneInOne,
    BulkThousand,
    BulkTenThousand,
    SecondProcess,
    LoadsFailing,
    LoadsSlow,
    Cleared,
    TenantForgotten,
    ChangesForgotten,
    WritesUnknown,
}

impl Fault {
    /// Those that a database knows.
    pub(crate) fn all(sqlite: bool) -> Vec<Self> {
        let mut all = vec![
            Self::FeedStalled,
            Self::LoadsSlow,
            Self::BulkThousand,
            Self::TriggersGone,
            Self::SecondProcess,
            Self::FeedFailing,
            Self::ForeignTransaction,
            Self::ChangesForgotten,
            Self::LoadsFailing,
            Self::Truncated,
            Self::FeedLate,
            Self::WritesUnknown,
            Self::TriggersGoneInOne,
            Self::Cleared,
            Self::BulkTenThousand,
            Self::FeedTarrying,
            Self::TenantForgotten,
            Self::AllDeleted,
        ];
        if !sqlite {
            all.extend([
                Self::FeedKilled,
                Self::BackendsKilled,
                Self::Restarted,
                Self::FeedKilled,
                Self::Crashed,
            ]);
        }
        all
    }
}

/// Causes one fault after the other until the round is over, and tells which.
pub(crate) async fn cause(
    scene: &Scene,
    server: Option<&Server>,
    mut faults: Vec<Fault>,
    seed: u64,
) -> Vec<Fault> {
    let mut random = seeded(seed);
    let mut caused = Vec::new();
    faults.reverse();
    while !scene.is_over() {
        scene.hold(300, Duration::from_secs(1)).await;
        let Some(fault) = faults.pop() else { break };
        let mut saboteur = Saboteur {
            scene,
            server,
            random: &mut random,
        };
        saboteur.cause(fault).await;
        scene.meddling.nothing();
        caused.push(fault);
    }
    caused
}

struct Saboteur<'a> {
    scene: &'a Scene,
    server: Option<&'a Server>,
    random: &'a mut ChaCha8Rng,
}

impl Saboteur<'_> {
    async fn cause(&mut self, fault: Fault) {
        let (scene, meddling) = (self.scene, &self.scene.meddling);
        match fault {
            Fault::FeedStalled => self.feed(FeedMode::Stalls).await,
            Fault::FeedFailing => self.feed(FeedMode::Fails).await,
            Fault::FeedLate => self.feed(FeedMode::Lags(Duration::from_millis(15))).await,
            Fault::FeedTarrying => self.feed(FeedMode::Tarries(Duration::from_millis(15))).await,
            Fault::FeedKilled => {
                self.kill("AND query LIKE '%ci_change%' AND query LIKE '%UNION ALL%'")
                    .await;
            }
            Fault::BackendsKilled => self.kill("").await,
            Fault::Restarted => self.restart(Ending::Fast).await,
            Fault::Crashed => self.restart(Ending::Crash).await,
            Fault::ForeignTransaction => self.foreign_transaction().await,
            Fault::Truncated => self.truncate().await,
            Fault::AllDeleted => self.delete_all().await,
            Fault::TriggersGone => self.triggers(false).await,
            Fault::TriggersGoneInOne => self.triggers(true).await,
            Fault::BulkThousand => self.bulk("AND ci_code < 'bulk-02500'").await,
            Fault::BulkTenThousand => self.bulk("").await,
            Fault::SecondProcess => self.second_process().await,
            Fault::LoadsFailing => {
                meddling.failing_loads(true);
                scene.hold(500, Duration::from_millis(600)).await;
            }
            Fault::LoadsSlow => {
                meddling.slow_loads(Duration::from_millis(12));
                scene.hold(250, Duration::from_millis(300)).await;
                meddling.slow_loads(Duration::ZERO);
                for _ in 0..OUTLIVING {
                    if self.outlive_log().await {
                        break;
                    }
                }
            }
            Fault::Cleared => scene.runner.clear(),
            Fault::TenantForgotten => {
                scene.runner.tenant(tenant(TENANTS[0])).invalidate();
            }
            Fault::ChangesForgotten => self.forget_changes().await,
            Fault::WritesUnknown => {
                meddling.unknown_writes(true);
                scene.hold(500, Duration::from_millis(600)).await;
            }
        }
    }

    /// Holds a load until more has changed since than the runner remembers, told one by one; says whether it was refused for that.
    async fn outlive_log(&mut self) -> bool {
        let (scene, meddling) = (self.scene, &self.scene.meddling);
        let refused = || scene.runner.stats().coherence.refused_floor;
        let (before, quiet) = (refused(), tenant("quiet"));
        // Of a tenant in which nothing changes: a change of the tenant detaches its loads before they could be too old. The lag does not
        // matter, so that it is not loaded past the cache.
        let max_lag = Duration::from_secs(3_600);
        let asker = scene.runner.tenant(quiet.clone()).at(Level::Cached { max_lag });
        let code = below(self.random, 1 << 30);
        meddling.hold_loads(true);
        let asking = tokio::spawn(async move { asker.get_by_code(&format!("none-{code}")).await });
        let is_held = tokio::time::timeout(STEP, meddling.holds(&quiet)).await.is_ok();
        if is_held {
            self.insist(async |raw| raw.run(&all_changed("AND ci_code < 'bulk-00600'")).await)
                .await;
            // Polls fail while the database is away.
            let _told = tokio::time::timeout(STEP, async {
                while !scene.runner.catch_up(STEP).await {
                    scene.pause(Duration::from_millis(20)).await;
                }
            })
            .await;
        }
        meddling.hold_loads(false);
        // It may as well have failed: the database may be away.
        let _answer = asking.await;
        refused() > before
    }

    async fn feed(&mut self, mode: FeedMode) {
        self.scene.meddling.feed(mode);
        self.scene.hold(500, Duration::from_millis(500)).await;
    }

    /// Runs something on a connection of its own, again if the database refused it (a deadlock, a lock that took too long).
    async fn insist(&mut self, act: impl AsyncFn(&mut Raw) -> Result<(), RawError>) {
        let mut last = None;
        for _ in 0..50 {
            if let Some(mut raw) = self.scene.connect().await {
                match act(&mut raw).await {
                    Ok(()) => {
                        if let Ok(place) = raw.place().await {
                            self.scene.note_floor(place);
                        }
                        return;
                    }
                    Err(error) => {
                        last = Some(error);
                        let _over = raw.run("ROLLBACK").await;
                    }
                }
            }
            self.scene.pause(Duration::from_millis(20)).await;
        }
        panic!("the database refused 50 times: {last:?}");
    }

    async fn kill(&mut self, which: &str) {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity \
             WHERE application_name = 'ci-cache' AND datname = current_database() {which}"
        );
        for _ in 0..3 {
            self.insist(async |raw| raw.texts(&sql).await.map(drop)).await;
            self.scene.hold(100, Duration::from_millis(100)).await;
        }
    }

    async fn restart(&mut self, ending: Ending) {
        if let Some(server) = self.server {
            server.restart(ending).await;
            self.scene.hold(300, Duration::from_secs(2)).await;
        }
    }

    /// Somebody begins a transaction, reads and writes, and goes to lunch.
    async fn foreign_transaction(&mut self) {
        let Some(mut raw) = self.scene.connect().await else {
            return;
        };
        let begun = if raw.is_sqlite() {
            // It reads: a writer would hold up all others.
            raw.run("BEGIN; SELECT count(*) FROM ci").await
        } else {
            raw.run("BEGIN; SELECT pg_current_xact_id(); UPDATE ci SET owner = 'lunch' WHERE ci_code = 'bulk-00042'")
                .await
        };
        if begun.is_ok() {
            self.scene.hold(2_500, Duration::from_secs(5)).await;
            let end = *one_of(self.random, &[&"COMMIT", &"ROLLBACK"]);
            let _ended = raw.run(end).await;
        }
    }

    async fn truncate(&mut self) {
        let sqlite = self.scene.is_sqlite();
        for _ in 0..3 {
            let table = *one_of(self.random, &[&"ci_relation", &"ci_ext"]);
            let sql = if sqlite {
                format!("DELETE FROM {table}")
            } else {
                format!("TRUNCATE {table}")
            };
            self.insist(async |raw| raw.run(&sql).await).await;
            self.scene.hold(60, Duration::from_millis(100)).await;
        }
        let again = sql::beginning(self.random, sqlite);
        self.insist(async |raw| raw.run(&again).await).await;
    }

    /// Everything goes and comes back.
    async fn delete_all(&mut self) {
        let sqlite = self.scene.is_sqlite();
        let sql = if sqlite {
            "DELETE FROM ci"
        } else {
            "TRUNCATE ci CASCADE"
        };
        self.insist(async |raw| raw.run(sql).await).await;
        self.scene.hold(100, Duration::from_millis(200)).await;
        let again = sql::beginning(self.random, sqlite);
        self.insist(async |raw| raw.run(&again).await).await;
        let bulk = sql::bulk(sqlite);
        self.insist(async |raw| raw.run(&bulk).await).await;
    }

    async fn bulk(&mut self, which: &str) {
        let (owner, other) = (one_of(self.random, &OWNERS), one_of(self.random, &OWNERS));
        let sql = format!(
            "UPDATE ci SET owner = CASE owner WHEN '{owner}' THEN 'many' ELSE '{other}' END \
             WHERE tenant_id = '{BULK}' {which}"
        );
        self.insist(async |raw| raw.run(&sql).await).await;
    }

    /// The triggers of the feed are away for some writes: in one transaction with them, or in several.
    async fn triggers(&mut self, in_one: bool) {
        let sqlite = self.scene.is_sqlite();
        let (off, on) = if sqlite {
            let mut found = Vec::new();
            while found.is_empty() {
                if let Some(mut raw) = self.scene.connect().await {
                    found = feed_triggers(&mut raw).await.unwrap_or_default();
                }
            }
            let row = |sign| {
                format!(
                    "INSERT INTO history_audit (mark, what, id) VALUES ((SELECT max(seq) FROM ci_change), 'b', '{sign}');\n"
                )
            };
            (
                format!("{}{}", row('+'), dropped(&found)),
                format!("{}{}", made(&found), row('-')),
            )
        } else {
            (sql::triggers("DISABLE"), sql::triggers("ENABLE ALWAYS"))
        };
        let unseen: Vec<String> = (0..4).map(|_| sql::statement(self.random, sqlite)).collect();
        if in_one {
            for statement in unseen {
                self.insist(async |raw| {
                    raw.begin().await?;
                    raw.run(&off).await?;
                    raw.run("SAVEPOINT a").await?;
                    if raw.run(&statement).await.is_err() {
                        raw.run("ROLLBACK TO SAVEPOINT a").await?;
                    }
                    raw.run(&on).await?;
                    raw.run("COMMIT").await
                })
                .await;
                self.scene.hold(60, Duration::from_millis(100)).await;
            }
            return;
        }
        let switched = async |raw: &mut Raw, how: &str| {
            raw.begin().await?;
            raw.run(how).await?;
            raw.run("COMMIT").await
        };
        self.insist(async |raw| switched(raw, &off).await).await;
        self.scene.hold(200, Duration::from_millis(300)).await;
        let scene = self.scene;
        let _seen = tokio::time::timeout(STEP, async {
            while scene.runner.feed().state != FeedState::Stopped {
                scene.pause(Duration::from_millis(5)).await;
            }
        })
        .await;
        self.insist(async |raw| switched(raw, &on).await).await;
        self.scene.hold(100, Duration::from_millis(200)).await;
        // So quickly that no poll may see them away.
        self.insist(async |raw| switched(raw, &off).await).await;
        for statement in unseen {
            if let Some(mut raw) = self.scene.connect().await {
                let _done = raw.run(&statement).await;
            }
        }
        self.insist(async |raw| switched(raw, &on).await).await;
    }

    /// Another process writes.
    async fn second_process(&mut self) {
        let sqlite = self.scene.is_sqlite();
        let statements: Vec<String> = (0..6).map(|_| sql::statement(self.random, sqlite)).collect();
        let (address, sql) = (self.scene.address.clone(), statements.join("\n"));
        let run = tokio::task::spawn_blocking(move || {
            let program = std::env::current_exe().unwrap();
            Command::new(program)
                .args(["--exact", "another_process_writes", "--test-threads=1"])
                .env(super::OTHER_ADDRESS, address)
                .env(super::OTHER_SQL, sql)
                .output()
                .unwrap()
        });
        let output = run.await.unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    /// The database forgets changes that the feed has not told yet, while loads are under way.
    async fn forget_changes(&mut self) {
        let (scene, store, sqlite) = (self.scene, self.scene.runner.store(), self.scene.is_sqlite());
        scene.meddling.feed(FeedMode::Stalls);
        // The ages of changes are known to the second in SQLite.
        scene
            .hold(
                u64::MAX / 2,
                Duration::from_millis(if sqlite { 2_100 } else { 300 }),
            )
            .await;
        scene.meddling.slow_loads(Duration::from_millis(60));
        scene.hold(u64::MAX / 2, Duration::from_millis(30)).await;
        // So many go at a time.
        while store.retain(Duration::ZERO).await.is_ok_and(|gone| gone > 0) {}
        for _ in 0..3 {
            let sql = sql::insert(self.random, 0, sqlite);
            let sql = format!("DELETE FROM ci WHERE ci_id = '{}'; {sql}", super::pool::id(0));
            self.insist(async |raw| raw.run(&sql).await).await;
        }
        scene.meddling.feed(FeedMode::On);
        scene.hold(u64::MAX / 2, Duration::from_millis(100)).await;
    }
}

/// Changes every row of the tenant with many CIs that fits a condition.
fn all_changed(which: &str) -> String {
    format!(
        "UPDATE ci SET owner = CASE owner WHEN 'many' THEN 'ops' ELSE 'many' END WHERE tenant_id = '{BULK}' {which}"
    )
}
