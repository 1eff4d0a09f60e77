//! What the engine tells a stage, as JSON in a memfd.

use std::{io::Read, os::fd::AsFd};

use serde::{Deserialize, Serialize};

use super::{StageError, inherited, step};

/// The memfd's number.
const CONFIG_FD: i32 = 4;
/// The first of the further descriptors.
pub(super) const FDS_FROM: i32 = 5;
/// No configuration is longer.
const SIZE_MAX: u64 = 1 << 20;

/// A stage's configuration.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Become a container's first process.
    Run(Box<Run>),
    /// Run a process in a container.
    Exec(Box<Exec>),
    /// Write a container's files.
    Export(Export),
    /// Look at a container's files, read or write them.
    Files(Files),
    /// Tell what a container changed.
    Changes(Changes),
    /// Read or write archives of images.
    Images(Box<crate::images::stage::Images>),
}

/// A container's first process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// Descriptors from 5 on that are cgroup v1 `tasks` files to enter.
    pub cgroup_tasks: usize,
    /// cgroup hierarchies to show at `/sys/fs/cgroup`.
    pub cgroups: Cgroups,
    /// Get a cgroup namespace of its own.
    pub cgroup_namespace: bool,
    /// The root filesystem.
    pub root: Root,
    /// Files and directories to bind, besides the standard ones.
    pub mounts: Vec<Mount>,
    /// Size of `/dev/shm`, in bytes.
    pub shm_size: u64,
    /// The host name, when it has a UTS namespace of its own.
    pub hostname: Option<String>,
    /// The domain name.
    pub domainname: String,
    /// Whether it has an IPC namespace of its own.
    pub own_ipc: bool,
    /// Whether it has a PID namespace of its own.
    pub own_pid: bool,
    /// Whether it has a network namespace of its own, which the engine sets up.
    pub own_network: bool,
    /// Whether it shares another container's network namespace: the descriptor
    /// after the cgroups' is one of that container's first process.
    pub join_network: bool,
    /// Make a PTY of this size (rows, columns) and have it as stdio.
    pub tty: Option<(u16, u16)>,
    /// Paths to hide.
    pub masked_paths: Vec<String>,
    /// Paths to make read-only.
    pub readonly_paths: Vec<String>,
    /// `NAME`, `value` of kernel settings of its namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Devices of the node to bind: path in the node, path in the container.
    pub devices: Vec<(String, String)>,
    /// `/sys` can be written, as far as the node can.
    pub privileged: bool,
    /// A program of the node to bind at `/sbin/docker-init`, which then is the
    /// first process and starts the program.
    pub init: Option<String>,
    /// The program.
    pub process: Process,
}

/// A root filesystem: an overlay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Root {
    /// The directory that has all lower ones.
    pub layers: String,
    /// Names of the lower directories in there, lowest first.
    pub lower: Vec<String>,
    /// The directory with `diff`, `work` and `merged`.
    pub upper: String,
    /// Nothing can be written.
    pub readonly: bool,
}

/// The hierarchies of cgroups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cgroups {
    /// v1: each hierarchy's controllers.
    V1(Vec<String>),
    /// v2.
    V2,
}

/// Something to mount in the container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mount {
    /// Where, in the container.
    pub target: String,
    /// What.
    pub source: Source,
    /// Nothing can be written.
    pub readonly: bool,
    /// An empty directory gets what the image has in its place.
    #[serde(default)]
    pub fill: bool,
}

/// What to mount.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file or directory of the node.
    Bind(String),
    /// A new tmpfs with these options.
    Tmpfs(String),
}

/// A program to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Process {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// Where it runs.
    pub cwd: String,
    /// `USER[:GROUP]`, names or numbers; root when empty.
    pub user: String,
    /// Further groups, names or numbers.
    pub groups: Vec<String>,
    /// Its capabilities' names.
    pub capabilities: Vec<String>,
    /// Which filter it gets.
    pub seccomp: Seccomp,
    /// Set-user-ID programs have no effect.
    pub no_new_privileges: bool,
    /// Limits: name, soft, hard.
    pub rlimits: Vec<(String, u64, u64)>,
    /// `oom_score_adj`, where it may be raised.
    pub oom_score_adj: i32,
}

/// A system call filter.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// Docker's default list.
    Default,
    /// What the node's own shells may do.
    Node {
        /// Nested user namespaces.
        userns: bool,
        /// Netfilter sockets.
        netfilter: bool,
    },
}

/// A process in a running container. The descriptors from 5 on: a pidfd of the
/// container's first process, `waiter_tasks` files for the process that waits,
/// `cgroup_tasks` files for the one that runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Exec {
    /// v1 `tasks` files that the waiting process enters.
    pub waiter_tasks: usize,
    /// v1 `tasks` files that the program enters.
    pub cgroup_tasks: usize,
    /// A v2 directory comes after them, for the program.
    pub cgroup_dir: bool,
    /// Namespaces of the container to join: `CLONE_NEW*` bits.
    pub namespaces: i32,
    /// Make a PTY of this size (rows, columns) and have it as stdio.
    pub tty: Option<(u16, u16)>,
    /// The program.
    pub process: Process,
}

/// A tar of a container's files on stdout.
#[derive(Debug, Serialize, Deserialize)]
pub struct Export {
    /// v1 `tasks` files from 5 on to enter.
    pub cgroup_tasks: usize,
    /// The container's root, mounted read-only for this.
    pub root: Root,
}

/// Something with a path in a container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Files {
    /// v1 `tasks` files from 5 on to enter.
    pub cgroup_tasks: usize,
    /// Where the files are.
    pub place: Place,
    /// What to do.
    pub task: FilesTask,
}

/// Where a container's files are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// It runs; a pidfd of its first process is the last descriptor.
    Running,
    /// It doesn't.
    Stopped {
        /// Its root.
        root: Root,
        /// What else is in there.
        mounts: Vec<Mount>,
    },
}

/// What to do with a path.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilesTask {
    /// Tell what it is.
    Stat {
        /// The path.
        path: String,
    },
    /// Tell what it is and write it as a tar to stdout.
    Get {
        /// The path.
        path: String,
    },
    /// Put the tar that comes on stdin into the directory.
    Put {
        /// The path.
        path: String,
        /// No directory is replaced by something else, nor the other way round.
        keep_kind: bool,
    },
}

/// What a container changed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Changes {
    /// v1 `tasks` files from 5 on to enter.
    pub cgroup_tasks: usize,
    /// Its root.
    pub root: Root,
}

/// Reads the configuration.
pub(super) fn read() -> Result<Stage, StageError> {
    let file = std::fs::File::from(inherited(CONFIG_FD));
    rustix::fs::seek(file.as_fd(), rustix::fs::SeekFrom::Start(0))
        .map_err(step("reading the configuration"))?;
    let mut text = Vec::new();
    file.take(SIZE_MAX).read_to_end(&mut text).map_err(step("reading the configuration"))?;
    serde_json::from_slice(&text).map_err(|error| StageError::Config(error.to_string()))
}
