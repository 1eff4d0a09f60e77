//! Cgroup requests of the engine, where cgroups can't be delegated (v1).
//!
//! Host connects to the node's agent socket and asks for `Cgroups`; from then on
//! PID 1 forwards the engine's requests on that connection. Each request is a
//! frame of kind [`ASK`] with a [`Request`] in JSON, each answer a frame of kind
//! [`ANSWER`] with an [`Answer`]; the answer to `Make` carries the descriptors
//! it names (SCM_RIGHTS). Sizes are fixed and clamped; host acts only on the
//! caller's own node.

use serde::{Deserialize, Serialize};

/// Frame kind: a [`Request`] in JSON.
pub const ASK: u8 = 0x51;
/// Frame kind: an [`Answer`] in JSON.
pub const ANSWER: u8 = 0x52;

/// What the engine may ask host to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the answer.
    pub seq: u64,
    /// The group's number: its name is `c-NUMBER` below `inner`.
    pub group: u32,
    /// What to do with it.
    pub action: Action,
}

/// An action on a container's group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Make it with these limits and answer with its `tasks` descriptors.
    Make(Limits),
    /// Change its limits.
    Limit(Limits),
    /// Freeze its processes.
    Freeze,
    /// Thaw them.
    Thaw,
    /// Read how often its memory limit ended a process.
    OomKills,
    /// Remove it; it must hold no process.
    Remove,
}

/// Limits of a container. `None` means no limit of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap in bytes.
    pub memory_swap: Option<u64>,
    /// Processes.
    pub pids: Option<u64>,
    /// CPU time in thousandths of a core (`--cpus`).
    pub cpu_milli: Option<u64>,
    /// CPU weight, 2 to 262144 (`--cpu-shares`).
    pub cpu_shares: Option<u64>,
}

/// What came of a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The request's number.
    pub seq: u64,
    /// How it went.
    pub result: Result<Outcome, String>,
}

/// A request that worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// The group is there. One descriptor a hierarchy comes with the answer:
    /// its `tasks` file, open for writing.
    Made {
        /// The hierarchies' controllers, in the order of the descriptors.
        hierarchies: Vec<String>,
    },
    /// How often a process was ended.
    OomKills(u64),
}
