//! The stage: the single-threaded process that becomes a node's PID 1.
//!
//! Host starts `PROGRAM node-stage FD` as root in a new PID and mount
//! namespace. In one straight line it enters the node's control group, builds
//! the node's root and mounts while it is still the host's root (so that the
//! node's root can't undo them), becomes the node's first id, makes the node's
//! user namespace and the others, and executes the node's program in its place.
//! Nothing a learner wrote runs before that, and no path of the learner's is
//! followed through a symbolic link.

mod confine;
mod furnish;
mod root;

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use drydock_protocol::host::Features;
use drydock_sandbox::{
    capabilities::{self, CapabilityError},
    fdpass,
    mount::MountError,
    namespaces::NamespaceError,
    seccomp::{self, SeccompError},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The argument that makes a program a stage.
pub const ARGUMENT: &str = "node-stage";
/// The longest message between host and stage, in bytes.
pub(crate) const MESSAGE_MAX: usize = 32 * 1024;

/// Stage to host: the node's namespaces are there. The message carries the
/// network namespace.
pub(crate) const UNSHARED: &[u8] = b"unshared";
/// Host to stage: the id maps are written; with the descriptor of the control
/// group directory for PID 1 on cgroup v2.
pub(crate) const MAPPED: &[u8] = b"mapped";
/// Host to stage: the network link is there.
pub(crate) const LINKED: &[u8] = b"linked";
/// Stage to host, before the words of an error.
pub(crate) const FAILED: &[u8] = b"failed: ";

/// What a stage is told: the first message on its control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StageSpec {
    /// The node's host name.
    pub(crate) hostname: String,
    /// The first of its ids.
    pub(crate) base: u32,
    /// An empty directory of the host, to build on.
    pub(crate) staging: PathBuf,
    /// The root's layers, lowest first.
    pub(crate) layers: Vec<PathBuf>,
    /// The layer store.
    pub(crate) store: PathBuf,
    /// The loop device with the node's disk.
    pub(crate) disk: PathBuf,
    /// What the lab asks for.
    pub(crate) features: Features,
    /// The v1 hierarchies, by their controllers.
    pub(crate) hierarchies: Vec<String>,
    /// Whether the v2 hierarchy has the controllers.
    pub(crate) unified: bool,
    /// Where the descriptors are.
    pub(crate) fds: StageFds,
}

/// Numbers of the descriptors that are the stage's own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StageFds {
    /// The first of them: those below are PID 1's.
    pub(crate) first: RawFd,
    /// The user namespace that maps the store's ids to the node's.
    pub(crate) id_map: RawFd,
    /// The node's program.
    pub(crate) program: RawFd,
    /// `tasks` files of the node's control group.
    pub(crate) node_tasks: Vec<RawFd>,
    /// `tasks` files of its child `init`.
    pub(crate) init_tasks: Vec<RawFd>,
}

