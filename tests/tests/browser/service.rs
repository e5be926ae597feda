//! A service on a socket, for the browser.

use std::net::SocketAddr;

use ci_bench::Estate;
use ci_model::{CiDraft, TenantId};
use ci_server::access::{Access, NewToken, Role, Tenants, TokenFile};
use ci_server::http::{AppState, ServerOptions, serve};
use ci_store::{Store, WriteOptions};
use ci_tests::fixture::Fixture;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
    folder: TempDir,
    _fixture: Fixture,
}

impl Served {
    /// Over a small estate of tenant `acme`; lets everybody in, or those with a token.
    pub(crate) async fn start(is_guarded: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let access = if is_guarded {
            token(&folder, "first", Role::Read, Tenants::All);
            Access::by_file(folder.path().join("tokens.json")).expect("tokens")
        } else {
            Access::open()
        };
        let fixture = Fixture::sqlite();
        let store = fixture.open().await;
        fill(&*store).await;
        let runner = ci_tests::fixture::patient(store)
            .max_entries(1_000)
            .build()
            .expect("a runner");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let state = AppState::guarded(runner, ServerOptions::default(), access.clone());
        let server = tokio::spawn(async move {
            tokio::select! {
                served = serve(listener, state, async { let _ = stopped.await; }) => served,
                () = async { access.watch().await; std::future::pending().await } => Ok(()),
            }
        });
        Self {
            address,
            stop,
            server,
            folder,
            _fixture: fixture,
        }
    }

    /// Makes a token; the service knows of it soon.
    pub(crate) fn token(&self, role: Role, tenants: &[&str]) -> String {
        let named = tenants
            .iter()
            .map(|name| TenantId::new(*name).expect("a tenant"))
            .collect();
        let tenants = if tenants.is_empty() {
            Tenants::All
        } else {
            Tenants::Named(named)
        };
        token(
            &self.folder,
            &format!("{role}-{}", tenants_name(&tenants)),
            role,
            tenants,
        )
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks as a program does; gives the whole answer.
    pub(crate) async fn ask(&self, path: &str) -> String {
        self.send("GET", path, "").await
    }

    /// Sends JSON as a program does.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("a request is sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text
    }

    pub(crate) async fn end(self) {
        self.stop.send(()).expect("the server listens");
        self.server.await.expect("no panic").expect("no error");
    }
}

fn tenants_name(tenants: &Tenants) -> String {
    match tenants {
        Tenants::All => "all".into(),
        Tenants::Named(names) => format!("{names:?}"),
    }
}

fn token(folder: &TempDir, name: &str, role: Role, tenants: Tenants) -> String {
    let new = NewToken {
        name: name.into(),
        role,
        tenants,
        expires: None,
    };
    let path = folder.path().join("tokens.json");
    TokenFile::change(&path, |file| file.create(new)).expect("a token")
}

/// Names that have broken pages elsewhere.
pub(crate) const HOSTILE: &[(&str, &str)] = &[
    (
        "hostile-1",
        "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    ),
    ("hostile-2", "\"><svg onload=document.title='owned'>"),
    (
        "hostile-3",
        "\u{202e}gnitirw tfel-ot-thgir \u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    ),
    ("hostile/4?a=b#c", "a code that is a path"),
    ("..", "a code that is a way up"),
    ("hostile-<b>5</b>", "{{7*7}} ${7*7} &lt;b&gt;"),
];

async fn fill(store: &dyn Store) {
    let (acme, other) = (
        TenantId::new("acme").expect("a tenant"),
        TenantId::new("other").expect("a tenant"),
    );
    let estate = Estate::new(1, 400);
    let long = CiDraft::new("hostile-long", "x".repeat(255), "SW");
    let hostile = HOSTILE
        .iter()
        .map(|(code, name)| CiDraft::new(*code, *name, "<i>SW</i>"));
    let cis = estate.cis().chain(hostile).chain([long]);
    let cis = cis.map(|draft| draft.check(&acme).expect("a CI")).collect();
    let secret = CiDraft::new("secret", "of another tenant", "SW")
        .check(&other)
        .expect("a CI");
    let relations = estate
        .relations()
        .map(|draft| draft.check(&acme).expect("a relation"))
        .collect();
    store
        .upsert_cis(cis, WriteOptions::default())
        .await
        .expect("CIs are written");
    store
        .upsert_cis(vec![secret], WriteOptions::default())
        .await
        .expect("a CI is written");
    store
        .upsert_relations(relations, WriteOptions::default())
        .await
        .expect("relations are written");
}
