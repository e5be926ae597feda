//! Keys of JWTs over HTTPS: the service lets in whom the provider has signed for, says that it is not ready while it has no keys, and the
//! doctor says why.

#[allow(dead_code, reason = "the tests of the command line use the rest")]
mod program;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use program::{Done, Place, Service};
use rcgen::{CertifiedKey, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const ISSUER: &str = "https://idp.example";

/// The provider: a key that signs, and a certificate for this machine.
struct Provider {
    key: EncodingKey,
    certificate: CertifiedKey<KeyPair>,
}

impl Provider {
    fn new() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self {
            key: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a key"),
            certificate: rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate"),
        }
    }

    fn keys(&self) -> String {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).expect("a key");
        json!({"keys": [jwk]}).to_string()
    }

    fn token(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock")
            .as_secs();
        let claims = json!({
            "iss": ISSUER, "aud": "ci-cache", "sub": "ann", "exp": now + 600, "role": "read", "tenants": "acme",
        });
        encode(&Header::new(Algorithm::ES256), &claims, &self.key).expect("a token")
    }

    /// Answers every connection with the keys, for as long as the test lasts, or closes it at once while it is away.
    fn serve(&self, listener: TcpListener, is_away: Arc<AtomicBool>) {
        let key = PrivateKeyDer::try_from(self.certificate.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.cert.der().clone()], key)
            .expect("a pair");
        let (acceptor, keys) = (TlsAcceptor::from(Arc::new(config)), self.keys());
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                if is_away.load(Ordering::SeqCst) {
                    continue;
                }
                // One that does not trust it goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = [0; 1_024];
                let _ = stream.read(&mut head).await;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{keys}", keys.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
    }
}

/// The program with the provider's keys, trusting this file of authorities.
fn command(place: &Place, verb: &str, url: &str, trusted: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ci-cache"));
    command
        .current_dir(place.path("."))
        .args([
            verb,
            "--database",
            "sqlite:cmdb.db",
            "--listen",
            "127.0.0.1:0",
            "--jwks-url",
            url,
        ])
        .args([
            "--jwt-issuer",
            ISSUER,
            "--jwt-audience",
            "ci-cache",
            "--jwt-algorithms",
            "ES256",
        ])
        .env_clear()
        .env("SSL_CERT_FILE", trusted)
        .env("CI_CACHE_LOG", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What the doctor says about keys; asked again where a machine that stalls took longer than it waits for them.
fn examined(place: &Place, url: &str, trusted: &Path) -> Value {
    loop {
        let mut doctor = command(place, "doctor", url, trusted);
        let done: Done = doctor.arg("--json").output().expect("it runs").into();
        let checks = done.json()["checks"].take();
        let checks = checks.as_array().expect("checks");
        let keys = checks.iter().find(|check| check["check"] == "keys");
        let keys = keys.expect("the check");
        if !keys["what"]
            .as_str()
            .expect("a text")
            .contains("get an answer within")
        {
            return keys.clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_jwt_of_the_provider_is_let_in_once_its_keys_are_there() {
    let provider = Provider::new();
    let place = Place::new();
    let trusted = place.file("authorities.pem", &provider.certificate.cert.pem());
    let bearer = format!("authorization: Bearer {}\r\n", provider.token());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/keys", listener.local_addr().expect("an address"));
    let is_away = Arc::new(AtomicBool::new(true));
    provider.serve(listener, Arc::clone(&is_away));
    let service = Service::start(
        command(&place, "serve", &url, &trusted)
            .spawn()
            .expect("it starts"),
    );
    let answer = service.get("/readyz");
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("/problems/keys-unavailable"),
        "{answer}"
    );
    let answer = service.get_with("/v1/acme/list", &bearer);
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let keys = examined(&place, &url, &trusted);
    assert_eq!(keys["verdict"], "failure", "{keys}");

    is_away.store(false, Ordering::SeqCst);
    while !service.get("/readyz").starts_with("HTTP/1.1 200") {
        tokio::task::yield_now().await;
    }
    let answer = service.get_with("/v1/acme/list", &bearer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = service.get_with("/v1/other/list", &bearer);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let keys = examined(&place, &url, &trusted);
    assert_eq!(keys["verdict"], "ok", "{keys}");
    assert!(service.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_certificate_nobody_trusts_lets_nobody_in() {
    let (provider, other) = (Provider::new(), Provider::new());
    let place = Place::new();
    let trusted = place.file("authorities.pem", &other.certificate.cert.pem());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/keys", listener.local_addr().expect("an address"));
    provider.serve(listener, Arc::default());
    let service = Service::start(
        command(&place, "serve", &url, &trusted)
            .spawn()
            .expect("it starts"),
    );
    assert!(service.get("/readyz").contains("/problems/keys-unavailable"));
    let bearer = format!("authorization: Bearer {}\r\n", provider.token());
    assert!(
        service
            .get_with("/v1/acme/list", &bearer)
            .starts_with("HTTP/1.1 401")
    );
    let keys = examined(&place, &url, &trusted);
    assert_eq!(keys["verdict"], "failure", "{keys}");
    let what = keys["what"].as_str().expect("a text");
    assert!(what.contains("agree on TLS"), "{what}");
    // Without any authority there is none that could be trusted.
    let empty = place.file("none.pem", "");
    let keys = examined(&place, &url, &empty);
    assert!(
        keys["what"]
            .as_str()
            .expect("a text")
            .contains("trusts no authority"),
        "{keys}"
    );
}
