//! A small HTTP client for the few who are asked by this service: one request on a connection of its own, in the clear or by TLS, bounded in
//! time and in bytes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::uri::{Scheme, Uri};
use axum::http::{HeaderValue, Request, Response, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Why there is no answer. No text holds the address, which may hold what is secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The address is none that can be asked.
    #[error("{0}")]
    Address(&'static str),
    /// Nobody is there.
    #[error("connect: {0}")]
    Connect(std::io::Error),
    /// Whoever is there has no certificate that this machine trusts, or there is none that it does.
    #[error("agree on TLS: {0}")]
    Tls(std::io::Error),
    /// It came too late.
    #[error("get an answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// It is too long.
    #[error("read an answer of at most {0} bytes")]
    TooLong(usize),
    /// The connection broke, or what came is no HTTP.
    #[error("get an answer: {0}")]
    Broken(hyper::Error),
}

/// Asks others. Cloning copies a few numbers.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Longest time for everything together.
    pub(crate) timeout: Duration,
    /// Longest body of an answer.
    pub(crate) most_bytes: usize,
}

impl Client {
    /// Sends a request and gives the answer, whatever its status. Redirections are not followed.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, FetchError> {
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .map_err(|_| FetchError::Late(self.timeout))?
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, FetchError> {
        let place = Place::of(request.uri())?;
        let stream = TcpStream::connect((place.host.as_str(), place.port))
            .await
            .map_err(FetchError::Connect)?;
        // A server knows the path alone, and its own name.
        request.headers_mut().insert(header::HOST, place.name);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path
            .parse()
            .map_err(|_| FetchError::Address("its path is none"))?;
        let answer = if place.is_encrypted {
            let name = ServerName::try_from(place.host)
                .map_err(|_| FetchError::Address("its host is no name that a certificate may have"))?;
            let connector = TlsConnector::from(trusted()?);
            let stream = connector.connect(name, stream).await.map_err(FetchError::Tls)?;
            converse(stream, request).await?
        } else {
            converse(stream, request).await?
        };
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, self.most_bytes).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => FetchError::Broken(*error),
            Err(other) => {
                debug_assert!(other.is::<LengthLimitError>(), "no other error is there");
                FetchError::TooLong(self.most_bytes)
            }
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

/// Checks that an address is one to ask: `http` or `https`, a host, nobody's name or password.
pub(crate) fn check(address: &str) -> Result<Uri, &'static str> {
    let uri: Uri = address.parse().map_err(|_| "it is no URL")?;
    match Place::of(&uri) {
        Ok(_) => Ok(uri),
        Err(FetchError::Address(reason)) => Err(reason),
        Err(_) => Err("it cannot be asked"),
    }
}

/// Whom to connect to.
struct Place {
    host: String,
    port: u16,
    /// What the server is told that it is called.
    name: HeaderValue,
    is_encrypted: bool,
}

impl Place {
    fn of(uri: &Uri) -> Result<Self, FetchError> {
        let (is_encrypted, port) = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => (false, 80),
            Some(scheme) if *scheme == Scheme::HTTPS => (true, 443),
            _ => return Err(FetchError::Address("it begins with neither http:// nor https://")),
        };
        let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
            return Err(FetchError::Address("it has no host"));
        };
        if authority.as_str().contains('@') {
            return Err(FetchError::Address("it holds a user's name"));
        }
        // Of IPv6 the brackets are the address's, not the host's.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(port),
            name: HeaderValue::from_str(authority.as_str())
                .map_err(|_| FetchError::Address("its host is none"))?,
            is_encrypted,
        })
    }
}

/// What the certificates of others are held against: those that this machine trusts (`SSL_CERT_FILE` names others), read once.
fn trusted() -> Result<Arc<ClientConfig>, FetchError> {
    static TRUSTED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = TRUSTED.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let refused = |error: &str| FetchError::Tls(std::io::Error::other(error));
    if added == 0 {
        return Err(refused(
            "this machine trusts no authority: install its certificates (`ca-certificates`), or name a file of them with SSL_CERT_FILE",
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::clone(TRUSTED.get_or_init(|| Arc::new(config))))
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<hyper::body::Incoming>, FetchError> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(FetchError::Broken)?;
    // Ends with the answer's body, or when the sender and it are dropped: then nobody asks any more.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "a connection to another service broke");
        }
    });
    sender.send_request(request).await.map_err(FetchError::Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_asked_is_an_address() {
        for (address, refused) in [
            ("http://127.0.0.1:4318", None),
            ("https://idp.example/keys?v=1", None),
            ("http://[::1]:4318/v1/traces", None),
            ("", Some("it is no URL")),
            (
                "127.0.0.1:4318",
                Some("it begins with neither http:// nor https://"),
            ),
            ("ftp://host/", Some("it begins with neither http:// nor https://")),
            ("/keys", Some("it begins with neither http:// nor https://")),
            ("https://me:pw@host/", Some("it holds a user's name")),
        ] {
            assert_eq!(check(address).err(), refused, "{address}");
        }
        let place = Place::of(&"https://[::1]/keys".parse().unwrap()).unwrap();
        assert_eq!((place.host.as_str(), place.port), ("::1", 443));
        assert_eq!(place.name, "[::1]");
    }
}
