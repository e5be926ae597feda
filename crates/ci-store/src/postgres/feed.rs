//! Reading what changed: by the difference of two snapshots.
//!
//! A transaction's number is given at its beginning, its rows are seen from its commit on. So a reader that asks for
//! everything after the last number it saw loses what was begun before and committed after:
//!
//! ```text
//! transaction 7 writes                    transaction 8 writes, commits
//!                                         the reader sees 8 and remembers "after 8"
//! transaction 7 commits                   nobody ever asks for 7
//! ```
//!
//! Waiting until everything below is over (the snapshot's xmin) loses nothing, and stands still as long as any
//! transaction of any program runs. Here the position is a whole snapshot: the next poll asks for exactly those
//! transactions that it did not see, the ones that had not begun (`xid >= xmax`) and those in progress
//! (`xid = ANY (xip)`). Which of them are committed the database decides, by the poll's own snapshot; that snapshot is the
//! next position, and its text is part of the same statement's answer. No gap, no duplicate, no standing still.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ci_model::{Change, Event, Origin, Token, TxSnapshot, Version};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use uuid::Uuid;

use super::known::Known;
use super::{PostgresStore, connect, feed_sql};
use crate::changes::{self, Current, Entity, Row, Tenants};
use crate::epoch::Identity;
use crate::schema::POLL_TENANTS;
use crate::{BlindReason, EpochReason, Error, Feed, POLL_CHANGES, Polled, Result, Start};

/// What a feed connects by.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) server: PgConnectOptions,
    pub(super) acquire_timeout: Duration,
    pub(super) statement_timeout: Duration,
    /// Whether feeds listen.
    pub(super) doorbell: bool,
    /// What polls tell of the server, for whoever reads a version.
    pub(super) known: Arc<Known>,
}

impl fmt::Debug for Access {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

/// See [`Feed`].
pub(super) struct PostgresFeed {
    access: Access,
    /// Taken out while it is used: a future that is dropped in the middle drops a connection of unknown state with it.
    connection: Option<PgConnection>,
    /// The last position, and what its epoch was made of; none before the first start.
    last: Option<(Identity, TxSnapshot)>,
    /// Whether changes were not recorded at the last look, so that some may have been missed.
    blind: bool,
    bell: Option<PgListener>,
}

impl fmt::Debug for PostgresFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresFeed")
            .field("position", &self.last.as_ref().map(|(_, snapshot)| snapshot))
            .field("blind", &self.blind)
            .finish_non_exhaustive()
    }
}

/// What another feed needs to go on.
#[derive(Serialize, Deserialize)]
struct Bookmark {
    identity: Identity,
    snapshot: String,
}

/// The database as one statement's snapshot sees it.
pub(super) struct Seen {
    pub(super) identity: Identity,
    pub(super) snapshot: TxSnapshot,
    /// The highest transaction whose changes were deleted because they were old.
    floor: u64,
    /// Whether every trigger fires, and no table inherits from ours.
    pub(super) whole: bool,
    /// Whether the mark that a crash wipes out is there.
    marked: bool,
}

impl Drop for PostgresFeed {
    fn drop(&mut self) {
        self.access.known.forget();
    }
}

impl PostgresFeed {
    pub(super) fn new(store: &PostgresStore) -> Self {
        Self {
            access: store.access.clone(),
            connection: None,
            last: None,
            blind: false,
            bell: None,
        }
    }

