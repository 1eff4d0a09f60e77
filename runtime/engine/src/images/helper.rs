//! The engine's side of the child that works on archives: what goes in, what
//! it tells, why it failed.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use axum::body::{Body, Bytes};
use drydock_sandbox::fdpass;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
};

use super::stage::{Images, Report, Task};
use crate::{
    container::{FromStage, config},
    containers::memfd,
    engine::Shared,
    error::{ApiError, failed},
    keeper::{Exit, Spawn},
    log::nonblocking,
    random,
};

/// All that a child may tell, in bytes: descriptions of images, and progress.
const REPORTS_MAX: u64 = 8 << 20;
/// How much is read, in bytes, of a request that nobody needs any more.
const DROPPED_MAX: usize = 1 << 30;
const PIECE: usize = 64 << 10;

/// A child at work.
pub(super) struct Helper {
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    control: OwnedFd,
    exit: tokio::sync::oneshot::Receiver<Exit>,
}

/// Starts a child for a task.
pub(super) async fn start(engine: &Shared, task: Task) -> Result<Helper, ApiError> {
    let pipes = || "making a pipe failed";
    let tasks = engine.cgroups.inner_tasks();
    let memfd = memfd(&config::Stage::Images(Box::new(Images { cgroup_tasks: tasks.len(), task })))?;
    let (their_stdin, stdin) = io::pipe().map_err(failed(pipes()))?;
    let (stdout, their_stdout) = io::pipe().map_err(failed(pipes()))?;
    let (control, their_control) = fdpass::packet_pair().map_err(failed("making a socket failed"))?;
    nonblocking(control.as_fd()).map_err(failed(pipes()))?;
    let null = std::fs::File::options().write(true).open("/dev/null");
    let null = null.map_err(failed("opening /dev/null failed"))?;
    let helpers = engine.cgroups.helpers()?;
    let key = format!("images/{}", random::id());
    let mut fds =
        vec![their_stdin.as_fd(), their_stdout.as_fd(), null.as_fd(), their_control.as_fd(), memfd.as_fd()];
    fds.extend(tasks);
    let spawn = Spawn {
        key: &key,
        args: &["container", "images"],
        namespaces: (libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC) as u64,
        fds,
        cgroup: helpers.as_ref().map(AsFd::as_fd),
    };
    let (_, exited) = engine.keeper.spawn(spawn).await.map_err(failed("starting a process failed"))?;
    let (done, exit) = tokio::sync::oneshot::channel();
    let keeper = engine.keeper.clone();
    // Whoever waits may go away; PID 1 is told all the same.
    tokio::spawn(async move {
        if let Ok(exit) = exited.await {
            let _ = done.send(exit);
        }
        if let Err(error) = keeper.forget(&key).await {
            tracing::warn!(%error, key, "PID 1 was not told that a process is done with");
        }
    });
    Ok(Helper {
        stdin: Some(pipe::Sender::from_owned_fd(stdin.into()).map_err(failed(pipes()))?),
        stdout: pipe::Receiver::from_owned_fd(stdout.into()).map_err(failed(pipes()))?,
        control,
        exit,
    })
}

impl Helper {
    /// Feeds it a request's body, hears all that it tells, and waits for its end.
    pub(super) async fn run(mut self, body: Body) -> Result<Vec<Report>, ApiError> {
        let stdin = self.stdin.take();
        // Its stdout is closed once enough is heard: it must not wait for us.
        let (fed, heard) = tokio::join!(feed(stdin, body), hear(self.stdout));
        let exit = (&mut self.exit).await.map_err(failed("the process that reads images is gone"))?;
        // What the child says explains the most.
        if exit.status != 0 {
            return Err(ApiError::Failed(failure(&self.control)));
        }
        fed?;
        heard
    }

    /// Its stdout as a body, once the first bytes of it are there.
    pub(super) async fn into_body(mut self) -> Result<Body, ApiError> {
        self.stdin = None;
        let first = self.piece().await.map_err(failed("reading the archive failed"))?;
        if first.is_empty() {
            return Err(ApiError::Failed(failure(&self.control)));
        }
        let stream = futures_util::stream::unfold((Some(first), self), |(first, mut helper)| async move {
            let piece = match first {
                Some(first) => Ok(first),
                None => helper.piece().await,
            };
            match piece {
                Ok(bytes) if bytes.is_empty() => match (&mut helper.exit).await {
                    Ok(Exit { status: 0, .. }) => None,
                    // The client must not take what it has for all.
                    _ => Some((Err(io::Error::other(failure(&helper.control))), (None, helper))),
                },
                piece => Some((piece, (None, helper))),
            }
        });
        Ok(Body::from_stream(stream))
    }

    async fn piece(&mut self) -> io::Result<Bytes> {
        let mut buffer = vec![0; PIECE];
        let read = self.stdout.read(&mut buffer).await?;
        buffer.truncate(read);
        Ok(buffer.into())
    }
}

/// Why a child failed, in its own words.
fn failure(control: &OwnedFd) -> String {
    let mut buffer = [0; 16 << 10];
    let got = fdpass::recv(control.as_fd(), &mut buffer).ok();
    match got.and_then(|got| serde_json::from_slice(&buffer[..got.len]).ok()) {
        // An archive's bytes may be in it, and it is shown on a terminal.
        Some(FromStage::Failed { message, .. }) => message.replace(char::is_control, "?"),
        _ => "the process that works on images ended early: the node may be short of memory".to_owned(),
    }
}

/// Reads what a client sends with a request that is refused: it looks at the
/// answer only then.
pub(super) async fn drain(mut body: Body) {
    let mut dropped = 0;
    while let Some(Ok(frame)) = body.frame().await {
        dropped += frame.data_ref().map_or(0, Bytes::len);
        if dropped > DROPPED_MAX {
            return;
        }
    }
}

async fn feed(stdin: Option<pipe::Sender>, mut body: Body) -> Result<(), ApiError> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    let mut dropped = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(failed("reading the request failed"))?;
        let Ok(bytes) = frame.into_data() else { continue };
        match stdin.write_all(&bytes).await {
            Ok(()) => {}
            // It needs no more, or says why it ended. The rest of the request is
            // read all the same, or the client might not look at the answer.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                dropped += bytes.len();
                if dropped > DROPPED_MAX {
                    return Ok(());
                }
            }
            Err(error) => return Err(failed("passing the archive on failed")(error)),
        }
    }
    Ok(())
}

/// Hears reports; progress is only for who waits at a terminal, and dropped.
async fn hear(stdout: pipe::Receiver) -> Result<Vec<Report>, ApiError> {
    let mut lines = BufReader::new(stdout.take(REPORTS_MAX));
    let mut reports = Vec::new();
    loop {
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).await.map_err(failed("reading about images failed"))?;
        if line.is_empty() {
            return Ok(reports);
        }
        match serde_json::from_slice(&line).map_err(failed("the images' descriptions are too long"))? {
            Report::Progress(_) => {}
            report => reports.push(report),
        }
    }
}
