//! The container's file system: the overlay, the kernel's filesystems, binds;
//! then the old root goes out of sight.
//!
//! An image may hold any symbolic link in any place, so every target is opened
//! below the new root by openat2(2) with `RESOLVE_IN_ROOT`, and mounts are
//! attached to that descriptor, not to a path.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path},
};

use drydock_sandbox::masks;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags},
    mount::{MoveMountFlags, OpenTreeFlags},
};

use super::{
    StageError,
    config::{Cgroups, Mount, Root, Run, Source},
    dev, fill, step,
};

const NOTHING: Option<&str> = None;

/// Mounts everything and makes it the root.
pub(super) fn make(config: &Run) -> Result<(), StageError> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NOTHING, "/", NOTHING, private, NOTHING).map_err(step("making mounts private"))?;
    let root = overlay(&config.root)?;
    kernel_filesystems(config, root.as_fd())?;
    dev::make(config, root.as_fd())?;
    for wanted in &config.mounts {
        attach(wanted, root.as_fd())?;
    }
    if let Some(init) = &config.init {
        bind(init, "/sbin/docker-init", true, root.as_fd())?;
    }
    make_directory(root.as_fd(), &config.process.cwd)?;
    pivot(&root)?;
    if config.root.readonly {
        remount_root_readonly()?;
    }
    Ok(())
}

/// Masks paths, once nothing more has to be written below `/proc`.
pub(super) fn hide(config: &Run) -> Result<(), StageError> {
    masks::make_readonly(&config.readonly_paths)?;
    masks::hide(&config.masked_paths)?;
    Ok(())
}

/// Mounts the overlay and opens its root.
pub(super) fn overlay(root: &Root) -> Result<OwnedFd, StageError> {
    // Relative names, for the options must fit a page.
    std::env::set_current_dir(&root.layers).map_err(step(format!("entering {}", root.layers)))?;
    let lower: Vec<&str> = root.lower.iter().rev().map(String::as_str).collect();
    let upper = &root.upper;
    let options =
        format!("lowerdir={},upperdir={upper}/diff,workdir={upper}/work,userxattr,volatile", lower.join(":"));
    if options.len() >= 4096 {
        return Err(StageError::Config(format!("an image of {} layers is too high", lower.len())));
    }
    mount_overlay(&format!("{upper}/merged"), &options)
}

/// Mounts lower directories only, topmost first, and opens the root.
pub(super) fn overlay_readonly(target: &str, layers: &str, lower: &[String]) -> Result<OwnedFd, StageError> {
    std::env::set_current_dir(layers).map_err(step(format!("entering {layers}")))?;
    mount_overlay(target, &format!("lowerdir={},userxattr", lower.join(":")))
}

fn mount_overlay(target: &str, options: &str) -> Result<OwnedFd, StageError> {
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options))
        .map_err(step("mounting the root filesystem"))?;
    open_dir(target).map_err(step("opening the root filesystem"))
}

