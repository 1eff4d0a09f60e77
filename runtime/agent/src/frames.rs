//! Reading and writing [`drydock_protocol::frame`]s, on either end.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use drydock_protocol::frame::{self, FrameError, HEAD};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::AgentError;

/// Reads frames; holds back at most one frame and a little more.
#[derive(Debug)]
pub struct FrameReader<R> {
    io: R,
    buffer: BytesMut,
    longest: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames of any length the protocol allows.
    pub fn new(io: R) -> FrameReader<R> {
        FrameReader { io, buffer: BytesMut::new(), longest: frame::MAX }
    }

    /// Refuses frames longer than this from now on.
    pub fn limit(&mut self, longest: usize) {
        self.longest = longest.min(frame::MAX);
    }

    /// The next frame's kind and payload; `None` at the end. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<(u8, Bytes)>, AgentError> {
        loop {
            if let Some(frame) = take(&mut self.buffer, self.longest)? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(8 * 1024);
            let read = match self.io.read_buf(&mut self.buffer).await {
                // The other end closed without having read all we sent.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                other => other?,
            };
            if read == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(AgentError::Closed) };
            }
        }
    }

    /// The next frame, where the end would be an error. Safe to cancel.
    pub async fn expect(&mut self) -> Result<(u8, Bytes), AgentError> {
        self.next().await?.ok_or(AgentError::Closed)
    }

    /// The stream and what was read from it beyond the last frame.
    pub fn into_inner(self) -> (R, BytesMut) {
        (self.io, self.buffer)
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &R {
        &self.io
    }
}

/// Takes the first frame off the buffer if it is there whole.
pub fn take(buffer: &mut BytesMut, longest: usize) -> Result<Option<(u8, Bytes)>, FrameError> {
    let Some(head) = buffer.first_chunk::<HEAD>() else { return Ok(None) };
    let (kind, len) = frame::head(*head)?;
    if len > longest {
        return Err(FrameError::TooLong(len));
    }
    if buffer.len() < HEAD + len {
        buffer.reserve(HEAD + len - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEAD);
    Ok(Some((kind, buffer.split_to(len).freeze())))
}

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter<W> {
    io: W,
    out: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes frames to `io`.
    pub fn new(io: W) -> FrameWriter<W> {
        FrameWriter { io, out: Vec::new() }
    }

    /// Writes one frame whole. Not safe to cancel: the stream is then broken.
    pub async fn send(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        self.out.clear();
        frame::write(&mut self.out, kind, payload);
        self.io.write_all(&self.out).await
    }

    /// Says that nothing more comes.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }

    /// The stream itself.
    pub fn into_inner(self) -> W {
        self.io
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_however_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, 1, b"one");
        frame::write(&mut bytes, 2, b"");
        frame::write(&mut bytes, 3, &[7; 100_000]);
        for step in [1, 4, 5, 9, 70_000, bytes.len()] {
            let (mut write, read) = tokio::io::duplex(step);
            let sent = bytes.clone();
            tokio::spawn(async move { write.write_all(&sent).await });
            let mut reader = FrameReader::new(read);
            assert_eq!(reader.expect().await.unwrap(), (1, Bytes::from_static(b"one")));
            assert_eq!(reader.expect().await.unwrap(), (2, Bytes::new()));
            assert_eq!(reader.expect().await.unwrap().1.len(), 100_000);
            assert!(reader.next().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_or_cut_short_is_an_error() {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, 1, &[0; 1000]);
        let mut reader = FrameReader::new(&bytes[..]);
        reader.limit(999);
        assert!(matches!(reader.next().await, Err(AgentError::Frame(FrameError::TooLong(1000)))));
        let mut reader = FrameReader::new(&bytes[..500]);
        assert!(matches!(reader.next().await, Err(AgentError::Closed)));
    }
}
