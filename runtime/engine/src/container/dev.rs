//! A container's `/dev`: a tmpfs with the few devices that Docker gives, a
//! terminal filesystem of its own, shared memory and message queues.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::Path,
};

use nix::mount::MsFlags;
use rustix::{
    fs::Mode,
    mount::{OpenTreeFlags, open_tree},
};

use super::{
    StageError,
    config::Run,
    control::{Control, FromStage},
    rootfs, step,
};

const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// Makes `/dev` below the new root.
pub(super) fn make(config: &Run, root: BorrowedFd<'_>) -> Result<(), StageError> {
    let place = rootfs::target(root, "dev", None)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    rootfs::mount_at(place.as_fd(), "tmpfs", flags, "mode=755,size=65536k")?;
    let dev = rootfs::target(root, "dev", None)?;
    for name in NODES {
        rootfs::bind(&format!("/dev/{name}"), &format!("dev/{name}"), false, root)?;
    }
    for (inside, outside) in config.devices.iter().map(|(node, inside)| (inside, node)) {
        rootfs::bind(outside, inside, false, root)?;
    }
    for (target, name) in LINKS {
        // As every runtime does it: not every kernel has this one.
        if name == "core" && !Path::new(target).exists() {
            continue;
        }
        rustix::fs::symlinkat(target, &dev, name).map_err(step(format!("linking /dev/{name}")))?;
    }
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let pts = directory(&dev, "pts", root)?;
    rootfs::mount_at(pts.as_fd(), "devpts", quiet, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    if !config.own_ipc {
        rootfs::bind("/dev/shm", "dev/shm", false, root)?;
        return rootfs::bind("/dev/mqueue", "dev/mqueue", false, root);
    }
    let shm = directory(&dev, "shm", root)?;
    let options = format!("mode=1777,size={}", config.shm_size);
    rootfs::mount_at(shm.as_fd(), "tmpfs", quiet | MsFlags::MS_NODEV, &options)?;
    let queues = directory(&dev, "mqueue", root)?;
    rootfs::mount_at(queues.as_fd(), "mqueue", quiet | MsFlags::MS_NODEV, "")
}

fn directory(dev: &OwnedFd, name: &str, root: BorrowedFd<'_>) -> Result<OwnedFd, StageError> {
    rustix::fs::mkdirat(dev, name, Mode::from(0o755)).map_err(step(format!("making /dev/{name}")))?;
    rootfs::target(root, &format!("dev/{name}"), None)
}

/// Makes a PTY in the container's own terminal filesystem, hands its
/// controlling side to the engine and shows the other as `/dev/console`.
pub(super) fn console((rows, cols): (u16, u16), control: &Control) -> Result<OwnedFd, StageError> {
    let terminal = open_terminal((rows, cols), control)?;
    File::create("/dev/console").map_err(step("making /dev/console"))?;
    let clone =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&terminal, "", clone).map_err(step("showing the terminal as /dev/console"))?;
    let place = File::open("/dev/console").map_err(step("opening /dev/console"))?;
    rootfs::attach_tree(tree.as_fd(), place.as_fd()).map_err(step("showing the terminal as /dev/console"))?;
    Ok(terminal)
}

/// Opens a new PTY of the container; the engine gets the controlling side.
pub(super) fn open_terminal((rows, cols): (u16, u16), control: &Control) -> Result<OwnedFd, StageError> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let master =
        rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).map_err(step("opening a new terminal"))?;
    let failed = || step("making a terminal")(std::io::Error::last_os_error());
    let unlock: libc::c_int = 0;
    // SAFETY: the ioctl reads one int, which lives for the call.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const unlock) } != 0 {
        return Err(failed());
    }
    let open = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the ioctl takes open(2) flags and returns a new descriptor.
    let terminal = unsafe { libc::ioctl(master.as_raw_fd(), TIOCGPTPEER as _, open) };
    if terminal < 0 {
        return Err(failed());
    }
    // SAFETY: the kernel just made this descriptor for us.
    let terminal = unsafe { OwnedFd::from_raw_fd(terminal) };
    if rows > 0 && cols > 0 {
        let size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the ioctl reads one winsize, which lives for the call.
        if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) } != 0 {
            return Err(failed());
        }
    }
    control.tell(&FromStage::Console, &[master.as_fd()])?;
    Ok(terminal)
}

/// Opens the other side of a PTY by its controlling side.
const TIOCGPTPEER: u32 = 0x5441;
