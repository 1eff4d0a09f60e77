//! Engine ↔ PID 1: what must outlive the engine is kept by PID 1.
//!
//! A `SOCK_SEQPACKET` pair that the engine inherits as descriptor
//! [`KEEPER_FD`]. One message is one JSON value of at most [`MAX`] bytes with
//! at most [`FDS_MAX`] descriptors (SCM_RIGHTS). Anything longer (a container's
//! configuration) travels in a memfd.
//!
//! PID 1 starts processes for the engine, so that it is their parent: they and
//! their exit statuses outlive the engine. Descriptors (pipes, PTYs, sockets)
//! are parked by key and name. After a restart the engine asks [`ToKeeper::List`]
//! and gets all of it back.

use serde::{Deserialize, Serialize};

/// The engine's end of the pair.
pub const KEEPER_FD: i32 = 3;
/// The Docker API socket for clients outside the node, lent to the engine.
pub const OUTSIDE_FD: i32 = 4;
/// `/run/docker.sock` in the node, bound by PID 1, lent to the engine.
pub const INSIDE_FD: i32 = 5;
/// The first of the cgroup descriptors, as in [`crate::node::CGROUP_FD`]; the
/// [`crate::node::Spec`] comes in the environment variable [`SPEC_ENV`].
pub const CGROUP_FD: i32 = 6;
/// Environment variable with the node's [`crate::node::Spec`] in JSON.
pub const SPEC_ENV: &str = "DRYDOCK_NODE_SPEC";
/// The longest message, in bytes.
pub const MAX: usize = 64 * 1024;
/// The most descriptors a message carries.
pub const FDS_MAX: usize = 32;

/// From the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum ToKeeper {
    /// The first message.
    Hello(crate::Hello),
    /// Start `/proc/self/exe ARGS…` with the message's descriptors as 0, 1,
    /// 2, …, as a child of PID 1, with a filled-in exit status later.
    Spawn {
        /// Comes back in the answer.
        seq: u64,
        /// What the process is known by: `container/ID`, `exec/ID`, ….
        key: String,
        /// Arguments after the program's name.
        args: Vec<String>,
        /// Namespaces the process begins in: `CLONE_NEW*` bits.
        namespaces: u64,
        /// Start it in this cgroup (v2): the index of a descriptor of this
        /// message that is a cgroup directory, not passed on to the process.
        /// On v1, or without it, PID 1 places nothing.
        cgroup: Option<usize>,
    },
    /// Keep the message's one descriptor.
    Park {
        /// What it belongs to.
        key: String,
        /// Which of its descriptors: `stdout`, `console`, ….
        name: String,
    },
    /// Let go of a parked descriptor.
    Unpark {
        /// What it belongs to.
        key: String,
        /// Which; all of the key's when not given.
        name: Option<String>,
    },
    /// The exit status of this key is stored: forget the process.
    Forget {
        /// The process's key.
        key: String,
    },
    /// Answer once all that came before is done.
    Sync {
        /// Comes back in the answer.
        seq: u64,
    },
    /// Tell all that PID 1 keeps: [`ToEngine::Process`] and
    /// [`ToEngine::Parked`] messages, then [`ToEngine::Listed`].
    List,
    /// Number this event and send it to whoever watches.
    Event(crate::event::What),
    /// Forward to host: see [`crate::cgroup`].
    Cgroup(crate::cgroup::Request),
}

/// From PID 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "snake_case")]
pub enum ToEngine {
    /// The answer to the engine's hello.
    Hello(crate::Hello),
    /// A `Spawn` worked; the message carries a pidfd.
    Spawned {
        /// The request's number.
        seq: u64,
        /// PID in the node.
        pid: i32,
    },
    /// A `Spawn` did not work.
    SpawnFailed {
        /// The request's number.
        seq: u64,
        /// Why.
        error: String,
    },
    /// A started process ended. Kept until `Forget`.
    Exited {
        /// The process's key.
        key: String,
        /// Its exit status (128 + signal when killed).
        status: i32,
        /// Milliseconds since the epoch.
        time_ms: u64,
    },
    /// One kept process; while it runs, the message carries a pidfd.
    Process {
        /// Its key.
        key: String,
        /// PID in the node.
        pid: i32,
        /// Its exit status and the time in milliseconds, when it has ended.
        exited: Option<(i32, u64)>,
    },
    /// One parked descriptor, which the message carries.
    Parked {
        /// What it belongs to.
        key: String,
        /// Which of its descriptors.
        name: String,
    },
    /// All that came before this [`ToKeeper::Sync`] is done.
    Synced {
        /// The request's number.
        seq: u64,
    },
    /// That was all.
    Listed,
    /// The answer to a cgroup request, with its descriptors.
    Cgroup(crate::cgroup::Answer),
    /// Somebody watches the event stream (or nobody does any more): poll
    /// `/proc` only while it is true.
    Watched {
        /// Whether anybody does.
        watched: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_can_be_written_and_read() {
        let asks = [
            ToKeeper::Hello(crate::Hello::OURS),
            ToKeeper::Event(crate::event::What::EngineStarted),
            ToKeeper::List,
            ToKeeper::Cgroup(crate::cgroup::Request {
                seq: 1,
                group: 2,
                action: crate::cgroup::Action::Freeze,
            }),
        ];
        for ask in asks {
            assert_eq!(serde_json::from_str::<ToKeeper>(&serde_json::to_string(&ask).unwrap()).unwrap(), ask);
        }
        let tells = [
            ToEngine::Hello(crate::Hello::OURS),
            ToEngine::Process { key: "a".into(), pid: 7, exited: Some((137, 5)) },
            ToEngine::Cgroup(crate::cgroup::Answer { seq: 1, result: Err("no".into()) }),
            ToEngine::Watched { watched: true },
            ToEngine::Listed,
        ];
        for tell in tells {
            assert_eq!(
                serde_json::from_str::<ToEngine>(&serde_json::to_string(&tell).unwrap()).unwrap(),
                tell
            );
        }
    }
}
