//! Encryption by rustls, with a certificate that can be changed while the service runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Why a certificate cannot be used. The text never holds the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file of the certificates cannot be read, or holds none.
    #[error("read the certificates in {path}: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file of the key cannot be read, or holds none.
    #[error("read the private key in {path}: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// They do not go together, or are not of a kind that can be used.
    #[error("use the certificate with its key: {0}")]
    Pair(String),
}

/// A certificate with its key, from two files in PEM. TLS 1.2 and 1.3. Cloning copies a pointer.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    now: ArcSwap<ServerConfig>,
    /// The digest of what was read first: a change before anybody watches is not missed.
    first: [u8; 32],
}

impl fmt::Debug for Tls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.0.certificate)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificate, with those that lead to its authority behind it, and the key. Blocks on the disk.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn by_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let (config, first) = read(&certificate, &key)?;
        Ok(Self(Arc::new(Shared {
            certificate,
            key,
            now: ArcSwap::from_pointee(config),
            first,
        })))
    }

    /// Reads the files again every second until the future is dropped; new connections have the new certificate. What cannot be used
    /// changes nothing, and is logged once.
    pub async fn watch(&self) {
        let mut seen = Ok(self.0.first);
        loop {
            tokio::time::sleep(LOOK).await;
            let shared = Arc::clone(&self.0);
            let Ok(read) = tokio::task::spawn_blocking(move || read(&shared.certificate, &shared.key)).await
            else {
                continue;
            };
            let now = read.as_ref().map(|(_, of)| *of).map_err(Clone::clone);
            if now == seen {
                continue;
            }
            seen = now;
            match read {
                Ok((config, _)) => {
                    tracing::info!("the certificate was read again");
                    self.0.now.store(Arc::new(config));
                }
                // Of two files one is written first: the pair may fit at the next look.
                Err(error) => tracing::error!(%error, "the certificate stays as it was"),
            }
        }
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.0.now.load_full()).accept(stream).await
    }
}

/// Reads both files, with the digest of their contents.
fn read(certificate: &Path, key: &Path) -> Result<(ServerConfig, [u8; 32]), TlsError> {
    let of_certificate = |reason: String| TlsError::Certificate {
        path: certificate.to_owned(),
        reason,
    };
    let of_key = |reason: String| TlsError::Key {
        path: key.to_owned(),
        reason,
    };
    let chain = std::fs::read(certificate).map_err(|error| of_certificate(error.to_string()))?;
    let secret = std::fs::read(key).map_err(|error| of_key(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let certificates = certificates.map_err(|_| of_certificate("this is no PEM".into()))?;
    if certificates.is_empty() {
        return Err(of_certificate("there is no certificate in it".into()));
    }
    // Errors of the parser may repeat a line of the key.
    let private = PrivateKeyDer::from_pem_slice(&secret);
    let private = private.map_err(|_| of_key("there is no private key in PEM in it".into()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            config
                .with_no_client_auth()
                .with_single_cert(certificates, private)
        })
        .map_err(|error| TlsError::Pair(error.to_string()))?;
    let digest = Sha256::new()
        .chain_update(&chain)
        .chain_update(&secret)
        .finalize();
    Ok((config, digest.into()))
}
