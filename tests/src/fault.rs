//! Faults at an exact place: a process is traced, its calls that change
//! something are counted, and at the chosen one it is killed before the kernel
//! does it, or the call fails with an error of our choice: ptrace(2).
//!
//! The product holds no code for this. All threads of the process are traced,
//! its children are not.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::libc::{self, c_long};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Nothing, anywhere: calls are only counted.
    None,
    /// The process is killed instead of making the call with this number, from 1.
    Kill(u64),
    /// The call with this number fails with this error, from 1.
    Fail(u64, Errno),
}

/// Which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// All that change something outside the process.
    Changing,
    /// Those that need room on a disk: making, renaming, writing and syncing
    /// files.
    Storing,
    /// Those that make processes.
    Forking,
    /// Those that make descriptors of files.
    Opening,
}

/// What a traced process did.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How many calls were counted.
    pub count: u64,
    /// The call at which the fault happened.
    pub at: Option<String>,
}

/// A process being traced.
pub struct Trace {
    pid: i32,
    done: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Trace {
    /// Begins to trace a process.
    pub fn begin(pid: i32, calls: Calls, fault: Fault) -> Trace {
        let done = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let done = done.clone();
            move || {
                // Tracing belongs to the thread that began it.
                seize(pid);
                ready.send(()).expect("the test waits");
                let (failing, last) = (BTreeMap::new(), String::new());
                Tracer { pid, calls, fault, seen: Seen::default(), failing, last }.run(&done)
            }
        });
        is_ready.recv().expect("the process can be traced");
        Trace { pid, done, thread }
    }

    /// Lets the process go on untraced, if it lives, and tells what was seen.
    pub fn end(self) -> Seen {
        self.done.store(true, Ordering::SeqCst);
        // SIGURG does nothing to it, but its tracer hears of it.
        // SAFETY: plain integers.
        unsafe { libc::kill(self.pid, libc::SIGURG) };
        self.thread.join().expect("the tracer does not panic")
    }
}

/// Traces every thread there is; each tells of those it starts.
fn seize(pid: i32) {
    let options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACESYSGOOD;
    let mut seized = BTreeSet::new();
    loop {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs").flatten();
        let tasks: BTreeSet<i32> = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect();
        let new: Vec<i32> = tasks.difference(&seized).copied().collect();
        if new.is_empty() {
            return;
        }
        for task in new {
            let done = ptrace(libc::PTRACE_SEIZE, task, 0, i64::from(options));
            // It may have ended, or come into being traced.
            assert!(
                matches!(done, Ok(_) | Err(Errno::ESRCH | Errno::EPERM)),
                "cannot trace {task}: {done:?}; these tests need root"
            );
            if done.is_ok() {
                // It may end meanwhile.
                let _ = ptrace(libc::PTRACE_INTERRUPT, task, 0, 0);
            }
            seized.insert(task);
        }
    }
}

fn ptrace(request: libc::c_uint, task: i32, address: u64, data: i64) -> Result<c_long, Errno> {
    // SAFETY: only requests are made here that take numbers, or a pointer to
    // memory of the caller that lives through the call.
    Errno::result(unsafe { libc::ptrace(request, task, address as *mut c_void, data as *mut c_void) })
}

/// Offsets of the registers in `struct user` of x86_64.
const ORIG_RAX: u64 = 15 * 8;
const RAX: u64 = 10 * 8;

struct Tracer {
    pid: i32,
    calls: Calls,
    fault: Fault,
    seen: Seen,
    /// Threads whose call was taken from them, and what it is to answer.
    failing: BTreeMap<i32, Errno>,
    /// The call that was counted last, or would have been.
    last: String,
}

impl Tracer {
    /// Runs until told, or until the process has ended. When this thread ends,
    /// what it traces goes on.
    fn run(mut self, done: &AtomicBool) -> Seen {
        loop {
            let mut status = 0;
            // Children of other threads are theirs to wait for.
            let flags = libc::__WALL | libc::__WNOTHREAD;
            // SAFETY: `status` lives through the call.
            let task = unsafe { libc::waitpid(-1, &raw mut status, flags) };
            if task < 0 {
                return self.seen;
            }
            if !libc::WIFSTOPPED(status) {
                continue;
            }
            if done.load(Ordering::SeqCst) && self.failing.is_empty() {
                return self.seen;
            }
            let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
            let mut pass_on = 0;
            if signal == libc::SIGTRAP | 0x80 {
                if self.call(task) {
                    continue;
                }
            } else if event == 0 {
                pass_on = signal;
            }
            // It may have been killed meanwhile.
            let _ = ptrace(libc::PTRACE_SYSCALL, task, 0, i64::from(pass_on));
        }
    }

