//! One exec: its process, and the client that looks at it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use drydock_sandbox::{capabilities, fdpass};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest, unix::AsyncFd},
    sync::oneshot,
};

use super::{Exec, copy};
use crate::{
    container::{FromStage, config},
    containers::{
        attach::{write_all, writer},
        capabilities_of, environment, memfd, no_new_privileges_of,
        record::Record,
        rlimits_of, seccomp_of, tell,
    },
    engine::{Engine, Shared},
    error::{ApiError, failed},
    hijack::{Connection, DetachKeys, Typed, write_piece},
    keeper::{Exit, Spawn},
    log::{Stream, nonblocking},
};

const RUNTIME_ERROR: &str = "OCI runtime exec failed: exec failed: unable to start container process: ";
const MESSAGE_MAX: usize = 16 * 1024;
const PIECE: usize = 32 * 1024;

/// A process that runs.
pub(super) struct Running {
    key: String,
    exit: oneshot::Receiver<Exit>,
    stdin: Option<OwnedFd>,
    outputs: Vec<(Stream, OwnedFd)>,
}

/// Starts the process. `detached`: nobody will read what it prints.
pub(super) async fn begin(
    engine: &Shared,
    exec: &Arc<Exec>,
    size: Option<[u16; 2]>,
    detached: bool,
) -> Result<Running, ApiError> {
    let result = begin_now(engine, exec, size, detached).await;
    if let Err(error) = &result {
        let text = error.to_string();
        let denied = text.contains("permission denied") || text.contains("is a directory");
        exec.progress().exit_code = Some(if denied { 126 } else { 127 });
    }
    result
}

async fn begin_now(
    engine: &Shared,
    exec: &Arc<Exec>,
    size: Option<[u16; 2]>,
    detached: bool,
) -> Result<Running, ApiError> {
    let container = engine.containers.find(&exec.container)?;
    let record = container.running()?;
    let pidfd = container.live().pidfd.clone();
    let pidfd =
        pidfd.ok_or_else(|| ApiError::Conflict(format!("container {} is not running", container.id)))?;
    let stdio = Stdio::new(exec, detached).map_err(failed("making pipes failed"))?;
    let waiter = engine.cgroups.inner_tasks();
    let group = match record.group {
        // Without a group of its own the program stays where the waiter is.
        None if !engine.cgroups.is_v2() => {
            crate::cgroups::Group { number: None, tasks: Vec::new(), directory: None }
        }
        number => engine.cgroups.of(&engine.keeper, number).await?,
    };
    let stage = config::Stage::Exec(Box::new(config::Exec {
        waiter_tasks: waiter.len(),
        cgroup_tasks: group.tasks.len(),
        cgroup_dir: group.directory.is_some(),
        namespaces: namespaces(&record),
        tty: exec.body.tty.then(|| size.map_or((0, 0), |[rows, cols]| (rows, cols))),
        process: process(engine, exec, &record),
    }));
    let memfd = memfd(&stage)?;
    let (control, their_control) = fdpass::packet_pair().map_err(failed("making a socket failed"))?;
    let helpers = engine.cgroups.helpers()?;
    let key = format!("exec/{}", exec.id);
    let mut fds: Vec<BorrowedFd<'_>> = stdio.theirs.iter().map(AsFd::as_fd).collect();
    fds.extend([their_control.as_fd(), memfd.as_fd(), pidfd.as_fd()]);
    fds.extend(waiter);
    fds.extend(group.tasks.iter().map(AsFd::as_fd));
    fds.extend(group.directory.iter().map(AsFd::as_fd));
    let spawn = Spawn {
        key: &key,
        args: &["container", "exec"],
        namespaces: 0,
        fds,
        cgroup: helpers.as_ref().map(AsFd::as_fd),
    };
    let (_, exit) = engine.keeper.spawn(spawn).await.map_err(failed("starting a process failed"))?;
    drop((their_control, stdio.theirs));
    let mut outputs = stdio.outputs;
    match follow_stage(exec, control).await {
        Ok(Some(console)) => {
            outputs.push((Stream::Stdout, copy(&console)?));
            *exec.console() = Some(Arc::new(console));
        }
        Ok(None) => {}
        Err(error) => {
            // It ends by itself after such a message.
            let _ = exit.await;
            engine.keeper.forget(&key).await.map_err(failed("telling PID 1 failed"))?;
            return Err(error);
        }
    }
    exec.progress().running = true;
    tell(engine, &record, &format!("exec_start: {}", exec.body.cmd.join(" ")), None);
    Ok(Running { key, exit, stdin: stdio.stdin, outputs })
}

