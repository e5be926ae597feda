//! What changed: the changes of a tenant since a token, as JSON at once or after a wait, or as a stream of server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL};
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use ci_model::Token;
use ci_runner::{Following, News, TenantChange};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::AppState;
use super::answer::{PRIVATE, set_token};
use super::extract::Segments;
use super::params::Params;
use super::problem::{ChangesProblems, Problem, ProblemKind};

/// Most who wait for changes or are sent them at the same time, of all tenants.
pub(crate) const FOLLOWERS: usize = 256;
/// Longest wait for changes.
const WAIT: Duration = Duration::from_secs(30);
/// From so many changes on an answer goes out, and the rest is left to the next one.
const ENOUGH: usize = 1_000;
/// How often a client is told its place while nothing of its tenant changes.
const PLACE: Duration = Duration::from_secs(20);
/// Events between the feed and the network.
const AHEAD: usize = 16;
/// How long a stream lasts. Clients come back by themselves, with the last token; and a token of the API that was revoked is noticed.
const STREAM: Duration = Duration::from_secs(300);
/// What a client that comes back says it was sent last (HTML, 9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What changed since a token.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Changes)]
pub(crate) struct ChangesBody {
    /// The changes, those of one poll of the feed in no order: `kind` is `ci` (with `effect`, `ci_id`, `ci_code`, and `previous_code` after a
    /// renaming), `relation` (with `effect`, `from_id`, `to_id`, `rel_type`), `unclear` (with `ci_id`: several wrote it at once, so ask for it) or `anything` (so much at once that it is not told apart). `effect` is
    /// `created`, `updated` or `deleted`.
    #[schema(value_type = Vec<Object>)]
    items: Vec<TenantChange>,
    /// The next `since`; a state that includes all of `items`. Null while the change feed has not begun.
    #[schema(value_type = Option<String>)]
    next: Option<String>,
    /// Changes since `since` may be missing: read again what you hold, with `next` as `x-ci-token`.
    lost: bool,
}

/// Tells what changed in a tenant's CIs since a token, at least once.
///
/// Without `since` it begins now: `next` is where to go on from. With `wait_ms` an answer without changes is held back until there are some. With
/// `accept: text/event-stream` the changes are a stream of events instead: `changes` with the changes of one poll as `items`, whose id is the token,
/// and `lost`, after which a client reads again what it holds; it ends after 5 minutes, and clients go on with `last-event-id`, which counts
/// like `since`.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/changes",
    tag = "changes",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
        ("since" = Option<String>, Query, description = "`next` of an answer, or `x-ci-token` of one: a state whose changes are known"),
        ("wait_ms" = Option<u64>, Query, maximum = 30_000, description = "How long to wait for changes if there are none"),
        ("last-event-id" = Option<String>, Header, description = "Of a stream: the id of the last event"),
        ("accept" = Option<String>, Header, description = "`text/event-stream` for a stream"),
    ),
    responses(
        (status = 200, description = "What changed",
            content((ChangesBody = "application/json"), (String = "text/event-stream"))),
        ChangesProblems,
    ),
)]
pub(crate) async fn changes(
    State(app): State<AppState>,
    segments: Segments,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["since", "wait_ms"])?;
    let wait = Duration::from_millis(params.number("wait_ms")?.unwrap_or_default());
    if wait > WAIT {
        return Err(Problem::invalid("the parameter `wait_ms` must be at most 30000"));
    }
    let since = since(&params, &headers)?;
    let Ok(place) = Arc::clone(app.followers()).try_acquire_owned() else {
        let detail = "as many follow changes as may at once";
        return Err(Problem::new(ProblemKind::Overloaded, detail));
    };
    let known = since.as_ref().map(Token::to_string);
    let following = segments.tenant.follow(since);
    if wants_stream(&headers) {
        return Ok(streamed(app, following, place));
    }
    let mut body = collected(&app, following, wait).await;
    // While the feed knows no state, the client keeps its place.
    body.next = body.next.or(known);
    let mut response = Json(&body).into_response();
    response.headers_mut().insert(CACHE_CONTROL, PRIVATE);
    Ok(response)
}

