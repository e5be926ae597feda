//! The settings of a tier over Redis, and what is wrong with them.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What every name begins with when nothing is said.
const PREFIX: &str = "ci-cache";
/// How long making a connection may take. An hour would be of no use, and moments that are too far away cannot be told.
const CONNECT_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// Why a tier cannot be made. Says nothing of addresses or secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is not of its form.
    #[error("the address of the shared tier is not of the form {form}: {wrong}")]
    Address {
        /// The form that it looks most like.
        form: &'static str,
        /// What of it is wrong.
        wrong: &'static str,
    },
    /// The address, or a certificate, wants TLS, and this build has none.
    #[error(
        "the shared tier is to be asked over TLS, which needs a program that was built with the feature `tls`"
    )]
    WithoutTls,
    /// A certificate is given for a connection that is not encrypted.
    #[error(
        "certificates of the shared tier are given, but its address wants no TLS: begin it with rediss://, rediss+sentinel:// or \
         rediss+cluster://"
    )]
    NotEncrypted,
    /// The certificates of authorities are none.
    #[error("the authorities of the shared tier are not certificates in PEM: {0}")]
    Ca(&'static str),
    /// The client's certificate and key are none, or do not fit.
    #[error("the client's certificate and key of the shared tier are not a pair in PEM: {0}")]
    ClientCertificate(&'static str),
    /// The prefix is none.
    #[error("the prefix of the shared tier is not 1 to 64 letters, digits, `-`, `_` or `.`")]
    Prefix,
    /// The time that making a connection may take is out of range.
    #[error("the time that connecting to the shared tier may take is not 1 ms to 60 s")]
    ConnectTimeout,
}

impl Error {
    /// What connects could not be made of parts that were good.
    pub(crate) fn unread() -> Self {
        Self::Address {
            form: crate::address::ANY,
            wrong: "it cannot be used",
        }
    }
}

/// How a tier uses its server.
#[derive(Clone)]
#[must_use]
pub struct RedisOptions {
    pub(crate) prefix: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) certificates: Certificates,
}

/// What is given for encrypted connections.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    /// The authorities, in PEM.
    pub(crate) ca: Option<Vec<u8>>,
    /// A certificate and its key, in PEM.
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    pub(crate) fn is_empty(&self) -> bool {
        self.ca.is_none() && self.client.is_none()
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: PREFIX.into(),
            connect_timeout: Duration::from_secs(2),
            certificates: Certificates::default(),
        }
    }
}

impl RedisOptions {
    /// Starts with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what every name in the server begins with: fleets over different databases that share a server should have different ones, or
    /// they displace each other's answers. `ci-cache` when not called.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long making a connection may take, sentinels and nodes that are asked on the way included, from 1 ms to 60 s; 2 s when not
    /// called. Nobody waits for it longer than for an answer.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the authorities that servers (and sentinels) have to be certified by, one certificate or several in PEM, in place of those
    /// that this system trusts. Needs the feature `tls` and an address that wants TLS.
    ///
    /// They alone count then. But the client library reads those of this system all the same, for each connection, and makes none where that
    /// fails (a file that cannot be read, as `SSL_CERT_FILE` or `SSL_CERT_DIR` may name one): a system without any is no error, a broken one is.
    pub fn ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.ca = Some(pem.into());
        self
    }

    /// Sets the certificate that servers (and sentinels) are shown, with those that lead to its authority, and its private key, both in
    /// PEM. Needs the feature `tls` and an address that wants TLS.
    pub fn client_certificate(mut self, cert_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.client = Some((cert_pem.into(), key_pem.into()));
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let good = (1..=64).contains(&self.prefix.len()) && self.prefix.chars().all(allowed);
        if !good {
            return Err(Error::Prefix);
        }
        let is_time = CONNECT_TIMEOUT.contains(&self.connect_timeout);
        if is_time {
            Ok(())
        } else {
            Err(Error::ConnectTimeout)
        }
    }
}

impl fmt::Debug for RedisOptions {
    /// Without certificates and keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("prefix", &self.prefix)
            .field("connect_timeout", &self.connect_timeout)
            .field("has_ca", &self.certificates.ca.is_some())
            .field("has_client_certificate", &self.certificates.client.is_some())
            .finish()
    }
}
