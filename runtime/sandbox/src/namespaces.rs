//! Namespaces: entering, making, holding and naming them.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::sched::{CloneFlags, setns, unshare};
use thiserror::Error;

use crate::mount::{self, MountError};

/// A namespace could not be made, held or entered.
#[derive(Debug, Error)]
pub enum NamespaceError {
    /// No thread to enter it with.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// Entering failed.
    #[error("cannot enter a namespace: {0}")]
    Enter(nix::Error),
    /// Making failed.
    #[error("cannot make a namespace: {0}")]
    Make(nix::Error),
    /// What was to be done inside failed.
    #[error("cannot work inside a namespace: {0}")]
    Inside(io::Error),
    /// A file of it could not be opened or made.
    #[error("cannot open namespace {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It could not be held by a bind mount.
    #[error("cannot hold a namespace: {0}")]
    Hold(#[from] MountError),
}

/// Runs `work` in another network namespace, on a thread of its own, and waits
/// for it.
pub fn in_network_namespace<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> Result<T, NamespaceError> {
    on_own_thread(|| {
        setns(netns, CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Enter)?;
        work().map_err(NamespaceError::Inside)
    })
}

/// Makes a network namespace, runs `setup` in it and returns it.
pub fn new_network_namespace(
    setup: impl FnOnce() -> io::Result<()> + Send,
) -> Result<OwnedFd, NamespaceError> {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Make)?;
        setup().map_err(NamespaceError::Inside)?;
        open(Path::new("/proc/thread-self/ns/net"))
    })
}

fn on_own_thread<T: Send>(
    work: impl FnOnce() -> Result<T, NamespaceError> + Send,
) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("namespace".into())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, work)
            .map_err(NamespaceError::Thread)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Opens a namespace file.
pub fn open(path: &Path) -> Result<OwnedFd, NamespaceError> {
    let file = File::open(path).map_err(|source| open_error(path, source))?;
    Ok(file.into())
}

/// Keeps a namespace alive by a bind mount on a new file at `path`.
pub fn hold(namespace: BorrowedFd<'_>, path: &Path) -> Result<(), NamespaceError> {
    File::create_new(path).map_err(|source| open_error(path, source))?;
    let held = mount::bind_fd(namespace, path);
    if held.is_err() {
        std::fs::remove_file(path).map_err(|source| open_error(path, source))?;
    }
    Ok(held?)
}

/// Undoes [`hold`]. It is no error if nothing is there.
pub fn release(path: &Path) -> Result<(), NamespaceError> {
    mount::unmount_all(path)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(open_error(path, error)),
        _ => Ok(()),
    }
}

fn open_error(path: &Path, source: io::Error) -> NamespaceError {
    NamespaceError::Open { path: path.display().to_string(), source }
}

/// Whether two descriptors name the same namespace.
pub fn same(one: impl AsFd, other: impl AsFd) -> io::Result<bool> {
    let one = rustix::fs::fstat(one)?;
    let other = rustix::fs::fstat(other)?;
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}
