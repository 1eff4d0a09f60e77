//! `GET /containers/{ref}/export`

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use drydock_sandbox::fdpass;
use tokio::io::{Interest, unix::AsyncFd};

use super::stage::{memfd, root};
use crate::{
    container::{FromStage, config},
    engine::Shared,
    error::{ApiError, failed},
    keeper::Spawn,
    log::nonblocking,
    random,
};

const PIECE: usize = 64 * 1024;

/// `GET /containers/{ref}/export`: a helper in the learner's own limits writes
/// the tar.
pub(crate) async fn export(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
) -> Result<Response, ApiError> {
    let container = engine.containers.find(&reference)?;
    let tasks = engine.cgroups.inner_tasks();
    let stage =
        config::Stage::Export(config::Export { cgroup_tasks: tasks.len(), root: root(&container.record()) });
    let memfd = memfd(&stage)?;
    let (tar, their_tar) = io::pipe().map_err(failed("making a pipe failed"))?;
    let (control, their_control) = fdpass::packet_pair().map_err(failed("making a socket failed"))?;
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(failed("opening /dev/null failed"))?;
    let helpers = engine.cgroups.helpers()?;
    let key = format!("export/{}", random::id());
    let mut fds = vec![null.as_fd(), their_tar.as_fd(), null.as_fd(), their_control.as_fd(), memfd.as_fd()];
    fds.extend(tasks);
    let spawn = Spawn {
        key: &key,
        args: &["container", "export"],
        namespaces: libc::CLONE_NEWNS as u64,
        fds,
        cgroup: helpers.as_ref().map(AsFd::as_fd),
    };
    let (_, exit) = engine.keeper.spawn(spawn).await.map_err(failed("starting a process failed"))?;
    drop((their_tar, their_control));
    let source = OwnedFd::from(tar);
    // Neither may hold us up: a learner can stop the helper at any point.
    nonblocking(source.as_fd()).map_err(failed("reading the tar failed"))?;
    nonblocking(control.as_fd()).map_err(failed("reading the tar failed"))?;
    // SAFETY: an `OwnedFd` is the same descriptor until it is dropped, and
    // nothing takes it out of the `AsyncFd`.
    let source = unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) }
        .map_err(failed("reading the tar failed"))?;
    let first = read(&source).await.map_err(failed("reading the tar failed"))?;
    if first.is_empty() {
        return Err(failure(control));
    }
    let keeper = engine.keeper.clone();
    tokio::spawn(async move {
        // Its status shows below; here PID 1 is told to forget it.
        let _ = exit.await;
        if let Err(error) = keeper.forget(&key).await {
            tracing::warn!(%error, key, "PID 1 was not told that a process is done with");
        }
    });
    let stream =
        futures_util::stream::unfold((Some(first), source, control), |(first, source, control)| async move {
            let piece = match first {
                Some(piece) => Ok(piece),
                None => read(&source).await,
            };
            match piece {
                Ok(bytes) if bytes.is_empty() => match fdpass::recv(control.as_fd(), &mut [0; 16 * 1024]) {
                    // The helper said why it broke off: the client must not take
                    // what it has for all.
                    Ok(got) if got.len > 0 => {
                        Some((Err(io::Error::other("the export broke off")), (None, source, control)))
                    }
                    _ => None,
                },
                piece => Some((piece, (None, source, control))),
            }
        });
    Ok(([("content-type", "application/octet-stream")], Body::from_stream(stream)).into_response())
}

async fn read(source: &AsyncFd<OwnedFd>) -> io::Result<Bytes> {
    let mut buffer = vec![0; PIECE];
    let read = source.async_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, &mut buffer[..])?)).await?;
    buffer.truncate(read);
    Ok(buffer.into())
}

/// Why nothing came.
fn failure(control: OwnedFd) -> ApiError {
    let mut buffer = [0; 16 * 1024];
    let message =
        fdpass::recv(control.as_fd(), &mut buffer).ok().and_then(|got| {
            match serde_json::from_slice(&buffer[..got.len]) {
                Ok(FromStage::Failed { message, .. }) => Some(message),
                _ => None,
            }
        });
    ApiError::Failed(format!(
        "exporting failed: {}",
        message.unwrap_or_else(|| "the helper ended early".to_owned())
    ))
}
