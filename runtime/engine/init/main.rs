//! `docker-init -- PROGRAM ARGUMENT…`: a container's first process. It starts
//! the program, passes signals on to it, reaps what is orphaned, and ends with
//! the program's status.
//!
//! Each container run with `--init` holds one in memory, so it is small: the C
//! library only, of which it uses what is declared here.

#![no_std]
#![no_main]

use core::ffi::{c_char, c_int, c_void};
use core::ptr;

const SIG_SETMASK: c_int = 2;
const WNOHANG: c_int = 1;
const SIGCHLD: c_int = 17;
/// What a terminal sends to those in the background; init must not stop.
const SIGTTIN: c_int = 21;
const SIGTTOU: c_int = 22;
/// Signals of our own faults are not to be passed on.
const FAULTS: [c_int; 7] = [4, 5, 6, 7, 8, 11, 31];
const SIG_DFL: usize = 0;
const SIG_IGN: usize = 1;
const ENOENT: c_int = 2;
const EACCES: c_int = 13;

/// As large as the C library's `sigset_t`.
#[repr(C, align(8))]
struct Signals([u8; 128]);

unsafe extern "C" {
    fn sigfillset(set: *mut Signals) -> c_int;
    fn sigemptyset(set: *mut Signals) -> c_int;
    fn sigdelset(set: *mut Signals, signal: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const Signals, old: *mut Signals) -> c_int;
    fn sigwait(set: *const Signals, signal: *mut c_int) -> c_int;
    fn signal(signal: c_int, action: usize) -> usize;
    fn fork() -> c_int;
    fn setpgid(pid: c_int, group: c_int) -> c_int;
    fn getpgrp() -> c_int;
    fn tcsetpgrp(terminal: c_int, group: c_int) -> c_int;
    fn execvp(program: *const c_char, arguments: *const *const c_char) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn write(to: c_int, bytes: *const c_void, length: usize) -> isize;
    fn strlen(text: *const c_char) -> usize;
    fn __errno_location() -> *mut c_int;
    fn _exit(status: c_int) -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: takes a number.
    unsafe { _exit(70) }
}

/// Named by the core library, which was compiled to unwind; we never do.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// # Safety
/// Called by the C library's start with the program's arguments.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    if count < 3 {
        return 64;
    }
    // SAFETY: there are at least three arguments, the second being `--`; the
    // sets are locals that the C library fills.
    unsafe {
        let program = arguments.add(2);
        let mut waited_for = Signals([0; 128]);
        sigfillset(&raw mut waited_for);
        for fault in FAULTS {
            sigdelset(&raw mut waited_for, fault);
        }
        sigprocmask(SIG_SETMASK, &raw const waited_for, ptr::null_mut());
        signal(SIGTTIN, SIG_IGN);
        signal(SIGTTOU, SIG_IGN);
        match fork() {
            0 => become_program(program),
            child @ 1.. => look_after(child, &waited_for),
            _ => 71,
        }
    }
}

/// In the child: a process group of its own, in the foreground where there is a
/// terminal; then the program.
///
/// # Safety
/// `program` is an array of texts that ends with a null.
unsafe fn become_program(program: *const *const c_char) -> ! {
    // SAFETY: numbers, a local, and the caller's array.
    unsafe {
        setpgid(0, 0);
        tcsetpgrp(0, getpgrp());
        signal(SIGTTIN, SIG_DFL);
        signal(SIGTTOU, SIG_DFL);
        let mut none = Signals([0; 128]);
        sigemptyset(&raw mut none);
        sigprocmask(SIG_SETMASK, &raw const none, ptr::null_mut());
        execvp(*program, program);
        let error = *__errno_location();
        let reason: &[u8] = match error {
            ENOENT => b"No such file or directory",
            EACCES => b"Permission denied",
            _ => b"it can't be executed",
        };
        let name = core::slice::from_raw_parts((*program).cast(), strlen(*program));
        for part in [&b"[FATAL tini (7)] exec "[..], name, b" failed: ", reason, b"\n"] {
            write(2, part.as_ptr().cast(), part.len());
        }
        _exit(if error == EACCES { 126 } else { 127 })
    }
}

/// Passes signals on until the program has ended; its status.
fn look_after(child: c_int, waited_for: &Signals) -> c_int {
    loop {
        let mut number = 0;
        // SAFETY: the C library reads the set and writes the number.
        if unsafe { sigwait(waited_for, &raw mut number) } != 0 {
            continue;
        }
        if number != SIGCHLD {
            // SAFETY: two numbers; the child is not reaped yet.
            unsafe { kill(child, number) };
            continue;
        }
        loop {
            let mut status = 0;
            // SAFETY: a number is written to a local.
            let ended = unsafe { waitpid(-1, &raw mut status, WNOHANG) };
            if ended <= 0 {
                break;
            }
            if ended == child {
                let signal = status & 0x7f;
                return if signal == 0 { status >> 8 & 0xff } else { 128 + signal };
            }
        }
    }
}
