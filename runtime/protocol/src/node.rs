//! What host tells a new node about itself.
//!
//! Host writes a [`Spec`] in JSON to a memfd and starts PID 1 with the
//! descriptors below. Their numbers are fixed, so that nothing has to be parsed
//! to find them.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A memfd with the [`Spec`] in JSON, at offset 0.
pub const SPEC_FD: i32 = 3;
/// The agent socket, bound and listening.
pub const AGENT_FD: i32 = 4;
/// The Docker API socket for clients outside the node, bound and listening.
pub const DOCKER_FD: i32 = 5;
/// Where PID 1 says that it is ready: one byte `1` is written, then closed.
pub const READY_FD: i32 = 6;
/// The first of the cgroup descriptors, in the order of [`Spec::cgroups`].
pub const CGROUP_FD: i32 = 7;

/// What a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The versions that host speaks.
    #[serde(flatten)]
    pub hello: crate::Hello,
    /// The session's id.
    pub session: String,
    /// The node's name, also its host name.
    pub name: String,
    /// `eth0`'s address, in a /24.
    pub address: Ipv4Addr,
    /// The gateway's address: DNS and, later, the hub.
    pub gateway: Ipv4Addr,
    /// Features of the node.
    pub features: crate::host::Features,
    /// Limits of the node, for `docker info`.
    pub limits: crate::host::Limits,
    /// How processes get into `inner`, one entry for each descriptor from
    /// [`CGROUP_FD`] on.
    pub cgroups: Vec<CgroupFd>,
}

/// What an inherited cgroup descriptor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "layout", rename_all = "snake_case")]
pub enum CgroupFd {
    /// v1: the `tasks` file of `inner`, open for writing. A single-threaded
    /// process enters by writing `0` to it.
    V1Tasks {
        /// The hierarchy's controllers, such as `cpu,cpuacct`.
        controllers: String,
    },
    /// v2: the directory of `inner`, delegated to the node. Shells live in
    /// its child `shell`, containers in children `c-ID`; made by PID 1 and
    /// the engine, entered by `CLONE_INTO_CGROUP` or a write to `cgroup.procs`.
    V2Dir,
}
