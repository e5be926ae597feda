//! Reading what changed: by number, because SQLite has one writer at a time, so that the order of numbers is that of
//! commits.
//!
//! What numbers do not tell is whether this is still the same file: a restored backup has the numbers up to some moment,
//! and then gives those after it to other changes. So each row has a random mark beside its number, and a position
//! remembers both; the next poll looks whether the row of that number still has that mark.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ci_model::{Change, Event, Origin, Token, Version};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

use super::{SqliteStore, feed_schema, feed_sql};
use crate::changes::{self, Current, Entity, NEIGHBOURS, Row, Tenants};
use crate::epoch::Identity;
use crate::schema::POLL_TENANTS;
use crate::{BlindReason, EpochReason, Error, Feed, POLL_CHANGES, Polled, Result, Start};

/// Pause between two looks at the file while waiting, at first and after a while.
const LOOK: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(5)];
/// After so long it is a while.
const BUSY: Duration = Duration::from_millis(50);

/// See [`Feed`].
pub(super) struct SqliteFeed {
    access: SqliteConnectOptions,
    /// Taken out while it is used: a future that is dropped in the middle drops it, too.
    connection: Option<SqliteConnection>,
    last: Option<Seen>,
    /// Whether changes were not recorded at the last look, so that some may have been missed.
    blind: bool,
    /// `PRAGMA data_version` when it was last waited for.
    data_version: Option<i64>,
    /// Keeps a database in memory.
    _folder: Option<Arc<TempDir>>,
}

impl fmt::Debug for SqliteFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteFeed")
            .field("position", &self.last.as_ref().map(|seen| seen.seq))
            .field("blind", &self.blind)
            .finish_non_exhaustive()
    }
}

/// What another feed needs to go on.
#[derive(Serialize, Deserialize)]
struct Bookmark {
    identity: Identity,
    seq: i64,
    mark: Option<i64>,
}

/// The database as one statement sees it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) identity: Identity,
    /// The newest change and its mark; 0 and none when there is none.
    seq: i64,
    mark: Option<i64>,
    /// The mark that the change at the last position has now.
    mark_at_last: Option<i64>,
    /// The last change that was deleted because it was old.
    floor: i64,
    /// How often the schema was changed.
    pub(super) cookie: i64,
    /// Whether every trigger is there, and knows every unique index.
    pub(super) whole: bool,
}

impl Seen {
    pub(super) fn position(&self) -> Version {
        Version::Sequence(self.seq.unsigned_abs())
    }
}

impl SqliteFeed {
    pub(super) fn new(store: &SqliteStore) -> Self {
        Self {
            access: store.access.clone(),
            connection: None,
            last: None,
            blind: false,
            data_version: None,
            _folder: store.folder.clone(),
        }
    }

    /// Runs something on the connection and keeps it unless that failed.
    async fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> sqlx::Result<T>,
    ) -> Result<T> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => SqliteConnection::connect_with(&self.access).await?,
        };
        let done = work(&mut connection).await?;
        self.connection = Some(connection);
        Ok(done)
    }

    /// Takes a state as the beginning of an epoch.
    fn begin(&mut self, seen: Seen) -> Start {
        let start = Start {
            epoch: seen.identity.epoch(),
            position: seen.position(),
        };
        self.last = Some(seen);
        self.blind = false;
        start
    }

    fn new_epoch(&mut self, why: EpochReason, seen: Seen) -> Polled {
        let Start { epoch, position } = self.begin(seen);
        Polled::NewEpoch { why, epoch, position }
    }

    /// Why the history since the last position is not known; none when it is.
    fn broken(&self, last: &Seen, seen: &Seen) -> Option<EpochReason> {
        if seen.mark_at_last == last.mark {
            let ended = last.identity.ended_by(&seen.identity);
            let ended = ended.or_else(|| self.blind.then_some(EpochReason::Schema));
            // A position before the first change has no mark that could be gone.
            return ended.or_else(|| (last.seq < seen.floor).then_some(EpochReason::Gap));
        }
        let forgotten =
            seen.mark_at_last.is_none() && last.seq <= seen.floor && last.identity == seen.identity;
        Some(if forgotten {
            EpochReason::Gap
        } else {
            EpochReason::Rewound
        })
    }

    /// Begins another history: nothing else tells it from the one before. The only thing that a feed writes.
    async fn rewound(&mut self, seen: Seen) -> Result<Polled> {
        let history = seen.identity.history;
        let seen = self.run(async |connection| {
            sqlx::query(feed_sql::WRITE).execute(&mut *connection).await?;
            let renew = sqlx::query(feed_sql::renew()).bind(history);
            renew.execute(&mut *connection).await?;
            sqlx::query(feed_sql::READ).execute(&mut *connection).await?;
            look(connection).await
        });
        let seen = seen.await?;
        Ok(self.new_epoch(EpochReason::Rewound, seen))
    }
}

