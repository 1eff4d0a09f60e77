//! User namespaces' id maps: user_namespaces(7).

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use thiserror::Error;

use crate::namespaces::{self, NamespaceError};

/// How many ids a node has.
pub const RANGE: u32 = 65_536;

/// A map could not be written.
#[derive(Debug, Error)]
pub enum IdMapError {
    /// The kernel refused the map.
    #[error("cannot write {file}: {source}")]
    Write {
        /// Which file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// No process to make the namespace with.
    #[error("cannot make a user namespace: {0}")]
    Make(io::Error),
    /// The namespace can't be opened.
    #[error(transparent)]
    Open(#[from] NamespaceError),
}

/// One line of a map: `count` ids from `inside` are those from `outside`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// First id in the namespace.
    pub inside: u32,
    /// First id in the parent namespace.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl IdMap {
    /// The whole range of a node: its 0 is `base` outside.
    pub fn node(base: u32) -> IdMap {
        IdMap { inside: 0, outside: base, count: RANGE }
    }
}

/// Writes the user and the group map of a process that has just made its user
/// namespace. The caller must have the capabilities for it in the parent.
pub fn write(pid: i32, map: IdMap) -> Result<(), IdMapError> {
    let line = format!("{} {} {}\n", map.inside, map.outside, map.count);
    for name in ["uid_map", "gid_map"] {
        let file = format!("/proc/{pid}/{name}");
        fs::write(&file, &line).map_err(|source| IdMapError::Write { file, source })?;
    }
    Ok(())
}

/// A user namespace without processes, to give to an id-mapped mount.
pub fn user_namespace(map: IdMap) -> Result<OwnedFd, IdMapError> {
    let holder = Holder::start()?;
    write(holder.pid, map)?;
    Ok(namespaces::open(Path::new(&format!("/proc/{}/ns/user", holder.pid)))?)
}

/// A child that does nothing but be in a new user namespace; ended on drop.
struct Holder {
    pid: i32,
    pidfd: OwnedFd,
}

impl Holder {
    fn start() -> Result<Holder, IdMapError> {
        let mut pidfd = -1;
        let parent = std::process::id();
        // SAFETY: clone_args is a plain struct of integers, for which zero is valid.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.flags = (libc::CLONE_NEWUSER | libc::CLONE_PIDFD) as u64;
        args.pidfd = &raw mut pidfd as u64;
        // SAFETY: without CLONE_VM the child has its own copy of our memory; it
        // makes system calls only and never returns. `args` is valid for its size.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
        if pid == 0 {
            hold(parent);
        }
        if pid < 0 {
            return Err(IdMapError::Make(io::Error::last_os_error()));
        }
        // SAFETY: the kernel stored a new descriptor, which nobody else owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Holder { pid: pid as i32, pidfd })
    }
}

/// The child's part. It must not outlive its parent, which may be killed any
/// time, nor keep open what it inherited: locks go with their last descriptor.
fn hold(parent: u32) -> ! {
    // SAFETY: async-signal-safe calls that take numbers only; what is closed is
    // this process's copy, of which nothing is used any more.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
        // Dead already, before it was asked for a signal.
        if libc::getppid() as u32 != parent {
            libc::_exit(0);
        }
        loop {
            libc::pause();
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let fd = self.pidfd.as_raw_fd();
        // SAFETY: both calls take plain integers and null; `fd` is open. The
        // child is ours and not reaped before, so that neither can fail.
        unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, std::ptr::null::<u8>(), 0);
            libc::waitid(libc::P_PIDFD, fd as u32, std::ptr::null_mut(), libc::WEXITED | libc::__WALL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_for_mounts_needs_no_process() {
        let namespace = user_namespace(IdMap::node(1_000_000)).expect("this test needs root");
        let ours = namespaces::open(Path::new("/proc/self/ns/user")).unwrap();
        assert!(!namespaces::same(&namespace, &ours).unwrap());
    }

    #[test]
    fn its_holder_keeps_nothing_open() {
        let (mut ours, theirs) = io::pipe().unwrap();
        let holder = Holder::start().expect("this test needs root");
        drop(theirs);
        // Ends only when no process has the other end.
        assert_eq!(std::io::Read::read(&mut ours, &mut [0]).unwrap(), 0);
        drop(holder);
    }
}
