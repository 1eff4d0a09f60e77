//! Passing descriptors over unix sockets: unix(7), SCM_RIGHTS.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixStream,
};

/// The most descriptors that the kernel puts in one message.
pub const FDS_MAX: usize = 253;

/// What one call received.
#[derive(Debug)]
pub struct Received {
    /// How many bytes were stored; 0 when the other end is closed.
    pub len: usize,
    /// The descriptors that came with them, all close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Sends bytes and descriptors in one message; returns how many bytes went.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<_> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL;
    Ok(sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)?)
}

/// Receives one message, or what a stream has ready.
///
/// A packet longer than `buffer` is an error, not cut short.
pub fn recv(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    // Room for as many as the kernel passes, so that none is cut off and lost.
    let mut space = nix::cmsg_space!([i32; FDS_MAX]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel made these descriptors for us; nobody else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message does not fit the buffer"));
    }
    Ok(Received { len: message.bytes, fds })
}

/// [`send`] on tokio's stream; all bytes go, the descriptors with the first.
pub async fn send_stream(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        let fds = if sent == 0 { fds } else { &[] };
        sent += stream.async_io(Interest::WRITABLE, || send(stream.as_fd(), &bytes[sent..], fds)).await?;
    }
    Ok(())
}

/// [`recv`] on tokio's stream. Safe to cancel: nothing is lost.
pub async fn recv_stream(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<Received> {
    stream.async_io(Interest::READABLE, || recv(stream.as_fd(), buffer)).await
}

/// A connected pair of `SOCK_SEQPACKET` sockets, close-on-exec and blocking.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// One end of a `SOCK_SEQPACKET` pair, for tokio: whole messages with their
/// descriptors.
#[derive(Debug)]
pub struct Packets(AsyncFd<OwnedFd>);

impl Packets {
    /// Takes over a socket, which becomes non-blocking. Needs tokio's reactor.
    pub fn new(socket: OwnedFd) -> io::Result<Packets> {
        let flags = rustix::fs::fcntl_getfl(&socket)?;
        rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::NONBLOCK)?;
        // SAFETY: an `OwnedFd` gives the same open descriptor until it is dropped,
        // and nothing takes it out of the `AsyncFd` before.
        Ok(Packets(unsafe { AsyncFd::register(socket) }?))
    }

    /// Sends one message whole.
    pub async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, |socket| send(socket.as_fd(), bytes, fds)).await.map(|_| ())
    }

    /// Receives one message of at most `max` bytes; `None` when the other end
    /// is closed. Safe to cancel.
    pub async fn recv(&self, max: usize) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; max];
        let got = match self.0.async_io(Interest::READABLE, |socket| recv(socket.as_fd(), &mut buffer)).await
        {
            // The other end closed with messages of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            other => other?,
        };
        if got.len == 0 {
            return Ok(None);
        }
        buffer.truncate(got.len);
        Ok(Some((buffer, got.fds)))
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (ours, theirs) = packet_pair().unwrap();
        let (mut read, write) = std::io::pipe().unwrap();
        send(ours.as_fd(), b"take", &[write.as_fd()]).unwrap();
        send(ours.as_fd(), b"next", &[]).unwrap();
        drop(write);
        let mut buffer = [0; 16];
        let mut got = recv(theirs.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..got.len], got.fds.len()), (&b"take"[..], 1));
        std::fs::File::from(got.fds.remove(0)).write_all(b"through").unwrap();
        let mut said = String::new();
        read.read_to_string(&mut said).unwrap();
        assert_eq!(said, "through");
        assert!(recv(theirs.as_fd(), &mut buffer).unwrap().fds.is_empty());
    }

    #[test]
    fn a_packet_that_does_not_fit_is_an_error() {
        let (ours, theirs) = packet_pair().unwrap();
        send(ours.as_fd(), b"too long", &[]).unwrap();
        assert!(recv(theirs.as_fd(), &mut [0; 4]).is_err());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn packets_end_when_the_other_end_closes() {
        let (ours, theirs) = packet_pair().unwrap();
        let ours = Packets::new(ours).unwrap();
        let theirs = Packets::new(theirs).unwrap();
        ours.send(b"one", &[theirs.as_fd()]).await.unwrap();
        let (bytes, fds) = theirs.recv(100).await.unwrap().unwrap();
        assert_eq!((bytes, fds.len()), (b"one".to_vec(), 1));
        drop(fds);
        drop(ours);
        assert!(theirs.recv(100).await.unwrap().is_none());
    }
}
