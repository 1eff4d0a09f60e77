//! Commands, and files written and read: a stage in `inner` whose stdio an
//! agent connection carries. When the client goes, the command is ended.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use drydock_agent::{
    AgentError,
    frames::{FrameReader, FrameWriter},
};
use drydock_protocol::{
    agent::{Exec, FAILED, FromClient, ToClient},
    terminal::{CHUNK, Size},
};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use thiserror::Error;
use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::oneshot,
};

use crate::{
    descriptor::Descriptor,
    init::Node,
    launch::{LaunchError, Launched},
    pty::{self, Pty},
    session,
    stage::Task,
};

/// Bytes of stdin that may wait for the command to read them.
const STDIN_MAX: usize = 256 * 1024;
/// Bytes still read once the command has ended: what a pipe can hold.
const LAST_BYTES: usize = 1 << 20;
/// How much of a failed stage's stderr is its reason.
const REASON_MAX: usize = 4096;
/// Exit status of a command whose time was up.
const TIMED_OUT: i32 = 124;
/// How often a client that may not send more is looked after.
const LOOK: Duration = Duration::from_secs(1);

/// A command could not be started.
#[derive(Debug, Error)]
pub(crate) enum ExecError {
    #[error("cannot make a pseudoterminal: {0}")]
    Pty(io::Error),
    #[error("cannot make a pipe: {0}")]
    Pipe(io::Error),
    #[error("cannot start the command: {0}")]
    Launch(#[from] LaunchError),
    #[error("{0:?} can't be a variable's name")]
    Variable(String),
}

/// The connection's two halves.
type Halves = (FrameReader<OwnedReadHalf>, FrameWriter<OwnedWriteHalf>);

/// A running stage and our ends of its stdio.
struct Command {
    stage: Launched,
    stdin: Option<Descriptor>,
    stdout: Descriptor,
    stderr: Option<Descriptor>,
    /// `stdin` and `stdout` are both the PTY.
    tty: bool,
    /// Its stderr is the reason it failed, not output.
    is_file: bool,
}

/// How serving a command ended.
enum End {
    Exited(i32),
    TimedOut,
    ClientGone,
}

/// Serves a connection that asked for a command.
pub(crate) async fn exec(node: &Node, exec: Exec, halves: Halves) -> Result<(), AgentError> {
    let timeout = exec.timeout_ms.map(Duration::from_millis);
    serve(node, start_exec(node, exec), timeout, halves).await
}

/// Serves a connection that writes or reads a file.
pub(crate) async fn file(node: &Node, task: Task, halves: Halves) -> Result<(), AgentError> {
    serve(node, start_piped(node, task, false, true), None, halves).await
}

fn start_exec(node: &Node, exec: Exec) -> Result<Command, ExecError> {
    let mut env = node.launcher.environment(exec.tty.is_some());
    for (name, value) in exec.env {
        if name.is_empty() || name.contains('=') {
            return Err(ExecError::Variable(name));
        }
        env.insert(name, value);
    }
    let cwd = exec.cwd.unwrap_or_else(|| "/root".into());
    let task = Task::Program { argv: exec.argv, env, cwd };
    match exec.tty {
        Some(size) => start_tty(node, task, size),
        None => start_piped(node, task, exec.merge, false),
    }
}

fn start_tty(node: &Node, task: Task, size: Size) -> Result<Command, ExecError> {
    let Pty { master, peer } = node.terminals.devpts().pty(size).map_err(ExecError::Pty)?;
    let copy = master.try_clone().map_err(ExecError::Pty)?;
    let stdin = Descriptor::new(copy).map_err(ExecError::Pty)?;
    let stdout = Descriptor::new(master).map_err(ExecError::Pty)?;
    let stage = node.launcher.start(task, true, [peer.as_fd(); 3])?;
    Ok(Command { stage, stdin: Some(stdin), stdout, stderr: None, tty: true, is_file: false })
}

fn start_piped(node: &Node, task: Task, merge: bool, is_file: bool) -> Result<Command, ExecError> {
    let pipe = || -> io::Result<(OwnedFd, OwnedFd)> { Ok(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?) };
    let ours = |fd| Descriptor::new(fd).map_err(ExecError::Pipe);
    let (stdin_theirs, stdin) = pipe().map_err(ExecError::Pipe)?;
    let (stdout, stdout_theirs) = pipe().map_err(ExecError::Pipe)?;
    let (stdin, stdout) = (ours(stdin)?, ours(stdout)?);
    let (stderr, stderr_theirs) = if merge {
        (None, stdout_theirs.try_clone().map_err(ExecError::Pipe)?)
    } else {
        let (stderr, theirs) = pipe().map_err(ExecError::Pipe)?;
        (Some(ours(stderr)?), theirs)
    };
    let stdio = [stdin_theirs.as_fd(), stdout_theirs.as_fd(), stderr_theirs.as_fd()];
    let stage = node.launcher.start(task, false, stdio)?;
    Ok(Command { stage, stdin: Some(stdin), stdout, stderr, tty: false, is_file })
}

async fn serve(
    node: &Node,
    command: Result<Command, ExecError>,
    timeout: Option<Duration>,
    (mut reader, mut writer): Halves,
) -> Result<(), AgentError> {
    let mut command = match command {
        Ok(command) => command,
        Err(error) => return Ok(writer.send(FAILED, error.to_string().as_bytes()).await?),
    };
    node.events.touch();
    let mut reason = Vec::new();
    let pid = command.stage.pid;
    let time_is_up = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    // Not dropped before the command is killed: the end of stdin would tell it
    // that all had come.
    let mut input = Input { pid, tty: command.tty, stdin: command.stdin.take(), waiting: BytesMut::new() };
    let status = {
        let output = Output {
            stdout: &command.stdout,
            stderr: command.stderr.as_ref(),
            reason: command.is_file.then_some(&mut reason),
        };
        let mut output = std::pin::pin!(output.copy(&mut command.stage.status, &mut writer));
        let end = tokio::select! {
            status = &mut output => status.map_or(End::ClientGone, End::Exited),
            () = input.copy(node, &mut reader) => End::ClientGone,
            () = time_is_up => End::TimedOut,
        };
        if !matches!(end, End::Exited(_)) {
            kill(node, pid);
        }
        match end {
            End::Exited(status) => status,
            // What it printed until then still comes.
            End::TimedOut => output.await.map(|_| TIMED_OUT)?,
            End::ClientGone => return Ok(()),
        }
    };
    finish(status, command.is_file, &reason, &mut writer).await
}

async fn finish(
    status: i32,
    is_file: bool,
    reason: &[u8],
    writer: &mut FrameWriter<OwnedWriteHalf>,
) -> Result<(), AgentError> {
    let (kind, payload) = if is_file && status != 0 {
        let words = String::from_utf8_lossy(reason).trim().to_owned();
        let words = if words.is_empty() { format!("ended with status {status}") } else { words };
        (FAILED, words.into_bytes())
    } else {
        ToClient::Exit(status).encode()
    };
    Ok(writer.send(kind, &payload).await?)
}

/// Ends the command, which nobody has reaped yet, and all of its session.
fn kill(node: &Node, pid: i32) {
    if node.reaper.has(pid)
        && let Err(error) = node.proc.kill_session(pid)
    {
        tracing::warn!("cannot end all processes of a command: {error}");
    }
}

/// The way from the command to the client.
struct Output<'a> {
    stdout: &'a Descriptor,
    stderr: Option<&'a Descriptor>,
    /// Where stderr goes instead, when it is the reason of a failure.
    reason: Option<&'a mut Vec<u8>>,
}

