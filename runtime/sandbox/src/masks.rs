//! Masked and read-only paths of a container: Docker's lists, and how they are
//! laid over `/proc` and `/sys`.
//!
//! What hides a file is `/dev/null`, opened and checked here and attached by
//! its descriptor: a path could lead elsewhere in a hostile image.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};
use thiserror::Error;

/// Paths that Docker hides from a container.
pub const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that a container can read but not write.
pub const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A mask could not be made.
#[derive(Debug, Error)]
pub enum MaskError {
    /// The kernel refused.
    #[error("{what} {path}: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// `/dev/null` is something else.
    #[error("/dev/null is not the null device")]
    NotNull,
}

fn refused(what: &'static str, path: &str) -> impl FnOnce(rustix::io::Errno) -> MaskError {
    let path = path.to_owned();
    move |error| MaskError::Refused { what, path, source: error.into() }
}

/// Hides these paths, as far as they are there: a directory under an empty,
/// read-only one, anything else under `/dev/null`.
pub fn hide(paths: &[String]) -> Result<(), MaskError> {
    // Only an attached mount can be copied: the first is, the rest are copies.
    let mut first: Option<OwnedFd> = None;
    for path in paths {
        let Some(place) = open(path)? else { continue };
        let is_directory = is_directory(place.as_fd(), path)?;
        let tree = match &first {
            _ if !is_directory => null()?,
            Some(first) => open_tree(first, "", clone_of()).map_err(refused("cannot hide", path))?,
            None => empty_directory()?,
        };
        attach(tree.as_fd(), place.as_fd()).map_err(refused("cannot hide", path))?;
        if is_directory && first.is_none() {
            first = Some(tree);
        }
    }
    Ok(())
}

/// Makes these paths read-only, as far as they are there.
pub fn make_readonly(paths: &[String]) -> Result<(), MaskError> {
    for path in paths {
        let Some(place) = open(path)? else { continue };
        let flags = clone_of() | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(&place, "", flags).map_err(refused("cannot make read-only", path))?;
        set_readonly(tree.as_fd())?;
        attach(tree.as_fd(), place.as_fd()).map_err(refused("cannot make read-only", path))?;
    }
    Ok(())
}

/// Makes a mount, and those below it, read-only.
pub fn set_readonly(tree: BorrowedFd<'_>) -> Result<(), MaskError> {
    use std::os::fd::AsRawFd;
    let attributes =
        libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is an empty string, and `attributes` lives for the call
    // and is of the size that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if result == 0 {
        return Ok(());
    }
    let source = io::Error::last_os_error();
    Err(MaskError::Refused { what: "cannot make read-only", path: "a mount".to_owned(), source })
}

fn clone_of() -> OpenTreeFlags {
    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH
}

fn open(path: &str) -> Result<Option<OwnedFd>, MaskError> {
    match rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(place) => Ok(Some(place)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::ACCESS) => Ok(None),
        Err(error) => Err(refused("cannot open", path)(error)),
    }
}

fn is_directory(place: BorrowedFd<'_>, path: &str) -> Result<bool, MaskError> {
    let stat = rustix::fs::statat(place, "", AtFlags::EMPTY_PATH).map_err(refused("cannot look at", path))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// A detached mount of the null device, which is that for sure.
fn null() -> Result<OwnedFd, MaskError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, "/dev/null", flags).map_err(refused("cannot open", "/dev/null"))?;
    let stat =
        rustix::fs::statat(&tree, "", AtFlags::EMPTY_PATH).map_err(refused("cannot look at", "/dev/null"))?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && rustix::fs::major(stat.st_rdev) == 1
        && rustix::fs::minor(stat.st_rdev) == 3;
    if is_null { Ok(tree) } else { Err(MaskError::NotNull) }
}

/// A detached, empty, read-only directory.
fn empty_directory() -> Result<OwnedFd, MaskError> {
    let what = "cannot make an empty";
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(refused(what, "tmpfs"))?;
    fsconfig_set_string(context.as_fd(), "source", "tmpfs").map_err(refused(what, "tmpfs"))?;
    fsconfig_set_string(context.as_fd(), "size", "0").map_err(refused(what, "tmpfs"))?;
    fsconfig_set_string(context.as_fd(), "mode", "555").map_err(refused(what, "tmpfs"))?;
    fsconfig_create(context.as_fd()).map_err(refused(what, "tmpfs"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(refused(what, "tmpfs"))
}

fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", place, "", flags)
}