    /// The connection there is, or a new one.
    async fn connection(&mut self) -> Result<PgConnection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        connect::within(self.access.acquire_timeout, self.access.server.connect_feed()).await
    }

    /// Runs something on the connection and keeps it unless that failed.
    async fn run<T>(&mut self, work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>) -> Result<T> {
        let mut connection = self.connection().await?;
        let limit = self.access.statement_timeout;
        let done = match tokio::time::timeout(limit, work(&mut connection)).await {
            Ok(done) => done?,
            Err(_) => return Err(Error::Timeout("the server did not answer a poll".into())),
        };
        self.connection = Some(connection);
        Ok(done)
    }

    /// Takes a state as the beginning of an epoch.
    fn begin(&mut self, seen: Seen) -> Start {
        let start = Start {
            epoch: seen.identity.epoch(),
            position: Version::Snapshot(seen.snapshot.clone()),
        };
        self.last = Some((seen.identity, seen.snapshot));
        self.blind = false;
        start
    }

    /// Gives the crash mark another name, where nothing else may tell two histories apart: a snapshot that went back, and changes that were not recorded for a while.
    /// After those the catalogue may be as it was, at once or some time later, and so would be the epoch's name:
    ///
    /// ```text
    /// this feed            somebody                            another feed         its program
    /// polls: epoch 1                                           polls: epoch 1
    ///                      has a table inherit from `ci`
    /// polls: blind                                                                  loads the rows of both, of epoch 1
    ///                      has it inherit no more
    /// polls: epoch 2 ...                                       polls: epoch 1 again
    /// ```
    ///
    /// The feeds of other programs take it for a restart, and one that goes on from an older bookmark, too.
    async fn remark(&mut self) -> Result<Seen> {
        let named = self.run(async |connection| {
            sqlx::query(feed_sql::REMARK).execute(&mut *connection).await?;
            Ok(())
        });
        named.await?;
        let asked = self.access.known.asked();
        let seen = self.run(async |connection| look(connection).await).await?;
        self.access.known.tell(asked, &seen);
        Ok(seen)
    }

    fn new_epoch(&mut self, why: EpochReason, seen: Seen) -> Polled {
        let Start { epoch, position } = self.begin(seen);
        Polled::NewEpoch { why, epoch, position }
    }

    /// Why the history since the last position is not known; none when it is.
    fn broken(&self, seen: &Seen) -> Option<EpochReason> {
        let (identity, snapshot) = self.last.as_ref()?;
        if let Some(why) = identity.ended_by(&seen.identity) {
            Some(why)
        } else if self.blind {
            Some(EpochReason::Schema)
        } else if seen.snapshot.xmax() < snapshot.xmax() {
            Some(EpochReason::Rewound)
        } else if snapshot.xmin() <= seen.floor && seen.floor < seen.snapshot.xmin() {
            // A floor that is not below what is over now came with a restored dump.
            Some(EpochReason::Gap)
        } else {
            None
        }
    }
}

#[async_trait]
impl Feed for PostgresFeed {
    async fn start(&mut self) -> Result<Start> {
        let asked = self.access.known.asked();
        let seen = self.run(async |connection| look(connection).await).await?;
        self.access.known.tell(asked, &seen);
        if !seen.whole {
            self.blind = true;
            return Err(Error::Schema(
                "changes are not recorded: a trigger of ours is missing or disabled (open the store anew), or another \
                 table inherits from ours"
                    .into(),
            ));
        }
        let seen = if self.blind { self.remark().await? } else { seen };
        Ok(self.begin(seen))
    }

    async fn poll(&mut self) -> Result<Polled> {
        let Some((_, last)) = self.last.clone() else {
            let Start { epoch, position } = self.start().await?;
            let why = EpochReason::Gap;
            return Ok(Polled::NewEpoch { why, epoch, position });
        };
        let asked = self.access.known.asked();
        let read = self
            .run(async |connection| Ok(read(connection, &last).await))
            .await?;
        let (seen, changes) = match read {
            Ok(read) => read,
            Err(error) if is_undefined(&error) => {
                self.blind = true;
                return Ok(Polled::Blind {
                    why: BlindReason::Tables,
                });
            }
            Err(error) => {
                self.connection = None;
                return Err(error.into());
            }
        };
        self.access.known.tell(asked, &seen);
        if !seen.marked {
            // The mark went in a crash. A new one is the name of the new epoch.
            let seen = self.run(async |connection| look(connection).await).await?;
            return Ok(self.new_epoch(EpochReason::Restarted, seen));
        }
        if !seen.whole {
            self.blind = true;
            return Ok(Polled::Blind {
                why: BlindReason::Triggers,
            });
        }
        match (self.broken(&seen), changes) {
            (Some(why @ (EpochReason::Rewound | EpochReason::Schema)), _) => {
                let seen = self.remark().await?;
                if !seen.whole {
                    self.blind = true;
                    return Ok(Polled::Blind {
                        why: BlindReason::Triggers,
                    });
                }
                Ok(self.new_epoch(why, seen))
            }
            (Some(why), _) => Ok(self.new_epoch(why, seen)),
            (None, None) => Ok(self.new_epoch(EpochReason::Gap, seen)),
            (None, Some(changes)) => {
                let since = Token {
                    epoch: seen.identity.epoch(),
                    version: Version::Snapshot(last),
                };
                let position = Version::Snapshot(seen.snapshot.clone());
                self.last = Some((seen.identity, seen.snapshot));
                Ok(Polled::Changes {
                    since,
                    changes,
                    position,
                })
            }
        }
    }