impl Output<'_> {
    /// Copies until the command has ended and what it had printed is sent.
    /// Processes it left behind may have its pipes, but are not waited for.
    async fn copy(
        mut self,
        status: &mut oneshot::Receiver<i32>,
        writer: &mut FrameWriter<OwnedWriteHalf>,
    ) -> Result<i32, AgentError> {
        let mut buffers = [vec![0; CHUNK], vec![0; CHUNK]];
        let [from_stdout, from_stderr] = &mut buffers;
        let (mut stdout, mut stderr) = (Some(self.stdout), self.stderr);
        let status = loop {
            tokio::select! {
                read = read(stdout, from_stdout) => match read {
                    Ok(count) if count > 0 => self.send(false, &from_stdout[..count], writer).await?,
                    _ => stdout = None,
                },
                read = read(stderr, from_stderr) => match read {
                    Ok(count) if count > 0 => self.send(true, &from_stderr[..count], writer).await?,
                    _ => stderr = None,
                },
                status = &mut *status => break status.unwrap_or(-1),
            }
        };
        for (is_stderr, from) in [(false, stdout), (true, stderr)] {
            let mut left = LAST_BYTES;
            while left > 0
                && let Some(Ok(count @ 1..)) = from.map(|from| from.try_read(from_stdout))
            {
                self.send(is_stderr, &from_stdout[..count], writer).await?;
                left = left.saturating_sub(count);
            }
        }
        Ok(status)
    }

    async fn send(
        &mut self,
        is_stderr: bool,
        bytes: &[u8],
        writer: &mut FrameWriter<OwnedWriteHalf>,
    ) -> Result<(), AgentError> {
        if let (true, Some(reason)) = (is_stderr, &mut self.reason) {
            let room = REASON_MAX.saturating_sub(reason.len()).min(bytes.len());
            reason.extend_from_slice(&bytes[..room]);
            return Ok(());
        }
        let bytes = bytes.to_vec();
        let frame = if is_stderr { ToClient::Stderr(bytes) } else { ToClient::Stdout(bytes) };
        let (kind, payload) = frame.encode();
        Ok(writer.send(kind, &payload).await?)
    }
}

