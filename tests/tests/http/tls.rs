//! Encryption, and the listener of administrators.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use ci_server::access::{Access, NewToken, Role, Tenants, TokenFile};
use ci_server::http::{AppState, Exporter, Server, ServerOptions, Tls, TlsError};
use ci_tests::fixture::Fixture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::socket::{answer, ask};

/// Writes a certificate for localhost and its key.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("a file");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("a file");
    made.cert.der().clone()
}

/// Asks over TLS, trusting this certificate alone.
async fn ask_trusting(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    path: &str,
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[tokio::test]
async fn what_goes_over_the_network_is_encrypted_and_a_new_certificate_is_taken() {
    let fixture = Fixture::sqlite();
    let folder = tempfile::tempdir().expect("a folder");
    let first = certify(folder.path());
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .build()
        .expect("a runner");
    let (main, address) = listener().await;
    let tls = Tls::by_files(folder.path().join("cert.pem"), folder.path().join("key.pem")).expect("a pair");
    let server = Server::new(main, AppState::new(runner, ServerOptions::default())).tls(tls.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(server.run(async move {
        let _ = stopped.await;
    }));
    let said = ask_trusting(address, &first, "/healthz")
        .await
        .expect("an answer");
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    // Who speaks in the clear learns nothing.
    let clear = answer(ask(address, "/healthz").await).await;
    assert!(!clear.contains("HTTP/1.1"), "{clear}");

    let watched = tls.clone();
    let watch = tokio::spawn(async move { watched.watch().await });
    // A key alone does not fit, and changes nothing.
    let kept = std::fs::read(folder.path().join("cert.pem")).expect("a file");
    certify(folder.path());
    std::fs::write(folder.path().join("cert.pem"), kept).expect("a file");
    let wrong = Tls::by_files(folder.path().join("cert.pem"), folder.path().join("key.pem"));
    assert!(matches!(wrong, Err(TlsError::Pair(_))));
    ask_trusting(address, &first, "/healthz")
        .await
        .expect("an answer");
    let second = certify(folder.path());
    while ask_trusting(address, &second, "/healthz").await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(ask_trusting(address, &first, "/healthz").await.is_err());
    // A connection that says nothing does not hold up the end.
    let silent = TcpStream::connect(address).await.expect("a connection");
    stop.send(()).expect("the server listens");
    server.await.expect("no panic").expect("no error");
    watch.abort();
    drop(silent);
}

#[test]
fn files_that_are_no_certificate_are_refused_without_a_line_of_theirs() {
    let folder = tempfile::tempdir().expect("a folder");
    certify(folder.path());
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let none = folder.path().join("none.pem");
    assert!(matches!(
        Tls::by_files(&none, &key),
        Err(TlsError::Certificate { .. })
    ));
    assert!(matches!(Tls::by_files(&cert, &none), Err(TlsError::Key { .. })));
    assert!(matches!(
        Tls::by_files(&key, &key),
        Err(TlsError::Certificate { .. })
    ));
    let text = std::fs::read_to_string(&key).expect("a file");
    let secret: String = text.lines().nth(1).expect("a line").into();
    std::fs::write(&key, text.replacen("-----END", "canary\n-----EN", 1)).expect("a file");
    let error = Tls::by_files(&cert, &key).expect_err("no key").to_string();
    assert!(!error.contains(&secret) && error.contains("key.pem"), "{error}");
}

#[tokio::test]
async fn administrators_have_a_listener_of_their_own() {
    let fixture = Fixture::sqlite();
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens.json");
    let new = NewToken {
        name: "root".into(),
        role: Role::Admin,
        tenants: Tenants::All,
        expires: None,
    };
    let token = TokenFile::change(&tokens, |file| file.create(new)).expect("a token");
    let certificate = certify(folder.path());
    let tls = Tls::by_files(folder.path().join("cert.pem"), folder.path().join("key.pem")).expect("a pair");
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .build()
        .expect("a runner");
    let ((main, public), (admin, private)) = (listener().await, listener().await);
    let options = ServerOptions::default().metrics(Exporter::new());
    let state = AppState::guarded(runner, options, Access::by_file(&tokens).expect("tokens"));
    let server = Server::new(main, state).admin(admin).tls(tls);
    let server = tokio::spawn(server.run(std::future::pending()));
    for path in [
        "/v1/cache/stats",
        "/v1/cache/entries",
        "/v1/cache/savings",
        "/metrics",
    ] {
        let hidden = ask_trusting(public, &certificate, path).await.expect("an answer");
        // As if it were not there, also for who has no token.
        assert!(
            hidden.starts_with("HTTP/1.1 404") && hidden.contains("route-not-found"),
            "{hidden}"
        );
        // This listener is on a loopback address: in the clear.
        let refused = answer(ask(private, path).await).await;
        assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
        let path = format!("{path} HTTP/1.1\r\nauthorization: Bearer {token}\r\nx:");
        let told = answer(ask(private, &path).await).await;
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    }
    for path in ["/healthz", "/openapi.json"] {
        let there = ask_trusting(public, &certificate, path).await.expect("an answer");
        assert!(there.starts_with("HTTP/1.1 200"), "{there}");
        assert!(answer(ask(private, path).await).await.starts_with("HTTP/1.1 200"));
    }
    let question = ask_trusting(public, &certificate, "/v1/acme/list")
        .await
        .expect("an answer");
    assert!(question.starts_with("HTTP/1.1 401"), "{question}");
    server.abort();
}