/// Our ends of its stdio, and its own.
struct Stdio {
    theirs: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    outputs: Vec<(Stream, OwnedFd)>,
}

impl Stdio {
    fn new(exec: &Exec, detached: bool) -> io::Result<Stdio> {
        let null = || std::fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        let body = &exec.body;
        let mut stdio = Stdio { theirs: [null()?, null()?, null()?], stdin: None, outputs: Vec::new() };
        if body.tty || detached {
            return Ok(stdio);
        }
        if body.attach_stdin {
            let (read, write) = io::pipe()?;
            stdio.theirs[0] = read.into();
            stdio.stdin = Some(write.into());
        }
        for (stream, wanted) in [(Stream::Stdout, body.attach_stdout), (Stream::Stderr, body.attach_stderr)] {
            if wanted {
                let (read, write) = io::pipe()?;
                stdio.theirs[stream as usize] = write.into();
                stdio.outputs.push((stream, read.into()));
            }
        }
        Ok(stdio)
    }
}

/// The container's namespaces that are not the node's own.
fn namespaces(record: &Record) -> i32 {
    let all = libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWCGROUP;
    let host = &record.host_config;
    let mut joined = all;
    if host.pid_mode == "host" {
        joined &= !libc::CLONE_NEWPID;
    }
    joined
}

fn process(engine: &Engine, exec: &Exec, record: &Record) -> config::Process {
    let body = &exec.body;
    let or = |given: &String, else_: &String| if given.is_empty() { else_.clone() } else { given.clone() };
    let privileged = body.privileged || record.host_config.privileged;
    config::Process {
        argv: body.cmd.clone(),
        env: environment(record, body.tty, &body.env),
        cwd: or(&body.working_dir, &record.config.working_dir),
        user: or(&body.user, &record.config.user),
        groups: record.host_config.group_add.clone().unwrap_or_default(),
        capabilities: if privileged {
            capabilities::NODE.iter().map(ToString::to_string).collect()
        } else {
            capabilities_of(record)
        },
        seccomp: seccomp_of(engine, record, privileged),
        no_new_privileges: no_new_privileges_of(record),
        rlimits: rlimits_of(record),
        oom_score_adj: 0,
    }
}

/// Goes with the stage until the program runs; its terminal, if it has one.
async fn follow_stage(exec: &Exec, control: OwnedFd) -> Result<Option<OwnedFd>, ApiError> {
    let control = fdpass::Packets::new(control).map_err(failed("listening to the process failed"))?;
    let (mut console, mut ready) = (None, false);
    loop {
        let message = control.recv(MESSAGE_MAX).await.map_err(failed("listening to the process failed"))?;
        let Some((bytes, mut fds)) = message else {
            return if ready {
                Ok(console)
            } else {
                Err(ApiError::Failed(format!("{RUNTIME_ERROR}it ended early")))
            };
        };
        match serde_json::from_slice(&bytes).map_err(failed("the process sent what is no message"))? {
            FromStage::Console => console = fds.pop(),
            FromStage::Ready { pid } => {
                ready = true;
                exec.progress().pid = pid.unwrap_or(0);
            }
            FromStage::Network | FromStage::Stat(_) | FromStage::Refused(_) => {}
            FromStage::Failed { message, plain: true, .. } => return Err(ApiError::Failed(message)),
            FromStage::Failed { message, exec, .. } => {
                let text = format!("{RUNTIME_ERROR}{message}: unknown");
                return Err(if exec { ApiError::Invalid(text) } else { ApiError::Failed(text) });
            }
        }
    }
}

