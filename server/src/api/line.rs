//! `GET /api/labs/{lab}/line`: a place in line before a full room.
//!
//! Server-sent events: `place` with a [`Place`](crate::sessions::Place)
//! whenever it changes, `ready` when the session is there, `over` with a
//! message when there will be none. The place is held while somebody listens.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{Path, State},
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::Stream;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    error::AppError,
    learner::Learner,
    sessions::{News, Seat},
    state::{AppState, stopped},
    web::address::Address,
};

/// How often a page is written to that has no news, so that it is noticed when
/// it has gone.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Waits in line.
pub async fn wait(
    State(app): State<AppState>,
    learner: Learner,
    Address(address): Address,
    Path(lab): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, AppError> {
    let seat = app.sessions.take_seat(&learner)?;
    let mut news = app.sessions.wait_in_line(&learner, address, &lab).await?;
    news.mark_changed();
    let waiting = Waiting { news, stopping: app.stopping.subscribe(), over: false, _seat: seat };
    let stream = futures_util::stream::unfold(waiting, Waiting::next);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Waiting {
    news: watch::Receiver<News>,
    stopping: watch::Receiver<bool>,
    over: bool,
    _seat: Seat,
}

impl Waiting {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Waiting)> {
        loop {
            if self.over {
                return None;
            }
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                // The browser comes back by itself, to the next server.
                () = stopped(&mut self.stopping) => return None,
            }
            let news = self.news.borrow_and_update().clone();
            self.over = matches!(news, News::Ready | News::Over(_));
            let event = match news {
                News::Waiting => continue,
                News::Place(place) => {
                    let place = serde_json::to_string(&place).expect("plain values make JSON");
                    Event::default().event("place").data(place)
                }
                News::Ready => Event::default().event("ready").data("{}"),
                News::Over(message) => {
                    Event::default().event("over").data(json!({ "message": message }).to_string())
                }
            };
            return Some((Ok(event), self));
        }
    }
}
