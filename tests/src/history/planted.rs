//! Feeds with a defect each, around a sound one.

use std::time::Duration;

use async_trait::async_trait;
use ci_model::{Change, Origin, Token, Version};
use ci_store::{EpochReason, Feed, Polled, Result, Start};

use super::Planted;

/// The feed loses one change in so many.
const LOST: u64 = 50;

/// A feed with a defect.
#[derive(Debug)]
pub(super) struct PlantedFeed {
    inner: Box<dyn Feed>,
    planted: Planted,
    /// The last position told, and its history.
    told_at: Option<Token>,
    /// Changes that are told with the next poll.
    late: Vec<Change>,
    told: u64,
}

impl PlantedFeed {
    pub(super) fn new(inner: Box<dyn Feed>, planted: Planted) -> Self {
        Self {
            inner,
            planted,
            told_at: None,
            late: Vec::new(),
            told: 0,
        }
    }

    /// Makes of a poll what the defect makes of it. Such a feed believes itself: it goes on from what it told.
    fn spoilt(&mut self, polled: Polled) -> Polled {
        let before = self.told_at.clone();
        match polled {
            Polled::Changes {
                since,
                changes,
                position,
            } => {
                let changes = self.changes(changes, before.as_ref().map(|before| &before.version));
                self.going_on(before.unwrap_or(since), changes, position)
            }
            Polled::NewEpoch { why, epoch, position } => {
                let ignored = match self.planted {
                    Planted::IgnoresTriggers => why == EpochReason::Schema,
                    Planted::IgnoresGaps => why == EpochReason::Gap,
                    _ => false,
                };
                match before {
                    Some(before) if ignored => self.going_on(before, Vec::new(), position),
                    _ => {
                        self.told_at = Some(Token {
                            epoch,
                            version: position.clone(),
                        });
                        Polled::NewEpoch { why, epoch, position }
                    }
                }
            }
            Polled::Blind { why } => match before {
                Some(before) if self.planted == Planted::IgnoresTriggers => {
                    let position = before.version.clone();
                    self.going_on(before, Vec::new(), position)
                }
                _ => Polled::Blind { why },
            },
        }
    }

    fn going_on(&mut self, since: Token, changes: Vec<Change>, position: Version) -> Polled {
        self.told_at = Some(Token {
            epoch: since.epoch,
            version: position.clone(),
        });
        Polled::Changes {
            since,
            changes,
            position,
        }
    }

    fn changes(&mut self, mut changes: Vec<Change>, before: Option<&Version>) -> Vec<Change> {
        match self.planted {
            Planted::LosesChanges => {
                changes.retain(|_| {
                    self.told += 1;
                    !self.told.is_multiple_of(LOST)
                });
                changes
            }
            Planted::LosesAll => Vec::new(),
            Planted::AboveLast => {
                if let Some(Version::Snapshot(last)) = before {
                    changes.retain(|change| match change.origin {
                        Origin::Transaction(xid) => xid >= last.xmax(),
                        Origin::Sequence(_) => true,
                    });
                }
                changes
            }
            Planted::RunsAhead => std::mem::replace(&mut self.late, changes),
            _ => changes,
        }
    }
}

#[async_trait]
impl Feed for PlantedFeed {
    async fn start(&mut self) -> Result<Start> {
        let start = self.inner.start().await?;
        self.told_at = Some(Token {
            epoch: start.epoch,
            version: start.position.clone(),
        });
        Ok(start)
    }

    async fn poll(&mut self) -> Result<Polled> {
        self.told += 1;
        // Every other answer is made up.
        if let (Planted::Sleeps, Some(at)) = (self.planted, self.told_at.clone())
            && !self.told.is_multiple_of(2)
        {
            let position = at.version.clone();
            return Ok(self.going_on(at, Vec::new(), position));
        }
        let polled = self.inner.poll().await?;
        Ok(self.spoilt(polled))
    }

    async fn wait(&mut self, at_most: Duration) {
        self.inner.wait(at_most).await;
    }
}
