//! `/api/sessions/{id}/nodes/{node}/terminals/{terminal}`: a WebSocket to a
//! terminal of a node.
//!
//! Each binary message is one frame of [`drydock_protocol::terminal`]. Two
//! tasks, one a direction, each with a bounded buffer: a viewer that doesn't
//! read holds back nobody but itself, and is let go after a while.

use std::time::{Duration, Instant};

use axum::{
    extract::{
        Path, Query, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use drydock_agent::{Agent, AttachedReceiver, AttachedSender};
use drydock_protocol::terminal::{CHUNK, FromViewer, Size, ToViewer, back_in};
use futures_util::{SinkExt, StreamExt, stream::SplitSink, stream::SplitStream};
use serde::Deserialize;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    error::AppError,
    learner::Learner,
    sessions::{Seat, find_node, within},
    state::{AppState, stopped},
};

/// How long a node may take to take us in.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest message a page may send: a kind byte and a chunk of input.
const MESSAGE_MAX: usize = CHUNK + 1;

/// Messages a page may send in one second.
const MESSAGES_PER_SECOND: u32 = 5000;

/// How often the page is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(20);

/// A page that said nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long one message may take to leave: a page that doesn't read.
const SEND_MAX: Duration = Duration::from_secs(30);

/// Close code: the terminal's node or session is gone.
const CLOSE_GONE: u16 = 4404;

/// Seconds after which a page may come back to a server that is started again.
const BACK_IN: u32 = 1;

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Viewer {
    cols: u16,
    rows: u16,
    #[serde(default)]
    view_only: bool,
}

/// `GET /api/sessions/{id}/nodes/{node}/terminals/{terminal}`
pub async fn attach(
    State(app): State<AppState>,
    learner: Learner,
    Path((id, node, terminal)): Path<(String, String, String)>,
    Query(viewer): Query<Viewer>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, AppError> {
    // Browsers let any site open a WebSocket, with the learner's cookie.
    if !app.origins.allows(&headers) {
        return Err(AppError::OtherSite);
    }
    let session = app.sessions.get(&learner, &id).await?;
    let node = find_node(&session, &node)?;
    if !matches!(terminal.as_bytes(), [b'1'..=b'8']) {
        return Err(AppError::NotFound);
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(MESSAGE_MAX).max_frame_size(MESSAGE_MAX),
        Err(rejection) => return Ok(rejection.into_response()),
    };
    let seat = app.sessions.take_seat(&learner)?;
    let size = Size { cols: viewer.cols, rows: viewer.rows }.clamped();
    let attach = async { Agent::connect(&node.agent).await?.attach(&terminal, size, viewer.view_only).await };
    let (sender, receiver) = within(PATIENCE, attach).await?.split();
    let upgrade = upgrade.write_buffer_size(0).max_write_buffer_size(2 * drydock_protocol::frame::MAX);
    Ok(upgrade.on_upgrade(move |socket| carry(socket, Link { app, id, seat, sender, receiver })))
}

/// One page's view of one terminal.
struct Link {
    app: AppState,
    id: String,
    /// Given back when the socket closes.
    seat: Seat,
    sender: AttachedSender,
    receiver: AttachedReceiver,
}

async fn carry(socket: WebSocket, link: Link) {
    let Link { app, id, seat, sender, receiver } = link;
    let (sink, stream) = socket.split();
    let (close, closing) = mpsc::channel(1);
    let down = tokio::spawn(to_page(sink, receiver, closing, app.stopping.subscribe()));
    let end = from_page(stream, sender, &app, &id).await;
    // The other task may have ended first; then nobody waits for the reason.
    drop(close.try_send(end));
    if let Err(error) = down.await {
        tracing::error!(%error, "terminal task failed");
    }
    drop(seat);
}

/// Node to page, and the pings. Ends with a close frame.
async fn to_page(
    mut sink: SplitSink<WebSocket, Message>,
    mut receiver: AttachedReceiver,
    mut closing: mpsc::Receiver<CloseFrame>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.reset();
    let close = loop {
        let message = tokio::select! {
            close = closing.recv() => break close.unwrap_or_else(|| frame(close_code::NORMAL, "")),
            () = stopped(&mut stopping) => break goodbye(),
            _ = ping.tick() => Message::Ping(Default::default()),
            frame = receiver.recv() => match frame {
                Ok(Some(ToViewer::Ended(status))) => {
                    send(&mut sink, message(&ToViewer::Ended(status))).await;
                    break self::frame(close_code::NORMAL, "the program ended");
                }
                Ok(Some(to_viewer)) => message(&to_viewer),
                Ok(None) => break self::frame(close_code::RESTART, "the node closed the terminal"),
                Err(error) => {
                    tracing::info!(%error, "terminal broke");
                    break self::frame(close_code::RESTART, "the node does not answer");
                }
            },
        };
        if !send(&mut sink, message).await {
            return;
        }
    };
    send(&mut sink, Message::Close(Some(close))).await;
}

/// Page to node. Returns why it ended.
async fn from_page(
    mut stream: SplitStream<WebSocket>,
    mut sender: AttachedSender,
    app: &AppState,
    id: &str,
) -> CloseFrame {
    let mut rate = Rate::default();
    loop {
        let message = match timeout(SILENCE_MAX, stream.next()).await {
            Err(_) => return frame(close_code::AWAY, "nothing was heard from the page"),
            Ok(None) => return frame(close_code::NORMAL, ""),
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "page's socket broke");
                return frame(close_code::SIZE, "a message was too long or malformed");
            }
            Ok(Some(Ok(message))) => message,
        };
        if !rate.allows(Instant::now()) {
            return frame(close_code::POLICY, "too many messages");
        }
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Close(_) => return frame(close_code::NORMAL, ""),
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Text(_) => return frame(close_code::UNSUPPORTED, "messages are binary"),
        };
        let decoded = bytes.split_first().map(|(kind, payload)| FromViewer::decode(*kind, payload));
        let Some(Ok(from_viewer)) = decoded else {
            return frame(close_code::PROTOCOL, "a message is no terminal frame");
        };
        if matches!(from_viewer, FromViewer::Input(_)) {
            app.sessions.touch(id);
        }
        match timeout(SEND_MAX, sender.send(from_viewer)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "node took no input");
                return gone_or_away(app, id).await;
            }
            Err(_) => return frame(close_code::AGAIN, "the node takes no input"),
        }
    }
}

