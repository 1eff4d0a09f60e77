//! What host is told when it starts.

use std::path::PathBuf;

use drydock_protocol::host::Limits;

use crate::admission::Policy;

/// Host's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The state directory; the instance's name follows from it.
    pub state_dir: PathBuf,
    /// The node's program, a static binary.
    pub node_binary: PathBuf,
    /// The program that is started as `PROGRAM node-stage …` and must then call
    /// [`crate::stage::main`]: this process's own when not given.
    pub stage_binary: Option<PathBuf>,
    /// The user that web runs as; its group may use the sockets.
    pub web_user: String,
    /// The most a node may have.
    pub limits: Limits,
    /// The most sessions at once.
    pub sessions_max: u32,
    /// The most nodes at once, over all sessions.
    pub nodes_max: u32,
    /// The most nodes a session may have.
    pub session_nodes_max: u32,
    /// How much of the machine may be promised to nodes.
    pub policy: Policy,
    /// The longest time a session may still have, in seconds.
    pub session_seconds_max: u64,
    /// How fast each node's disk and link are.
    pub rates: Rates,
}

/// How much each node may read, write, send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// The disk, each way, in MiB a second.
    pub disk_mb_s: u64,
    /// The link to the session's network, each way, in MiB a second.
    pub network_mb_s: u64,
}

impl Default for Rates {
    fn default() -> Rates {
        Rates { disk_mb_s: 100, network_mb_s: 100 }
    }
}

impl Config {
    /// The settings of a state directory and a node program, all else by default.
    pub fn new(state_dir: impl Into<PathBuf>, node_binary: impl Into<PathBuf>) -> Config {
        Config {
            state_dir: state_dir.into(),
            node_binary: node_binary.into(),
            stage_binary: None,
            web_user: "drydock".into(),
            limits: Limits { memory_mb: 4096, disk_mb: 8192, inodes: 524_288, pids: 4096, cpu_milli: 8000 },
            sessions_max: 1000,
            nodes_max: 2000,
            session_nodes_max: 10,
            policy: Policy::default(),
            session_seconds_max: 8 * 3600,
            rates: Rates::default(),
        }
    }
}
