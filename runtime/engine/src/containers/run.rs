//! A run of a container: from its record to a process, and from its process's
//! end back to the record.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use drydock_sandbox::fdpass;

use super::{
    Container, Live, end, files, health, limits,
    record::{Record, Status},
    stage,
    stdio::{self, Stdio},
    taken::Taken,
    tell,
};
use crate::{
    clock,
    container::{FromStage, GO, config},
    engine::Shared,
    error::{ApiError, failed},
    keeper::Spawn,
    log::Stream,
    networks::{self, Sandbox},
};

const RUNTIME_ERROR: &str = "failed to create task for container: failed to create shim task: OCI runtime create failed: \
    runc create failed: unable to start container process: ";
/// A message of a stage is no longer.
const MESSAGE_MAX: usize = 16 * 1024;

/// Starts the container. Its `busy` lock is held by the caller.
pub(super) async fn start(engine: &Shared, container: &Arc<Container>) -> Result<(), ApiError> {
    let record = container.record();
    let mut taken = Taken::new(engine, container);
    let failure = match begin(engine, container, &record, &mut taken).await {
        Ok(outputs) => {
            // The process is there, so its exit is awaited.
            if let Some(exit) = taken.keep() {
                end::attend(engine.clone(), container.clone(), outputs, exit);
            }
            return Ok(());
        }
        Err(failure) => failure,
    };
    taken.give_back().await;
    engine.networks.free(&container.id);
    crate::volumes::mount::end(engine, &record);
    *container.live() = Live::default();
    container.change(|record| {
        record.state.exit_code = failure.exit_code;
        if record.state.status == Status::Restarting {
            record.state.status = Status::Exited;
        }
        failure.error.to_string().clone_into(&mut record.state.error);
        record.sandbox = None;
        record.group = None;
    })?;
    container.life.send_modify(|life| life.exit_code = failure.exit_code);
    container.log.complete();
    tell(engine, &container.record(), "die", Some(failure.exit_code));
    Err(failure.error)
}

/// Why a start failed, and the exit code that shows.
struct Failure {
    error: ApiError,
    exit_code: i32,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        Failure { error, exit_code: 128 }
    }
}

/// Takes all that a run needs, starts the process, and goes with its stage
/// until it is the program. The container's output is what comes back.
async fn begin(
    engine: &Shared,
    container: &Arc<Container>,
    record: &Record,
    taken: &mut Taken,
) -> Result<Vec<(Stream, OwnedFd)>, Failure> {
    let key = container.key();
    prepare_overlay(record)?;
    crate::volumes::mount::prepare(engine, record)?;
    let join = networks::join_target(engine, record)?;
    let sandbox = engine.networks.reserve(engine, record).await?;
    taken.sandbox(&sandbox);
    let links = networks::links_of(engine, record)?;
    files::write_files(engine, record, sandbox.as_ref(), &links)?;
    let limits = limits::limits(record);
    let number = engine.cgroups.number(&limits);
    taken.group(number);
    // What it takes is on disk before it is taken: a restart of ours finds it.
    container.change(|record| {
        record.group = number;
        record.sandbox.clone_from(&sandbox);
    })?;
    let group = engine.cgroups.make(&engine.keeper, number, &limits).await?;
    let stage = config::Stage::Run(Box::new(stage::stage_config(engine, record, &group, &links)?));
    let memfd = stage::memfd(&stage)?;
    let (control, their_control) = fdpass::packet_pair().map_err(failed("making a socket failed"))?;
    let stdio = Stdio::new(record).map_err(failed("making pipes failed"))?;
    stdio::park(engine, &key, &stdio).await?;
    let mut fds: Vec<BorrowedFd<'_>> = stdio.theirs.iter().map(AsFd::as_fd).collect();
    fds.extend([their_control.as_fd(), memfd.as_fd()]);
    fds.extend(group.tasks.iter().map(AsFd::as_fd));
    let join = join.map(|target| target.live().pidfd.clone().ok_or_else(|| gone(&target))).transpose()?;
    fds.extend(join.iter().map(|pidfd| pidfd.as_fd()));
    let spawn = Spawn {
        key: &key,
        args: &["container", "run"],
        namespaces: stage::namespaces(record),
        fds,
        cgroup: group.directory.as_ref().map(AsFd::as_fd),
    };
    let started = engine.keeper.spawn(spawn).await.map_err(failed("starting a process failed"));
    let (spawned, exit) = started?;
    let pidfd = Arc::new(spawned.pidfd);
    taken.process(pidfd.clone(), exit);
    drop((their_control, memfd, stdio.theirs));
    let console = follow_stage(engine, control, record, sandbox.as_ref()).await?;
    let mut outputs = stdio.outputs;
    if let Some(console) = &console {
        let parked = engine.keeper.park(&key, "console", console.as_fd()).await;
        parked.map_err(failed("keeping the terminal failed"))?;
        outputs.push((Stream::Stdout, console.try_clone().map_err(failed("copying a descriptor failed"))?));
    }
    *container.live() =
        Live { pidfd: Some(pidfd), stdin: stdio.stdin.map(Arc::new), console: console.map(Arc::new) };
    container.change(|record| now_running(record, spawned.pid))?;
    container.life.send_modify(|life| life.up = true);
    tell(engine, &container.record(), "start", None);
    Ok(outputs)
}