#[async_trait]
impl Feed for SqliteFeed {
    async fn start(&mut self) -> Result<Start> {
        let seen = self.run(async |connection| look(connection).await).await?;
        if !seen.whole {
            self.blind = true;
            return Err(Error::Schema(
                "changes are not recorded: a trigger of ours is missing or was made for other unique indexes; open the \
                 store anew"
                    .into(),
            ));
        }
        Ok(self.begin(seen))
    }

    async fn poll(&mut self) -> Result<Polled> {
        let Some(last) = self.last.clone() else {
            let Start { epoch, position } = self.start().await?;
            let why = EpochReason::Gap;
            return Ok(Polled::NewEpoch { why, epoch, position });
        };
        let read = self.run(async |connection| match read(connection, &last).await {
            // Not there, or a table of ours is not what it was.
            Err(sqlx::Error::Database(_)) if !tables(connection).await? => Ok(None),
            read => read.map(Some),
        });
        let Some((seen, changes)) = read.await? else {
            self.blind = true;
            return Ok(Polled::Blind {
                why: BlindReason::Tables,
            });
        };
        if !seen.whole {
            self.blind = true;
            return Ok(Polled::Blind {
                why: BlindReason::Triggers,
            });
        }
        match (self.broken(&last, &seen), changes) {
            (Some(EpochReason::Rewound), _) => self.rewound(seen).await,
            (Some(why), _) => Ok(self.new_epoch(why, seen)),
            (None, None) => Ok(self.new_epoch(EpochReason::Gap, seen)),
            (None, Some(changes)) => {
                let since = Token {
                    epoch: seen.identity.epoch(),
                    version: last.position(),
                };
                let position = seen.position();
                self.last = Some(seen);
                Ok(Polled::Changes {
                    since,
                    changes,
                    position,
                })
            }
        }
    }

    fn bookmark(&self) -> Option<(Start, String)> {
        let seen = self.last.as_ref().filter(|_| !self.blind)?;
        let start = Start {
            epoch: seen.identity.epoch(),
            position: seen.position(),
        };
        let bookmark = Bookmark {
            identity: seen.identity.clone(),
            seq: seen.seq,
            mark: seen.mark,
        };
        Some((start, serde_json::to_string(&bookmark).ok()?))
    }

    fn resume(&mut self, bookmark: &str) -> Option<Start> {
        let Bookmark { identity, seq, mark } = serde_json::from_str(bookmark).ok()?;
        Some(self.begin(Seen {
            identity,
            seq,
            mark,
            mark_at_last: None,
            floor: 0,
            // So that the next poll looks at the triggers.
            cookie: 0,
            whole: false,
        }))
    }

    async fn wait(&mut self, at_most: Duration) {
        let began = Instant::now();
        loop {
            let looked = self.run(async |connection| {
                sqlx::query_scalar::<_, i64>(feed_sql::DATA_VERSION)
                    .fetch_one(connection)
                    .await
            });
            let found = looked.await.ok();
            if found.is_some() && found != self.data_version {
                self.data_version = found;
                return;
            }
            let Some(left) = at_most.checked_sub(began.elapsed()) else {
                return;
            };
            let pause = LOOK[usize::from(began.elapsed() > BUSY)];
            tokio::time::sleep(pause.min(left)).await;
        }
    }
}

/// Reads where the database is.
async fn look(connection: &mut SqliteConnection) -> sqlx::Result<Seen> {
    look_from(connection, None).await
}

/// The same, without a look at the triggers if the schema is that of `known`.
pub(super) async fn look_from(connection: &mut SqliteConnection, known: Option<&Seen>) -> sqlx::Result<Seen> {
    let row = sqlx::query(AssertSqlSafe(feed_sql::state()))
        .bind(0_i64)
        .bind(known.map(|known| known.cookie))
        .fetch_one(connection)
        .await?;
    seen(&row, 0, known)
}

async fn tables(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(feed_sql::TABLES).fetch_one(connection).await
}