/// The state that the client knows; the header counts more, since a browser adds it to the address that it began with.
fn since(params: &Params, headers: &HeaderMap) -> Result<Option<Token>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID) else {
        return params.word("since");
    };
    let text = id.to_str().unwrap_or_default();
    Ok(Some(text.parse()?))
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/event-stream"))
}

impl ChangesBody {
    /// Takes news in, and says whether there is room for more.
    fn take(&mut self, news: News) -> bool {
        let token = match news {
            News::Changes(told) => {
                self.items.extend(told.changes);
                told.token
            }
            News::Lost(token) => {
                self.lost = true;
                token
            }
            _ => return false,
        };
        self.next = Some(token.to_string());
        self.items.len() < ENOUGH && !self.lost
    }
}

/// What there is, or what comes first within the wait.
async fn collected(app: &AppState, mut following: Following, wait: Duration) -> ChangesBody {
    let mut body = ChangesBody::default();
    while let Some(news) = following.try_next() {
        if !body.take(news) {
            return body;
        }
    }
    if body.next.is_none() && wait > Duration::ZERO {
        let first = tokio::select! {
            first = tokio::time::timeout(wait, following.next()) => first.ok().flatten(),
            () = app.stopped() => None,
        };
        if let Some(news) = first {
            body.take(news);
        }
    }
    // Where nothing of this tenant changed, it goes on from a later state than the client's.
    let token = following.token().map(|token| token.to_string());
    body.next = body.next.or(token);
    body
}

/// A client that is sent changes, by a task of its own: one that does not read is given up.
struct Client {
    app: AppState,
    following: Following,
    /// The token that it was sent last.
    sent: Option<Token>,
    events: mpsc::Sender<Event>,
    /// Held as long as it listens.
    _place: OwnedSemaphorePermit,
}

impl Client {
    async fn run(mut self) {
        let ends = Instant::now() + STREAM;
        // A client that loses the connection before the first change comes back to where it began, not to a later now.
        let mut goes_on = self.tell_place().await;
        while goes_on {
            let news = tokio::select! {
                news = self.following.next() => news,
                () = tokio::time::sleep(PLACE) => {
                    goes_on = self.tell_place().await;
                    continue;
                }
                () = tokio::time::sleep_until(ends) => None,
                () = self.app.stopped() => None,
                () = self.events.closed() => return,
            };
            let Some(news) = news else { break };
            goes_on = match news {
                News::Changes(told) => self.send("changes", &told.changes, told.token).await,
                News::Lost(token) => self.send("lost", &[], token).await,
                _ => true,
            };
        }
        // So that it comes back to the latest state that it knows all changes of.
        self.tell_place().await;
    }

    /// Tells up to which state there is nothing new, if that has gone on: where only others change something a client's place would else
    /// grow too old to go on from.
    async fn tell_place(&mut self) -> bool {
        match self.following.token() {
            Some(token) if self.sent.as_ref() != Some(&token) => self.send("changes", &[], token).await,
            _ => true,
        }
    }

    async fn send(&mut self, name: &str, changes: &[TenantChange], token: Token) -> bool {
        let event = event(name, changes, &token);
        self.sent = Some(token);
        let patience = self.app.options().body_timeout;
        let sent = tokio::time::timeout(patience, self.events.send(event)).await;
        matches!(sent, Ok(Ok(())))
    }
}

fn event(name: &str, changes: &[TenantChange], token: &Token) -> Event {
    // Texts and ids always have a JSON form; a token's text has no line end.
    let event = Event::default().event(name).id(token.to_string());
    event
        .json_data(serde_json::json!({"items": changes}))
        .unwrap_or_default()
}

fn streamed(app: AppState, following: Following, place: OwnedSemaphorePermit) -> Response {
    let token = following.token();
    let (events, receiver) = mpsc::channel(AHEAD);
    let client = Client {
        app,
        following,
        sent: None,
        events,
        _place: place,
    };
    tokio::spawn(client.run());
    let events = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Event>| {
        Some((Ok::<_, Infallible>(receiver.recv().await?), receiver))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
    set_token(response.headers_mut(), token.as_ref());
    response
}
