//! `/api/sessions/{id}/events`: what happens to a session, as it happens.
//!
//! Server-sent events: `session` with the session's JSON whenever it changes,
//! `ended` once with the reason, and, for the nodes that the query names,
//! `node` with the node's own events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, Query, State},
    response::sse::{Event, KeepAlive, Sse},
};
use drydock_agent::Agent;
use drydock_protocol::host::Session;
use futures_util::Stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::sessions::SessionView;
use crate::{
    error::AppError,
    learner::Learner,
    previews::open::{self, Open},
    sessions::{
        Seat,
        health::{self, Healths},
        running,
    },
    state::{AppState, stopped},
};

/// Events that wait for a page that is slow to read. A node's stream waits
/// for room; PID 1 drops for a watcher who is too slow.
const QUEUE: usize = 64;

/// How often it is looked at whether a session is about to end for want of
/// typing.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The page is told when a session would end so soon, and when it no longer would.
const WARN_SECONDS: u64 = 300;

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Send this node's own events too.
    #[serde(default)]
    node: Option<String>,
    /// Go on after this event of the node.
    #[serde(default)]
    after: u64,
}

/// `GET /api/sessions/{id}/events[?node=NODE&after=N]`
pub async fn stream(
    State(app): State<AppState>,
    learner: Learner,
    Path(id): Path<String>,
    Query(query): Query<Watch>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, AppError> {
    let session = app.sessions.get(&learner, &id).await?;
    let seat = app.sessions.take_seat(&learner)?;
    if let Some(name) = &query.node {
        crate::sessions::find_node(&session, name)?;
    }
    let (events, queue) = mpsc::channel(QUEUE);
    if let Some(name) = query.node {
        let stopping = app.stopping.subscribe();
        tokio::spawn(send_node(events.clone(), session.clone(), name, query.after, stopping));
    }
    tokio::spawn(send_session(events, app, learner, session, seat));
    let stream = futures_util::stream::unfold(queue, |mut queue| async {
        let event = queue.recv().await?;
        Some((Ok(event), queue))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// Sends the session whenever it changes, until it ends or nobody listens.
async fn send_session(
    events: mpsc::Sender<Event>,
    app: AppState,
    learner: Learner,
    first: Session,
    _seat: Seat,
) {
    let mut roster = app.sessions.watch();
    let mut last = first;
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut warned = false;
    let mut stopping = app.stopping.subscribe();
    let mut others_wait = app.sessions.watch_others_wait();
    let mut healths = health::follow(&app, &last.id);
    let mut open = open::follow(&app, &last.id);
    if events.send(session_event(&app, &last, (&healths, &open))).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            () = events.closed() => return,
            // The browser comes back by itself, to the next server.
            () = stopped(&mut stopping) => return,
            // What Extend gives has changed.
            Ok(()) = others_wait.changed() => {
                if events.send(session_event(&app, &last, (&healths, &open))).await.is_err() {
                    return;
                }
                continue;
            }
            changed = next_change(&mut roster) => if changed.is_none() { return },
            Ok(()) = healths.changed() => {
                if events.send(session_event(&app, &last, (&healths, &open))).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(()) = open.changed() => {
                if events.send(session_event(&app, &last, (&healths, &open))).await.is_err() {
                    return;
                }
                continue;
            }
            _ = look.tick() => {
                let warn = app.sessions.idle_left(&last) < WARN_SECONDS;
                if std::mem::replace(&mut warned, warn) != warn
                    && events.send(session_event(&app, &last, (&healths, &open))).await.is_err()
                {
                    return;
                }
                continue;
            }
        }
        let now = roster.borrow().iter().find(|session| session.id == last.id).cloned();
        match now {
            Some(session) if session == last => {}
            Some(session) => {
                last = session;
                if events.send(session_event(&app, &last, (&healths, &open))).await.is_err() {
                    return;
                }
            }
            None if still_there(&app, &last.id).await => {}
            None => {
                let reason = match app.sessions.ended(&learner, &last).await {
                    Ok(reason) => json!({ "reason": reason, "time": crate::db::now() }),
                    Err(error) => json!({ "reason": "gone", "message": error.to_string() }),
                };
                // The page may be gone as well; then nobody needs to know.
                drop(events.send(Event::default().event("ended").data(reason.to_string())).await);
                return;
            }
        }
    }
}

async fn next_change(roster: &mut watch::Receiver<Arc<Vec<Session>>>) -> Option<()> {
    roster.changed().await.ok()
}

/// A session made a moment ago may not be on the list yet.
async fn still_there(app: &AppState, id: &str) -> bool {
    match app.host.session(id).await {
        Ok(_) => true,
        Err(error) => !error.is_not_found(),
    }
}

fn session_event(
    app: &AppState,
    session: &Session,
    (healths, open): (&watch::Receiver<Healths>, &watch::Receiver<Open>),
) -> Event {
    let view = SessionView::new(app, session).with_health(&healths.borrow());
    let view = view.with_ports(app, session, &open.borrow());
    let view = serde_json::to_string(&view).expect("plain values make JSON");
    Event::default().event("session").data(view)
}

/// Sends a node's own events until it ends or nobody listens.
async fn send_node(
    events: mpsc::Sender<Event>,
    session: Session,
    name: String,
    after: u64,
    mut stopping: watch::Receiver<bool>,
) {
    let Some(node) = running(&session).find(|node| node.name == name) else { return };
    let mut stream = match Agent::connect(&node.agent).await {
        Ok(agent) => match agent.events(after).await {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "node gives no events"),
        },
        Err(error) => return tracing::warn!(%error, "node gives no events"),
    };
    loop {
        let event = tokio::select! {
            () = events.closed() => return,
            () = stopped(&mut stopping) => return,
            event = stream.next() => event,
        };
        let data = match event {
            Ok(Some(event)) => json!({ "node": name, "event": event }).to_string(),
            Ok(None) => return,
            Err(error) => return tracing::debug!(%error, "node's events broke off"),
        };
        if events.send(Event::default().event("node").data(data)).await.is_err() {
            return;
        }
    }
}
