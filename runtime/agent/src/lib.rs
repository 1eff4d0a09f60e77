//! The client's side of a node's agent socket, for tokio.
//!
//! [`Agent::connect`] opens one connection, which serves one purpose: each
//! request takes the [`Agent`] and gives back an answer or a stream.
//!
//! ```no_run
//! # async fn example() -> Result<(), drydock_agent::AgentError> {
//! use drydock_agent::Agent;
//! use drydock_protocol::agent::Exec;
//!
//! let exec = Exec { argv: vec!["uname".into(), "-r".into()], ..Exec::default() };
//! let output = Agent::connect("/run/drydock/…/agent.sock").await?.run(exec, b"", 1 << 20).await?;
//! assert_eq!(output.status, 0);
//! # Ok(())
//! # }
//! ```

mod cgroups;
mod exec;
mod files;
pub mod frames;
mod ports;
mod terminal;

use std::{
    io,
    path::{Path, PathBuf},
};

use drydock_protocol::{
    Hello,
    agent::{DONE, EVENT, FAILED, HELLO, REQUEST, Request, Status},
    event::Event,
    frame::FrameError,
};
use frames::{FrameReader, FrameWriter};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::{
    UnixStream,
    unix::{OwnedReadHalf, OwnedWriteHalf},
};

pub use cgroups::Cgroups;
pub use exec::{Output, Running, RunningReceiver, RunningSender};
pub use ports::{Dialled, Ports};
pub use terminal::{Attached, AttachedReceiver, AttachedSender};

/// What went wrong between us and a node.
#[derive(Debug, Error)]
pub enum AgentError {
    /// Nobody answers on the socket.
    #[error("cannot reach the node at {path}: {source}")]
    Connect {
        /// The agent socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("connection to the node broke: {0}")]
    Io(#[from] io::Error),
    /// The node closed the connection before it had answered.
    #[error("the node closed the connection")]
    Closed,
    /// The node sent something that is no frame we know.
    #[error("the node sent a bad frame: {0}")]
    Frame(#[from] FrameError),
    /// The node sent something that is not the JSON we expect.
    #[error("the node sent a bad answer: {0}")]
    Json(#[from] serde_json::Error),
    /// Our versions have nothing in common.
    #[error("the node speaks protocol {theirs:?}, we speak {ours:?}", ours = Hello::OURS)]
    Version {
        /// What the node speaks.
        theirs: Hello,
    },
    /// The node refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// What is asked does not fit a frame.
    #[error("the request has {len} bytes, and a node takes {max} at most", max = drydock_protocol::frame::MAX)]
    Request {
        /// Its length.
        len: usize,
    },
    /// Nothing is at the path.
    #[error("there is no such file")]
    NoSuchFile,
    /// A file is longer than the caller wants.
    #[error("the file is longer than {limit} bytes")]
    TooLong {
        /// What the caller wants at most.
        limit: u64,
    },
}

/// A connection to a node's PID 1, ready for one request.
#[derive(Debug)]
pub struct Agent {
    reader: FrameReader<OwnedReadHalf>,
    writer: FrameWriter<OwnedWriteHalf>,
    version: u32,
}

impl Agent {
    /// Connects and agrees on a version.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Agent, AgentError> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| AgentError::Connect { path: path.into(), source })?;
        Agent::over(stream).await
    }

    /// Agrees on a version over a stream that is connected already.
    pub async fn over(stream: UnixStream) -> Result<Agent, AgentError> {
        let (read, write) = stream.into_split();
        let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        writer.send(HELLO, &serde_json::to_vec(&Hello::OURS)?).await?;
        let (kind, payload) = reader.expect().await?;
        let theirs: Hello = match kind {
            HELLO => serde_json::from_slice(&payload)?,
            FAILED => return Err(refused(&payload)),
            other => return Err(FrameError::Unknown(other).into()),
        };
        let version = Hello::OURS.agree(theirs).ok_or(AgentError::Version { theirs })?;
        Ok(Agent { reader, writer, version })
    }

    /// The version both ends speak.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What runs in the node.
    pub async fn status(self) -> Result<Status, AgentError> {
        self.ask(&Request::Status).await
    }

    /// Names of the open terminals.
    pub async fn terminals(self) -> Result<Vec<String>, AgentError> {
        self.ask(&Request::Terminals).await
    }

    /// Ends a terminal and its programs.
    pub async fn close(self, terminal: &str) -> Result<(), AgentError> {
        self.ask(&Request::Close { terminal: terminal.into() }).await
    }

    /// Ends the node: SIGTERM, then after `grace_ms` SIGKILL. Answers when the
    /// node has begun with it.
    pub async fn shutdown(self, grace_ms: u64) -> Result<(), AgentError> {
        self.ask(&Request::Shutdown { grace_ms }).await
    }

    /// The node's events, from the one after `after` on.
    pub async fn events(mut self, after: u64) -> Result<Events, AgentError> {
        self.request(&Request::Events { after }).await?;
        Ok(Events { reader: self.reader, _writer: self.writer })
    }

    async fn request(&mut self, request: &Request) -> Result<(), AgentError> {
        let request = serde_json::to_vec(request)?;
        if request.len() > drydock_protocol::frame::MAX {
            return Err(AgentError::Request { len: request.len() });
        }
        Ok(self.writer.send(REQUEST, &request).await?)
    }

    async fn ask<T: DeserializeOwned>(mut self, request: &Request) -> Result<T, AgentError> {
        self.request(request).await?;
        match self.reader.expect().await? {
            (DONE, payload) => Ok(serde_json::from_slice(&payload)?),
            (FAILED, payload) => Err(refused(&payload)),
            (other, _) => Err(FrameError::Unknown(other).into()),
        }
    }
}

/// A node's event stream.
#[derive(Debug)]
pub struct Events {
    reader: FrameReader<OwnedReadHalf>,
    // Closing our side would tell the node that nobody listens any more.
    _writer: FrameWriter<OwnedWriteHalf>,
}

impl Events {
    /// The next event; `None` when the node has ended. Safe to cancel.
    ///
    /// Kinds of events that this build doesn't know are skipped.
    pub async fn next(&mut self) -> Result<Option<Event>, AgentError> {
        loop {
            match self.reader.next().await? {
                None => return Ok(None),
                Some((EVENT, payload)) => match serde_json::from_slice(&payload) {
                    Ok(event) => return Ok(Some(event)),
                    Err(error) if error.is_data() => continue,
                    Err(error) => return Err(error.into()),
                },
                Some((FAILED, payload)) => return Err(refused(&payload)),
                Some((other, _)) => return Err(FrameError::Unknown(other).into()),
            }
        }
    }
}

fn refused(words: &[u8]) -> AgentError {
    AgentError::Refused(String::from_utf8_lossy(words).into_owned())
}
