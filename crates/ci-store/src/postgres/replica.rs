//! Reading from a hot standby: which state it shows, and of which history.
//!
//! # Which state
//!
//! A statement on a standby sees the transactions whose commits were replayed, a set like any other. But the server does not tell it: there
//! `pg_current_snapshot()` names no transaction in progress, because what it knows of them from the log it keeps in a place of its own
//! (`GetSnapshotData` puts them among the subtransactions, and the function prints the others):
//!
//! ```text
//! primary                         standby
//! 7 begins, writes
//!                8 commits
//!                                 shows 8 and not 7, and says 7:9: - which means both
//! ```
//!
//! Taken at its word, an entry without the change of 7 would say that it includes it, and nothing would ever drop it. What is certain is that all
//! below xmin is seen, and nothing from xmax on. Between the two each transaction is asked about (`pg_xact_status`), and the moment of the
//! question decides what its answer proves:
//!
//! - *in progress*, asked after the snapshot was taken (in the same statement): it is not seen;
//! - *committed*, asked before the snapshot was taken (by an earlier load): it is seen;
//! - aborted: it changes nothing;
//! - committed in between, or nobody knows: the state is [`Unused::Blurred`], and the next attempt can tell.
//!
//! The answers of earlier loads count while no connection has been made since, as with what polls tell ([`super::known`]): a standby that crashes
//! may show an older state than it did. And they count for the server that gave them alone, should the address lead to several:
//!
//! ```text
//! standby A                       standby B
//! shows 7 as committed
//!                                 takes a snapshot without 7, replays 7, says that it is committed
//! ```
//!
//! # Which history
//!
//! Transactions of two histories have the same numbers. A standby has no start of the primary and no crash mark to compare (unlogged tables
//! cannot be read there), so the primary says in a row of `ci_meta` which epoch it is in, and the log brings it along. Whoever sees the row is past the point where
//! it was written. That it has not left the primary's history after that point, for that of another server that was promoted meanwhile, is proven by the
//! timeline that it streams, which is never lower than that of what it shows:
//!
//! ```text
//! primary, timeline 1             standby A              standby B
//! writes its epoch                shows it               shows it
//!                                 is promoted: 2         follows A: it streams 2, and shows the epoch still
//! goes on
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ci_model::{Epoch, Question, TenantId, TxSnapshot, Version};
use parking_lot::Mutex;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row as _};

use super::feed::look_once;
use super::read::{self, PostgresSnapshot};
use super::{PostgresStore, connect, once};
use crate::once::Once;
use crate::schema::EPOCH_KEY;
use crate::sql::Dialect;
use crate::store::ask_all_of;
use crate::{Answers, Error, Replica, Result, Snapshot, StoreOptions, Unused};

/// Longest wait for a connection: the primary answers meanwhile.
const ACQUIRE: Duration = Duration::from_millis(500);
/// Transactions between xmin and xmax that are asked about; with more the state is [`Unused::Blurred`].
const SPREAD: u64 = 4_096;
/// Columns of a standby's state: its snapshot; the transactions of which that does not tell, each with the first letter of what became of it, nothing when they are
/// too many; whether it is a standby; the timeline that it streams; the epoch that the primary wrote down; which server it is, in this run.
///
/// In this order: whom it follows has to be asked after what became of its transactions. One that is promoted in between rolls back what was at work, and
/// *aborted* would be taken for seen.
fn state_columns() -> String {
    format!(
        "(SELECT pg_current_snapshot()::text), \
         (SELECT CASE WHEN s.over - s.least <= {SPREAD} THEN (SELECT coalesce(string_agg(\
            concat(x, coalesce(left(pg_xact_status(x::text::xid8), 1), '?')), ' ' ORDER BY x), '') \
            FROM generate_series(s.least, s.over - 1) AS x) END \
            FROM (SELECT pg_snapshot_xmin(n)::text::int8 AS least, pg_snapshot_xmax(n)::text::int8 AS over \
                FROM pg_current_snapshot() AS n) AS s), \
         (SELECT pg_is_in_recovery()), \
         (SELECT w.received_tli FROM pg_stat_get_wal_receiver() AS w), \
         (SELECT value FROM ci_meta WHERE key = '{EPOCH_KEY}'), \
         (SELECT concat_ws(' ', inet_server_addr(), inet_server_port(), extract(epoch FROM pg_postmaster_start_time())))"
    )
}
/// Writes down the epoch, on the primary, where it is not written yet.
const NAME: &str = "\
    INSERT INTO ci_meta AS m (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value \
    WHERE m.value <> excluded.value";
/// The timeline that a primary writes.
const TIMELINE: &str = "SELECT ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int4";

/// See [`Replica`].
pub(super) struct PostgresReplica {
    pool: PgPool,
    /// The primary's connections.
    primary: PgPool,
    /// The epoch that the primary has written down, and its timeline; none before that is known.
    named: Mutex<Option<(Epoch, i32)>>,
    seen: Arc<Mutex<Committed>>,
}

