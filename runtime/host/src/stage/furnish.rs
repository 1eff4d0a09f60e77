//! What is mounted in the node's root.
//!
//! The root's content may be the learner's (a node that is started again), so a
//! mount's place is opened without following symbolic links and mounted on by
//! descriptor.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use drydock_sandbox::mount::{self, Attributes};
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};
use rustix::fs::{AtFlags, Gid, OFlags, ResolveFlags, Uid};
use rustix::mount::MoveMountFlags;

use super::{StageError, StageSpec, root::Kept};

/// Where the clean `proc` and `sysfs` are, out of everybody's reach.
const HIDDEN: &str = ".drydock";
/// The group `tty`, on Debian and most others.
const TTY: u32 = 5;
const DEVICES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("pts/ptmx", "ptmx"),
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];
/// What of `/proc` says more about the machine than about the node. Docker's
/// own list.
const MASKED: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];

const PLAIN: Attributes<'static> =
    Attributes { read_only: false, nosuid: true, nodev: true, noexec: true, id_map: None };

/// The mounts that the node's root can't undo, since they are made before its
/// user namespace is.
pub(super) fn before_unshare(spec: &StageSpec, kept: Kept) -> Result<(), StageError> {
    let base = spec.base;
    let owner = format!("{base}");
    place(filesystem(c"proc", &[], PLAIN)?.as_fd(), "proc", base)?;
    hide_clean_proc_and_sys(base)?;
    devices(base)?;
    let run = [("mode", "755"), ("size", "64m"), ("nr_inodes", "16k"), ("uid", &owner), ("gid", &owner)];
    let no_devices = Attributes { nosuid: true, nodev: true, ..Attributes::default() };
    place(filesystem(c"tmpfs", &run, no_devices)?.as_fd(), "run", base)?;
    place(kept.docker.as_fd(), "var/lib/docker", base)?;
    place(kept.store.as_fd(), "var/lib/drydock/store", base)?;
    directory("sys", base)?;
    mask()
}

/// The mounts that need the node's own network and control group namespaces.
pub(super) fn after_unshare(spec: &StageSpec) -> Result<(), StageError> {
    place(filesystem(c"sysfs", &[], PLAIN)?.as_fd(), "sys", 0)?;
    place(filesystem(c"mqueue", &[], PLAIN)?.as_fd(), "dev/mqueue", 0)?;
    if spec.unified {
        return place(filesystem(c"cgroup2", &[], PLAIN)?.as_fd(), "sys/fs/cgroup", 0);
    }
    let groups = filesystem(c"tmpfs", &[("mode", "755"), ("size", "64k")], PLAIN)?;
    place(groups.as_fd(), "sys/fs/cgroup", 0)?;
    for controllers in spec.hierarchies.iter().filter(|name| !name.starts_with("name=")) {
        let options: Vec<_> = controllers.split(',').map(|name| (name, "")).collect();
        let tree = filesystem(c"cgroup", &options, Attributes { read_only: true, ..PLAIN })?;
        place(tree.as_fd(), &format!("sys/fs/cgroup/{controllers}"), 0)?;
        for name in controllers.split(',').filter(|name| name != controllers) {
            link(groups.as_fd(), controllers, name)?;
        }
    }
    mount::set_attributes(groups.as_fd(), Attributes { read_only: true, ..PLAIN })?;
    Ok(())
}

/// The kernel lets a nested PID namespace have a fresh `proc` only where one is
/// visible that nothing covers. Nobody in the node can look into this one.
fn hide_clean_proc_and_sys(base: u32) -> Result<(), StageError> {
    let hidden = filesystem(c"tmpfs", &[("mode", "700"), ("size", "16k"), ("nr_inodes", "8")], PLAIN)?;
    place(hidden.as_fd(), HIDDEN, base)?;
    for kind in [c"proc", c"sysfs"] {
        let name = kind.to_string_lossy();
        make_child(hidden.as_fd(), &name, 0)?;
        let target = open_child(hidden.as_fd(), &name, OFlags::DIRECTORY)?;
        attach(filesystem(kind, &[], PLAIN)?.as_fd(), target.as_fd(), &name)?;
    }
    Ok(())
}

