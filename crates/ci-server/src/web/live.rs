//! What goes on, second by second: a short history in memory, and an event a second for those who watch.
//!
//! One task takes a sample every second, as long as the service lives, and draws the panels once for all who watch; for nobody it draws none.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use ci_runner::{Requests, Runner};
use futures_util::stream;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::panels;
use crate::http::{AppState, Problem, ProblemKind};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(1);
/// Samples that are kept: ten minutes.
const KEPT: usize = 600;
/// Longest stream: a browser then asks for the next one by itself, and its right to it is looked at again.
const STREAM: Duration = Duration::from_secs(300);
/// Most who watch at the same time.
const WATCHERS: usize = 32;

/// One sample: seconds since 1970, requests a second since the one before, and how many of 100 were hits, if there were any.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Point(u64, f64, Option<f64>);

/// A sample with the panels as they are then.
#[derive(Debug)]
struct Shot {
    point: Point,
    panels: Vec<(&'static str, String)>,
}

/// The recent past, and who watches the present.
#[derive(Debug)]
pub(crate) struct Live {
    points: Mutex<VecDeque<Point>>,
    shots: watch::Sender<Option<Arc<Shot>>>,
    places: Arc<Semaphore>,
    is_running: AtomicBool,
    is_over: watch::Sender<bool>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            points: Mutex::default(),
            shots: watch::Sender::new(None),
            places: Arc::new(Semaphore::new(WATCHERS)),
            is_running: AtomicBool::new(false),
            is_over: watch::Sender::new(false),
        }
    }
}

impl Live {
    /// Ends the updates of all who watch.
    pub(crate) fn stop(&self) {
        self.is_over.send_replace(true);
    }

    /// The samples, the oldest first, as JSON.
    pub(crate) fn history(&self) -> String {
        let points: Vec<Point> = self.points.lock().iter().copied().collect();
        // Numbers always have a JSON form.
        serde_json::to_string(&points).unwrap_or_default()
    }

    fn keep(&self, point: Point) {
        let mut points = self.points.lock();
        if points.len() == KEPT {
            points.pop_front();
        }
        points.push_back(point);
    }
}

/// Takes samples from now on, if nobody does yet. To be called within a tokio runtime.
pub(crate) fn run(app: &AppState) {
    if app.web().live.is_running.swap(true, Ordering::Relaxed) {
        return;
    }
    let (weak, mut before) = (app.downgrade(), requests(app.runner()));
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(app) = weak.upgrade() else { return };
            let live = &app.web().live;
            if *live.is_over.borrow() {
                return;
            }
            let now = requests(app.runner());
            let point = point(&before, &now);
            before = now;
            live.keep(point);
            if live.shots.receiver_count() > 0 {
                let panels = panels::all(&app).into_iter();
                let panels = panels.map(|(id, panel)| (id, panel.into_string())).collect();
                live.shots.send_replace(Some(Arc::new(Shot { point, panels })));
            }
        }
    });
}

/// All requests so far.
fn requests(runner: &Runner) -> Requests {
    panels::total(&runner.savings())
}

#[expect(clippy::cast_precision_loss, reason = "a curve needs no 64 bits")]
fn point(before: &Requests, now: &Requests) -> Point {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let requests = now.total().saturating_sub(before.total());
    let hits = now.hits.saturating_sub(before.hits);
    let rate = (requests > 0).then(|| (hits as f64 * 1_000.0 / requests as f64).round() / 10.0);
    Point(since.as_secs(), requests as f64 / EVERY.as_secs_f64(), rate)
}

/// What goes to one who watches.
#[derive(Serialize)]
struct Update<'a> {
    point: Point,
    /// The panels that are not as they were sent last, by their place in the page.
    panels: Vec<(&'static str, &'a str)>,
}

impl<'a> Update<'a> {
    fn new(shot: &'a Shot, last: Option<&Shot>) -> Self {
        let known = |id: &str| {
            let known = last.and_then(|last| last.panels.iter().find(|(known, _)| *known == id));
            known.map(|(_, panel)| panel.as_str())
        };
        let changed = shot.panels.iter().filter(|(id, panel)| known(id) != Some(panel));
        Self {
            point: shot.point,
            panels: changed.map(|(id, panel)| (*id, panel.as_str())).collect(),
        }
    }
}

/// One who watches.
struct Watcher {
    shots: watch::Receiver<Option<Arc<Shot>>>,
    is_over: watch::Receiver<bool>,
    last: Option<Arc<Shot>>,
    ends: Instant,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// Waits for the next event; none when the service stops, or the stream was long enough.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let shot = loop {
            tokio::select! {
                biased;
                _ = self.is_over.wait_for(|is_over| *is_over) => return None,
                () = tokio::time::sleep_until(self.ends) => return None,
                changed = self.shots.changed() => changed.ok()?,
            }
            if let Some(shot) = self.shots.borrow_and_update().clone() {
                break shot;
            }
        };
        let event = Event::default().json_data(Update::new(&shot, self.last.as_deref()));
        self.last = Some(shot);
        // Texts and numbers always have a JSON form.
        Some((Ok(event.unwrap_or_default()), self))
    }
}

/// Sends an event a second for as long as the client listens.
pub(crate) async fn live(State(app): State<AppState>) -> Result<Response, Problem> {
    run(&app);
    let live = &app.web().live;
    let Ok(place) = Arc::clone(&live.places).try_acquire_owned() else {
        let detail =
            "as many dashboards are watched as may be at once; reload the page for the present figures";
        return Err(Problem::new(ProblemKind::Overloaded, detail));
    };
    let watcher = Watcher {
        shots: live.shots.subscribe(),
        is_over: live.is_over.subscribe(),
        last: None,
        ends: Instant::now() + STREAM,
        _place: place,
    };
    let events = stream::unfold(watcher, Watcher::next);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_bounded() {
        let live = Live::default();
        for second in 0..KEPT as u64 + 5 {
            live.keep(Point(second, 1.0, None));
        }
        let points = live.points.lock();
        assert_eq!((points.len(), points[0]), (KEPT, Point(5, 1.0, None)));
    }

    #[test]
    fn only_what_changed_is_sent() {
        let shot = |one: &str, other: &str| Shot {
            point: Point(1, 2.0, Some(50.0)),
            panels: vec![("one", one.into()), ("other", other.into())],
        };
        let (first, second) = (shot("a", "b"), shot("a", "c"));
        let sent = |update: Update<'_>| update.panels.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(sent(Update::new(&first, None)), ["one", "other"]);
        assert_eq!(sent(Update::new(&second, Some(&first))), ["other"]);
        let json = serde_json::to_string(&Update::new(&second, Some(&first))).unwrap();
        assert_eq!(json, r#"{"point":[1,2.0,50.0],"panels":[["other","c"]]}"#);
    }
}