    fn bookmark(&self) -> Option<(Start, String)> {
        let (identity, snapshot) = self.last.as_ref().filter(|_| !self.blind)?;
        let start = Start {
            epoch: identity.epoch(),
            position: Version::Snapshot(snapshot.clone()),
        };
        let bookmark = Bookmark {
            identity: identity.clone(),
            snapshot: snapshot.to_string(),
        };
        Some((start, serde_json::to_string(&bookmark).ok()?))
    }

    fn resume(&mut self, bookmark: &str) -> Option<Start> {
        let Bookmark { identity, snapshot } = serde_json::from_str(bookmark).ok()?;
        let snapshot: TxSnapshot = snapshot.parse().ok()?;
        let start = Start {
            epoch: identity.epoch(),
            position: Version::Snapshot(snapshot.clone()),
        };
        self.last = Some((identity, snapshot));
        self.blind = false;
        Some(start)
    }

    async fn wait(&mut self, at_most: Duration) {
        if !self.access.doorbell {
            return tokio::time::sleep(at_most).await;
        }
        let rung = async {
            // A bell that does not work costs time, nothing else: wait it out.
            if listen(&mut self.bell, &self.access).await.is_err() {
                self.bell = None;
                std::future::pending::<()>().await;
            }
        };
        let _over = tokio::time::timeout(at_most, rung).await;
    }
}

