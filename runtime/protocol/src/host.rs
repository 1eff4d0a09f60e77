//! The host API: what web and the CLI ask of `drydock host`.
//!
//! HTTP/1.1 and JSON on a unix socket. Errors are [`Failure`] with a fitting
//! status code.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /v1` | | [`Instance`] |
//! | `GET /v1/sessions` | | `Vec<Session>` |
//! | `POST /v1/sessions` | [`CreateSession`] | [`Session`] |
//! | `GET /v1/sessions/ID` | | [`Session`] |
//! | `DELETE /v1/sessions/ID` | | 204 |
//! | `POST /v1/sessions/ID/extend` | [`Extend`] | [`Session`] |
//! | `POST /v1/sessions/ID/nodes` | [`AddNode`] | [`Session`] |
//! | `DELETE /v1/sessions/ID/nodes/NODE` | | [`Session`] |
//! | `POST /v1/sessions/ID/nodes/NODE/VERB` | | [`Session`]; VERB is a [`Verb`] |

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Who answers on the host socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The versions that host speaks.
    #[serde(flatten)]
    pub hello: crate::Hello,
    /// The instance's name.
    pub instance: String,
    /// Images in the catalogue, as `docker pull` names them.
    pub images: Vec<String>,
}

/// Limits of one node. Host clamps them to its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of `inner`, in MiB.
    pub memory_mb: u64,
    /// Size of the node's disk, in MiB.
    pub disk_mb: u64,
    /// Inodes of the node's disk.
    pub inodes: u64,
    /// Processes in `inner`.
    pub pids: u64,
    /// CPU time, in thousandths of a core.
    pub cpu_milli: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory_mb: 1024, disk_mb: 2048, inodes: 131_072, pids: 1024, cpu_milli: 2000 }
    }
}

/// What a lab asks of its nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Nested user namespaces (`unshare -U`) work.
    #[serde(default)]
    pub userns: bool,
    /// `iptables` and `nft` work for the learner.
    #[serde(default)]
    pub netfilter: bool,
    /// A forward proxy to the hosts that the operator allows is on the gateway.
    #[serde(default)]
    pub egress: bool,
}

/// Make a session with running nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateSession {
    /// Who it belongs to: opaque to host, at most 100 bytes.
    pub owner: String,
    /// What it is for, such as a lab's slug: opaque to host, at most 100 bytes.
    #[serde(default)]
    pub purpose: String,
    /// Node names, in order; they get 192.168.0.11, .12, ….
    pub nodes: Vec<String>,
    /// Limits of each node.
    #[serde(default)]
    pub limits: Limits,
    /// Features of each node.
    #[serde(default)]
    pub features: Features,
    /// Seconds until the session ends if nobody extends it.
    pub seconds: u64,
    /// The most nodes it may ever have.
    #[serde(default)]
    pub nodes_max: Option<u32>,
}

/// Move a session's end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Extend {
    /// The session now ends this many seconds from now.
    pub seconds: u64,
}

/// Add a node to a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AddNode {
    /// Its name; the next free `nodeN` when not given.
    #[serde(default)]
    pub name: Option<String>,
}

/// A session: a private network and its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// 26 lower-case letters and digits.
    pub id: String,
    /// As given at its creation.
    pub owner: String,
    /// As given at its creation.
    pub purpose: String,
    /// Unguessable; opens the session's page for somebody who has no cookie.
    pub key: String,
    /// Seconds since the epoch.
    pub created: u64,
    /// Seconds since the epoch; host ends the session then.
    pub deadline: u64,
    /// Features of its nodes.
    pub features: Features,
    /// Limits of its nodes.
    pub limits: Limits,
    /// The most nodes it may ever have.
    pub nodes_max: u32,
    /// Its nodes, in the order they were added.
    pub nodes: Vec<Node>,
}

/// A node of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// `node1`, `node2`, ….
    pub name: String,
    /// Its address on the session's network; kept through stop and reset.
    pub address: std::net::Ipv4Addr,
    /// Its MAC address; kept through stop and reset.
    pub mac: String,
    /// Where it is in its life.
    pub state: NodeState,
    /// Whether it is cut from the session's network.
    pub cut: bool,
    /// Why it failed, when it did.
    pub error: Option<String>,
    /// The first of its 65,536 ids on the host.
    pub base_id: u32,
    /// Its PID 1 on the host, when it runs.
    pub pid: Option<i32>,
    /// The agent socket: see [`crate::agent`].
    pub agent: PathBuf,
    /// The socket that `docker` outside the node can use.
    pub docker: PathBuf,
}

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Being made.
    Creating,
    /// PID 1 runs.
    Running,
    /// Ended on request; its disk is kept.
    Stopped,
    /// Ended by itself, or could not be made.
    Failed,
    /// Runs, but speaks a protocol that is too old for this host.
    Foreign,
}

/// What can be done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Start a stopped or failed node on its kept disk.
    Start,
    /// End it in order; the disk is kept.
    Stop,
    /// As if the plug was pulled; the disk is kept.
    Kill,
    /// Start anew on a new disk.
    Reset,
    /// Take it from the session's network.
    Cut,
    /// Put it back on the network.
    Join,
}

impl std::str::FromStr for Verb {
    type Err = ();

    fn from_str(word: &str) -> Result<Verb, ()> {
        match word {
            "start" => Ok(Verb::Start),
            "stop" => Ok(Verb::Stop),
            "kill" => Ok(Verb::Kill),
            "reset" => Ok(Verb::Reset),
            "cut" => Ok(Verb::Cut),
            "join" => Ok(Verb::Join),
            _ => Err(()),
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A sentence for a person.
    pub message: String,
    /// With status 503: which resource was asked for in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<Full>,
}

/// Something of this machine that sessions and nodes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Sessions at once.
    Sessions,
    /// Nodes at once.
    Nodes,
    /// Memory, in MiB.
    Memory,
    /// Bytes of the state directory's filesystem, in MiB.
    Disk,
    /// Process ids.
    Processes,
    /// CPU time, in thousandths of a core.
    Cpu,
    /// Ranges of user ids.
    Ids,
}

/// A resource that does not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Full {
    /// Which.
    pub resource: Resource,
    /// The most that may be promised, in the resource's unit.
    pub most: u64,
    /// What is promised to those who are there.
    pub used: u64,
    /// What was asked for.
    pub asked: u64,
    /// Seconds since the epoch: the first deadline of a session.
    pub soonest_deadline: Option<u64>,
}