/// Transactions that were found to be committed.
#[derive(Debug, Default)]
struct Committed {
    /// Connections that have been made.
    connections: u64,
    /// The server that said so.
    server: String,
    /// Between the xmin and the xmax of the last state that was read.
    known: Arc<BTreeSet<u64>>,
}

/// What was known before a snapshot was taken.
struct Before {
    connections: u64,
    server: String,
    known: Arc<BTreeSet<u64>>,
}

/// What a standby says of its state.
struct Shown {
    snapshot: TxSnapshot,
    /// Transactions from xmin on and below xmax, each with what became of it; none when they are too many.
    between: Option<Vec<(u64, Became)>>,
    is_standby: bool,
    timeline: Option<i32>,
    epoch: Option<String>,
    server: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    InProgress,
    Committed,
    Aborted,
    Unknown,
}

impl fmt::Debug for PostgresReplica {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresReplica").finish_non_exhaustive()
    }
}

impl PostgresReplica {
    pub(super) fn new(store: &PostgresStore, url: &str, options: &StoreOptions) -> Result<Self> {
        let seen: Arc<Mutex<Committed>> = Arc::default();
        let connected = Arc::clone(&seen);
        let options = options
            .clone()
            .acquire_timeout(options.acquire_timeout.min(ACQUIRE));
        let pool = connect::pool(connect::server(url)?, &options, move || {
            let mut seen = connected.lock();
            seen.connections += 1;
            seen.known = Arc::default();
        });
        Ok(Self {
            pool,
            primary: store.pool.clone(),
            named: Mutex::default(),
            seen,
        })
    }

    /// Has the primary write down that it is in an epoch, unless it was seen to have done so; the timeline that it is on.
    ///
    /// On one connection, so all of one run of the server: what it says of its epoch and its timeline belongs together.
    async fn named(&self, epoch: Epoch) -> Result<i32, Unused> {
        if let Some((named, timeline)) = *self.named.lock()
            && named == epoch
        {
            return Ok(timeline);
        }
        let mut primary = self.primary.acquire().await.map_err(Error::from)?;
        if look_once(&mut primary).await?.identity.epoch() != epoch {
            return Err(Unused::History);
        }
        let name = sqlx::query(NAME).bind(EPOCH_KEY).bind(name(epoch));
        name.execute(&mut *primary).await.map_err(Error::from)?;
        let timeline = sqlx::query_scalar(TIMELINE).fetch_one(&mut *primary);
        let timeline: i32 = timeline.await.map_err(Error::from)?;
        *self.named.lock() = Some((epoch, timeline));
        Ok(timeline)
    }

    fn before(&self) -> Before {
        let seen = self.seen.lock();
        Before {
            connections: seen.connections,
            server: seen.server.clone(),
            known: Arc::clone(&seen.known),
        }
    }

    /// The state in the columns of a row, of a statement that was sent after `before`.
    fn state_in(
        &self,
        shown: &Shown,
        epoch: Epoch,
        timeline: i32,
        before: &Before,
    ) -> Result<Version, Unused> {
        if !shown.is_standby {
            return Err(Unused::Promoted);
        }
        if shown.timeline.is_none() {
            return Err(Unused::Unproven);
        }
        if shown.timeline != Some(timeline) || shown.epoch.as_deref() != Some(&name(epoch)) {
            // Another node may have written another epoch down meanwhile.
            *self.named.lock() = None;
            return Err(Unused::History);
        }
        let between = shown.between.as_ref().ok_or(Unused::Blurred)?;
        let known = self.tell(&shown.server, between, before);
        exact(&shown.snapshot, between, &known).ok_or(Unused::Blurred)
    }

    /// Notes for later loads which transactions are committed; what was known before this one.
    fn tell(&self, server: &str, between: &[(u64, Became)], before: &Before) -> Arc<BTreeSet<u64>> {
        let committed = between.iter().filter(|(_, became)| *became == Became::Committed);
        let mut committed: BTreeSet<u64> = committed.map(|(xid, _)| *xid).collect();
        let mut seen = self.seen.lock();
        if seen.connections != before.connections {
            return Arc::default();
        }
        if seen.server != server {
            server.clone_into(&mut seen.server);
            seen.known = Arc::default();
        }
        // What loads beside this one found.
        if let (Some((first, _)), Some((last, _))) = (between.first(), between.last()) {
            committed.extend(seen.known.range(first..).take_while(|xid| **xid <= last + SPREAD));
        }
        if *seen.known != committed {
            seen.known = Arc::new(committed);
        }
        if before.server == server {
            Arc::clone(&before.known)
        } else {
            Arc::default()
        }
    }
}

/// How an epoch is written down.
fn name(epoch: Epoch) -> String {
    format!("{:016x}", epoch.0)
}