/// Waits for the end of a process and writes it down.
pub(super) async fn finish(engine: Shared, exec: Arc<Exec>, running: Running) {
    let Running { key, exit, outputs, stdin } = running;
    let drains = outputs.into_iter().map(|(_, fd)| discard(fd));
    let (exit, _) = tokio::join!(exit, futures_util::future::join_all(drains));
    drop(stdin);
    ended(&engine, &exec, &key, exit.ok()).await;
}

/// What a probe may print, in bytes; the rest is not kept.
const OUTPUT_MAX: usize = 4096;

/// Waits for the end of a process and keeps what it printed.
pub(super) async fn collect(engine: Shared, exec: Arc<Exec>, running: Running) -> (i32, String) {
    let Running { key, exit, outputs, stdin } = running;
    drop(stdin);
    let kept = std::sync::Mutex::new(Vec::new());
    let keep = |piece: &[u8]| {
        let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let room = OUTPUT_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..piece.len().min(room)]);
    };
    let drains = outputs.into_iter().map(|(_, fd)| read_all(fd, &keep));
    let (exit, _) = tokio::join!(exit, futures_util::future::join_all(drains));
    let exit = exit.ok();
    ended(&engine, &exec, &key, exit).await;
    let output = kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    (exit.map_or(-1, |exit| exit.status), String::from_utf8_lossy(&output).into_owned())
}

/// Ends a process that runs; one that has ended stays as it is.
pub(super) fn kill(exec: &Exec) {
    let progress = *exec.progress();
    if !progress.running || progress.pid <= 0 {
        return;
    }
    // Its number is its own for as long as its waiter has not been reaped.
    if let Err(error) =
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(progress.pid), nix::sys::signal::Signal::SIGKILL)
    {
        tracing::debug!(%error, pid = progress.pid, "a process had ended before it was killed");
    }
}

/// Reads what nobody wants to see, so that the process isn't held up.
async fn discard(fd: OwnedFd) {
    read_all(fd, &|_: &[u8]| {}).await;
}

async fn read_all(fd: OwnedFd, take: &(impl Fn(&[u8]) + Sync)) {
    let result: io::Result<()> = async {
        let source = reader(fd)?;
        let mut buffer = vec![0; PIECE];
        loop {
            match read(&source, &mut buffer).await? {
                0 => return Ok(()),
                length => take(&buffer[..length]),
            }
        }
    }
    .await;
    if let Err(error) = result {
        tracing::debug!(%error, "output of a process was not read to its end");
    }
}

async fn ended(engine: &Shared, exec: &Exec, key: &str, exit: Option<Exit>) {
    let status = exit.map_or(255, |exit| exit.status);
    {
        let mut progress = exec.progress();
        progress.running = false;
        progress.exit_code = Some(status);
    }
    *exec.console() = None;
    if let Err(error) = engine.keeper.forget(key).await {
        tracing::warn!(%error, key, "PID 1 was not told that a process is done with");
    }
    if let Ok(container) = engine.containers.find(&exec.container) {
        tell(engine, &container.record(), "exec_die", Some(status));
    }
}

/// Runs the process for a client.
pub(super) async fn run(engine: Shared, exec: Arc<Exec>, size: Option<[u16; 2]>, connection: Connection) {
    let (mut from, mut to) = tokio::io::split(connection);
    let multiplexed = !exec.body.tty;
    let running = match begin(&engine, &exec, size, false).await {
        Ok(running) => running,
        Err(error) => {
            let words = format!("{error}\r\n");
            if let Err(gone) = write_piece(&mut to, Stream::Stdout, words.as_bytes(), multiplexed).await {
                tracing::debug!(error = %gone, "a client went away");
            }
            let _ = to.shutdown().await;
            return;
        }
    };
    let Running { key, exit, stdin, outputs } = running;
    let sink = match (&*exec.console(), stdin) {
        (Some(console), _) => copy(console).ok(),
        (None, stdin) => stdin,
    };
    let keys = DetachKeys::parse(&exec.body.detach_keys).ok().filter(|_| exec.body.tty);
    let attached = exec.body.attach_stdin;
    let input = take_input(&mut from, sink.filter(|_| attached), keys);
    let (leave, left) = oneshot::channel();
    let input = async {
        // A client that only half-closes still listens.
        if input.await && leave.send(()).is_err() {
            tracing::debug!("a client detached from a process that had ended");
        }
    };
    let output = async {
        let rest = send_output(outputs, &mut to, multiplexed, left).await;
        let complete = rest.is_empty();
        if !complete {
            let _ = to.shutdown().await;
        }
        let (exit, _) =
            tokio::join!(exit, futures_util::future::join_all(rest.into_iter().map(discard_source)));
        // The status first: the client asks for it when the stream ends.
        ended(&engine, &exec, &key, exit.ok()).await;
        let _ = to.shutdown().await;
    };
    tokio::pin!(input, output);
    tokio::select! {
        () = &mut output => {}
        () = &mut input => output.await,
    }
}

