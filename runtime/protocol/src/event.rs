//! A node's event stream, for the live pictures and for `drydock session`.

use serde::{Deserialize, Serialize};

/// One thing that happened in a node.
///
/// PID 1 numbers the events, so that a restart of the engine doesn't reset the
/// counter and a watcher can go on from the last one it saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up by one from 1 for as long as the node runs.
    pub seq: u64,
    /// Milliseconds since the epoch.
    pub time_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. Later kinds are added; a watcher skips what it doesn't know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum What {
    /// The engine came up.
    EngineStarted,
    /// The engine's process ended and will be started again.
    EngineEnded {
        /// Its exit status (128 + signal when killed).
        status: i32,
    },
    /// A terminal was opened.
    TerminalOpened {
        /// The terminal's name.
        terminal: String,
    },
    /// A terminal's program ended.
    TerminalEnded {
        /// The terminal's name.
        terminal: String,
        /// Its exit status.
        status: i32,
    },
    /// A container changed, in the words of `docker events`: `create`,
    /// `start`, `die`, `kill`, `stop`, `destroy`, `oom`, `exec_start`, …
    Container {
        /// The full container id.
        id: String,
        /// The container's name, without a slash.
        name: String,
        /// The image's name as it was given.
        image: String,
        /// What happened.
        action: String,
        /// The PID in the node, when it runs.
        pid: Option<i32>,
        /// The exit status, for `die`.
        status: Option<i32>,
    },
    /// An image appeared or went: `pull`, `tag`, `untag`, `delete`.
    Image {
        /// The image's name or id.
        name: String,
        /// What happened.
        action: String,
    },
    /// The processes of the node and their namespaces; sent when it changed,
    /// and only while somebody watches.
    Processes {
        /// All processes of the node.
        processes: Vec<Process>,
    },
    /// What the node's programs use; sent once a second while somebody watches.
    Usage {
        /// Memory in bytes, without what the kernel gives back when asked.
        memory: Option<u64>,
        /// The most memory that they may have, in bytes.
        memory_limit: u64,
        /// CPU time so far, in microseconds.
        cpu_us: Option<u64>,
        /// How many processes and threads there are.
        tasks: Option<u64>,
    },
    /// The ports of the node that lead into containers: all of them, sent
    /// whenever one opened or closed, and when an engine starts.
    Ports {
        /// Sorted by host port.
        ports: Vec<Port>,
    },
    /// The kernel ended a process for want of memory.
    OutOfMemory {
        /// The processes' names, when known.
        name: Option<String>,
    },
}

/// A published port of a container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The node's address it listens on; `0.0.0.0` for all.
    pub host_ip: std::net::Ipv4Addr,
    /// The node's port.
    pub host_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The container's own port.
    pub container_port: u16,
    /// The full container id.
    pub container: String,
    /// The container's name, without a slash.
    pub name: String,
}

/// A process, as the node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// PID in the node.
    pub pid: i32,
    /// Parent's PID in the node.
    pub parent: i32,
    /// PID in its own innermost PID namespace (the last of `NSpid`).
    pub inner_pid: i32,
    /// The command's name (`comm`).
    pub name: String,
    /// Namespace ids (inode numbers) by name: `pid`, `mnt`, `net`, `uts`,
    /// `ipc`, `user`, `cgroup`.
    pub namespaces: std::collections::BTreeMap<String, u64>,
}
