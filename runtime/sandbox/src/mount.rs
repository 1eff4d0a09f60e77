//! Mounts: the classic call, the descriptor-based ones, id-mapped copies and
//! pivot_root(2).

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use thiserror::Error;

/// A mount could not be made, moved or removed.
#[derive(Debug, Error)]
#[error("cannot {what} {path}: {source}")]
pub struct MountError {
    /// What was to be done.
    pub what: &'static str,
    /// Where.
    pub path: String,
    /// Why it failed.
    pub source: io::Error,
}

fn failed(what: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> MountError {
    MountError { what, path: path.as_ref().display().to_string(), source: source.into() }
}

/// Mounts a new filesystem of type `kind` at `target`.
pub fn filesystem(
    kind: &str,
    source: &str,
    target: impl AsRef<Path>,
    flags: MsFlags,
    options: &str,
) -> Result<(), MountError> {
    let target = target.as_ref();
    mount(Some(source), target, Some(kind), flags, Some(options))
        .map_err(|errno| failed("mount a filesystem at", target, errno))
}

/// Mounts what a descriptor names (a namespace, say) at `target`.
pub fn bind_fd(what: BorrowedFd<'_>, target: &Path) -> Result<(), MountError> {
    let path = format!("/proc/self/fd/{}", what.as_raw_fd());
    bind(Path::new(&path), target)
}

/// Mounts a file or directory at a second place, without what is mounted below it.
pub fn bind(what: &Path, target: &Path) -> Result<(), MountError> {
    mount(Some(what), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|errno| failed("bind a mount at", target, errno))
}

/// Changes the flags of the mount at `target`; `flags` are all it has then.
pub fn remount_bind(target: &Path, flags: MsFlags) -> Result<(), MountError> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags;
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
        .map_err(|errno| failed("change the mount at", target, errno))
}

/// Cuts the whole tree of the caller's mount namespace from its peers, so that
/// no mount travels either way.
pub fn make_private() -> Result<(), MountError> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|errno| failed("make private the mounts below", "/", errno))
}

/// A detached copy of the mount at `path`, which must be a directory or file of
/// the caller's mount namespace.
pub fn copy(path: &Path) -> Result<OwnedFd, MountError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(rustix::fs::CWD, path, flags)
        .map_err(|errno| failed("copy the mount at", path, errno))
}

/// What [`set_attributes`] gives a mount.
#[derive(Debug, Default, Clone, Copy)]
pub struct Attributes<'a> {
    /// Nothing can be written through it.
    pub read_only: bool,
    /// Set-user-ID bits and file capabilities don't count.
    pub nosuid: bool,
    /// Device files don't work.
    pub nodev: bool,
    /// Nothing can be executed.
    pub noexec: bool,
    /// Owners are shown through this user namespace: an id of the filesystem
    /// that is `n` inside the namespace belongs to what `n` is outside.
    pub id_map: Option<BorrowedFd<'a>>,
}

/// Gives a detached mount its attributes. nix and rustix lack the call.
pub fn set_attributes(tree: BorrowedFd<'_>, attributes: Attributes<'_>) -> Result<(), MountError> {
    let bits = [
        (attributes.read_only, libc::MOUNT_ATTR_RDONLY),
        (attributes.nosuid, libc::MOUNT_ATTR_NOSUID),
        (attributes.nodev, libc::MOUNT_ATTR_NODEV),
        (attributes.noexec, libc::MOUNT_ATTR_NOEXEC),
        (attributes.id_map.is_some(), libc::MOUNT_ATTR_IDMAP),
    ];
    let attr = libc::mount_attr {
        attr_set: bits.iter().filter(|(on, _)| *on).fold(0, |set, (_, bit)| set | bit),
        attr_clr: 0,
        propagation: 0,
        userns_fd: attributes.id_map.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: the path is a static string, `attr` is valid for the size that is
    // given, and both descriptors are borrowed for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    if result < 0 {
        return Err(failed("set the attributes of", "a detached mount", io::Error::last_os_error()));
    }
    Ok(())
}

/// Attaches a detached mount at `target`.
pub fn attach(tree: BorrowedFd<'_>, target: &Path) -> Result<(), MountError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", rustix::fs::CWD, target, flags)
        .map_err(|errno| failed("attach a mount at", target, errno))
}

/// Makes the mount at `new_root` the root of the caller's mount namespace and
/// lets go of the old one. The working directory is the new root then.
pub fn pivot_root(new_root: &Path) -> Result<(), MountError> {
    let step = |errno: nix::Error| failed("make the root of", new_root, errno);
    nix::unistd::chdir(new_root).map_err(step)?;
    nix::unistd::pivot_root(".", ".").map_err(step)?;
    // The old root now lies over the new one, and `.` still names it.
    umount2(".", MntFlags::MNT_DETACH).map_err(step)?;
    nix::unistd::chdir("/").map_err(step)
}

/// Unmounts whatever is mounted at `path`, however often. It is no error if
/// nothing is there.
pub fn unmount_all(path: &Path) -> Result<(), MountError> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(errno) => return Err(failed("unmount", path, errno)),
        }
    }
}

/// A mount of the caller's mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is.
    pub target: String,
    /// The filesystem's type.
    pub kind: String,
}

/// All mounts that this process sees.
pub fn list() -> Result<Vec<Mounted>, MountError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(path).map_err(|source| failed("read", path, source))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// A line of `/proc/self/mountinfo`: proc_pid_mountinfo(5).
fn parse(line: &str) -> Option<Mounted> {
    let target = line.split(' ').nth(4)?;
    let (_, after) = line.split_once(" - ")?;
    Some(Mounted { target: unescape(target), kind: after.split(' ').next()?.to_string() })
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out + rest
}

/// A new filesystem that is not attached anywhere: fsopen(2) to fsmount(2).
///
/// An option with an empty value is a flag.
pub fn detached(kind: &CStr, options: &[(&str, &str)]) -> Result<OwnedFd, MountError> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
    let name = kind.to_string_lossy().into_owned();
    let step = |errno: rustix::io::Errno| failed("make a filesystem of type", &name, errno);
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(step)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), c"source", kind).map_err(step)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(context.as_fd(), *key).map_err(step)?;
        } else {
            rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value).map_err(step)?;
        }
    }
    fsconfig_create(context.as_fd()).map_err(step)?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountinfo_line_gives_target_and_type() {
        let line = r"41 31 0:38 / /a\040b\134c rw,relatime shared:3 - cgroup2 cgroup2 rw";
        assert_eq!(parse(line), Some(Mounted { target: r"/a b\c".into(), kind: "cgroup2".into() }));
        assert_eq!(parse("nonsense"), None);
    }
}
