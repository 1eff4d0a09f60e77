//! The agent protocol: what a node's PID 1 does when asked on its agent socket.
//!
//! A connection serves one purpose. The client sends a [`HELLO`] frame with a
//! [`crate::Hello`] in JSON, PID 1 answers with its own; the client sends one
//! [`REQUEST`] frame with a [`Request`] in JSON. PID 1 answers with [`DONE`]
//! (a JSON value) or [`FAILED`] (text), or goes over to the stream that the
//! request names: [`crate::terminal`] frames for `Attach`, [`ToClient`] and
//! [`FromClient`] for `Exec`, `Put` and `Get`, one [`EVENT`] frame with JSON an
//! event for `Events`, one [`PORTS`] frame with `Vec<OpenPort>` a change for
//! `Ports`, [`crate::cgroup`] frames for `Cgroups`; after `Dial`'s [`DONE`]
//! come plain bytes in both directions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{frame::FrameError, terminal::Size};

/// Frame kind: a [`crate::Hello`] in JSON.
pub const HELLO: u8 = 0x21;
/// Frame kind: a [`Request`] in JSON.
pub const REQUEST: u8 = 0x22;
/// Frame kind: the answer to a request, in JSON.
pub const DONE: u8 = 0x23;
/// Frame kind: why a request failed, a sentence in UTF-8.
pub const FAILED: u8 = 0x24;
/// Frame kind: a [`crate::event::Event`] in JSON.
pub const EVENT: u8 = 0x25;
/// Frame kind: the ports that are open now, `Vec<OpenPort>` in JSON.
pub const PORTS: u8 = 0x26;

/// How the words of a refused [`Request::Get`] end when nothing is at the path.
pub const NO_SUCH_FILE: &str = "there is no such file";

/// What a client asks of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Look at a terminal, making it if it is not there.
    /// Then: [`crate::terminal`] frames.
    Attach {
        /// The terminal's name: `1`, `2`, … up to 8 a node.
        terminal: String,
        /// The room the viewer has.
        size: Size,
        /// A viewer that only looks: its input and size are ignored.
        #[serde(default)]
        view_only: bool,
    },
    /// The names of the open terminals. Answer: `Vec<String>`.
    Terminals,
    /// End a terminal and its programs. Answer: `null`.
    Close {
        /// The terminal's name.
        terminal: String,
    },
    /// Run a command. Then: [`ToClient`] and [`FromClient`] frames.
    Exec(Exec),
    /// Write a file, its bytes as `Stdin` frames ended by `StdinEnd`, put in
    /// place whole by rename. Then one `Exit(0)`, or [`FAILED`].
    Put {
        /// Absolute path in the node.
        path: String,
        /// Permission bits, such as `0o644`.
        mode: u32,
    },
    /// Read a file: `Stdout` frames, then `Exit(0)`; or [`FAILED`].
    Get {
        /// Absolute path in the node.
        path: String,
        /// Refuse files longer than this many bytes.
        limit: u64,
    },
    /// The node's event stream: [`EVENT`] frames, without end.
    Events {
        /// Go on after this sequence number, as far as it is still kept.
        #[serde(default)]
        after: u64,
    },
    /// What runs here. Answer: [`Status`].
    Status,
    /// The TCP ports that somebody serves: [`PORTS`] frames, one at once and one
    /// whenever it changed, without end. Costs the node less than `Events`.
    Ports,
    /// Connect to what serves this TCP port in the node. Answer: `null`, then
    /// the connection's bytes; or [`FAILED`].
    Dial {
        /// The port, as seen in the node; published ports lead to containers.
        port: u16,
    },
    /// Host only: this connection carries the node's cgroup requests to host.
    /// Then: [`crate::cgroup`] frames.
    Cgroups,
    /// Host only: end all processes of the node in an orderly way. PID 1 sends
    /// SIGTERM, waits `grace_ms`, sends SIGKILL, syncs, and exits.
    Shutdown {
        /// Time between SIGTERM and SIGKILL, in milliseconds.
        grace_ms: u64,
    },
}

/// A command to run in the node, as root, in cgroup `inner`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments; the program is looked up on PATH.
    pub argv: Vec<String>,
    /// Variables set over the node's own environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where to run it; `/root` when not given.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Give it a PTY of this size.
    #[serde(default)]
    pub tty: Option<Size>,
    /// Stdout and stderr share one pipe, so that their order is kept.
    #[serde(default)]
    pub merge: bool,
    /// Kill it after this many milliseconds; it then exits with 124.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// What runs in a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the engine is up and answers.
    pub engine: bool,
    /// How often the engine was started.
    pub engine_starts: u64,
    /// Names of the open terminals.
    pub terminals: Vec<String>,
    /// Milliseconds since somebody last typed, or since the node began.
    pub idle_ms: u64,
    /// Memory in use by the node's programs, in bytes, without what the kernel
    /// gives back when asked; `None` when the kernel doesn't tell.
    #[serde(default)]
    pub memory_used: Option<u64>,
    /// The most memory that the node's programs may have, in bytes.
    #[serde(default)]
    pub memory_limit: Option<u64>,
    /// How often the kernel ended a program because the node was at its limit.
    #[serde(default)]
    pub oom_kills: u64,
    /// The name of the last of those, when known.
    #[serde(default)]
    pub oom_name: Option<String>,
}