/// `/dev` with real devices, its own terminals and shared memory.
fn devices(base: u32) -> Result<(), StageError> {
    let owner = format!("{base}");
    let with_devices = Attributes { nosuid: true, noexec: true, ..Attributes::default() };
    let options = [("mode", "755"), ("size", "64k"), ("nr_inodes", "1k"), ("uid", &owner), ("gid", &owner)];
    let dev = filesystem(c"tmpfs", &options, with_devices)?;
    for (name, major, minor) in DEVICES {
        mknodat(&dev, name, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor))
            .map_err(|errno| failed(name, errno.into()))?;
        give(dev.as_fd(), name, base)?;
    }
    for (target, name) in DEVICE_LINKS {
        link(dev.as_fd(), target, name)?;
        give(dev.as_fd(), name, base)?;
    }
    place(dev.as_fd(), "dev", base)?;
    directory("dev/mqueue", base)?;

    let group = format!("{}", base + TTY);
    let options = [("gid", group.as_str()), ("mode", "620"), ("ptmxmode", "666"), ("max", "256")];
    let terminals = as_owner(base, || filesystem(c"devpts", &options, with_devices))?;
    place(terminals.as_fd(), "dev/pts", base)?;
    let options = [("mode", "1777"), ("size", "64m"), ("nr_inodes", "16k"), ("uid", &owner), ("gid", &owner)];
    place(filesystem(c"tmpfs", &options, PLAIN)?.as_fd(), "dev/shm", base)
}

/// Runs `work` so that what it makes belongs to the node's root.
fn as_owner<T>(base: u32, work: impl FnOnce() -> T) -> T {
    nix::unistd::setfsgid(base.into());
    nix::unistd::setfsuid(base.into());
    let result = work();
    nix::unistd::setfsuid(0.into());
    nix::unistd::setfsgid(0.into());
    result
}

/// Covers files with `/dev/null` and directories with nothing.
fn mask() -> Result<(), StageError> {
    let proc = open_root("proc", OFlags::DIRECTORY)?;
    for name in MASKED {
        let target = match open_child(proc.as_fd(), name, OFlags::empty()) {
            Err(StageError::Path { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            target => target?,
        };
        let is_directory = rustix::fs::fstat(&target).map_err(|errno| failed(name, errno.into()))?.st_mode
            & libc::S_IFMT
            == libc::S_IFDIR;
        let cover = if is_directory { nothing()? } else { mount::copy(Path::new("/dev/null"))? };
        attach(cover.as_fd(), target.as_fd(), name)?;
    }
    Ok(())
}

/// A directory that stays empty.
fn nothing() -> Result<OwnedFd, StageError> {
    let options = [("mode", "555"), ("size", "4k"), ("nr_inodes", "2")];
    filesystem(c"tmpfs", &options, Attributes { read_only: true, ..PLAIN })
}

fn filesystem(
    kind: &CStr,
    options: &[(&str, &str)],
    attributes: Attributes<'_>,
) -> Result<OwnedFd, StageError> {
    let tree = mount::detached(kind, options)?;
    mount::set_attributes(tree.as_fd(), attributes)?;
    Ok(tree)
}

/// Attaches a detached mount at a directory of the node's root, which is made
/// if it is not there.
fn place(tree: BorrowedFd<'_>, path: &str, base: u32) -> Result<(), StageError> {
    attach(tree, directory(path, base)?.as_fd(), path)
}

fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &str) -> Result<(), StageError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags).map_err(|errno| failed(name, errno.into()))
}

/// Opens a directory of the node's root; makes what is missing for `owner`.
fn directory(path: &str, owner: u32) -> Result<OwnedFd, StageError> {
    let mut here = open_root(".", OFlags::DIRECTORY)?;
    for name in path.split('/') {
        here = match open_child(here.as_fd(), name, OFlags::DIRECTORY) {
            Err(StageError::Path { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                make_child(here.as_fd(), name, owner)?;
                open_child(here.as_fd(), name, OFlags::DIRECTORY)?
            }
            Err(StageError::Symlink(_)) => return Err(StageError::Symlink(format!("/{path}"))),
            opened => opened?,
        };
    }
    Ok(here)
}

fn open_root(path: &str, kind: OFlags) -> Result<OwnedFd, StageError> {
    let root =
        rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .map_err(|errno| failed("/", errno.into()))?;
    open_child(root.as_fd(), path, kind)
}

fn open_child(parent: BorrowedFd<'_>, name: &str, kind: OFlags) -> Result<OwnedFd, StageError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW | kind;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    rustix::fs::openat2(parent, name, flags, rustix::fs::Mode::empty(), resolve).map_err(
        |errno| match errno {
            rustix::io::Errno::LOOP => StageError::Symlink(name.to_string()),
            errno => failed(name, errno.into()),
        },
    )
}

fn make_child(parent: BorrowedFd<'_>, name: &str, owner: u32) -> Result<(), StageError> {
    rustix::fs::mkdirat(parent, name, rustix::fs::Mode::from_raw_mode(0o755))
        .map_err(|errno| failed(name, errno.into()))?;
    give(parent, name, owner)
}

fn link(parent: BorrowedFd<'_>, target: &str, name: &str) -> Result<(), StageError> {
    rustix::fs::symlinkat(target, parent, name).map_err(|errno| failed(name, errno.into()))
}

fn give(parent: BorrowedFd<'_>, name: &str, owner: u32) -> Result<(), StageError> {
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| failed(name, errno.into()))
}

fn failed(path: &str, source: io::Error) -> StageError {
    StageError::Path { path: path.to_string(), source }
}
