//! Connecting the outside to what serves a port in the node, for previews.

use std::{cell::Cell, io, net::Ipv4Addr, pin::pin, rc::Rc, time::Duration};

use drydock_agent::{
    AgentError,
    frames::{FrameReader, FrameWriter},
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{
        TcpStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use crate::init::Node;

/// The most connections of this kind at once, fewer than the agent's own.
const DIALS_MAX: usize = 128;
/// How long a program may take to accept.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one direction may go on when the other has ended.
const LINGER: Duration = Duration::from_secs(30);

/// A port could not be reached.
#[derive(Debug, Error)]
pub(crate) enum DialError {
    #[error("nobody serves port {0}")]
    Nobody(u16),
    #[error("what serves port {0} does not accept connections")]
    Slow(u16),
    #[error("cannot connect to port {port}: {source}")]
    Io { port: u16, source: io::Error },
    #[error("{DIALS_MAX} connections to ports of this node are open already")]
    TooMany,
}

/// How many connections are open, and the node's own address.
#[derive(Debug)]
pub(crate) struct Dials {
    open: Rc<Cell<usize>>,
    /// The node's own address.
    pub(crate) address: Ipv4Addr,
}

impl Dials {
    pub(crate) fn new(address: Ipv4Addr) -> Dials {
        Dials { open: Rc::default(), address }
    }
}

/// Counts as open until it is dropped.
#[derive(Debug)]
struct Opened(Rc<Cell<usize>>);

impl Opened {
    fn new(open: &Rc<Cell<usize>>) -> Option<Opened> {
        (open.get() < DIALS_MAX).then(|| {
            open.set(open.get() + 1);
            Opened(open.clone())
        })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection to a port.
#[derive(Debug)]
pub(crate) struct Dialled {
    stream: TcpStream,
    _opened: Opened,
}

/// Connects to the port on loopback, or else on the node's address, where
/// something may listen that is not on loopback.
pub(crate) async fn connect(node: &Node, port: u16) -> Result<Dialled, DialError> {
    let opened = Opened::new(&node.dials.open).ok_or(DialError::TooMany)?;
    let mut refused = DialError::Nobody(port);
    for address in [Ipv4Addr::LOCALHOST, node.dials.address] {
        match timeout(CONNECT, TcpStream::connect((address, port))).await {
            Ok(Ok(stream)) => return Ok(Dialled { stream, _opened: opened }),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Ok(Err(source)) => refused = DialError::Io { port, source },
            Err(_) => refused = DialError::Slow(port),
        }
    }
    Err(refused)
}

impl Dialled {
    /// Passes bytes both ways until both directions have ended.
    pub(crate) async fn relay(
        self,
        reader: FrameReader<OwnedReadHalf>,
        writer: FrameWriter<OwnedWriteHalf>,
    ) -> Result<(), AgentError> {
        let (read, early) = reader.into_inner();
        let (from_port, mut to_port) = self.stream.into_split();
        to_port.write_all(&early).await?;
        let mut up = pin!(pass(read, to_port));
        let mut down = pin!(pass(from_port, writer.into_inner()));
        tokio::select! {
            done = &mut up => {
                done?;
                timeout(LINGER, down).await.map_err(|_| AgentError::Closed)??;
            }
            done = &mut down => {
                done?;
                timeout(LINGER, up).await.map_err(|_| AgentError::Closed)??;
            }
        }
        Ok(())
    }
}

/// One direction, with a buffer of 8 KiB; its end is passed on too.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_open_at_once() {
        let open = Rc::default();
        let mut all: Vec<_> = (0..DIALS_MAX).map(|_| Opened::new(&open).unwrap()).collect();
        assert!(Opened::new(&open).is_none());
        all.pop();
        assert!(Opened::new(&open).is_some());
    }
}
