//! What changed: the changes of a tenant since a token, as JSON at once or after a wait, or as a stream of server-sent events.

use std::convert::Infallible;
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
use tokio::sync::mpsc;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::answer::{PRIVATE, set_token};
use super::extract::Segments;
use super::health::{behind, follows, is_close};
use super::params::Params;
use super::problem::{ChangesProblems, Problem};
use super::{AppState, limit};
use crate::places::Place;
use crate::tenant_limits::Refusal;

/// Most who wait for changes or are sent them at the same time, of all tenants.
pub(crate) const FOLLOWERS: usize = 256;
/// Longest wait for changes.
pub(super) const WAIT: Duration = Duration::from_secs(30);
/// From so many changes on an answer goes out, and the rest is left to the next one.
const ENOUGH: usize = 1_000;
/// How often a client is told its place while nothing of its tenant changes.
const PLACE: Duration = Duration::from_secs(20);
/// The shortest time between two looks at the feed, for a client that is sent nothing.
const LOOK: Duration = Duration::from_millis(100);
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
    /// The next `since`; a state that includes all of `items`.
    #[schema(value_type = Option<String>)]
    next: Option<String>,
    /// Changes since `since` may be missing: read again what you hold, with `next` as `x-ci-token`.
    lost: bool,
}

/// Tells what changed in a tenant's CIs since a token, at least once.
///
/// Without `since` it begins now: `next` is where to go on from. With `wait_ms` an answer without changes is held back until there are some. With
/// `accept: text/event-stream` the changes are a stream of events instead: `changes` with the changes of one poll as `items`, whose id is the token,
/// `lost`, after which a client reads again what it holds, and `behind` when the change feed is farther behind than the service may be to be ready:
/// from then to the next `changes` there may be changes that are not told yet. It ends after 5 minutes, and clients go on with `last-event-id`, which counts
/// like `since`. Where there is nothing to tell and the feed is behind, or none, the answer is 503 `feed-behind` instead of none.
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
    let place = limit::place(&app, app.followers(), segments.tenant.id(), Refusal::Followers)?;
    let known = since.as_ref().map(Token::to_string);
    let following = segments.tenant.follow(since);
    // The place of one that waits is given back when the answer is made, or when its client goes away before that.
    if wants_stream(&headers) {
        if !follows(&app).await {
            return Err(behind(&app));
        }
        return Ok(streamed(app, following, place));
    }
    let mut body = collected(&app, following, wait).await?;
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
    /// Takes in what there is to be told now, and says whether there is room for more.
    fn take_all(&mut self, following: &mut Following) -> bool {
        while let Some(news) = following.try_next() {
            if !self.take(news) {
                return false;
            }
        }
        true
    }

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

/// What there is, or what comes first within the wait. That there is nothing is said only by a feed that would know.
async fn collected(app: &AppState, mut following: Following, wait: Duration) -> Result<ChangesBody, Problem> {
    let mut body = ChangesBody::default();
    if !body.take_all(&mut following) {
        return Ok(body);
    }
    if body.next.is_none() {
        let is_followed = follows(app).await;
        // What came with the poll that was just waited for is told.
        if !body.take_all(&mut following) {
            return Ok(body);
        }
        if body.next.is_none() && !is_followed {
            return Err(behind(app));
        }
    }
    if body.next.is_none() && wait > Duration::ZERO {
        let first = tokio::select! {
            first = tokio::time::timeout(wait, following.next()) => first.ok().flatten(),
            () = app.stopped() => None,
        };
        match first {
            Some(news) => drop(body.take(news)),
            None if !follows(app).await => return Err(behind(app)),
            None => {}
        }
    }
    // Where nothing of this tenant changed, it goes on from a later state than the client's.
    let token = following.token().map(|token| token.to_string());
    body.next = body.next.or(token);
    Ok(body)
}

/// A client that is sent changes, by a task of its own: one that does not read is given up.
struct Client {
    app: AppState,
    following: Following,
    /// The token that it was sent last.
    sent: Option<Token>,
    /// Whether it was told that the feed is behind.
    is_behind: bool,
    events: mpsc::Sender<Event>,
    /// Held as long as it listens.
    _place: Place,
}

impl Client {
    async fn run(mut self) {
        let ends = Instant::now() + STREAM;
        let look = self.app.options().ready_lag.clamp(LOOK, PLACE);
        let (mut look_at, mut place_at) = (Instant::now() + look, Instant::now() + PLACE);
        // A client that loses the connection before the first change comes back to where it began, not to a later now.
        let mut goes_on = self.tell_place().await;
        while goes_on {
            let news = tokio::select! {
                news = self.following.next() => news,
                () = tokio::time::sleep_until(look_at) => {
                    look_at = Instant::now() + look;
                    goes_on = self.tell_feed().await;
                    if goes_on && !self.is_behind && Instant::now() >= place_at {
                        place_at = Instant::now() + PLACE;
                        goes_on = self.tell_place().await;
                    }
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

    /// Tells, once, that the feed is behind, and the place when it no longer is.
    async fn tell_feed(&mut self) -> bool {
        let was_behind = self.is_behind;
        self.is_behind = !is_close(&self.app, &self.app.runner().feed());
        match (was_behind, self.is_behind) {
            (false, true) => self.give(Event::default().event("behind").data("{}")).await,
            (true, false) => {
                self.sent = None;
                self.tell_place().await
            }
            _ => true,
        }
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
        self.give(event).await
    }

    async fn give(&mut self, event: Event) -> bool {
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

fn streamed(app: AppState, following: Following, place: Place) -> Response {
    let token = following.token();
    let (events, receiver) = mpsc::channel(AHEAD);
    let client = Client {
        app,
        following,
        sent: None,
        is_behind: false,
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
