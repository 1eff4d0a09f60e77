//! System calls that reach the whole machine.
//!
//! Each is made with arguments that can do no harm where it is let through: the
//! kernel refuses them itself, by another error than the filter's.

use std::io;

/// Makes the system call of each name.
pub(crate) fn try_each(names: &[String]) {
    for name in names {
        let answer = match call(name) {
            Some(answer) => answer,
            None => crate::fail(&format!("no system call is known by the name {name}")),
        };
        println!("{name}={}", crate::result(answer));
    }
}

fn call(name: &str) -> Option<io::Result<()>> {
    let number = match name {
        "kexec_load" => libc::SYS_kexec_load,
        "kexec_file_load" => libc::SYS_kexec_file_load,
        "init_module" => libc::SYS_init_module,
        "finit_module" => libc::SYS_finit_module,
        "delete_module" => libc::SYS_delete_module,
        "bpf" => libc::SYS_bpf,
        "perf_event_open" => libc::SYS_perf_event_open,
        "userfaultfd" => libc::SYS_userfaultfd,
        "io_uring_setup" => libc::SYS_io_uring_setup,
        "keyctl" => libc::SYS_keyctl,
        "add_key" => libc::SYS_add_key,
        "request_key" => libc::SYS_request_key,
        "open_by_handle_at" => libc::SYS_open_by_handle_at,
        "swapon" => libc::SYS_swapon,
        "reboot" => libc::SYS_reboot,
        "settimeofday" => libc::SYS_settimeofday,
        "clock_settime" => libc::SYS_clock_settime,
        "acct" => libc::SYS_acct,
        "syslog" => libc::SYS_syslog,
        "quotactl" => libc::SYS_quotactl,
        "iopl" => libc::SYS_iopl,
        _ => return None,
    };
    // SAFETY: no pointer is given but one that is no address, which the kernel
    // looks at before it uses it.
    let answer = unsafe { libc::syscall(number, -1, -1, -1, -1, -1) };
    Some(if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) })
}
