//! Pseudoterminals from the node's own devpts: pty(7), ioctl_tty(2).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use drydock_protocol::terminal::Size;
use rustix::fs::{Mode, OFlags};

/// The node's devpts, held since before any learner's program ran, so that
/// nothing mounted over it later is taken for it.
#[derive(Debug)]
pub(crate) struct Devpts(OwnedFd);

/// Both ends of a new PTY.
#[derive(Debug)]
pub(crate) struct Pty {
    /// PID 1's end.
    pub master: OwnedFd,
    /// The program's end.
    pub peer: OwnedFd,
}

impl Devpts {
    pub(crate) fn open() -> io::Result<Devpts> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Devpts(rustix::fs::open("/dev/pts", flags, Mode::empty())?))
    }

    pub(crate) fn pty(&self, size: Size) -> io::Result<Pty> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let master = rustix::fs::openat(&self.0, "ptmx", flags, Mode::empty())?;
        if rustix::fs::fstat(&master)?.st_rdev != rustix::fs::makedev(5, 2) {
            return Err(io::Error::other("/dev/pts/ptmx is not the multiplexer of a devpts"));
        }
        let unlocked: libc::c_int = 0;
        // SAFETY: TIOCSPTLCK reads an int.
        check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) })?;
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: TIOCGPTPEER takes flags and returns a new descriptor.
        let peer = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
        // SAFETY: it was just made for us.
        let peer = unsafe { OwnedFd::from_raw_fd(peer) };
        resize(&master, size)?;
        Ok(Pty { master, peer })
    }
}

/// Gives a PTY another size; its programs get SIGWINCH.
pub(crate) fn resize(pty: impl AsFd, size: Size) -> io::Result<()> {
    let size = size.clamped();
    let window = libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads a winsize.
    check(unsafe { libc::ioctl(pty.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const window) }).map(|_| ())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
