//! Asking a service for its statistics.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::frame::Sample;
use crate::cli::failure::Failure;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer, in bytes.
const LARGEST: usize = 16 << 20;

/// A running service.
pub(super) struct Service {
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    /// The value of the header.
    authorization: Option<String>,
}

impl Service {
    pub(super) fn new(address: &str, token: Option<String>, ca: Option<&Path>) -> Result<Self, Failure> {
        let wrong =
            || Failure::Input("read --address: expected http://HOST:PORT or https://HOST:PORT".into());
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        let (scheme, host) = uri.scheme_str().zip(uri.host()).ok_or_else(wrong)?;
        let (tls, port) = match (scheme, ca) {
            ("http", None) => (None, 80),
            ("https", Some(ca)) => (Some(connector(ca)?), 443),
            ("https", None) => {
                let what = "ask over https: give --ca FILE, the certificates to trust";
                return Err(Failure::Input(what.into()));
            }
            _ => return Err(wrong()),
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(port),
            tls,
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    /// Everything that a frame shows.
    pub(super) async fn sample(&self) -> Result<Sample, Failure> {
        Ok(Sample {
            stats: self.get("/v1/cache/stats").await?,
            savings: self.get("/v1/cache/savings").await?,
            tenants: self.get("/v1/cache/tenants").await?,
        })
    }

    async fn get(&self, path: &str) -> Result<Value, Failure> {
        let answered = tokio::time::timeout(PATIENCE, self.try_get(path)).await;
        answered.unwrap_or_else(|_| Err(Failure::Other("get an answer of the service in time".into())))
    }

    async fn try_get(&self, path: &str) -> Result<Value, Failure> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| {
            let place = format!("{}:{}", self.host, self.port);
            Failure::Other(format!("reach the service at {place}: {error}"))
        })?;
        match &self.tls {
            None => self.ask(stream, path).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone());
                let name = name.map_err(|_| Failure::Input("read --address: its host is no name".into()))?;
                let stream = tls.connect(name, stream).await;
                let stream = stream.map_err(|error| Failure::Other(format!("trust the service: {error}")))?;
                self.ask(stream, path).await
            }
        }
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        path: &str,
    ) -> Result<Value, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Other(format!("ask the service: {error}"));
        let connected = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = connected.map_err(|error| failed(&error))?;
        // It ends with the sender.
        tokio::spawn(connection);
        let mut request = Request::get(path)
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::CONNECTION, "close");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        // The only part that may not fit is the token, which is not repeated.
        let request = request.body(Body::empty());
        let request = request.map_err(|_| Failure::Input("send the token: it is no token".into()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|_| failed(&"its answer is no JSON")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Input(format!(
                "ask the service ({}): give a token of the role admin for all tenants, in CI_CACHE_TOKEN or by --token-file",
                status.as_u16()
            ))),
            StatusCode::NOT_FOUND => Err(Failure::Input(
                "ask the service (404): give the address of its listener for administrators (`admin_listen`)"
                    .into(),
            )),
            status => Err(failed(&format_args!("it answers {}", status.as_u16()))),
        }
    }
}

/// Trusts the certificates of a file.
fn connector(ca: &Path) -> Result<TlsConnector, Failure> {
    let wrong = |reason: &dyn std::fmt::Display| {
        Failure::Input(format!("read the certificates in {}: {reason}", ca.display()))
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca).map_err(|error| wrong(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there is none"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