type Source = AsyncFd<OwnedFd>;

fn reader(fd: OwnedFd) -> io::Result<Source> {
    nonblocking(fd.as_fd())?;
    // SAFETY: an `OwnedFd` is the same descriptor until it is dropped, and
    // nothing takes it out of the `AsyncFd`.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

async fn read(source: &Source, buffer: &mut [u8]) -> io::Result<usize> {
    source
        .async_io(Interest::READABLE, |fd| match rustix::io::read(fd, &mut *buffer) {
            // How a terminal ends.
            Err(rustix::io::Errno::IO) => Ok(0),
            other => Ok(other?),
        })
        .await
}

async fn discard_source(source: Source) {
    let mut buffer = vec![0; PIECE];
    while matches!(read(&source, &mut buffer).await, Ok(1..)) {}
}

/// Sends what the process prints, as it comes. What is still open when the
/// client has gone, or says that it leaves, is given back.
async fn send_output<W: AsyncWriteExt + Unpin>(
    outputs: Vec<(Stream, OwnedFd)>,
    to: &mut W,
    multiplexed: bool,
    left: oneshot::Receiver<()>,
) -> Vec<Source> {
    let rest = |open: Vec<(Stream, Source)>| open.into_iter().map(|(_, source)| source).collect();
    let leaves = async {
        if left.await.is_err() {
            // It can't leave any more.
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(leaves);
    let mut open: Vec<(Stream, Source)> = Vec::new();
    for (stream, fd) in outputs {
        match reader(fd) {
            Ok(source) => open.push((stream, source)),
            Err(error) => tracing::warn!(%error, "output of a process can't be read"),
        }
    }
    let mut buffers = [vec![0; PIECE], vec![0; PIECE]];
    while !open.is_empty() {
        let (place, result) = {
            let [one, other] = &mut buffers;
            let first = read(&open[0].1, one);
            let second = async {
                match open.get(1) {
                    Some((_, second)) => read(second, other).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                result = first => (0, result),
                result = second => (1, result),
                () = &mut leaves => return rest(open),
            }
        };
        match result {
            Ok(0) => drop(open.remove(place)),
            Ok(length) => {
                let piece = &buffers[place][..length];
                if write_piece(to, open[place].0, piece, multiplexed).await.is_err() {
                    return rest(open);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "reading output of a process failed");
                drop(open.remove(place));
            }
        }
    }
    Vec::new()
}

/// Moves what the client types to the process; true when it detached.
async fn take_input<R: AsyncReadExt + Unpin>(
    from: &mut R,
    sink: Option<OwnedFd>,
    mut keys: Option<DetachKeys>,
) -> bool {
    let sink = sink.map(writer).transpose().unwrap_or_else(|error| {
        tracing::warn!(%error, "a process can't be typed to");
        None
    });
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(read) => read,
        };
        let typed = match &mut keys {
            Some(keys) => keys.take(&buffer[..read]),
            None => Typed::Bytes(buffer[..read].to_vec()),
        };
        let (bytes, detach) = match typed {
            Typed::Bytes(bytes) => (bytes, false),
            Typed::Detach(bytes) => (bytes, true),
        };
        // A process that has closed its stdin reads no more.
        if let Some(sink) = &sink
            && write_all(sink, &bytes).await.is_err()
        {
            return false;
        }
        if detach {
            return true;
        }
    }
}
