//! The stage between PID 1 and a learner's program: what it is told.
//!
//! PID 1 starts `drydock-node shell` with the program's stdio as 0 to 2, an
//! [`Order`] in JSON in a memfd as [`ORDER_FD`], and behind it the `tasks`
//! files of cgroup `inner` (v1). `shell.rs` is the stage's side, `launch.rs`
//! PID 1's.

use std::collections::BTreeMap;

use drydock_protocol::host::Features;
use serde::{Deserialize, Serialize};

/// A memfd with the [`Order`].
pub(crate) const ORDER_FD: i32 = 3;
/// The first of the cgroups' `tasks` files.
pub(crate) const TASKS_FD: i32 = 4;

/// What a stage is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// How many `tasks` files there are to enter by.
    pub tasks: usize,
    /// What the seccomp filter lets through.
    pub features: Features,
    /// Descriptor 0 is to be its controlling terminal.
    pub tty: bool,
    /// What comes then.
    pub task: Task,
}

/// What is done once the stage is confined.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Become this program.
    Program {
        /// The program and its arguments.
        argv: Vec<String>,
        /// Its whole environment.
        env: BTreeMap<String, String>,
        /// Where it runs.
        cwd: String,
    },
    /// Write stdin to a file.
    Put {
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Write a file to stdout.
    Get {
        /// Absolute path.
        path: String,
        /// Refuse longer ones.
        limit: u64,
    },
}
