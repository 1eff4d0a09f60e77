//! `drydock session exec`: a command in a node, as if it ran here.

use std::{
    io::{self, IsTerminal, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use drydock_agent::{Agent, RunningReceiver, RunningSender};
use drydock_protocol::{
    agent::{Exec, FromClient, ToClient},
    terminal::Size,
};
use nix::sys::{
    stat::fstat,
    termios::{self, SetArg, Termios},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use super::{Context, session};

/// How much of stdin is read at a time, in bytes.
const PIECE: usize = 32 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct ExecArgs {
    /// The session
    id: String,
    /// The node
    node: String,
    /// Directory to run it in [default: /root]
    #[arg(long, short = 'w', value_name = "DIR")]
    workdir: Option<String>,
    /// Set a variable
    #[arg(long, short = 'e', value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Exit status when the command could not be run, as `docker run` has it: told
/// from a command that itself ended with 1.
const NOT_RUN: u8 = 125;

pub(super) async fn run_or_complain(context: &Context, args: ExecArgs) -> ExitCode {
    match run(context, args).await {
        Ok(code) => code,
        Err(error) => {
            super::complain(&error);
            ExitCode::from(NOT_RUN)
        }
    }
}

async fn run(context: &Context, args: ExecArgs) -> Result<ExitCode> {
    let socket = session::agent_socket(context, &args.id, &args.node).await?;
    let tty = match io::stdin().is_terminal() {
        true => Some(window_size(io::stdin().as_fd())?),
        false => None,
    };
    let mut env = std::collections::BTreeMap::new();
    for setting in &args.env {
        let (name, value) =
            setting.split_once('=').with_context(|| format!("{setting:?} is not NAME=VALUE"))?;
        env.insert(name.to_owned(), value.to_owned());
    }
    if tty.is_some()
        && let Ok(term) = std::env::var("TERM")
    {
        env.entry("TERM".into()).or_insert(term);
    }
    let exec = Exec {
        argv: args.command,
        env,
        cwd: args.workdir,
        tty,
        merge: tty.is_none() && same_file(io::stdout().as_fd(), io::stderr().as_fd())?,
        timeout_ms: None,
    };
    let (sender, receiver) = Agent::connect(&socket).await?.exec(exec).await?.split();
    let raw = match tty {
        Some(_) => Some(RawMode::enter()?),
        None => None,
    };
    let status = carry(sender, receiver, tty.is_some()).await;
    drop(raw);
    // A status that doesn't fit the kernel's byte can't come from a process.
    Ok(ExitCode::from(u8::try_from(status?).unwrap_or(255)))
}

/// Carries bytes, sizes and signals until the command ends.
async fn carry(sender: RunningSender, mut receiver: RunningReceiver, tty: bool) -> Result<i32> {
    let mut signals = Signals::new()?;
    let (queue, queued) = mpsc::channel(4);
    let feed = tokio::spawn(feed(sender, queued));
    let status = loop {
        tokio::select! {
            frame = receiver.recv() => match frame? {
                Some(ToClient::Stdout(bytes)) => print(&mut io::stdout(), &bytes)?,
                Some(ToClient::Stderr(bytes)) => print(&mut io::stderr(), &bytes)?,
                Some(ToClient::Exit(status)) => break status,
                None => bail!("the node closed the connection before the command ended"),
            },
            frame = signals.next(tty) => {
                let frame = frame?;
                // The queue is full when the command reads nothing: then we
                // end, and the node ends the command with the connection.
                if let (FromClient::Signal(signal), Err(_)) = (&frame, queue.try_send(frame.clone())) {
                    break 128 + signal;
                }
            }
        }
    };
    feed.abort();
    Ok(status)
}

/// Sends stdin, and what is queued before it.
async fn feed(mut sender: RunningSender, mut queued: mpsc::Receiver<FromClient>) -> Result<()> {
    let mut stdin = read_stdin();
    let mut open = true;
    loop {
        let frame = tokio::select! {
            biased;
            frame = queued.recv() => match frame {
                Some(frame) => frame,
                None => return Ok(()),
            },
            piece = stdin.recv(), if open => match piece {
                Some(bytes) => FromClient::Stdin(bytes),
                None => {
                    open = false;
                    FromClient::StdinEnd
                }
            },
        };
        // An error here is the command's end, which the other side tells better.
        // The connection must stay open until then.
        if sender.send(frame).await.is_err() {
            open = false;
        }
    }
}

/// Reads stdin on a thread of its own: such a read can't be broken off.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (pieces, received) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        loop {
            match io::stdin().read(&mut piece) {
                Ok(0) => return,
                Ok(len) if pieces.blocking_send(piece[..len].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return eprintln!("drydock: cannot read stdin: {error}"),
            }
        }
    });
    received
}

fn print(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

/// Signals that the command gets, and changes of the window's size.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    window: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            window: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self, tty: bool) -> Result<FromClient> {
        let passed_on = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
            _ = self.window.recv(), if tty => {
                return Ok(FromClient::Resize(window_size(io::stdin().as_fd())?));
            }
        };
        Ok(FromClient::Signal(passed_on.as_raw_value()))
    }
}

/// A terminal that passes every key on; as it was again when dropped.
struct RawMode {
    before: Termios,
}

impl RawMode {
    fn enter() -> Result<RawMode> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(RawMode { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Err(error) = termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before) {
            eprintln!("drydock: cannot set the terminal back: {error}");
        }
    }
}

nix::ioctl_read_bad!(get_window_size, libc::TIOCGWINSZ, libc::winsize);

fn window_size(terminal: BorrowedFd<'_>) -> Result<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open for the call, and TIOCGWINSZ writes one
    // winsize to a pointer to one.
    unsafe { get_window_size(terminal.as_raw_fd(), &mut size) }.context("cannot read the terminal's size")?;
    if size.ws_col == 0 || size.ws_row == 0 {
        // Terminals without a window (`script` in a job) say so by zeros.
        return Ok(Size { cols: 80, rows: 24 });
    }
    Ok(Size { cols: size.ws_col, rows: size.ws_row }.clamped())
}

/// Whether two descriptors lead to the same file, so that order matters.
fn same_file(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> Result<bool> {
    let (a, b) = (fstat(a)?, fstat(b)?);
    Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}
