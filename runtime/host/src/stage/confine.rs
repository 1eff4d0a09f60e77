//! What the stage does to itself: groups, ids, namespaces, limits.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::Path,
};

use caps::{CapSet, Capability};
use drydock_protocol::{host::Features, node::CGROUP_FD};
use drydock_sandbox::namespaces;
use nix::{
    sched::CloneFlags,
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid},
};

use super::{StageError, StageFds, borrowed, sysctl};

/// The most open files a process of the node may ask for.
const FILES_MAX: u64 = 524_288;
/// Namespaces and inotify objects that a node may have.
const BUDGET: [(&str, u32); 8] = [
    ("max_pid_namespaces", 512),
    ("max_net_namespaces", 512),
    ("max_mnt_namespaces", 1024),
    ("max_uts_namespaces", 1024),
    ("max_ipc_namespaces", 1024),
    ("max_cgroup_namespaces", 1024),
    ("max_time_namespaces", 0),
    ("max_inotify_watches", 65_536),
];
const NESTED_USER_NAMESPACES: u32 = 64;

/// Cuts the stage from host's session and descriptors, and sets its limits.
pub(super) fn begin(fds: &StageFds) -> Result<(), StageError> {
    setsid().map_err(call("begin a session"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    // SAFETY: marks descriptors of this process close-on-exec; takes integers only.
    let marked =
        unsafe { libc::syscall(libc::SYS_close_range, fds.first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked < 0 {
        return Err(StageError::call("mark descriptors close-on-exec")(io::Error::last_os_error()));
    }
    // One byte: the kernel then neither writes a core file nor starts the
    // host's handler for them, and nobody in the node can raise it.
    setrlimit(Resource::RLIMIT_CORE, 1, 1).map_err(call("limit core files"))?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(call("read the limit of open files"))?;
    let hard = hard.min(FILES_MAX);
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).map_err(call("limit open files"))
}

/// Enters control groups by their `tasks` files.
pub(super) fn enter_group(tasks: &[RawFd]) -> Result<(), StageError> {
    for number in tasks {
        let file = borrowed(*number).try_clone_to_owned().map(File::from);
        file.and_then(|mut file| file.write_all(b"0")).map_err(StageError::call("enter a control group"))?;
    }
    Ok(())
}

/// Becomes the node's first id, keeping what making a user namespace takes:
/// made by the host's root, all nodes and the host would share one budget of
/// inotify instances and the like.
pub(super) fn become_base(base: u32) -> Result<(), StageError> {
    nix::sys::prctl::set_keepcaps(true).map_err(call("keep capabilities"))?;
    setgroups(&[]).map_err(call("leave all groups"))?;
    let (uid, gid) = (Uid::from_raw(base), Gid::from_raw(base));
    setresgid(gid, gid, gid).map_err(call("become the node's group"))?;
    setresuid(uid, uid, uid).map_err(call("become the node's user"))?;
    caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN)
        .map_err(|error| StageError::call("raise a capability")(io::Error::other(error.to_string())))
}

/// Makes the node's namespaces and returns the network's.
pub(super) fn unshare() -> Result<OwnedFd, StageError> {
    let flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    nix::sched::unshare(flags).map_err(call("make the node's namespaces"))?;
    Ok(namespaces::open(Path::new("/proc/self/ns/net"))?)
}

/// Becomes root in the node's user namespace, whose maps are written.
pub(super) fn become_root() -> Result<(), StageError> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid).map_err(call("become the node's root group"))?;
    setresuid(uid, uid, uid).map_err(call("become the node's root"))?;
    setgroups(&[gid]).map_err(call("join the node's root group"))
}

pub(super) fn set_hostname(name: &str) -> Result<(), StageError> {
    nix::unistd::sethostname(name).map_err(call("set the host name"))
}

/// Settings of the new namespaces.
pub(super) fn set_sysctls(features: &Features) -> Result<(), StageError> {
    for (name, value) in BUDGET {
        sysctl(&format!("user/{name}"), value)?;
    }
    sysctl("user/max_user_namespaces", if features.userns { NESTED_USER_NAMESPACES } else { 0 })?;
    // Everybody may ping, as on Debian.
    sysctl("net/ipv4/ping_group_range", "0 65535")?;
    for name in ["net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6"] {
        sysctl_if_there(name, 1)?;
    }
    // Else NAT rules would see frames that a bridge merely passes on.
    for name in ["iptables", "ip6tables", "arptables"] {
        sysctl_if_there(&format!("net/bridge/bridge-nf-call-{name}"), 0)?;
    }
    Ok(())
}

fn sysctl_if_there(name: &str, value: u32) -> Result<(), StageError> {
    if Path::new("/proc/sys").join(name).exists() { sysctl(name, value) } else { Ok(()) }
}

/// On v2, puts the directory that host sent under the number PID 1 expects.
pub(super) fn number_group_directory(fds: &StageFds, from_host: Vec<OwnedFd>) -> Result<(), StageError> {
    let Some(directory) = from_host.into_iter().next() else { return Ok(()) };
    if CGROUP_FD >= fds.first {
        return Err(StageError::Orders("no room for the control group's directory".into()));
    }
    // SAFETY: the number is PID 1's, below the stage's own, and holds a
    // placeholder that nothing in this process owns.
    let numbered = unsafe { libc::dup2(directory.as_raw_fd(), CGROUP_FD) };
    if numbered < 0 {
        return Err(StageError::call("number a descriptor")(io::Error::last_os_error()));
    }
    Ok(())
}

fn call(what: &'static str) -> impl Fn(nix::Error) -> StageError {
    move |errno| StageError::call(what)(errno.into())
}
