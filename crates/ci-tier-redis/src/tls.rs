//! Encrypted connections: by rustls, with the system's authorities or those that are given.

use std::sync::Arc;

use redis::{Client, ClientTlsConfig, ConnectionInfo, RedisResult, TlsCertificates};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::Error;
use crate::options::Certificates;

/// How connections are encrypted, if they are.
#[derive(Clone)]
pub(crate) struct Encryption(Option<TlsCertificates>);

impl Encryption {
    /// Reads what is given.
    ///
    /// # Errors
    /// What of it is no certificate or key, or of no use.
    pub(crate) fn of(given: &Certificates, is_encrypted: bool) -> Result<Self, Error> {
        if given.is_empty() {
            return Ok(Self(None));
        }
        if !is_encrypted {
            return Err(Error::NotEncrypted);
        }
        if let Some(ca) = &given.ca {
            authorities(ca).map_err(Error::Ca)?;
        }
        if let Some((certificate, key)) = &given.client {
            pair(certificate, key).map_err(Error::ClientCertificate)?;
        }
        Ok(Self(Some(TlsCertificates {
            root_cert: given.ca.clone(),
            client_tls: given
                .client
                .clone()
                .map(|(client_cert, client_key)| ClientTlsConfig {
                    client_cert,
                    client_key,
                }),
        })))
    }

    /// What connects to a server.
    ///
    /// # Errors
    /// None where certificates were read before.
    pub(crate) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        match &self.0 {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|_| "a certificate cannot be read")?;
    if read.is_empty() {
        return Err("there is no certificate");
    }
    Ok(read)
}

fn authorities(pem: &[u8]) -> Result<(), &'static str> {
    let mut store = RootCertStore::empty();
    for certificate in chain(pem)? {
        store
            .add(certificate)
            .map_err(|_| "a certificate cannot be used as an authority's")?;
    }
    Ok(())
}

/// Whether a certificate and a key belong together.
fn pair(certificate: &[u8], key: &[u8]) -> Result<(), &'static str> {
    let chain = chain(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "there is no key")?;
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| "this program has no version of TLS")?
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain, key)
        .map(drop)
        .map_err(|_| "the key is not the certificate's")
}
