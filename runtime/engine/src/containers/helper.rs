//! A helper at a container's files: a short-lived process in the learner's own
//! limits that reads or writes what a learner made, so that the engine doesn't.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use axum::body::Bytes;
use drydock_sandbox::fdpass::{self, Packets};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::OwnedMutexGuard,
};

use super::{Container, attach, stage};
use crate::{
    container::{
        FromStage,
        config::{self, Files, FilesTask, Place, Stage},
    },
    engine::Shared,
    error::{ApiError, failed},
    keeper::Spawn,
    log::nonblocking,
    random,
};

const STARTING: &str = "starting a helper failed";
const LISTENING: &str = "listening to a helper failed";
const PIECE: usize = 64 * 1024;
/// A message of a helper is no longer.
const MESSAGE_MAX: usize = 16 * 1024;

/// A helper that runs.
pub(super) struct Helper {
    control: Packets,
    stdin: Option<AsyncFd<OwnedFd>>,
    stdout: AsyncFd<OwnedFd>,
    /// Nobody starts or removes the container meanwhile.
    _busy: Option<OwnedMutexGuard<()>>,
}

/// Starts a helper for a path in a container. One that runs is entered; of one
/// that doesn't the same is mounted, and it can't be started meanwhile.
pub(super) async fn at_path(
    engine: &Shared,
    container: &Arc<Container>,
    task: FilesTask,
) -> Result<Helper, ApiError> {
    let entered = {
        let up = container.locked().state.status.is_up();
        container.live().pidfd.clone().filter(|_| up)
    };
    if let Some(pidfd) = entered {
        let files = |cgroup_tasks| Stage::Files(Files { cgroup_tasks, place: Place::Running, task });
        return spawn(engine, "files", 0, files, Some(pidfd.as_fd()), None).await;
    }
    let busy = container.busy.clone().lock_owned().await;
    let record = container.record();
    if container.life.borrow().removed {
        return Err(ApiError::NotFound(format!("No such container: {}", record.name)));
    }
    if record.state.status.is_up() {
        return Err(ApiError::Conflict(format!("container {} was just started: try again", container.id)));
    }
    super::run::prepare_overlay(&record)?;
    let place = Place::Stopped { root: stage::root(&record), mounts: stage::volumes(&record) };
    let files = |cgroup_tasks| Stage::Files(Files { cgroup_tasks, place, task });
    spawn(engine, "files", libc::CLONE_NEWNS as u64, files, None, Some(busy)).await
}

/// Starts a helper that writes something about a container's root to stdout.
pub(super) async fn at_root(
    engine: &Shared,
    mode: &str,
    stage: impl FnOnce(usize) -> Stage,
) -> Result<Helper, ApiError> {
    spawn(engine, mode, libc::CLONE_NEWNS as u64, stage, None, None).await
}

async fn spawn(
    engine: &Shared,
    mode: &str,
    namespaces: u64,
    stage: impl FnOnce(usize) -> Stage,
    more: Option<BorrowedFd<'_>>,
    busy: Option<OwnedMutexGuard<()>>,
) -> Result<Helper, ApiError> {
    let tasks = engine.cgroups.inner_tasks();
    let memfd = stage::memfd(&stage(tasks.len()))?;
    let (stdin_theirs, stdin) = io::pipe().map_err(failed(STARTING))?;
    let (stdout, stdout_theirs) = io::pipe().map_err(failed(STARTING))?;
    let (control, their_control) = fdpass::packet_pair().map_err(failed(STARTING))?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(failed(STARTING))?;
    let helpers = engine.cgroups.helpers()?;
    let key = format!("helper/{}", random::id());
    let mut fds =
        vec![stdin_theirs.as_fd(), stdout_theirs.as_fd(), null.as_fd(), their_control.as_fd(), memfd.as_fd()];
    fds.extend(tasks);
    fds.extend(more);
    let spawn = Spawn {
        key: &key,
        args: &["container", mode],
        namespaces,
        fds,
        cgroup: helpers.as_ref().map(AsFd::as_fd),
    };
    let (_, exit) = engine.keeper.spawn(spawn).await.map_err(failed(STARTING))?;
    let keeper = engine.keeper.clone();
    tokio::spawn(async move {
        // How it went is told on its socket; here PID 1 is told to forget it.
        let _ = exit.await;
        if let Err(error) = keeper.forget(&key).await {
            tracing::warn!(%error, key, "PID 1 was not told that a process is done with");
        }
    });
    let stdout = OwnedFd::from(stdout);
    nonblocking(stdout.as_fd()).map_err(failed(STARTING))?;
    // SAFETY: an `OwnedFd` is the same descriptor until it is dropped, and
    // nothing takes it out of the `AsyncFd`.
    let stdout =
        unsafe { AsyncFd::register_with_interest(stdout, Interest::READABLE) }.map_err(failed(STARTING))?;
    Ok(Helper {
        control: Packets::new(control).map_err(failed(STARTING))?,
        stdin: Some(attach::writer(stdin.into()).map_err(failed(STARTING))?),
        stdout,
        _busy: busy,
    })
}

impl Helper {
    /// What it says next; nothing when it has ended.
    pub(super) async fn message(&self) -> Result<Option<FromStage>, ApiError> {
        match self.control.recv(MESSAGE_MAX).await.map_err(failed(LISTENING))? {
            None => Ok(None),
            Some((bytes, _)) => serde_json::from_slice(&bytes).map(Some).map_err(failed(LISTENING)),
        }
    }

    /// Gives it bytes; false when it takes no more.
    pub(super) async fn give(&mut self, bytes: &[u8]) -> bool {
        match &self.stdin {
            Some(stdin) => attach::write_all(stdin, bytes).await.is_ok(),
            None => false,
        }
    }

    /// It gets no more bytes.
    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next piece that it writes; empty at the end.
    pub(super) async fn piece(&self) -> io::Result<Bytes> {
        let mut buffer = vec![0; PIECE];
        let read =
            self.stdout.async_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, &mut buffer[..])?)).await?;
        buffer.truncate(read);
        Ok(buffer.into())
    }

    /// All that it writes, up to a size.
    pub(super) async fn all(&self, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let piece = self.piece().await?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            if bytes.len() + piece.len() > limit {
                return Err(io::Error::other(format!("the answer is longer than {limit} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
    }

    /// What it writes as a body. It breaks off where the helper did, so that the
    /// client doesn't take a part for the whole.
    pub(super) fn into_body(self, first: Bytes) -> axum::body::Body {
        let stream = futures_util::stream::unfold((Some(first), self), |(first, helper)| async move {
            let piece = match first {
                Some(first) => Ok(first),
                None => helper.piece().await,
            };
            match piece {
                Ok(bytes) if bytes.is_empty() => match helper.message().await {
                    Ok(None) => None,
                    _ => Some((Err(io::Error::other("reading the files broke off")), (None, helper))),
                },
                piece => Some((piece, (None, helper))),
            }
        });
        axum::body::Body::from_stream(stream)
    }
}

/// A failure that a helper told, in words.
pub(super) fn failure(message: Option<FromStage>) -> ApiError {
    ApiError::Failed(match message {
        Some(FromStage::Failed { message, .. }) => message,
        Some(other) => format!("a helper said {other:?}"),
        None => "a helper ended early".to_owned(),
    })
}

/// The root of a container, for helpers that mount it themselves.
pub(super) fn root(container: &Container) -> config::Root {
    stage::root(&container.record())
}
