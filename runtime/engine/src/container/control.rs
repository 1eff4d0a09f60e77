//! The control socket between the engine and a stage: packets, each a JSON
//! value with descriptors. It closes by itself when the program is executed.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use drydock_sandbox::fdpass;
use serde::{Deserialize, Serialize};

use super::{
    StageError,
    files::{PathStat, Refusal},
    inherited, step,
};

const CONTROL_FD: i32 = 3;

/// The engine's one message: go on to the program.
pub const GO: &[u8] = b"go";

/// What a stage tells the engine.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromStage {
    /// Its network namespace, as the message's descriptor. The engine sets up
    /// links there while the stage goes on.
    Network,
    /// The controlling side of its PTY, as the message's descriptor.
    Console,
    /// All is made; the program is executed next. For an exec, with the PID in
    /// the node.
    Ready {
        /// The program's PID, where it is not the stage's own.
        pid: Option<i32>,
    },
    /// What is at the path.
    Stat(PathStat),
    /// The path can't be had.
    Refused(Refusal),
    /// It failed.
    Failed {
        /// Docker's text.
        message: String,
        /// The text is about the program (exit 126 or 127), not the container.
        exec: bool,
        /// The text is a sentence of the daemon's own, not the runtime's.
        plain: bool,
    },
}

/// A stage's end of the socket.
pub(super) struct Control(OwnedFd);

impl Control {
    pub(super) fn inherited() -> Control {
        let socket = inherited(CONTROL_FD);
        // It must not leak into the program, and closes with its exec.
        if let Err(error) = rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC) {
            eprintln!("marking the control socket failed: {error}");
        }
        Control(socket)
    }

    pub(super) fn tell(&self, message: &FromStage, fds: &[BorrowedFd<'_>]) -> Result<(), StageError> {
        let bytes = serde_json::to_vec(message).map_err(|error| StageError::Config(error.to_string()))?;
        fdpass::send(self.0.as_fd(), &bytes, fds).map_err(step("telling the engine"))?;
        Ok(())
    }

    /// Waits until the engine says [`GO`].
    pub(super) fn wait_for_go(&self) -> Result<(), StageError> {
        let mut buffer = [0; 16];
        let got = fdpass::recv(self.0.as_fd(), &mut buffer).map_err(step("waiting for the engine"))?;
        if &buffer[..got.len] == GO {
            return Ok(());
        }
        let gone = io::Error::new(io::ErrorKind::UnexpectedEof, "the engine gave up");
        Err(StageError::Step { what: "waiting for the engine".to_owned(), source: gone })
    }

    pub(super) fn failed(&self, error: &StageError) {
        let message = match error {
            StageError::Refused(refusal) => FromStage::Refused(refusal.clone()),
            _ => FromStage::Failed {
                message: error.to_string(),
                exec: matches!(error, StageError::Exec(_)),
                plain: matches!(error, StageError::User(_)),
            },
        };
        if let Err(unsent) = self.tell(&message, &[]) {
            eprintln!("{error}; and {unsent}");
        }
    }
}
