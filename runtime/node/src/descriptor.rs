//! A pipe's or PTY's descriptor under tokio.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Our end of a pipe or PTY, non-blocking.
#[derive(Debug)]
pub(crate) struct Descriptor(AsyncFd<OwnedFd>);

impl Descriptor {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Descriptor> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        // SAFETY: an `OwnedFd` gives the same open descriptor until it is
        // dropped, and nothing takes it out of the `AsyncFd` before.
        Ok(Descriptor(unsafe { AsyncFd::register(fd) }?))
    }

    /// Reads what is there; 0 at the end. Safe to cancel.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.async_io(Interest::READABLE, |fd| read(fd.as_fd(), buffer)).await
    }

    /// Reads without waiting: `WouldBlock` when nothing is there.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        read(self.0.get_ref().as_fd(), buffer)
    }

    /// Writes as much as fits. Safe to cancel.
    pub(crate) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, bytes)?)).await
    }
}

/// A PTY whose other end is closed says EIO, where a pipe says 0.
fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    match rustix::io::read(fd, buffer) {
        Err(Errno::IO) => Ok(0),
        other => Ok(other?),
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
