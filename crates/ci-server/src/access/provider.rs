//! Keys that are fetched from their identity provider: when, from where, and within which bounds.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::Request;
use axum::http::uri::{Scheme, Uri};
use bytes::Bytes;
use http_body_util::Full;
use tokio::sync::Notify;

use crate::fetch::{self, Client};

/// Longest time of one fetch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a set of keys: hundreds of them.
const MOST_BYTES: usize = 256 << 10;
/// How long it is left alone, at least, however many tokens come whose key is not known: anybody can make those up.
const LEAST: Duration = Duration::from_secs(60);
/// Between two tries while there are no keys at all, and nobody is let in.
const SOON: Duration = Duration::from_secs(5);

/// Whom to ask for keys.
#[derive(Debug)]
pub(super) struct Provider {
    url: Uri,
    refresh: Duration,
    client: Client,
    /// Notified by a token whose key is not known.
    wanted: Notify,
}

/// How the last fetch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// The keys are those of the provider.
    Good,
    /// The keys are those of an earlier fetch.
    Failed,
    /// There never were any.
    Nothing,
}

impl Provider {
    /// A provider whose keys are fetched again every so often.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub(super) fn new(url: &str, refresh: Duration) -> Result<Self, &'static str> {
        Ok(Self {
            url: check(url)?,
            refresh,
            client: Client {
                timeout: TIMEOUT,
                most_bytes: MOST_BYTES,
            },
            wanted: Notify::new(),
        })
    }

    /// Says that a token came whose key is not known: the provider may have a new one.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Ends when the keys should be fetched again, after a fetch that ended now.
    pub(super) async fn due(&self, last: Last) {
        let pause = match last {
            Last::Good => self.refresh,
            Last::Failed => self.refresh.min(LEAST),
            Last::Nothing => SOON,
        };
        let wanted = async {
            tokio::time::sleep(LEAST).await;
            self.wanted.notified().await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wanted => {}
        }
    }

    /// Fetches the set of keys.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn fetch(&self) -> Result<Bytes, String> {
        let request = Request::get(self.url.clone())
            .header("accept", "application/jwk-set+json, application/json")
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| format!("failed to {error}"))?;
        if answer.status().is_success() {
            Ok(answer.into_body())
        } else {
            Err(format!("the answer has the status {}", answer.status().as_u16()))
        }
    }
}

/// Checks an address to fetch keys from: who can change what comes over the network could let anybody in.
pub(crate) fn check(url: &str) -> Result<Uri, &'static str> {
    let uri = fetch::check(url)?;
    let host = uri.host().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    if uri.scheme() == Some(&Scheme::HTTP) && !is_local {
        return Err("without https:// only this machine may be asked");
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn keys_come_encrypted_or_from_this_machine() {
        for url in [
            "https://idp.example/keys",
            "http://127.0.0.1:80/keys",
            "http://[::1]/",
            "http://localhost/keys",
        ] {
            assert!(check(url).is_ok(), "{url}");
        }
        for url in [
            "http://idp.example/keys",
            "http://127.0.0.1.evil.example/",
            "keys.json",
            "https://me:pw@idp.example/",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
    }

    /// Whether keys are due within this time and not before.
    async fn is_due_after(provider: &Provider, last: Last, after: Duration) -> bool {
        let mut due = pin!(provider.due(last));
        assert!(due.as_mut().now_or_never().is_none(), "it is due at once");
        let instant = Duration::from_millis(1);
        let before = tokio::time::timeout(after.saturating_sub(instant), due.as_mut()).await;
        before.is_err() && tokio::time::timeout(instant * 2, due).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_due_by_the_clock_and_no_sooner_than_a_minute_by_tokens_that_are_not_known() {
        let hour = Duration::from_secs(3_600);
        let provider = Provider::new("https://idp.example/keys", hour).unwrap();
        assert!(is_due_after(&provider, Last::Good, hour).await);
        assert!(is_due_after(&provider, Last::Failed, LEAST).await);
        assert!(is_due_after(&provider, Last::Nothing, SOON).await);
        for _ in 0..1_000 {
            provider.want();
        }
        assert!(is_due_after(&provider, Last::Good, LEAST).await);
        // A thousand are one.
        assert!(is_due_after(&provider, Last::Good, hour).await);
    }
}
