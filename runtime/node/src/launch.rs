//! Starting stages in cgroup `inner`; PID 1's side of `stage.rs`.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use drydock_protocol::{
    gateway::{NO_PROXY, PROXY_PORT},
    host::Features,
    node::CgroupFd,
};
use drydock_sandbox::spawn::{Command, Executable, SpawnError};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::{
    reaper::Reaper,
    stage::{Order, Task},
};

/// A stage could not be started.
#[derive(Debug, Error)]
pub(crate) enum LaunchError {
    #[error("cannot write down what to start: {0}")]
    Order(#[from] io::Error),
    #[error("cannot write down what to start: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// How processes get into `inner`.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// v1: the `tasks` files.
    tasks: Vec<OwnedFd>,
    /// v2: the directory `inner/shell`.
    shell: Option<OwnedFd>,
}

impl Groups {
    /// Takes the inherited descriptors, in the order of the node's spec.
    ///
    /// On v2 it makes `inner/shell` and lets the children of `inner` have its
    /// controllers: a group that does so can hold no process itself.
    pub(crate) fn new(kinds: &[CgroupFd], fds: &[OwnedFd]) -> io::Result<Groups> {
        let mut groups = Groups::default();
        for (kind, fd) in kinds.iter().zip(fds) {
            match kind {
                CgroupFd::V1Tasks { .. } => groups.tasks.push(fd.try_clone()?),
                CgroupFd::V2Dir => groups.shell = Some(shell_group(fd.as_fd())?),
            }
        }
        Ok(groups)
    }
}

fn shell_group(inner: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(inner, "shell", Mode::from_raw_mode(0o755)) {
        Err(errno) if errno != rustix::io::Errno::EXIST => return Err(errno.into()),
        _ => {}
    }
    let control =
        rustix::fs::openat(inner, "cgroup.subtree_control", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    for controller in ["+cpu", "+memory", "+pids", "+io"] {
        // A controller that host didn't give is not there to give on.
        if let Err(errno) = rustix::io::write(&control, controller.as_bytes()) {
            tracing::info!("no {controller} in the children of inner: {errno}");
        }
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(inner, "shell", flags, Mode::empty())?)
}

/// Starts stages.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub executable: Rc<Executable>,
    pub groups: Groups,
    pub features: Features,
    /// The gateway's address, where the forward proxy is if the node has one.
    pub gateway: Ipv4Addr,
    pub reaper: Rc<Reaper>,
}

/// A started stage, leader of a session of its own.
#[derive(Debug)]
pub(crate) struct Launched {
    pub pid: i32,
    /// Its exit status to come.
    pub status: oneshot::Receiver<i32>,
}

impl Launcher {
    /// The environment of a learner's program in this node.
    pub(crate) fn environment(&self, tty: bool) -> BTreeMap<String, String> {
        let mut environment = environment(tty);
        if self.features.egress {
            let proxy = format!("http://{}:{PROXY_PORT}", self.gateway);
            // Programs differ in which case they look at.
            for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
                environment.insert(name.to_owned(), proxy.clone());
            }
            for name in ["no_proxy", "NO_PROXY"] {
                environment.insert(name.to_owned(), NO_PROXY.to_owned());
            }
        }
        environment
    }

    /// Starts a stage with these descriptors as 0, 1 and 2.
    pub(crate) fn start(
        &self,
        task: Task,
        tty: bool,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Result<Launched, LaunchError> {
        let order = Order { tasks: self.groups.tasks.len(), features: self.features, tty, task };
        let order = memfd("order", &serde_json::to_vec(&order)?)?;
        let mut command = Command::new(&self.executable, ["drydock-node", "shell"])?
            .fds(stdio)
            .fd(order.as_fd())
            .fds(self.groups.tasks.iter().map(AsFd::as_fd));
        if let Some(shell) = &self.groups.shell {
            command = command.cgroup(shell.as_fd());
        }
        let child = command.spawn()?;
        Ok(Launched { pid: child.pid, status: self.reaper.watch(child.pid) })
    }
}

fn memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = std::fs::File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?);
    io::Write::write_all(&mut &file, bytes)?;
    Ok(file.into())
}

/// The environment of a program in any node.
pub(crate) fn environment(tty: bool) -> BTreeMap<String, String> {
    let mut pairs = vec![
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/bash"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LANG", "C.UTF-8"),
        // The client's own log-in would go to a web page, which no node reaches.
        ("DOCKER_CLI_DISABLE_OAUTH_LOGIN", "1"),
        ("DOCKER_CLI_HINTS", "false"),
    ];
    if tty {
        pairs.extend([("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]);
    }
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
