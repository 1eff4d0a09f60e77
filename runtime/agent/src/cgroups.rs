//! Host's side of a node's cgroup requests.

use std::os::fd::BorrowedFd;

use drydock_protocol::{
    agent::{FAILED, Request},
    cgroup::{self, ANSWER, ASK, Answer},
    frame::{self, FrameError},
};
use drydock_sandbox::fdpass;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::{Agent, AgentError, frames::FrameReader, refused};

/// The connection that carries a node's cgroup requests to host.
#[derive(Debug)]
pub struct Cgroups {
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Agent {
    /// Takes on the node's cgroup requests. A later connection of this kind
    /// takes them over.
    pub async fn cgroups(mut self) -> Result<Cgroups, AgentError> {
        self.request(&Request::Cgroups).await?;
        Ok(Cgroups { reader: self.reader, writer: self.writer.into_inner() })
    }
}

impl Cgroups {
    /// The next request; `None` when the node has ended. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<cgroup::Request>, AgentError> {
        match self.reader.next().await? {
            None => Ok(None),
            Some((ASK, payload)) => Ok(Some(serde_json::from_slice(&payload)?)),
            Some((FAILED, payload)) => Err(refused(&payload)),
            Some((other, _)) => Err(FrameError::Unknown(other).into()),
        }
    }

    /// Answers a request. A `Made` names as many hierarchies as there are
    /// descriptors.
    pub async fn answer(&mut self, answer: &Answer, fds: &[BorrowedFd<'_>]) -> Result<(), AgentError> {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, ANSWER, &serde_json::to_vec(answer)?);
        Ok(fdpass::send_stream(self.writer.as_ref(), &bytes, fds).await?)
    }
}
