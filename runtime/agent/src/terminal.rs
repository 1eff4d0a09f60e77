//! Looking at a terminal.

use drydock_protocol::{
    agent::{FAILED, Request},
    terminal::{CHUNK, FromViewer, Size, ToViewer},
};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::{
    Agent, AgentError,
    frames::{FrameReader, FrameWriter},
};

/// An attached terminal: its frames in both directions.
#[derive(Debug)]
pub struct Attached {
    sender: AttachedSender,
    receiver: AttachedReceiver,
}

/// What a viewer says.
#[derive(Debug)]
pub struct AttachedSender(FrameWriter<OwnedWriteHalf>);

/// What a viewer sees.
#[derive(Debug)]
pub struct AttachedReceiver(FrameReader<OwnedReadHalf>);

impl Agent {
    /// Looks at a terminal, which is made if it isn't there.
    pub async fn attach(
        mut self,
        terminal: &str,
        size: Size,
        view_only: bool,
    ) -> Result<Attached, AgentError> {
        self.request(&Request::Attach { terminal: terminal.into(), size, view_only }).await?;
        Ok(Attached { sender: AttachedSender(self.writer), receiver: AttachedReceiver(self.reader) })
    }
}

impl Attached {
    /// See [`AttachedSender::send`].
    pub async fn send(&mut self, frame: FromViewer) -> Result<(), AgentError> {
        self.sender.send(frame).await
    }

    /// See [`AttachedReceiver::recv`].
    pub async fn recv(&mut self) -> Result<Option<ToViewer>, AgentError> {
        self.receiver.recv().await
    }

    /// Both directions on their own.
    pub fn split(self) -> (AttachedSender, AttachedReceiver) {
        (self.sender, self.receiver)
    }
}

impl AttachedSender {
    /// Sends one frame; long input goes in pieces.
    pub async fn send(&mut self, frame: FromViewer) -> Result<(), AgentError> {
        if let FromViewer::Input(bytes) = frame {
            for piece in bytes.chunks(CHUNK) {
                let (kind, payload) = FromViewer::Input(piece.to_vec()).encode();
                self.0.send(kind, &payload).await?;
            }
            return Ok(());
        }
        let (kind, payload) = frame.encode();
        Ok(self.0.send(kind, &payload).await?)
    }
}

impl AttachedReceiver {
    /// The next frame; `None` after the last. Safe to cancel.
    pub async fn recv(&mut self) -> Result<Option<ToViewer>, AgentError> {
        match self.0.next().await? {
            None => Ok(None),
            Some((FAILED, words)) => {
                Ok(Some(ToViewer::Refused(String::from_utf8_lossy(&words).into_owned())))
            }
            Some((kind, payload)) => Ok(Some(ToViewer::decode(kind, &payload)?)),
        }
    }
}
