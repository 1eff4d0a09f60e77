//! `POST /containers/{ref}/attach` and `…/resize`

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::{Request, StatusCode},
    response::Response,
};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, unix::AsyncFd};

use super::{Container, record::Status, tell};
use crate::{
    engine::Shared,
    error::{ApiError, failed},
    filters::is_true,
    hijack::{self, Connection, DetachKeys, Typed},
    keeper::Keeper,
    log::{Stream, nonblocking},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AttachQuery {
    stream: String,
    logs: String,
    stdin: String,
    stdout: String,
    stderr: String,
    #[serde(rename = "detachKeys")]
    detach_keys: String,
}

/// `POST /containers/{ref}/attach`
pub(crate) async fn attach(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<AttachQuery>,
    mut request: Request<Body>,
) -> Result<Response, ApiError> {
    let container = engine.containers.find(&reference)?;
    let (terminal, status) = {
        let record = container.locked();
        (record.config.tty, record.state.status)
    };
    let refused = match status {
        Status::Paused => {
            Some(format!("container {reference} is paused, unpause the container before attach"))
        }
        Status::Restarting => {
            Some(format!("container {reference} is restarting, wait until the container is running"))
        }
        _ => None,
    };
    if let Some(words) = refused {
        return Err(ApiError::Conflict(words));
    }
    let keys = DetachKeys::parse(&query.detach_keys)?;
    let (response, connection) = hijack::upgrade(&mut request, !terminal)?;
    // The place in the log is now, not when the connection is ready: what the
    // container prints in between is the client's.
    tell(&engine, &container.record(), "attach", None);
    let session = Session::new(engine.keeper.clone(), container, &query, keys, terminal);
    tokio::spawn(async move {
        match connection.await {
            Ok(connection) => session.run(connection).await,
            Err(error) => tracing::debug!(%error, "a client that attached went away"),
        }
    });
    Ok(response)
}

struct Session {
    keeper: Keeper,
    container: Arc<Container>,
    stdin: bool,
    streams: Vec<Stream>,
    keys: DetachKeys,
    terminal: bool,
    at: u64,
    completed: u64,
    follow: bool,
}

impl Session {
    fn new(
        keeper: Keeper,
        container: Arc<Container>,
        query: &AttachQuery,
        keys: DetachKeys,
        terminal: bool,
    ) -> Session {
        let progress = *container.log.progress().borrow();
        let wanted = |stream: &Stream| match stream {
            Stream::Stdout => is_true(&query.stdout),
            Stream::Stderr => is_true(&query.stderr),
        };
        Session {
            stdin: is_true(&query.stdin),
            streams: Stream::BOTH.into_iter().filter(wanted).collect(),
            keys,
            terminal,
            at: if is_true(&query.logs) { 0 } else { progress.end },
            completed: progress.completed,
            follow: is_true(&query.stream),
            keeper,
            container,
        }
    }

    async fn run(self, connection: Connection) {
        let (mut from, mut to) = tokio::io::split(connection);
        let Session { keeper, container, stdin, streams, keys, terminal, at, completed, follow } = self;
        let output = async {
            let result = send_output(&container, &mut to, &streams, terminal, (at, completed), follow).await;
            let _ = to.shutdown().await;
            result
        };
        let input = async {
            if stdin && follow {
                take_input(&container, &keeper, &mut from, keys, terminal).await
            } else {
                wait_for_end(&mut from).await
            }
        };
        tokio::pin!(output, input);
        // Whichever ends first ends the other, but the end of stdin, which is
        // the client's half-close.
        let result = tokio::select! {
            result = &mut output => result,
            left = &mut input => match left {
                Ok(Left::HalfClosed) => output.await,
                Ok(Left::Detached) => Ok(()),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = result {
            tracing::debug!(%error, container = container.id, "an attached client went away");
        }
    }
}

/// How a client left off typing.
enum Left {
    HalfClosed,
    Detached,
}

/// A client that only looks closes its half and still listens.
async fn wait_for_end<R: AsyncReadExt + Unpin>(from: &mut R) -> io::Result<Left> {
    let mut buffer = [0; 1024];
    while from.read(&mut buffer).await? > 0 {}
    Ok(Left::HalfClosed)
}

/// Sends a container's output from a place in its log on, until this run's
/// output is complete.
async fn send_output<W: AsyncWriteExt + Unpin>(
    container: &Container,
    to: &mut W,
    streams: &[Stream],
    terminal: bool,
    (mut at, completed): (u64, u64),
    follow: bool,
) -> io::Result<()> {
    let mut progress = container.log.progress();
    loop {
        let now = *progress.borrow_and_update();
        while let Some((record, next)) = container.log.record(at)? {
            at = next;
            if streams.contains(&record.stream) {
                let bytes = container.log.bytes(&record)?;
                hijack::write_piece(to, record.stream, &bytes, !terminal).await?;
            }
        }
        if now.completed > completed || !follow {
            return Ok(());
        }
        if progress.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Moves what a client types into the container.
async fn take_input<R: AsyncReadExt + Unpin>(
    container: &Container,
    keeper: &Keeper,
    from: &mut R,
    mut keys: DetachKeys,
    terminal: bool,
) -> io::Result<Left> {
    let mut life = container.life.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    let mut sink = None;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            let once = container.locked().config.stdin_once;
            if once && !terminal {
                close_stdin(container, keeper).await;
            }
            return Ok(Left::HalfClosed);
        }
        let typed = if terminal { keys.take(&buffer[..read]) } else { Typed::Bytes(buffer[..read].to_vec()) };
        let (bytes, detach) = match typed {
            Typed::Bytes(bytes) => (bytes, false),
            Typed::Detach(bytes) => (bytes, true),
        };
        if sink.is_none() {
            // Typed before the start: it waits.
            let _ = life.wait_for(|life| life.up || life.removed).await;
            sink = open_sink(container, terminal)?;
        }
        if let Some(sink) = &sink {
            match write_all(sink, &bytes).await {
                // The program has closed its stdin, or ended.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::EIO)) => {}
                other => other?,
            }
        }
        if detach {
            return Ok(Left::Detached);
        }
    }
}

fn open_sink(container: &Container, terminal: bool) -> io::Result<Option<AsyncFd<OwnedFd>>> {
    let held = {
        let live = container.live();
        if terminal { live.console.clone() } else { live.stdin.clone() }
    };
    held.map(|fd| writer(fd.try_clone()?)).transpose()
}

/// A descriptor to be written to without blocking.
pub(crate) fn writer(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    use std::os::fd::AsFd;
    nonblocking(fd.as_fd())?;
    // SAFETY: an `OwnedFd` is the same descriptor until it is dropped, and
    // nothing takes it out of the `AsyncFd`.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::WRITABLE) }?)
}

/// Writes all of it.
pub(crate) async fn write_all(sink: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = sink.async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, bytes)?)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Closes a container's stdin for good, once it has begun.
async fn close_stdin(container: &Container, keeper: &Keeper) {
    let mut life = container.life.subscribe();
    let _ = life.wait_for(|life| life.up || life.exits > 0 || life.removed).await;
    container.live().stdin = None;
    let unparked = keeper.unpark(&container.key(), "stdin").await;
    if let Err(error) = unparked {
        tracing::warn!(%error, container = container.id, "a container's stdin stays open");
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ResizeQuery {
    pub(crate) h: u16,
    pub(crate) w: u16,
}

/// `POST /containers/{ref}/resize`
pub(crate) async fn resize(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<ResizeQuery>,
) -> Result<StatusCode, ApiError> {
    let container = engine.containers.find(&reference)?;
    container.running()?;
    let console = container.live().console.clone();
    if let Some(console) = console {
        set_size(&console, &query)?;
    }
    Ok(StatusCode::OK)
}

/// Gives a terminal a size.
pub(crate) fn set_size(console: &OwnedFd, size: &ResizeQuery) -> Result<(), ApiError> {
    let size = libc::winsize { ws_row: size.h, ws_col: size.w, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the ioctl reads one winsize, which lives for the call.
    let result = unsafe { libc::ioctl(console.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) };
    if result == 0 { Ok(()) } else { Err(failed("resizing the terminal failed")(io::Error::last_os_error())) }
}
