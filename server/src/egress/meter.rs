//! A connection whose bytes count.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// How many bytes may still be moved; shared by all connections of a session.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<AtomicU64>);

impl Budget {
    pub(super) fn new(bytes: u64) -> Budget {
        Budget(Arc::new(AtomicU64::new(bytes)))
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, bytes: usize) {
        // It always gives a value, so it always succeeds.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            Some(left.saturating_sub(bytes as u64))
        });
    }
}

/// A connection that breaks once the budget is spent. What is under way then
/// goes over it by a buffer at most.
#[derive(Debug)]
pub(super) struct Metered {
    stream: TcpStream,
    budget: Budget,
}

impl Metered {
    pub(super) fn new(stream: TcpStream, budget: Budget) -> Metered {
        Metered { stream, budget }
    }

    fn check(&self) -> io::Result<()> {
        if self.budget.is_spent() {
            Err(io::Error::other("the session has moved all it may"))
        } else {
            Ok(())
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.budget.spend(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.budget.spend(*count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_connection_breaks_when_its_session_has_moved_all_it_may() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let budget = Budget::new(8);
        let mut near = Metered::new(near, budget.clone());
        near.write_all(b"12345").await.unwrap();
        far.write_all(b"678").await.unwrap();
        let mut got = [0; 3];
        near.read_exact(&mut got).await.unwrap();
        assert!(budget.is_spent());
        assert!(near.write_all(b"9").await.is_err());
        far.write_all(b"0").await.unwrap();
        assert!(near.read_exact(&mut got).await.is_err());
    }
}
