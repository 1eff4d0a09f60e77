//! A nested user namespace, by each system call that can make one.

use std::io::Error;

/// Tries all three calls, each in a child so that a success changes nothing.
pub(crate) fn try_all() {
    in_child("unshare", || {
        // SAFETY: unshare takes flags only.
        unsafe { libc::unshare(libc::CLONE_NEWUSER) as i64 }
    });
    in_child("clone", || {
        let flags = libc::CLONE_NEWUSER as i64 | libc::SIGCHLD as i64;
        // SAFETY: a fork-like clone: no stack, no pointers; the child exits at once.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        leave_child(pid)
    });
    in_child("clone3", || {
        let mut args = [0u64; 11];
        args[0] = libc::CLONE_NEWUSER as u64;
        args[4] = libc::SIGCHLD as u64;
        // SAFETY: args is a zeroed clone_args of the size given; the child exits at once.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
        leave_child(pid)
    });
}

fn leave_child(pid: i64) -> i64 {
    if pid == 0 {
        // SAFETY: ends this process without running anything else.
        unsafe { libc::_exit(0) }
    }
    pid
}

fn in_child(name: &str, attempt: fn() -> i64) {
    // SAFETY: the program is single-threaded.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let result = if attempt() < 0 { Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 };
        // SAFETY: ends this process without running anything else.
        unsafe { libc::_exit(result) }
    }
    let mut status = 0;
    // SAFETY: status is a valid place for the result.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    let errno = libc::WEXITSTATUS(status);
    let word = match errno {
        0 => "ok".to_owned(),
        libc::EPERM => "EPERM".to_owned(),
        libc::ENOSPC => "ENOSPC".to_owned(),
        libc::ENOSYS => "ENOSYS".to_owned(),
        libc::EINVAL => "EINVAL".to_owned(),
        other => format!("errno {other}"),
    };
    println!("{name}={word}");
}
