//! A web service: one runner for the application, the tenant from a header, errors as status codes, a graceful end.
//! `cargo run -p ci-runner --example axum_service`
//!
//! It listens on a free port, asks itself some questions and ends. A service of yours waits for a signal in place of that, and takes
//! the tenant from whatever proves who the caller is: a header that anybody can set proves nothing.

use std::net::SocketAddr;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use ci_model::{CiDraft, TenantId};
use ci_runner::{Error, Runner, Tenant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a handler can fail with: the runner's error, by what the caller can do about it.
struct Failure(Error);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Error::Invalid(_) => StatusCode::BAD_REQUEST,
            error if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // The texts of these errors hold no values of rows and no connection strings.
        (status, self.0.to_string()).into_response()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// The caller's tenant. A handler that takes it cannot forget to ask for one.
struct Caller(Tenant);

impl FromRequestParts<Runner> for Caller {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, runner: &Runner) -> Result<Self, Self::Rejection> {
        let name = parts
            .headers
            .get("x-tenant")
            .and_then(|value| value.to_str().ok());
        let tenant = name.and_then(|name| TenantId::new(name).ok());
        match tenant {
            Some(tenant) => Ok(Self(runner.tenant(tenant))),
            None => Err((StatusCode::BAD_REQUEST, "x-tenant: give the name of your tenant")),
        }
    }
}

async fn ci(Caller(tenant): Caller, Path(code): Path<String>) -> Result<Response, Failure> {
    let answer = tenant.get_by_code(&code).await?;
    let source = [(HeaderName::from_static("x-source"), answer.source.place())];
    // Another tenant's CI is as absent as one that never was.
    let reply = match answer.value {
        Some(ci) => (source, Json(ci)).into_response(),
        None => (StatusCode::NOT_FOUND, source).into_response(),
    };
    Ok(reply)
}

/// Healthy is what can answer: a database that is away does not stop hits.
async fn health(State(runner): State<Runner>) -> Response {
    let feed = runner.feed();
    (
        StatusCode::OK,
        format!("feed {}, lag {:?}", feed.state.as_str(), feed.lag),
    )
        .into_response()
}

fn router(runner: Runner) -> Router {
    Router::new()
        .route("/cis/{code}", get(ci))
        .route("/health", get(health))
        .with_state(runner)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = ci_store::open("sqlite::memory:", &ci_store::StoreOptions::default()).await?;
    let runner = Runner::builder(store).build()?;
    let acme = runner.tenant(TenantId::new("acme")?);
    acme.upsert_cis(vec![CiDraft::new("srv-01", "Rack 7", "HW")])
        .await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = axum::serve(listener, router(runner.clone())).with_graceful_shutdown(async {
        // A service waits for a signal here.
        let _asked = stopped.await;
    });
    let service = tokio::spawn(service.into_future());

    let first = ask(address, "/cis/srv-01", "acme").await?;
    assert!(
        first.starts_with("HTTP/1.1 200") && first.contains("x-source: load"),
        "{first}"
    );
    let again = ask(address, "/cis/srv-01", "acme").await?;
    assert!(
        again.contains("x-source: l1") && again.contains("Rack 7"),
        "{again}"
    );
    assert!(
        ask(address, "/cis/srv-01", "other")
            .await?
            .starts_with("HTTP/1.1 404")
    );
    assert!(ask(address, "/cis/srv-01", "").await?.starts_with("HTTP/1.1 400"));
    assert!(ask(address, "/health", "").await?.contains("feed live"));

    // The order of a graceful end: no new requests, those under way finish, then the runner lets the database go.
    let _asked = stop.send(());
    service.await??;
    runner.close().await;
    Ok(())
}

/// One request, its answer as text.
async fn ask(address: SocketAddr, path: &str, tenant: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-tenant: {tenant}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[test]
fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
