//! A primary, its standby, and what a test does to the two.

use std::sync::Arc;
use std::time::Duration;

use ci_model::Version;
use ci_store::{Error, Replica, Store, StoreOptions, Unused};
use ci_tests::history::{Raw, Server};
use futures_util::future::join_all;

use super::feeding::started;

/// The database of all tests here.
pub(crate) const DATABASE: &str = "postgres";
/// Connections to a standby.
const CONNECTIONS: u32 = 4;
/// Between two looks at a state that is waited for.
const LOOK: Duration = Duration::from_millis(2);

pub(crate) struct Stage {
    pub(crate) primary: Server,
    pub(crate) standby: Server,
    pub(crate) store: Arc<dyn Store>,
}

impl Stage {
    /// A primary with our tables, and a standby that has them, too.
    pub(crate) async fn new() -> Self {
        let primary = Server::start().await;
        let store = open(&primary).await;
        let standby = primary.standby().await;
        Self {
            primary,
            standby,
            store,
        }
    }

    pub(crate) fn replica(&self) -> Arc<dyn Replica> {
        replica(&self.store, &self.standby.url(DATABASE))
    }

    /// Runs a statement on the primary, as another program.
    pub(crate) async fn execute(&self, sql: &str) {
        raw(&self.primary).await.run(sql).await.unwrap();
    }

    /// Waits until the standby shows all that the primary has written so far.
    pub(crate) async fn replayed(&self) {
        replayed(&self.primary, &self.standby).await;
    }

    /// Has the standby show nothing new from here on.
    pub(crate) async fn pause(&self) {
        let mut standby = raw(&self.standby).await;
        standby.texts("SELECT pg_wal_replay_pause()::text").await.unwrap();
        let state = "SELECT pg_get_wal_replay_pause_state()";
        until(async || standby.texts(state).await.unwrap() == ["paused"]).await;
    }

    pub(crate) async fn resume(&self) {
        let mut standby = raw(&self.standby).await;
        standby
            .texts("SELECT pg_wal_replay_resume()::text")
            .await
            .unwrap();
    }
}

pub(crate) async fn open(server: &Server) -> Arc<dyn Store> {
    let options = StoreOptions::default().connections(4);
    ci_store::open(&server.url(DATABASE), &options).await.unwrap()
}

pub(crate) fn replica(store: &Arc<dyn Store>, url: &str) -> Arc<dyn Replica> {
    store
        .replica(url, &StoreOptions::default().connections(CONNECTIONS))
        .unwrap()
}

pub(crate) async fn raw(server: &Server) -> Raw {
    Raw::connect(&server.url(DATABASE)).await.unwrap()
}

/// Waits until a standby shows all that a server has written so far, of which the last may still be on its way to the disk.
pub(crate) async fn replayed(server: &Server, standby: &Server) {
    let mut behind = raw(standby).await;
    let mut ahead = raw(server).await;
    // A commit that is waited for takes all before it to the disk, also what nobody waited for.
    ahead
        .run("CREATE TABLE IF NOT EXISTS flushed (n int); INSERT INTO flushed VALUES (1)")
        .await
        .unwrap();
    let wanted = ahead.texts("SELECT pg_current_wal_lsn()::text").await.unwrap();
    let reached = format!("SELECT (pg_last_wal_replay_lsn() >= '{}')::text", wanted[0]);
    until(async || behind.texts(&reached).await.unwrap() == ["true"]).await;
}

/// Waits for a state, however long it takes: a test that waits in vain is ended from outside.
pub(crate) async fn until(mut reached: impl AsyncFnMut() -> bool) {
    while !reached().await {
        pause(LOOK).await;
    }
}

/// Lets time pass.
pub(crate) async fn pause(time: Duration) {
    let _over = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

/// Asks again while which state it is cannot be told, or whom the standby follows, because it connects again.
pub(crate) async fn told<T>(mut ask: impl AsyncFnMut() -> Result<T, Unused>) -> Result<T, Unused> {
    loop {
        match connected(&mut ask).await {
            Err(Unused::Blurred | Unused::Unproven) => {}
            told => return told,
        }
        pause(LOOK).await;
    }
}

/// Asks again while there is no connection in time: a replica has half a second for one, and a machine may stall for longer.
pub(crate) async fn connected<T>(mut ask: impl AsyncFnMut() -> Result<T, Unused>) -> Result<T, Unused> {
    loop {
        match ask().await {
            Err(Unused::Failed(Error::Timeout(_))) => {}
            told => return told,
        }
        pause(LOOK).await;
    }
}

/// Waits until a standby has answered on as many connections as it may have: who asks it next need not connect.
pub(crate) async fn answers(store: &Arc<dyn Store>, replica: &Arc<dyn Replica>) {
    let epoch = started(&**store).await.start().await.unwrap().epoch;
    until(async || {
        let all = (0..CONNECTIONS).map(|_| replica.snapshot(epoch));
        join_all(all).await.iter().all(Result::is_ok)
    })
    .await;
}

/// The transactions that PostgreSQL's own function says a standby sees.
pub(crate) async fn own_words(standby: &Server) -> Version {
    let words = raw(standby)
        .await
        .texts("SELECT pg_current_snapshot()::text")
        .await;
    Version::Snapshot(words.unwrap()[0].parse().unwrap())
}
