//! Encrypted connections: with an authority of one's own, and with certificates on both sides.

use std::path::Path;
use std::time::Duration;

use ci_runner::tier::Tier as _;
use ci_tests::fixture::Fixture;
use ci_tests::program::Desk;
use ci_tests::tier::{PrivateRedis, until};
use ci_tier_redis::{Error, RedisOptions, RedisTier};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use redis::Value;
use tempfile::TempDir;

use crate::{LONG, get, key, options, order, put};

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

/// An authority.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certifies somebody under these names.
    fn certify(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &self.0)
            .unwrap();
        Pair {
            certificate: signed.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What servers show and ask for, in files.
struct Files {
    folder: TempDir,
    ca: Ca,
    client: Pair,
}

impl Files {
    fn new() -> Self {
        let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("own"));
        let server = ca.certify(&["127.0.0.1"]);
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        std::fs::write(folder.path().join("cert.pem"), server.certificate).unwrap();
        std::fs::write(folder.path().join("key.pem"), server.key).unwrap();
        let client = ca.certify(&["client"]);
        Self { folder, ca, client }
    }

    /// A server that speaks nothing else at its port, and to nobody without a certificate.
    async fn server(&self, more: &[&str], last: &[&str]) -> PrivateRedis {
        let path = |name: &str| self.path(name).display().to_string();
        let [ca, cert, key] = [path("ca.pem"), path("cert.pem"), path("key.pem")];
        let tls = [
            ["--port", "0"],
            ["--tls-port", "{port}"],
            ["--tls-ca-cert-file", &ca],
            ["--tls-cert-file", &cert],
            ["--tls-key-file", &key],
            ["--tls-auth-clients", "yes"],
            ["--tls-replication", "yes"],
        ]
        .concat();
        PrivateRedis::start_with(&[more, &tls, last].concat()).await
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    /// Everything that the servers want to see.
    fn options(&self) -> RedisOptions {
        options()
            .ca(self.ca.pem())
            .client_certificate(self.client.certificate.clone(), self.client.key.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_certified_and_the_account_counts() {
    let files = Files::new();
    let server = files.server(&[], &[]).await;
    let rules = "ACL SETUSER ci-cache on >hunter2 ~cmdb:* +mget +set +del +ping";
    let (): () = order(&server, rules).unwrap();
    let (): () = order(&server, "ACL SETUSER default off").unwrap_or(());
    let address = |scheme: &str, password: &str| format!("{scheme}://ci-cache:{password}@{}", server.place());
    let address = |password: &str| address("rediss", password);
    let tier = RedisTier::new(&address("hunter2"), files.options()).unwrap();
    tier.ping().await.unwrap();
    put(&tier, "a", "one").await.unwrap();
    assert_eq!(get(&tier, "a").await.unwrap().as_deref(), Some("one"));
    tier.delete(&[key("a")]).await.unwrap();
    assert!(tier.lease(&key("a"), LONG).await.unwrap());

    let stranger = Ca::new("another");
    let strange = stranger.certify(&["client"]);
    let own = || files.client.certificate.clone();
    let own_key = || files.client.key.clone();
    for (what, options) in [
        (
            "another authority",
            options().ca(stranger.pem()).client_certificate(own(), own_key()),
        ),
        (
            "the system's authorities",
            options().client_certificate(own(), own_key()),
        ),
        ("no certificate", options().ca(files.ca.pem())),
        (
            "a certificate of another authority",
            options()
                .ca(files.ca.pem())
                .client_certificate(strange.certificate.clone(), strange.key.clone()),
        ),
    ] {
        let tier = RedisTier::new(&address("hunter2"), options).unwrap();
        let error = tier.ping().await.expect_err(what).to_string();
        assert!(!error.contains("hunter2") && !error.contains("127.0"), "{error}");
    }
    let mistaken = RedisTier::new(&address("hunter3"), files.options()).unwrap();
    let error = mistaken.ping().await.unwrap_err().to_string();
    assert!(!error.contains("hunter3"), "{error}");
    // It is certified as an address, and not as a name.
    let named = address("hunter2").replace("127.0.0.1", "localhost");
    RedisTier::new(&named, files.options())
        .unwrap()
        .ping()
        .await
        .unwrap_err();
    // Who speaks in the clear gets no answer that is one.
    let clear = address("hunter2").replace("rediss", "redis");
    let clear = RedisTier::new(&clear, options().connect_timeout(Duration::from_secs(1))).unwrap();
    clear.ping().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_are_asked_over_tls_too() {
    let files = Files::new();
    let server = files.server(&[], &[]).await;
    let sentinel = files.server(&["--sentinel"], &[]).await;
    let monitor = format!("SENTINEL MONITOR cmdb 127.0.0.1 {} 1", server.port());
    let (): () = order(&sentinel, &monitor).unwrap();
    let address = format!("rediss+sentinel://{}/cmdb", sentinel.place());
    let tier = RedisTier::new(&address, files.options()).unwrap();
    put(&tier, "a", "one").await.unwrap();
    assert_eq!(get(&tier, "a").await.unwrap().as_deref(), Some("one"));
    let stored: Option<String> = order(&server, "GET cmdb:f:a").unwrap();
    assert_eq!(stored.as_deref(), Some("one"));
    let uncertified = RedisTier::new(&address, options().ca(files.ca.pem())).unwrap();
    uncertified.ping().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_a_cluster_are_asked_over_tls_too() {
    let files = Files::new();
    let cluster = ["--cluster-enabled", "yes", "--tls-cluster", "yes"];
    let node = files.server(&cluster, &["--cluster-port", "{bus}"]).await;
    let (): () = order(&node, "CLUSTER ADDSLOTSRANGE 0 16383").unwrap();
    until("the cluster is one", async || {
        let told: String = order(&node, "CLUSTER INFO").unwrap();
        let slots: Vec<Value> = order(&node, "CLUSTER SLOTS").unwrap();
        told.contains("cluster_state:ok") && slots.len() == 1
    })
    .await;
    let address = format!("rediss+cluster://{}", node.place());
    let tier = RedisTier::new(&address, files.options()).unwrap();
    put(&tier, "a", "one").await.unwrap();
    assert_eq!(get(&tier, "a").await.unwrap().as_deref(), Some("one"));
    let uncertified = RedisTier::new(&address, options().ca(files.ca.pem())).unwrap();
    uncertified.ping().await.unwrap_err();
}

/// What the settings of a service say is what it does, and the doctor finds what is wrong with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_certified_by_its_settings() {
    let (files, fixture) = (Files::new(), Fixture::postgres().await);
    // The doctor wants a limit of the memory, and that the server lets go of something then.
    let limit = ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lfu"];
    let server = files.server(&limit, &[]).await;
    let mut desk = Desk::new(env!("CARGO_BIN_EXE_ci-cache-tested"));
    desk.file("ca.pem", &files.ca.pem());
    desk.file("cert.pem", &files.client.certificate);
    desk.file("key.pem", &files.client.key);
    desk.set("CI_CACHE_DATABASE", fixture.address());
    desk.set("CI_CACHE_LISTEN", "127.0.0.1:0");
    desk.set("CI_CACHE_TIER_URL", &format!("rediss://{}", server.place()));
    let told = |desk: &Desk, name: &str| {
        let (said, _) = desk.doctor("");
        let checks = said["checks"].as_array().unwrap();
        let one = checks.iter().find(|one| one["check"] == name).cloned();
        one.unwrap_or_else(|| panic!("no check `{name}`: {said}"))
    };
    assert_eq!(told(&desk, "shared tier")["verdict"], "warning");
    desk.set("CI_CACHE_TIER_CA", "ca.pem");
    assert_eq!(told(&desk, "shared tier")["verdict"], "warning");
    desk.set("CI_CACHE_TIER_CERT", "cert.pem");
    desk.set("CI_CACHE_TIER_KEY", "key.pem");
    assert_eq!(told(&desk, "shared tier")["verdict"], "ok");
    assert_eq!(desk.run("chmod 644 key.pem").code, 0);
    let readable = told(&desk, "key of the shared tier");
    assert_eq!(readable["verdict"], "warning", "{readable}");
    assert_eq!(desk.run(readable["command"].as_str().unwrap()).code, 0);
    assert_eq!(told(&desk, "key of the shared tier")["verdict"], "ok");
    fixture.finish().await;
}

#[test]
fn what_is_no_certificate_is_refused_without_a_line_of_it() {
    let (ca, other) = (Ca::new("own"), Ca::new("other"));
    let (client, another) = (ca.certify(&["client"]), other.certify(&["client"]));
    let line = client.key.lines().nth(1).unwrap();
    let broken = client.key.replacen(line, &format!("{line}canary!"), 1);
    let ca_of = |pem: &str| options().ca(pem);
    let pair_of = |cert: &str, key: &str| options().client_certificate(cert, key);
    for (options, is_ca) in [
        (ca_of(""), true),
        (ca_of("canary"), true),
        (ca_of(&client.key), true),
        (
            ca_of("-----BEGIN CERTIFICATE-----\ncanary!\n-----END CERTIFICATE-----\n"),
            true,
        ),
        (
            ca_of("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            true,
        ),
        (pair_of("", &client.key), false),
        (pair_of(&client.certificate, ""), false),
        (pair_of(&client.certificate, &broken), false),
        (pair_of(&client.certificate, &another.key), false),
        (pair_of(&client.key, &client.certificate), false),
    ] {
        let told = format!("{options:?}");
        assert!(!told.contains("BEGIN") && !told.contains("canary"), "{told}");
        let error = RedisTier::new("rediss://localhost", options).unwrap_err();
        assert!(
            matches!(
                (&error, is_ca),
                (Error::Ca(_), true) | (Error::ClientCertificate(_), false)
            ),
            "{error}"
        );
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
    let error = RedisTier::new("redis://localhost", options().ca(ca.pem())).unwrap_err();
    assert_eq!(error, Error::NotEncrypted);
    RedisTier::new(
        "rediss+cluster://localhost",
        options()
            .ca(format!("{}{}", ca.pem(), other.pem()))
            .client_certificate(client.certificate, client.key),
    )
    .unwrap();
}