/// Whether the page should try again: not when the session is gone.
async fn gone_or_away(app: &AppState, id: &str) -> CloseFrame {
    match app.host.session(id).await {
        Err(error) if error.is_not_found() => frame(CLOSE_GONE, "the session has ended"),
        _ => frame(close_code::RESTART, "the node closed the terminal"),
    }
}

/// Sends one message, waiting only so long for a page that doesn't read.
async fn send(sink: &mut SplitSink<WebSocket, Message>, message: Message) -> bool {
    matches!(timeout(SEND_MAX, sink.send(message)).await, Ok(Ok(())))
}

fn message(to_viewer: &ToViewer) -> Message {
    let (kind, payload) = to_viewer.encode();
    let mut bytes = Vec::with_capacity(1 + payload.len());
    bytes.push(kind);
    bytes.extend_from_slice(&payload);
    Message::Binary(bytes.into())
}

/// What a page is told when the server stops.
fn goodbye() -> CloseFrame {
    CloseFrame { code: close_code::RESTART, reason: back_in(BACK_IN).into() }
}

fn frame(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}

/// Counts messages by the second.
#[derive(Default)]
struct Rate {
    second: Option<Instant>,
    count: u32,
}

impl Rate {
    fn allows(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.count = 0;
        }
        self.count += 1;
        self.count <= MESSAGES_PER_SECOND
    }
}