    /// Looks at a call that begins or ends; whether the process was killed.
    fn call(&mut self, task: i32) -> bool {
        // SAFETY: a plain struct of integers and a union of such, for which zero
        // is valid.
        let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
        let (size, address) = (size_of_val(&info) as u64, &raw mut info as i64);
        if ptrace(libc::PTRACE_GET_SYSCALL_INFO, task, size, address).is_err() {
            return false;
        }
        match info.op {
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                if let Some(errno) = self.failing.remove(&task) {
                    let answer = -i64::from(errno as i32);
                    ptrace(libc::PTRACE_POKEUSER, task, RAX, answer).expect("registers can be set");
                }
                false
            }
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                // SAFETY: `op` says that the kernel filled in `entry`.
                let entry = unsafe { info.u.entry };
                match describe(self.pid, self.calls, entry.nr as c_long, &entry.args) {
                    Some(call) => self.counted(task, call),
                    None => false,
                }
            }
            _ => false,
        }
    }

    fn counted(&mut self, task: i32, call: String) -> bool {
        // What is tried again until it works is one place.
        let again = call == self.last && ["pidfd_send_signal", "rmdir"].contains(&call.as_str());
        self.last.clone_from(&call);
        if again {
            return false;
        }
        self.seen.count += 1;
        match self.fault {
            Fault::Kill(number) if number == self.seen.count => {
                self.seen.at = Some(call);
                // SAFETY: plain integers.
                unsafe { libc::kill(self.pid, libc::SIGKILL) };
                true
            }
            Fault::Fail(number, errno) if number == self.seen.count => {
                self.seen.at = Some(call);
                // No call has this number, so none is made.
                ptrace(libc::PTRACE_POKEUSER, task, ORIG_RAX, -1).expect("registers can be set");
                self.failing.insert(task, errno);
                false
            }
            _ => false,
        }
    }
}

/// What a call is in words, if it is one of those that count.
fn describe(pid: i32, calls: Calls, number: c_long, args: &[u64; 6]) -> Option<String> {
    let (name, kind) = match number {
        libc::SYS_mount => ("mount", Calls::Changing),
        libc::SYS_umount2 => ("umount", Calls::Changing),
        libc::SYS_move_mount => ("move_mount", Calls::Changing),
        libc::SYS_open_tree => ("open_tree", Calls::Opening),
        libc::SYS_mkdir | libc::SYS_mkdirat => ("mkdir", Calls::Storing),
        libc::SYS_rmdir => ("rmdir", Calls::Changing),
        libc::SYS_unlink | libc::SYS_unlinkat => ("unlink", Calls::Changing),
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => ("rename", Calls::Storing),
        libc::SYS_fsync | libc::SYS_fdatasync => ("fsync", Calls::Storing),
        libc::SYS_ftruncate => ("ftruncate", Calls::Storing),
        libc::SYS_link | libc::SYS_linkat => ("link", Calls::Storing),
        libc::SYS_symlink | libc::SYS_symlinkat => ("symlink", Calls::Storing),
        libc::SYS_chmod | libc::SYS_fchmod | libc::SYS_fchmodat => ("chmod", Calls::Changing),
        libc::SYS_chown | libc::SYS_fchown | libc::SYS_lchown | libc::SYS_fchownat => {
            ("chown", Calls::Changing)
        }
        libc::SYS_bind => ("bind", Calls::Changing),
        libc::SYS_unshare => ("unshare", Calls::Changing),
        libc::SYS_setns => ("setns", Calls::Changing),
        libc::SYS_sendto => ("sendto", Calls::Changing),
        libc::SYS_sendmsg => ("sendmsg", Calls::Changing),
        libc::SYS_pidfd_send_signal => ("pidfd_send_signal", Calls::Changing),
        libc::SYS_kill => ("kill", Calls::Changing),
        libc::SYS_fork | libc::SYS_vfork => ("fork", Calls::Forking),
        libc::SYS_clone if args[0] & libc::CLONE_THREAD as u64 == 0 => ("clone", Calls::Forking),
        libc::SYS_clone3 if !is_thread(pid, args[0]) => ("clone3", Calls::Forking),
        libc::SYS_ioctl if args[1] >> 8 == 0x4c => ("ioctl on a loop device", Calls::Changing),
        libc::SYS_openat
            if args[2] & (libc::O_CREAT | libc::O_TMPFILE) as u64 & !(libc::O_DIRECTORY as u64) != 0 =>
        {
            ("openat to create", Calls::Storing)
        }
        libc::SYS_openat => ("openat", Calls::Opening),
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev => ("write", Calls::Storing),
        _ => return None,
    };
    let counts = match calls {
        // An open that makes nothing changes nothing.
        Calls::Changing => kind != Calls::Opening,
        Calls::Opening => name.starts_with("open"),
        calls => kind == calls,
    };
    if !counts {
        return None;
    }
    if name != "write" {
        return Some(name.to_owned());
    }
    // Wake-ups and answers are written too.
    let file = fs::read_link(format!("/proc/{pid}/fd/{}", args[0])).ok()?;
    let file = file.to_string_lossy().into_owned();
    let is_kept = file.starts_with('/') && !file.starts_with("/dev/") && !file.ends_with("test.log");
    is_kept.then(|| format!("write to {file}"))
}

/// Whether a clone3(2) with this `clone_args` makes a thread.
fn is_thread(pid: i32, args: u64) -> bool {
    use std::os::unix::fs::FileExt;
    let mut flags = [0; 8];
    let memory = fs::File::open(format!("/proc/{pid}/mem"));
    let read = memory.and_then(|memory| memory.read_exact_at(&mut flags, args));
    read.is_ok() && u64::from_ne_bytes(flags) & libc::CLONE_THREAD as u64 != 0
}
