//! Running a command in a node.

use drydock_protocol::{
    agent::{Exec, FAILED, FromClient, Request, ToClient},
    terminal::CHUNK,
};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::{
    Agent, AgentError,
    frames::{FrameReader, FrameWriter},
    refused,
};

/// A running command. Dropping it before the end ends the command too.
#[derive(Debug)]
pub struct Running {
    sender: RunningSender,
    receiver: RunningReceiver,
}

/// What goes to a running command.
#[derive(Debug)]
pub struct RunningSender(FrameWriter<OwnedWriteHalf>);

/// What comes from a running command.
#[derive(Debug)]
pub struct RunningReceiver(FrameReader<OwnedReadHalf>);

/// What came of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit status: 128 + signal when killed, 124 when its time was up.
    pub status: i32,
    /// Its stdout (and stderr, with `merge` or `tty`).
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
    /// Output beyond the caller's limit was left out.
    pub truncated: bool,
}

impl Agent {
    /// Starts a command.
    pub async fn exec(mut self, exec: Exec) -> Result<Running, AgentError> {
        self.request(&Request::Exec(exec)).await?;
        Ok(self.running())
    }

    pub(crate) fn running(self) -> Running {
        Running { sender: RunningSender(self.writer), receiver: RunningReceiver(self.reader) }
    }

    /// Runs a command to its end with this stdin. Of its stdout and of its
    /// stderr at most `limit` bytes are kept.
    pub async fn run(self, exec: Exec, stdin: &[u8], limit: usize) -> Result<Output, AgentError> {
        let (mut sender, mut receiver) = self.exec(exec).await?.split();
        let feed = async move {
            sender.send(FromClient::Stdin(stdin.to_vec())).await?;
            sender.send(FromClient::StdinEnd).await?;
            Ok::<_, AgentError>(sender)
        };
        // The command may end without reading its stdin; that is its business,
        // and what it printed and its status still come. The sender must live
        // until then, since a closed connection ends the command.
        let (_sender, output) = tokio::join!(feed, receiver.drain(limit));
        output
    }
}

impl Running {
    /// See [`RunningSender::send`].
    pub async fn send(&mut self, frame: FromClient) -> Result<(), AgentError> {
        self.sender.send(frame).await
    }

    /// See [`RunningReceiver::recv`].
    pub async fn recv(&mut self) -> Result<Option<ToClient>, AgentError> {
        self.receiver.recv().await
    }

    /// Both directions on their own.
    pub fn split(self) -> (RunningSender, RunningReceiver) {
        (self.sender, self.receiver)
    }
}

impl RunningSender {
    /// Sends one frame; long stdin goes in pieces. It waits while the command
    /// doesn't read.
    pub async fn send(&mut self, frame: FromClient) -> Result<(), AgentError> {
        if let FromClient::Stdin(bytes) = frame {
            for piece in bytes.chunks(CHUNK) {
                let (kind, payload) = FromClient::Stdin(piece.to_vec()).encode();
                self.0.send(kind, &payload).await?;
            }
            return Ok(());
        }
        let (kind, payload) = frame.encode();
        Ok(self.0.send(kind, &payload).await?)
    }
}

impl RunningReceiver {
    /// The next frame; `None` after the last. Safe to cancel.
    pub async fn recv(&mut self) -> Result<Option<ToClient>, AgentError> {
        match self.0.next().await? {
            None => Ok(None),
            Some((FAILED, words)) => Err(refused(&words)),
            Some((kind, payload)) => Ok(Some(ToClient::decode(kind, &payload)?)),
        }
    }

    /// All that comes, to the end.
    pub(crate) async fn drain(&mut self, limit: usize) -> Result<Output, AgentError> {
        let mut output = Output::default();
        loop {
            match self.recv().await?.ok_or(AgentError::Closed)? {
                ToClient::Stdout(bytes) => {
                    output.truncated |= append(&mut output.stdout, &bytes, limit);
                }
                ToClient::Stderr(bytes) => {
                    output.truncated |= append(&mut output.stderr, &bytes, limit);
                }
                ToClient::Exit(status) => {
                    output.status = status;
                    return Ok(output);
                }
            }
        }
    }
}

/// Appends as much as the limit allows; says whether something was left out.
fn append(to: &mut Vec<u8>, bytes: &[u8], limit: usize) -> bool {
    let room = limit.saturating_sub(to.len()).min(bytes.len());
    to.extend_from_slice(&bytes[..room]);
    room < bytes.len()
}