/// Waits for a ring; lost rings count as one.
async fn listen(bell: &mut Option<PgListener>, access: &Access) -> sqlx::Result<()> {
    let Some(listener) = bell else {
        let pool = PgPoolOptions::new().max_connections(1);
        let pool = pool.connect_lazy_with(access.server.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(feed_sql::CHANNEL).await?;
        // Whatever rang until now is not heard any more.
        *bell = Some(listener);
        return Ok(());
    };
    listener.try_recv().await.map(drop)
}

/// Connecting, with what the feed's statements need.
trait ConnectFeed {
    async fn connect_feed(&self) -> sqlx::Result<PgConnection>;
}

impl ConnectFeed for PgConnectOptions {
    async fn connect_feed(&self) -> sqlx::Result<PgConnection> {
        let mut connection =
            PgConnection::connect_with(&self.clone().application_name(feed_sql::NAME)).await?;
        sqlx::query(feed_sql::SETTINGS).execute(&mut connection).await?;
        Ok(connection)
    }
}

/// Reads where the database is.
pub(super) async fn look_once(connection: &mut PgConnection) -> Result<Seen> {
    let row = sqlx::query(AssertSqlSafe(feed_sql::state()))
        .fetch_one(connection)
        .await?;
    Ok(seen(&row, 0)?)
}

/// Reads where the database is, and makes the crash mark when there is none.
async fn look(connection: &mut PgConnection) -> Result<Seen> {
    loop {
        let seen = look_once(connection).await?;
        if seen.marked {
            return Ok(seen);
        }
        sqlx::query(feed_sql::MARK).execute(&mut *connection).await?;
    }
}

/// Reads the changes that a snapshot does not include; none when they cannot all be told.
async fn read(connection: &mut PgConnection, last: &TxSnapshot) -> sqlx::Result<(Seen, Option<Vec<Change>>)> {
    let (first, missing) = asked(last);
    let limit = i64::try_from(POLL_CHANGES).unwrap_or(i64::MAX) + 1;
    let rows = sqlx::query(AssertSqlSafe(feed_sql::poll()))
        .bind(&first)
        .bind(&missing)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    let (state, rows) = split(rows)?;
    if rows.len() <= POLL_CHANGES {
        let mut rows = rows.iter().map(row).collect::<sqlx::Result<Vec<_>>>()?;
        rows.sort_by_key(|(place, _)| *place);
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        return Ok((state, Some(changes::changes(&rows))));
    }
    let limit = i64::try_from(POLL_TENANTS).unwrap_or(i64::MAX) + 1;
    let rows = sqlx::query(AssertSqlSafe(feed_sql::tenants()))
        .bind(&first)
        .bind(&missing)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    let (state, rows) = split(rows)?;
    if rows.len() > POLL_TENANTS {
        return Ok((state, None));
    }
    let mut tenants = Tenants::default();
    let mut told = Vec::with_capacity(rows.len());
    for row in rows {
        let all = Entity::of(row.try_get(2)?) == Entity::All;
        let name: Option<&str> = row.try_get(3)?;
        let event = if all {
            Some(Event::Everything)
        } else {
            name.and_then(|name| tenants.get(name)).map(Event::Tenant)
        };
        let origin = Origin::Transaction(number(&row, 0)?);
        told.extend(event.map(|event| Change { origin, event }));
    }
    Ok((state, Some(told)))
}

/// The transactions that a snapshot does not see: all from the first on, and these.
fn asked(last: &TxSnapshot) -> (String, Vec<String>) {
    (
        last.xmax().to_string(),
        last.in_progress().iter().map(u64::to_string).collect(),
    )
}

/// The row with the state, which has no transaction, and the others.
fn split(mut rows: Vec<PgRow>) -> sqlx::Result<(Seen, Vec<PgRow>)> {
    let mut state = None;
    for (at, row) in rows.iter().enumerate() {
        if row.try_get::<Option<&str>, _>(0)?.is_none() {
            state = Some(at);
        }
    }
    let state = rows.swap_remove(state.ok_or(sqlx::Error::RowNotFound)?);
    Ok((seen(&state, feed_sql::STATE)?, rows))
}

/// The state in the columns from `at` on.
fn seen(row: &PgRow, at: usize) -> sqlx::Result<Seen> {
    let text = |column: usize| -> sqlx::Result<String> {
        Ok(row.try_get::<Option<String>, _>(at + column)?.unwrap_or_default())
    };
    let mark: Option<String> = row.try_get(at + 2)?;
    let snapshot = text(0)?
        .parse()
        .map_err(|error: ci_model::Error| sqlx::Error::Decode(error.into()))?;
    Ok(Seen {
        snapshot,
        floor: text(1)?.parse().unwrap_or(0),
        marked: mark.is_some(),
        identity: Identity {
            server: format!("{} {}", text(3)?, mark.unwrap_or_default()),
            history: String::new(),
            schema: format!("{} {}", text(4)?, text(5)?),
        },
        whole: row.try_get::<Option<i64>, _>(at + 6)? == Some(super::feed_schema::EXPECTED),
    })
}

fn number(row: &PgRow, at: usize) -> sqlx::Result<u64> {
    let text: &str = row.try_get(at)?;
    text.parse()
        .map_err(|error: std::num::ParseIntError| sqlx::Error::Decode(error.into()))
}

/// A change's place, and the change.
fn row(row: &PgRow) -> sqlx::Result<((u64, i64), Row)> {
    let xid = number(row, 0)?;
    let is_new: bool = row.try_get::<Option<bool>, _>(7)?.unwrap_or_default();
    Ok((
        (xid, row.try_get(1)?),
        Row {
            origin: Origin::Transaction(xid),
            entity: Entity::of(row.try_get(2)?),
            tenant: row.try_get(3)?,
            id: row.try_get::<Option<Uuid>, _>(4)?,
            old: row.try_get(5)?,
            new: row.try_get(6)?,
            current: if is_new {
                Current::New
            } else {
                Current::Other(row.try_get(8)?)
            },
            neighbours: row.try_get(9)?,
            tenant_now: row.try_get(10)?,
        },
    ))
}

/// Whether the statement names a table or column that is not there.
fn is_undefined(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    matches!(error.code().as_deref(), Some("42P01" | "42703" | "3F000"))
}
