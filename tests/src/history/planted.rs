//! Feeds with a defect each, around a sound one.

use std::time::Duration;

use async_trait::async_trait;
use ci_model::{Change, Origin, Version};
use ci_store::{EpochReason, Feed, Polled, Result, Start};

use super::Planted;

/// The feed loses one change in so many.
const LOST: u64 = 50;

/// A feed with a defect.
#[derive(Debug)]
pub(super) struct PlantedFeed {
    inner: Box<dyn Feed>,
    planted: Planted,
    /// The last position told.
    position: Option<Version>,
    /// Changes that are told with the next poll.
    late: Vec<Change>,
    told: u64,
}

impl PlantedFeed {
    pub(super) fn new(inner: Box<dyn Feed>, planted: Planted) -> Self {
        Self {
            inner,
            planted,
            position: None,
            late: Vec::new(),
            told: 0,
        }
    }

    /// Makes of a poll what the defect makes of it.
    fn spoilt(&mut self, polled: Polled) -> Polled {
        let before = self.position.clone();
        match polled {
            Polled::Changes { changes, position } => {
                self.position = Some(position.clone());
                Polled::Changes {
                    changes: self.changes(changes, before),
                    position,
                }
            }
            Polled::NewEpoch { why, epoch, position } => {
                self.position = Some(position.clone());
                let ignored = match self.planted {
                    Planted::IgnoresTriggers => why == EpochReason::Schema,
                    Planted::IgnoresGaps => why == EpochReason::Gap,
                    _ => false,
                };
                if ignored {
                    Polled::Changes {
                        changes: Vec::new(),
                        position,
                    }
                } else {
                    Polled::NewEpoch { why, epoch, position }
                }
            }
            Polled::Blind { why } => match before {
                Some(position) if self.planted == Planted::IgnoresTriggers => Polled::Changes {
                    changes: Vec::new(),
                    position,
                },
                _ => Polled::Blind { why },
            },
        }
    }

    fn changes(&mut self, mut changes: Vec<Change>, before: Option<Version>) -> Vec<Change> {
        match self.planted {
            Planted::LosesChanges => {
                changes.retain(|_| {
                    self.told += 1;
                    !self.told.is_multiple_of(LOST)
                });
                changes
            }
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
        self.position = Some(start.position.clone());
        Ok(start)
    }

    async fn poll(&mut self) -> Result<Polled> {
        self.told += 1;
        // Every other answer is made up.
        if let (Planted::Sleeps, Some(position)) = (self.planted, &self.position)
            && !self.told.is_multiple_of(2)
        {
            return Ok(Polled::Changes {
                changes: Vec::new(),
                position: position.clone(),
            });
        }
        let polled = self.inner.poll().await?;
        Ok(self.spoilt(polled))
    }

    async fn wait(&mut self, at_most: Duration) {
        self.inner.wait(at_most).await;
    }
}
