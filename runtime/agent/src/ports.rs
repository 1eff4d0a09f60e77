//! What a node serves: its open ports, and connections to them.

use std::io::Cursor;

use bytes::Bytes;
use drydock_protocol::{
    agent::{DONE, FAILED, OpenPort, PORTS, Request},
    frame::FrameError,
};
use tokio::{
    io::{AsyncReadExt, Chain, Join},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
};

use crate::{
    Agent, AgentError,
    frames::{FrameReader, FrameWriter},
    refused,
};

/// A connection to a port of the node.
pub type Dialled = Join<Chain<Cursor<Bytes>, OwnedReadHalf>, OwnedWriteHalf>;

/// A node's open ports, as they change.
#[derive(Debug)]
pub struct Ports {
    reader: FrameReader<OwnedReadHalf>,
    // Closing our side would tell the node that nobody listens any more.
    _writer: FrameWriter<OwnedWriteHalf>,
}

impl Agent {
    /// The node's open ports.
    pub async fn ports(mut self) -> Result<Ports, AgentError> {
        self.request(&Request::Ports).await?;
        Ok(Ports { reader: self.reader, _writer: self.writer })
    }

    /// Connects to what serves a port in the node; refused when nobody does.
    pub async fn dial(mut self, port: u16) -> Result<Dialled, AgentError> {
        self.request(&Request::Dial { port }).await?;
        match self.reader.expect().await? {
            (DONE, _) => {
                let (read, early) = self.reader.into_inner();
                Ok(tokio::io::join(Cursor::new(early.freeze()).chain(read), self.writer.into_inner()))
            }
            (FAILED, words) => Err(refused(&words)),
            (other, _) => Err(FrameError::Unknown(other).into()),
        }
    }
}

impl Ports {
    /// The ports that are open now, when that has changed; `None` when the node
    /// has ended. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<Vec<OpenPort>>, AgentError> {
        match self.reader.next().await? {
            None => Ok(None),
            Some((PORTS, payload)) => Ok(Some(serde_json::from_slice(&payload)?)),
            Some((FAILED, words)) => Err(refused(&words)),
            Some((other, _)) => Err(FrameError::Unknown(other).into()),
        }
    }
}