fn open_dir(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn kernel_filesystems(config: &Run, root: BorrowedFd<'_>) -> Result<(), StageError> {
    let nothing_runs = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let proc = real_directory(root, "proc")?;
    if config.own_pid {
        mount_at(proc.as_fd(), "proc", nothing_runs, "")?;
    } else {
        // The node's processes are not ours to mount anew.
        bind("/proc", "proc", false, root)?;
    }
    let sys = real_directory(root, "sys")?;
    let sys_flags = if config.privileged { nothing_runs } else { nothing_runs | MsFlags::MS_RDONLY };
    mount_at(sys.as_fd(), "sysfs", sys_flags, "")?;
    cgroups(config, root)
}

fn cgroups(config: &Run, root: BorrowedFd<'_>) -> Result<(), StageError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let readonly = flags | MsFlags::MS_RDONLY;
    let place = target(root, "sys/fs/cgroup", None)?;
    let hierarchies = match &config.cgroups {
        Cgroups::V2 => return mount_at(place.as_fd(), "cgroup2", readonly, ""),
        Cgroups::V1(hierarchies) => hierarchies,
    };
    mount_at(place.as_fd(), "tmpfs", flags, "mode=755,size=64k")?;
    let place = target(root, "sys/fs/cgroup", None)?;
    for controllers in hierarchies {
        // A hierarchy without a controller is called by its name.
        let options = controllers;
        let controllers = controllers.strip_prefix("name=").unwrap_or(controllers);
        // Such a directory's name is the list; its parts are links to it.
        rustix::fs::mkdirat(&place, controllers, Mode::from(0o755))
            .map_err(step("making a cgroup directory"))?;
        let here = target(root, &format!("sys/fs/cgroup/{controllers}"), None)?;
        mount_at(here.as_fd(), "cgroup", readonly, options)?;
        for one in controllers.split(',').filter(|one| *one != controllers) {
            rustix::fs::symlinkat(controllers, &place, one).map_err(step("linking a cgroup directory"))?;
        }
    }
    let remount = readonly | MsFlags::MS_REMOUNT;
    mount_path(place.as_fd(), "tmpfs", remount, "mode=755,size=64k")
}

/// A directory right below the root that must not be a link, made if missing.
fn real_directory(root: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, StageError> {
    match rustix::fs::mkdirat(root, name, Mode::from(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(step(format!("making /{name}"))(error)),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(root, name, flags, Mode::empty()).map_err(step(format!("opening /{name}")))
}

/// Mounts a new filesystem on an opened directory.
pub(super) fn mount_at(
    place: BorrowedFd<'_>,
    kind: &str,
    flags: MsFlags,
    options: &str,
) -> Result<(), StageError> {
    mount_path(place, kind, flags, options)
}

fn mount_path(place: BorrowedFd<'_>, kind: &str, flags: MsFlags, options: &str) -> Result<(), StageError> {
    // The directory is entered, and "." is then that very place.
    rustix::process::fchdir(place).map_err(step(format!("entering the place of {kind}")))?;
    mount(Some(kind), ".", Some(kind), flags, Some(options)).map_err(step(format!("mounting {kind}")))
}

/// Opens a target below the root, made if missing: a directory, or for
/// `file_mode` a file.
pub(super) fn target(root: BorrowedFd<'_>, path: &str, file: Option<()>) -> Result<OwnedFd, StageError> {
    match open_in_root(root, path) {
        Ok(found) => return Ok(found),
        Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(step(format!("opening /{}", path.trim_start_matches('/')))(error)),
    }
    make_in_root(root, path, file.is_some())
        .map_err(step(format!("making /{} in the container", path.trim_start_matches('/'))))
}

fn open_in_root(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(
        root,
        relative,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

fn make_in_root(root: BorrowedFd<'_>, path: &str, file: bool) -> rustix::io::Result<OwnedFd> {
    let parts: Vec<&str> = Path::new(path)
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let mut so_far = String::new();
    for (index, part) in parts.iter().enumerate() {
        let parent = open_in_root(root, &so_far)?;
        let last = index + 1 == parts.len();
        let made = if last && file {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::openat(&parent, *part, flags, Mode::from(0o644)).map(drop)
        } else {
            rustix::fs::mkdirat(&parent, *part, Mode::from(0o755))
        };
        match made {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        so_far = format!("{so_far}/{part}");
    }
    open_in_root(root, &so_far)
}

/// Makes sure of the working directory, as Docker does.
fn make_directory(root: BorrowedFd<'_>, path: &str) -> Result<(), StageError> {
    target(root, path, None).map(drop)
}

fn attach(wanted: &Mount, root: BorrowedFd<'_>) -> Result<(), StageError> {
    match &wanted.source {
        Source::Bind(source) => {
            if wanted.fill {
                fill_volume(source, &wanted.target, root)?;
            }
            bind(source, &wanted.target, wanted.readonly, root)
        }
        Source::Tmpfs(options) => {
            let place = target(root, &wanted.target, None)?;
            let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            let mut rest = Vec::new();
            for option in options.split(',').filter(|option| !option.is_empty()) {
                match option {
                    "exec" => flags.remove(MsFlags::MS_NOEXEC),
                    "suid" => flags.remove(MsFlags::MS_NOSUID),
                    "dev" => flags.remove(MsFlags::MS_NODEV),
                    "ro" => flags.insert(MsFlags::MS_RDONLY),
                    "rw" | "noexec" | "nosuid" | "nodev" => {}
                    other => rest.push(other),
                }
            }
            mount_at(place.as_fd(), "tmpfs", flags, &rest.join(","))
        }
    }
}

/// Gives an empty volume what the image has in its place.
fn fill_volume(volume: &str, at: &str, root: BorrowedFd<'_>) -> Result<(), StageError> {
    let Ok(image) = open_in_root(root, at) else { return Ok(()) };
    let kind = rustix::fs::fstat(&image).map_err(step(format!("looking at {at}")))?;
    if FileType::from_raw_mode(kind.st_mode) != FileType::Directory {
        return Ok(());
    }
    fill::fill(image.as_fd(), volume).map_err(step(format!("copying {at} of the image to its volume")))
}

/// Binds a file or directory of the node, with what is mounted below it.
pub(super) fn bind(source: &str, at: &str, readonly: bool, root: BorrowedFd<'_>) -> Result<(), StageError> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, source, flags).map_err(step(format!("binding {source}")))?;
    let kind = rustix::fs::fstat(&tree).map_err(step(format!("binding {source}")))?;
    let is_file = FileType::from_raw_mode(kind.st_mode) != FileType::Directory;
    if readonly {
        masks::set_readonly(tree.as_fd())?;
    }
    let place = target(root, at, is_file.then_some(()))?;
    attach_tree(tree.as_fd(), place.as_fd()).map_err(step(format!("binding {source} at {at}")))
}

/// Attaches a detached mount at an opened place.
pub(super) fn attach_tree(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", place, "", flags)
}

/// Makes the opened directory the root and lets go of the old one.
pub(super) fn pivot(root: &OwnedFd) -> Result<(), StageError> {
    rustix::process::fchdir(root).map_err(step("entering the root filesystem"))?;
    // The old root is stacked on the new one; "." then is the old one.
    nix::unistd::pivot_root(".", ".").map_err(step("changing the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(step("letting go of the old root"))?;
    std::env::set_current_dir("/").map_err(step("entering the new root"))
}

fn remount_root_readonly() -> Result<(), StageError> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(NOTHING, "/", NOTHING, flags, NOTHING).map_err(step("making the root read-only"))
}
