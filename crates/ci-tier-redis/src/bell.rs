//! The doorbell: a connection that is subscribed to one channel.

use std::time::Duration;

use async_trait::async_trait;
use ci_runner::tier::{Bell, TierError};
use futures_util::StreamExt as _;
use redis::aio::PubSub;

use crate::words;

/// Without a ring for so long, the server is asked whether the connection still is one.
const QUIET: Duration = Duration::from_secs(30);

/// Hears what is published on a channel.
pub(crate) struct RedisBell {
    subscribed: PubSub,
    channel: String,
    /// How long the server may take to answer.
    timeout: Duration,
}

impl RedisBell {
    /// Subscribes.
    ///
    /// # Errors
    /// When the server does not answer in time, or refuses.
    pub(crate) async fn new(
        mut subscribed: PubSub,
        channel: String,
        timeout: Duration,
    ) -> Result<Self, TierError> {
        within(timeout, subscribed.subscribe(&channel)).await?;
        Ok(Self {
            subscribed,
            channel,
            timeout,
        })
    }
}

/// Waits for an answer, but not for ever.
async fn within<T>(
    timeout: Duration,
    answer: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, TierError> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(answered) => answered.map_err(|error| words::told(&error)),
        Err(_) => Err(TierError::new("it did not answer in time")),
    }
}

#[async_trait]
impl Bell for RedisBell {
    async fn rung(&mut self) -> Result<(), TierError> {
        let mut rings = self.subscribed.on_message();
        loop {
            match tokio::time::timeout(QUIET, rings.next()).await {
                Ok(Some(_)) => break,
                Ok(None) => return Err(TierError::new("the connection broke")),
                // A network that swallows everything closes no connection. To subscribe once more changes nothing, and is answered.
                Err(_) => {
                    drop(rings);
                    within(self.timeout, self.subscribed.subscribe(&self.channel)).await?;
                    rings = self.subscribed.on_message();
                }
            }
        }
        // What else has come is the same ring.
        while let Some(Some(_)) = futures_util::FutureExt::now_or_never(rings.next()) {}
        Ok(())
    }
}

impl std::fmt::Debug for RedisBell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBell").finish_non_exhaustive()
    }
}