async fn read(from: Option<&Descriptor>, buffer: &mut [u8]) -> io::Result<usize> {
    match from {
        Some(from) => from.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// The way from the client to the command.
struct Input {
    pid: i32,
    tty: bool,
    stdin: Option<Descriptor>,
    waiting: BytesMut,
}

impl Input {
    /// Copies until the client is gone.
    async fn copy(&mut self, node: &Node, reader: &mut FrameReader<OwnedReadHalf>) {
        let mut ended = false;
        loop {
            if ended && self.waiting.is_empty() && !self.tty {
                self.stdin = None;
            }
            let full = self.waiting.len() >= STDIN_MAX;
            tokio::select! {
                frame = reader.next(), if !full => {
                    let Ok(Some((kind, payload))) = frame else { return };
                    let Ok(frame) = FromClient::decode(kind, &payload) else { return };
                    ended |= self.take(frame, node);
                }
                written = write(self.stdin.as_ref(), &self.waiting), if !self.waiting.is_empty() => {
                    match written {
                        Ok(count) => self.waiting.advance(count),
                        // It reads no more; what still comes is thrown away.
                        Err(_) => self.waiting.clear(),
                    }
                }
                () = tokio::time::sleep(LOOK), if full => if hung_up(reader.get_ref()) {
                    return;
                },
            }
        }
    }

    /// Says whether this was the end of stdin.
    fn take(&mut self, frame: FromClient, node: &Node) -> bool {
        match frame {
            FromClient::Stdin(bytes) => {
                node.events.touch();
                if self.stdin.is_some() {
                    self.waiting.extend_from_slice(&bytes);
                }
            }
            // What a keyboard has for the end of input.
            FromClient::StdinEnd if self.tty => self.waiting.extend_from_slice(b"\x04"),
            FromClient::StdinEnd => return true,
            FromClient::Resize(size) => {
                if let (true, Some(pty)) = (self.tty, &self.stdin)
                    && let Err(error) = pty::resize(pty, size)
                {
                    tracing::warn!("cannot resize a pseudoterminal: {error}");
                }
            }
            FromClient::Signal(signal) => {
                if node.reaper.has(self.pid)
                    && let Err(error) = session::signal_group(self.pid, signal)
                {
                    tracing::info!("cannot send signal {signal} to a command: {error}");
                }
            }
        }
        false
    }
}

async fn write(to: Option<&Descriptor>, bytes: &[u8]) -> io::Result<usize> {
    match to {
        Some(to) => to.write(bytes).await,
        None => Ok(bytes.len()),
    }
}

/// Whether the client has gone, though we don't read what it sent.
fn hung_up(socket: &OwnedReadHalf) -> bool {
    let socket: &tokio::net::UnixStream = socket.as_ref();
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLHUP)];
    let ready = nix::poll::poll(&mut polled, PollTimeout::ZERO);
    ready.is_ok_and(|count| count > 0)
}