/// The set of transactions that a standby's snapshot sees; none when that cannot be told. `between` is what became of those that the snapshot leaves open, asked after it was
/// taken, and `known` are those that were committed before it was.
fn exact(snapshot: &TxSnapshot, between: &[(u64, Became)], known: &BTreeSet<u64>) -> Option<Version> {
    let mut unseen = Vec::new();
    for (xid, became) in between {
        match became {
            Became::InProgress => unseen.push(*xid),
            Became::Aborted => {}
            Became::Committed if known.contains(xid) => {}
            Became::Committed | Became::Unknown => return None,
        }
    }
    let exact = TxSnapshot::new(snapshot.xmin(), snapshot.xmax(), unseen);
    exact.ok().map(Version::Snapshot)
}

/// Reads the columns of the state, from `at` on.
fn shown(row: &PgRow, at: usize) -> Result<Shown> {
    let snapshot: &str = row.try_get(at)?;
    let wrong = || Error::Corrupt("the state of the standby cannot be read".into());
    let between: Option<&str> = row.try_get(at + 1)?;
    let one = |word: &str| {
        let (at, letter) = word.char_indices().next_back()?;
        let became = match letter {
            'i' => Became::InProgress,
            'c' => Became::Committed,
            'a' => Became::Aborted,
            _ => Became::Unknown,
        };
        Some((word.get(..at)?.parse().ok()?, became))
    };
    let between = between.map(|words| {
        words
            .split_whitespace()
            .map(one)
            .collect::<Option<_>>()
            .ok_or_else(wrong)
    });
    Ok(Shown {
        snapshot: snapshot.parse().map_err(|_| wrong())?,
        between: between.transpose()?,
        is_standby: row.try_get(at + 2)?,
        timeline: row.try_get(at + 3)?,
        epoch: row.try_get(at + 4)?,
        server: row.try_get(at + 5)?,
    })
}

#[async_trait]
impl Replica for PostgresReplica {
    async fn state(&self, epoch: Epoch) -> Result<Version, Unused> {
        let timeline = self.named(epoch).await?;
        let before = self.before();
        let query = sqlx::query(AssertSqlSafe(format!("SELECT {}", state_columns())));
        let row = query.fetch_one(&self.pool).await.map_err(Error::from)?;
        self.state_in(&shown(&row, 0)?, epoch, timeline, &before)
    }

    async fn snapshot(&self, epoch: Epoch) -> Result<(Box<dyn Snapshot>, Version), Unused> {
        let (snapshot, version) = self.begin(epoch).await?;
        Ok((Box::new(snapshot), version))
    }

    async fn ask_all(
        &self,
        epoch: Epoch,
        tenant: &TenantId,
        questions: &[Question],
    ) -> Result<Answers, Unused> {
        if let Some(mut once) = Once::new(tenant, questions) {
            let timeline = self.named(epoch).await?;
            let before = self.before();
            let statement = once.statement(Dialect::Postgres, |_| (state_columns(), "(SELECT) AS one"));
            // None: the server had ended the connection that the pool gave.
            if let Some(rows) = once::rows(&self.pool, statement).await? {
                let mut state = None;
                let mut answers = once.answers(rows, Dialect::Postgres, |row, at| {
                    state = Some(shown(row, at)?);
                    Ok(None)
                })?;
                let state = state.ok_or_else(|| Error::Corrupt("there is no state".into()))?;
                let version = self.state_in(&state, epoch, timeline, &before)?;
                answers.version = Some((epoch, version));
                return Ok(answers);
            }
        }
        let (mut snapshot, _) = self.begin(epoch).await?;
        Ok(ask_all_of(&mut snapshot, tenant, questions).await?)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

impl PostgresReplica {
    async fn begin(&self, epoch: Epoch) -> Result<(PostgresSnapshot, Version), Unused> {
        let timeline = self.named(epoch).await?;
        let before = self.before();
        let mut transaction = read::transaction(&self.pool).await?;
        let query = sqlx::query(AssertSqlSafe(format!("SELECT {}", state_columns())));
        let row = query.fetch_one(&mut *transaction).await.map_err(Error::from)?;
        let version = self.state_in(&shown(&row, 0)?, epoch, timeline, &before)?;
        let snapshot = PostgresSnapshot::of_replica(transaction, epoch, version.clone());
        Ok((snapshot, version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_only_where_the_moment_of_each_answer_proves_it() {
        use Became::{Aborted, Committed, InProgress, Unknown};
        let snapshot: TxSnapshot = "7:10:".parse().unwrap();
        let exact = |between: [Became; 3], known: &[u64]| {
            let between: Vec<_> = (7..10).zip(between).collect();
            exact(&snapshot, &between, &known.iter().copied().collect())
        };
        let told = |text: &str| Some(Version::Snapshot(text.parse().unwrap()));
        assert_eq!(exact([InProgress, Committed, Aborted], &[8]), told("7:10:7"));
        assert_eq!(exact([InProgress, Aborted, InProgress], &[]), told("7:10:7,9"));
        // It was in progress when an earlier load asked: whether it ended before this snapshot nobody knows.
        assert_eq!(exact([InProgress, Committed, Aborted], &[9]), None);
        assert_eq!(exact([InProgress, Committed, Unknown], &[8]), None);
    }
}
