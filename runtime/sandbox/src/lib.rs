//! How a node is confined and furnished: one file per kernel mechanism.
//!
//! | module | mechanism |
//! | --- | --- |
//! | [`namespaces`] | making, entering and holding namespaces |
//! | [`mount`] | mounts, id-mapped copies, the root |
//! | [`id_map`] | user and group id maps |
//! | [`cgroup`] | control groups: v1, v2 and both at once |
//! | [`disk`], [`loop_device`] | a node's disk: an ext4 image on a loop device |
//! | [`link`] | network links by rtnetlink |
//! | [`veth`] | a container's links, for threads without a runtime |
//! | [`sock_diag`] | which ports are listened on |
//! | [`nft`], [`port_guard`] | packet filter rules; what may pass a node's port |
//! | [`spawn`], [`fdpass`] | starting a process; passing descriptors |
//! | [`seccomp`], [`capabilities`] | what a process may ask of the kernel |

pub mod capabilities;
pub mod cgroup;
pub mod disk;
pub mod fdpass;
pub mod id_map;
pub mod link;
pub mod loop_device;
pub mod masks;
pub mod mount;
pub mod namespaces;
pub mod nft;
pub mod port_guard;
pub mod seccomp;
pub mod sock_diag;
pub mod spawn;
pub mod veth;