/// Reads the changes after a position; none when they cannot all be told.
async fn read(connection: &mut SqliteConnection, last: &Seen) -> sqlx::Result<(Seen, Option<Vec<Change>>)> {
    let ask = async |connection: &mut SqliteConnection, text: &'static str, most: usize| {
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(last.seq)
            .bind(last.whole.then_some(last.cookie))
            .bind(i64::try_from(most).unwrap_or(i64::MAX) + 1)
            .fetch_all(connection)
            .await?;
        split(rows, last)
    };
    let (state, rows) = ask(connection, feed_sql::poll(), POLL_CHANGES).await?;
    if rows.len() <= POLL_CHANGES {
        let mut rows = rows.iter().map(row).collect::<sqlx::Result<Vec<_>>>()?;
        rows.sort_by_key(|(seq, _)| *seq);
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        return Ok((state, Some(changes::changes(&rows))));
    }
    let (state, rows) = ask(connection, feed_sql::tenants(), POLL_TENANTS).await?;
    if rows.len() > POLL_TENANTS {
        return Ok((state, None));
    }
    let mut tenants = Tenants::default();
    let mut told = Vec::with_capacity(rows.len());
    for row in rows {
        let origin = Origin::Sequence(row.try_get::<i64, _>(0)?.unsigned_abs());
        let tenant = text(&row, 2)?.and_then(|name| tenants.get(&name));
        told.extend(tenant.map(|tenant| Change {
            origin,
            event: Event::Tenant(tenant),
        }));
    }
    Ok((state, Some(told)))
}

/// The row with the state, which has no number, and the others.
fn split(mut rows: Vec<SqliteRow>, last: &Seen) -> sqlx::Result<(Seen, Vec<SqliteRow>)> {
    let mut state = None;
    for (at, row) in rows.iter().enumerate() {
        if row.try_get::<Option<i64>, _>(0)?.is_none() {
            state = Some(at);
        }
    }
    let state = rows.swap_remove(state.ok_or(sqlx::Error::RowNotFound)?);
    Ok((seen(&state, feed_sql::STATE, Some(last))?, rows))
}

/// The state in the columns from `at` on.
pub(super) fn seen(row: &SqliteRow, at: usize, last: Option<&Seen>) -> sqlx::Result<Seen> {
    let text = |column: usize| Ok::<_, sqlx::Error>(text(row, at + column)?.unwrap_or_default());
    let cookie: i64 = row.try_get_unchecked(at + 7)?;
    let triggers: Option<String> = row.try_get_unchecked(at + 8)?;
    Ok(Seen {
        seq: row.try_get_unchecked::<Option<i64>, _>(at)?.unwrap_or(0),
        mark: row.try_get_unchecked(at + 1)?,
        mark_at_last: row.try_get_unchecked(at + 2)?,
        floor: text(3)?.parse().unwrap_or(0),
        identity: Identity {
            server: text(4)?,
            history: text(5)?,
            schema: format!("{} {cookie}", text(6)?),
        },
        cookie,
        // Not read while the schema is that of the last position.
        whole: triggers.map_or_else(
            || last.is_some_and(|last| last.whole),
            |found| found == feed_schema::EXPECTED,
        ),
    })
}

/// A text; one that is not UTF-8 comes as one that is nobody's, so that an image of it cannot be told.
fn text(row: &SqliteRow, at: usize) -> sqlx::Result<Option<String>> {
    let bytes: Option<&[u8]> = row.try_get_unchecked(at)?;
    Ok(bytes.map(|bytes| std::str::from_utf8(bytes).unwrap_or_default().to_owned()))
}

/// A change's place, and the change.
fn row(row: &SqliteRow) -> sqlx::Result<(i64, Row)> {
    let seq: i64 = row.try_get(0)?;
    let id = text(row, 3)?;
    let is_new: bool = row.try_get_unchecked(6)?;
    let neighbours = text(row, 8)?.map(|list| {
        let Ok(ids) = serde_json::from_str::<Vec<String>>(&list) else {
            // One that is not UTF-8 hides the others: more than can be told.
            return vec![Uuid::nil(); NEIGHBOURS + 1];
        };
        // What is no id is no CI.
        ids.iter().filter_map(|id| Uuid::try_parse(id).ok()).collect()
    });
    Ok((
        seq,
        Row {
            origin: Origin::Sequence(seq.unsigned_abs()),
            entity: Entity::of(&text(row, 1)?.unwrap_or_default()),
            tenant: text(row, 2)?,
            id: id.and_then(|id| Uuid::try_parse(&id).ok()),
            old: text(row, 4)?,
            new: text(row, 5)?,
            current: if is_new {
                Current::New
            } else {
                Current::Other(text(row, 7)?)
            },
            neighbours,
            tenant_now: None,
        },
    ))
}