/// The container whose network was to be shared has just ended.
fn gone(target: &Container) -> ApiError {
    ApiError::Conflict(format!("container {} is not running", target.id))
}

/// What a record says of a container from its start on.
fn now_running(record: &mut Record, pid: i32) {
    let health = health::fresh(record);
    let state = &mut record.state;
    state.status = Status::Running;
    state.pid = pid;
    state.exit_code = 0;
    state.error.clear();
    state.oom_killed = false;
    state.started_at = clock::now();
    state.finished_at = clock::NEVER.to_owned();
    state.health = health;
    record.stopped = false;
}

/// An overlay mounted as volatile can be mounted again only with a new work
/// directory.
pub(super) fn prepare_overlay(record: &Record) -> Result<(), ApiError> {
    let work = Path::new(&record.overlay()).join("work");
    if fs::symlink_metadata(work.join("work")).is_err() {
        return Ok(());
    }
    super::remove_tree(&work)
        .and_then(|()| fs::create_dir(&work))
        .map_err(failed("preparing the root filesystem failed"))
}

/// Goes with a stage until its program runs: sets up its network, takes its
/// terminal, and learns of failures.
async fn follow_stage(
    engine: &Shared,
    control: OwnedFd,
    record: &Record,
    sandbox: Option<&Sandbox>,
) -> Result<Option<OwnedFd>, Failure> {
    let mut console = None;
    let control = fdpass::Packets::new(control).map_err(failed("listening to the container failed"))?;
    let (mut ready, mut closed) = (false, false);
    loop {
        let message = control.recv(MESSAGE_MAX).await.map_err(failed("listening to the container failed"))?;
        let Some((bytes, mut fds)) = message else {
            // A stage that fails before it takes our word closes with that
            // unread, which is told before its own last word.
            if !std::mem::replace(&mut closed, true) {
                continue;
            }
            // The socket closed by the program's exec, or by the stage's death.
            return if ready {
                Ok(console)
            } else {
                Err(ApiError::Failed(format!("{RUNTIME_ERROR}it ended early")).into())
            };
        };
        match serde_json::from_slice(&bytes).map_err(failed("the container sent what is no message"))? {
            FromStage::Network => {
                let (Some(namespace), Some(sandbox)) = (fds.pop(), sandbox) else { continue };
                engine
                    .networks
                    .connect(engine, record, sandbox, namespace)
                    .await
                    .map_err(|error| error.context("failed to set up container networking: "))?;
                if let Err(error) = control.send(GO, &[]).await {
                    // It has failed by itself, and says so next.
                    tracing::debug!(%error, "a container's stage has ended");
                }
            }
            FromStage::Console => console = fds.pop(),
            FromStage::Ready { .. } => ready = true,
            FromStage::Stat(_) | FromStage::Refused(_) => {}
            FromStage::Failed { message, exec, plain } => return Err(stage_failure(&message, exec, plain)),
        }
    }
}

fn stage_failure(message: &str, exec: bool, plain: bool) -> Failure {
    if plain {
        return Failure { error: ApiError::Failed(message.to_owned()), exit_code: 126 };
    }
    let text = format!("{RUNTIME_ERROR}{message}: unknown");
    if !exec {
        return Failure { error: ApiError::Failed(text), exit_code: 128 };
    }
    let denied = message.ends_with("permission denied") || message.ends_with("is a directory");
    Failure { error: ApiError::Invalid(text), exit_code: if denied { 126 } else { 127 } }
}