/// A TCP port of the node that somebody serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPort {
    /// The port, as seen in the node.
    pub port: u16,
    /// The name of the container that it leads to, if it leads to one.
    #[serde(default)]
    pub container: Option<String>,
}

/// What a running command sends to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToClient {
    /// Bytes from its stdout (from both, with `merge` or `tty`).
    Stdout(Vec<u8>),
    /// Bytes from its stderr.
    Stderr(Vec<u8>),
    /// Its exit status (128 + signal when killed); the last frame.
    Exit(i32),
}

/// What the client sends to a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// Bytes for its stdin.
    Stdin(Vec<u8>),
    /// No more stdin.
    StdinEnd,
    /// The client's window has this size now.
    Resize(Size),
    /// Send this signal to it.
    Signal(i32),
}

const STDOUT: u8 = 0x31;
const STDERR: u8 = 0x32;
const EXIT: u8 = 0x33;
const STDIN: u8 = 0x41;
const STDIN_END: u8 = 0x42;
const RESIZE: u8 = 0x43;
const SIGNAL: u8 = 0x44;

impl ToClient {
    /// The frame's kind byte and payload.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            ToClient::Stdout(bytes) => (STDOUT, bytes.clone()),
            ToClient::Stderr(bytes) => (STDERR, bytes.clone()),
            ToClient::Exit(status) => (EXIT, status.to_le_bytes().to_vec()),
        }
    }

    /// Reads a frame; the counterpart of [`ToClient::encode`].
    pub fn decode(kind: u8, payload: &[u8]) -> Result<ToClient, FrameError> {
        match kind {
            STDOUT => Ok(ToClient::Stdout(payload.to_vec())),
            STDERR => Ok(ToClient::Stderr(payload.to_vec())),
            EXIT => Ok(ToClient::Exit(number(kind, payload)?)),
            other => Err(FrameError::Unknown(other)),
        }
    }
}

impl FromClient {
    /// The frame's kind byte and payload.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            FromClient::Stdin(bytes) => (STDIN, bytes.clone()),
            FromClient::StdinEnd => (STDIN_END, Vec::new()),
            FromClient::Resize(size) => (RESIZE, [size.cols.to_le_bytes(), size.rows.to_le_bytes()].concat()),
            FromClient::Signal(signal) => (SIGNAL, signal.to_le_bytes().to_vec()),
        }
    }

    /// Reads a frame; the counterpart of [`FromClient::encode`].
    pub fn decode(kind: u8, payload: &[u8]) -> Result<FromClient, FrameError> {
        match (kind, payload) {
            (STDIN, bytes) => Ok(FromClient::Stdin(bytes.to_vec())),
            (STDIN_END, _) => Ok(FromClient::StdinEnd),
            (RESIZE, &[a, b, c, d]) => Ok(FromClient::Resize(Size {
                cols: u16::from_le_bytes([a, b]),
                rows: u16::from_le_bytes([c, d]),
            })),
            (SIGNAL, bytes) => Ok(FromClient::Signal(number(kind, bytes)?)),
            (RESIZE, _) => Err(FrameError::Malformed { kind }),
            (other, _) => Err(FrameError::Unknown(other)),
        }
    }
}

fn number(kind: u8, payload: &[u8]) -> Result<i32, FrameError> {
    payload.try_into().map(i32::from_le_bytes).map_err(|_| FrameError::Malformed { kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_went() {
        for frame in [ToClient::Stdout(vec![0, 255]), ToClient::Stderr(vec![]), ToClient::Exit(137)] {
            let (kind, payload) = frame.encode();
            assert_eq!(ToClient::decode(kind, &payload), Ok(frame));
        }
        for frame in [
            FromClient::Stdin(b"x".to_vec()),
            FromClient::StdinEnd,
            FromClient::Resize(Size { cols: 80, rows: 24 }),
            FromClient::Signal(2),
        ] {
            let (kind, payload) = frame.encode();
            assert_eq!(FromClient::decode(kind, &payload), Ok(frame));
        }
    }

    #[test]
    fn requests_are_readable_json() {
        let request =
            Request::Attach { terminal: "1".into(), size: Size { cols: 80, rows: 24 }, view_only: false };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"ask":"attach","terminal":"1","size":{"cols":80,"rows":24},"view_only":false}"#);
    }
}
