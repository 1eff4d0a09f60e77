//! An overlay, mounted by the root of a user namespace, as a node's engine does
//! for each container.

use std::{
    ffi::{CStr, CString},
    io,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::Path,
    process::Command,
};

use drydock_sandbox::id_map::{self, IdMap};

/// A place that every machine has; what is mounted there is seen by the child only.
const PLACE: &CStr = c"/tmp";
const PARTS: [&CStr; 4] = [c"/tmp/lower", c"/tmp/upper", c"/tmp/work", c"/tmp/all"];

/// Tries it in a child with a user and a mount namespace of its own.
pub(super) fn attempt() -> io::Result<()> {
    let map = id_map::user_namespace(IdMap::node(1_000_000)).map_err(io::Error::other)?;
    let options = CString::new("lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work,userxattr")?;
    let program = ["/bin/true", "/usr/bin/true"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(program.unwrap_or("true"));
    // SAFETY: between fork and exec only system calls are made, on values that
    // exist before the fork; nothing allocates or locks.
    unsafe {
        command.pre_exec(move || {
            enter(map.as_raw_fd())?;
            mount(c"tmpfs", PLACE, c"tmpfs", c"")?;
            for part in PARTS {
                check(libc::mkdir(part.as_ptr(), 0o755))?;
            }
            mount(c"overlay", PARTS[3], c"overlay", &options)
        });
    }
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// Enters the user namespace as its root, in a mount namespace of its own.
fn enter(user_namespace: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open, the calls take numbers only.
    unsafe {
        check(libc::setns(user_namespace, libc::CLONE_NEWUSER))?;
        check(libc::setgid(0))?;
        check(libc::setuid(0))?;
        check(libc::unshare(libc::CLONE_NEWNS))
    }
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, options: &CStr) -> io::Result<()> {
    // SAFETY: all four are strings that end with a zero and outlive the call.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
