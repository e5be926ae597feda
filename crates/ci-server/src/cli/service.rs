//! Asking a running service, as `top` and `audit` do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Uri, header};
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

use super::args;
use super::failure::Failure;

/// The token of the service, where it has any. Never a flag: every process of a machine can read those.
const TOKEN: &str = "CI_CACHE_TOKEN";
/// Longest wait for an answer that is there already.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for the end of something that the service does first.
const LONG_PATIENCE: Duration = Duration::from_secs(90);
/// Largest answer, in bytes.
const LARGEST: usize = 16 << 20;

/// What is asked: method, path, body.
type Asked<'a> = (Method, &'a str, Option<&'a Value>);

/// A running service.
pub(crate) struct Service {
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    /// The value of the header.
    authorization: Option<String>,
}

impl Service {
    /// A service as the arguments name it.
    ///
    /// # Errors
    /// The address, the token's file or the certificates are not what they should be.
    pub(crate) fn of(given: &args::Service) -> Result<Self, Failure> {
        let (address, ca) = (given.address.as_str(), given.ca.as_deref());
        let token = token(given)?;
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

    /// Gets JSON.
    ///
    /// # Errors
    /// It cannot be reached, or answers something else.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send((Method::GET, path, None), PATIENCE).await
    }

    /// Has it do something, and gets JSON.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send((Method::POST, path, Some(body)), LONG_PATIENCE).await
    }

    async fn send(&self, what: Asked<'_>, patience: Duration) -> Result<Value, Failure> {
        let answered = tokio::time::timeout(patience, self.try_send(what)).await;
        answered.unwrap_or_else(|_| Err(Failure::Other("get an answer of the service in time".into())))
    }

    async fn try_send(&self, what: Asked<'_>) -> Result<Value, Failure> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| {
            let place = format!("{}:{}", self.host, self.port);
            Failure::Other(format!("reach the service at {place}: {error}"))
        })?;
        match &self.tls {
            None => self.ask(stream, what).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone());
                let name = name.map_err(|_| Failure::Input("read --address: its host is no name".into()))?;
                let stream = tls.connect(name, stream).await;
                let stream = stream.map_err(|error| Failure::Other(format!("trust the service: {error}")))?;
                self.ask(stream, what).await
            }
        }
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        (method, path, body): Asked<'_>,
    ) -> Result<Value, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Other(format!("ask the service: {error}"));
        let connected = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = connected.map_err(|error| failed(&error))?;
        // It ends with the sender.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::CONNECTION, "close");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        // The only part that may not fit is the token, which is not repeated.
        let request = request.body(body);
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

fn token(given: &args::Service) -> Result<Option<String>, Failure> {
    let text = match &given.token_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|error| Failure::Input(format!("read the token in {}: {error}", path.display())))?,
        ),
        None => std::env::var(TOKEN).ok(),
    };
    Ok(text
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty()))
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