/// A step that failed.
#[derive(Debug, Error)]
pub(crate) enum StageError {
    #[error("host sent no valid orders: {0}")]
    Orders(String),
    #[error("the connection to host broke: {0}")]
    Host(io::Error),
    #[error("cannot {what}: {source}")]
    Call { what: &'static str, source: io::Error },
    #[error("cannot use {path} in the node: {source}")]
    Path { path: String, source: io::Error },
    #[error("{0} in the node is a symbolic link where a directory must be; reset the node")]
    Symlink(String),
    #[error("cannot set {name}: {source}")]
    Sysctl { name: String, source: io::Error },
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error("cannot drop capabilities: {0}")]
    Capabilities(#[from] CapabilityError),
    #[error("cannot install the system call filter: {0}")]
    Seccomp(#[from] SeccompError),
}

impl StageError {
    fn call(what: &'static str) -> impl Fn(io::Error) -> StageError {
        move |source| StageError::Call { what, source }
    }
}

/// What follows `node-stage` on the command line; never returns.
///
/// Must be called before the process starts a thread.
pub fn main() -> ! {
    let number = std::env::args().nth(2).and_then(|number| number.parse::<RawFd>().ok());
    let Some(number) = number.filter(|number| *number > 2) else {
        eprintln!("{ARGUMENT} is started by drydock host only");
        std::process::exit(2);
    };
    // SAFETY: host passes the control socket under this number, and nothing else
    // in this new process owns it.
    let control = unsafe { OwnedFd::from_raw_fd(number) };
    let control = Control(control);
    let Err(error) = run(&control);
    let words = [FAILED, error.to_string().as_bytes()].concat();
    if let Err(broken) = control.send(&words[..words.len().min(MESSAGE_MAX)], &[]) {
        eprintln!("{error}; {broken}");
    }
    std::process::exit(1)
}

/// The socket to host.
struct Control(OwnedFd);

impl Control {
    fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), StageError> {
        fdpass::send(self.0.as_fd(), message, fds).map(|_| ()).map_err(StageError::Host)
    }

    fn recv(&self) -> Result<(Vec<u8>, Vec<OwnedFd>), StageError> {
        let mut buffer = vec![0; MESSAGE_MAX];
        let got = fdpass::recv(self.0.as_fd(), &mut buffer).map_err(StageError::Host)?;
        if got.len == 0 {
            return Err(StageError::Host(io::ErrorKind::UnexpectedEof.into()));
        }
        buffer.truncate(got.len);
        Ok((buffer, got.fds))
    }

    fn expect(&self, message: &[u8]) -> Result<Vec<OwnedFd>, StageError> {
        let (got, fds) = self.recv()?;
        if got == message {
            Ok(fds)
        } else {
            Err(StageError::Orders(format!("\"{}\" in a wrong place", got.escape_ascii())))
        }
    }
}

fn run(control: &Control) -> Result<std::convert::Infallible, StageError> {
    let (orders, _) = control.recv()?;
    let spec: StageSpec =
        serde_json::from_slice(&orders).map_err(|error| StageError::Orders(error.to_string()))?;
    confine::begin(&spec.fds)?;
    confine::enter_group(&spec.fds.node_tasks)?;

    let kept = root::build(&spec)?;
    furnish::before_unshare(&spec, kept)?;

    confine::become_base(spec.base)?;
    let netns = confine::unshare()?;
    control.send(UNSHARED, &[netns.as_fd()])?;
    let from_host = control.expect(MAPPED)?;
    confine::become_root()?;

    furnish::after_unshare(&spec)?;
    confine::set_hostname(&spec.hostname)?;
    confine::set_sysctls(&spec.features)?;
    confine::enter_group(&spec.fds.init_tasks)?;
    confine::number_group_directory(&spec.fds, from_host)?;

    control.expect(LINKED)?;
    capabilities::drop_bounding(&capabilities::NODE)?;
    seccomp::apply(&seccomp::pid1())?;
    execute(spec.fds.program)
}

/// Becomes the node's program. The stage's own descriptors close by it.
fn execute(program: RawFd) -> Result<std::convert::Infallible, StageError> {
    let text = |text: &str| CString::new(text).map_err(|error| StageError::Orders(error.to_string()));
    let argv = [text("drydock-node")?];
    let env = [
        text("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")?,
        text("HOME=/root")?,
        text("LANG=C.UTF-8")?,
    ];
    // SAFETY: host passes the program under this number; it lives until exec.
    let program = unsafe { BorrowedFd::borrow_raw(program) };
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    nix::unistd::execveat(program, c"", &argv, &env, flags)
        .map_err(|errno| StageError::Call { what: "execute the node's program", source: errno.into() })
}

/// Writes a file below `/proc/sys`.
fn sysctl(name: &str, value: impl ToString) -> Result<(), StageError> {
    let path = Path::new("/proc/sys").join(name);
    std::fs::write(&path, value.to_string())
        .map_err(|source| StageError::Sysctl { name: name.to_string(), source })
}

/// The number of a descriptor that this process got from host.
fn borrowed(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: host passed it to this single-threaded process, which never closes
    // those it got: exec does.
    unsafe { BorrowedFd::borrow_raw(number) }
}
