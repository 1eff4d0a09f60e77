//! Starting a process by exec of a single-threaded stage: clone3(2), then
//! execveat(2).
//!
//! Everything the child needs (arguments, environment, pointers to them) is
//! built before the fork; between fork and exec it makes system calls only and
//! it never returns to the caller's code. The parent never waits for the child,
//! since a child that starts in a frozen cgroup would hold it up.

use std::{
    ffi::{CStr, CString, NulError},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
};

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

/// Exit status of a child whose descriptors could not be set up.
pub const EXIT_SETUP: i32 = 126;
/// Exit status of a child whose program could not be executed.
pub const EXIT_EXEC: i32 = 127;

/// The bits of [`Command::namespaces`]: every `CLONE_NEW*` flag of clone3(2).
pub const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u64;

/// clone3(2)'s flag. libc's constant is an `int`, which it does not fit.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Why a process could not be started.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// An argument or variable holds a zero byte.
    #[error("argument or variable with a zero byte: {0}")]
    Nul(#[from] NulError),
    /// The flags hold a bit that is no namespace.
    #[error("{0:#x} has bits that name no namespace")]
    Namespaces(u64),
    /// The program's file could not be opened.
    #[error("cannot open {program} for execution: {source}")]
    Open {
        /// Which file.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// `/proc` is not a proc filesystem, so it can't be trusted to name us.
    #[error("/proc is not a proc filesystem")]
    NotProc,
    /// clone3(2) failed.
    #[error("cannot start a process: {0}")]
    Clone(io::Error),
}

/// A program's file, held open, so that no later mount or rename can put
/// another one in its place.
#[derive(Debug)]
pub struct Executable(OwnedFd);

impl Executable {
    /// The file this process runs from.
    ///
    /// A learner may have mounted something over `/proc`, so what is there must
    /// be a proc filesystem, in which nothing can stand in for `self/exe`.
    pub fn own() -> Result<Executable, SpawnError> {
        let failed = |source: rustix::io::Errno| SpawnError::Open {
            program: "/proc/self/exe".into(),
            source: source.into(),
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let me = rustix::fs::open("/proc/self", flags | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
        let kind = rustix::fs::fstatfs(&me).map_err(failed)?.f_type;
        if kind != libc::PROC_SUPER_MAGIC as rustix::fs::FsWord {
            return Err(SpawnError::NotProc);
        }
        rustix::fs::openat(&me, "exe", flags, Mode::empty()).map(Executable).map_err(failed)
    }

    /// The file at `path`.
    pub fn at(path: &Path) -> Result<Executable, SpawnError> {
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map(Executable)
            .map_err(|source| SpawnError::Open { program: path.display().to_string(), source: source.into() })
    }
}

impl AsFd for Executable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Executable {
    fn from(file: OwnedFd) -> Executable {
        Executable(file)
    }
}

/// A process to start.
#[derive(Debug)]
pub struct Command<'a> {
    program: BorrowedFd<'a>,
    argv: Vec<CString>,
    env: Vec<CString>,
    fds: Vec<BorrowedFd<'a>>,
    namespaces: u64,
    cgroup: Option<BorrowedFd<'a>>,
}

/// A started process. Its parent must reap it.
#[derive(Debug)]
pub struct Child {
    /// Its PID in the caller's PID namespace.
    pub pid: i32,
    /// A descriptor for it; close-on-exec.
    pub pidfd: OwnedFd,
}

impl<'a> Command<'a> {
    /// A process that runs `program` with these arguments, the program's name
    /// first, an empty environment and no descriptors.
    pub fn new<I, S>(program: &'a Executable, argv: I) -> Result<Command<'a>, SpawnError>
    where
        I: IntoIterator<Item = S>,
        S: Into<Vec<u8>>,
    {
        let argv = argv.into_iter().map(CString::new).collect::<Result<_, _>>()?;
        Ok(Command {
            program: program.as_fd(),
            argv,
            env: Vec::new(),
            fds: Vec::new(),
            namespaces: 0,
            cgroup: None,
        })
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Result<Command<'a>, SpawnError> {
        self.env.push(CString::new(format!("{name}={value}"))?);
        Ok(self)
    }

    /// Gives the child this descriptor under the next number: the first becomes
    /// 0, the second 1, and so on. It gets no others.
    pub fn fd(mut self, fd: BorrowedFd<'a>) -> Command<'a> {
        self.fds.push(fd);
        self
    }

    /// Gives the child these descriptors under the next numbers.
    pub fn fds(mut self, fds: impl IntoIterator<Item = BorrowedFd<'a>>) -> Command<'a> {
        self.fds.extend(fds);
        self
    }

    /// Puts the child into new namespaces: `CLONE_NEW*` bits.
    pub fn namespaces(mut self, flags: u64) -> Result<Command<'a>, SpawnError> {
        if flags & !NAMESPACES != 0 {
            return Err(SpawnError::Namespaces(flags));
        }
        self.namespaces = flags;
        Ok(self)
    }

    /// Starts the child in this cgroup: the descriptor of a v2 directory.
    pub fn cgroup(mut self, group: BorrowedFd<'a>) -> Command<'a> {
        self.cgroup = Some(group);
        self
    }

    /// Starts it.
    ///
    /// The child has default signal handling, nothing blocked, and exactly the
    /// descriptors given. When its program can't be executed it writes why to
    /// its descriptor 2 and exits with [`EXIT_EXEC`].
    pub fn spawn(&self) -> Result<Child, SpawnError> {
        let argv = pointers(&self.argv);
        let env = pointers(&self.env);
        let mut moved = vec![-1; self.fds.len()];
        let mut pidfd: RawFd = -1;
        // SAFETY: clone_args is a plain struct of integers, for which zero is valid.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.flags = libc::CLONE_PIDFD as u64 | self.namespaces;
        args.pidfd = &raw mut pidfd as u64;
        args.exit_signal = libc::SIGCHLD as u64;
        if let Some(group) = self.cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = group.as_raw_fd() as u64;
        }
        // No handler of ours may run in the child, where it would act on the
        // parent's behalf (tokio's writes to a pipe both share).
        let blocked = SignalsBlocked::new();
        // SAFETY: without CLONE_VM the child has its own copy of our memory and
        // goes on from here like fork; it only runs `become_program`, which makes
        // system calls and never returns. `args` is valid for its size.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
        if pid == 0 {
            become_program(self.program.as_raw_fd(), &self.fds, &mut moved, &argv, &env);
        }
        let result = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid as i32) };
        drop(blocked);
        let pid = result.map_err(SpawnError::Clone)?;
        // SAFETY: the kernel stored a new descriptor, which nobody else owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Child { pid, pidfd })
    }
}

/// The strings' addresses, with the null at the end that execve(2) asks for.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// All signals are blocked in this thread until it is dropped.
struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    fn new() -> SignalsBlocked {
        // SAFETY: both sets are plain memory that the calls fill in.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            SignalsBlocked(before)
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: restores the set that `new` read.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// The child's part: system calls only, on memory that exists already.
fn become_program(
    program: RawFd,
    fds: &[BorrowedFd<'_>],
    moved: &mut [RawFd],
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
) -> ! {
    let count = fds.len() as RawFd;
    // SAFETY: async-signal-safe calls on plain integers and on strings that were
    // built before the fork and live until exec.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        // First all out of the way of the numbers to be filled, then into them.
        let program = libc::fcntl(program, libc::F_DUPFD_CLOEXEC, count + 1);
        if program < 0 {
            fail(c"cannot move the program's descriptor\n", EXIT_SETUP);
        }
        for (fd, moved) in fds.iter().zip(moved.iter_mut()) {
            *moved = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, count + 1);
            if *moved < 0 {
                fail(c"cannot move a descriptor\n", EXIT_SETUP);
            }
        }
        for (number, moved) in moved.iter().enumerate() {
            if libc::dup2(*moved, number as RawFd) < 0 {
                fail(c"cannot number a descriptor\n", EXIT_SETUP);
            }
        }
        if libc::syscall(libc::SYS_close_range, count, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) < 0 {
            fail(c"cannot mark descriptors close-on-exec\n", EXIT_SETUP);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::syscall(
            libc::SYS_execveat,
            program,
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    fail(c"cannot execute the program\n", EXIT_EXEC)
}

/// Ends the child with a word on its stderr.
fn fail(words: &CStr, status: i32) -> ! {
    // SAFETY: write(2) of a static string and _exit(2) are async-signal-safe.
    unsafe {
        libc::write(2, words.as_ptr().cast(), words.count_bytes());
        libc::_exit(status)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, os::unix::net::UnixStream};

    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::*;

    fn shell(script: &str) -> (Executable, Vec<String>) {
        let program = Executable::at(Path::new("/bin/sh")).unwrap();
        (program, vec!["sh".into(), "-c".into(), script.into()])
    }

    fn exit_of(child: &Child) -> i32 {
        match waitpid(Pid::from_raw(child.pid), None).unwrap() {
            WaitStatus::Exited(_, status) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_child_gets_its_descriptors_arguments_and_nothing_else() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let (program, argv) = shell("echo \"$A $1\" >&3; ls /proc/$$/fd | tr '\\n' ' ' >&3");
        let argv = argv.into_iter().chain(["sh".into(), "one".into()]);
        let command = Command::new(&program, argv).unwrap().env("A", "b").unwrap();
        let command = command.env("PATH", "/usr/bin:/bin").unwrap();
        let command = command.fds([null.as_fd(), null.as_fd(), null.as_fd(), theirs.as_fd()]);
        let child = command.spawn().unwrap();
        drop(theirs);
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        assert_eq!(exit_of(&child), 0);
        assert_eq!(said, "b one\n0 1 2 3 ");
    }

    #[test]
    fn each_descriptor_gets_its_place() {
        let null = File::open("/dev/null").unwrap();
        let (mut first, first_end) = std::io::pipe().unwrap();
        let (mut second, second_end) = std::io::pipe().unwrap();
        let (program, argv) = shell("echo out; echo err >&2");
        let fds = [null.as_fd(), second_end.as_fd(), first_end.as_fd()];
        let child = Command::new(&program, argv).unwrap().fds(fds).spawn().unwrap();
        drop((first_end, second_end));
        let mut said = [String::new(), String::new()];
        first.read_to_string(&mut said[0]).unwrap();
        second.read_to_string(&mut said[1]).unwrap();
        assert_eq!(exit_of(&child), 0);
        assert_eq!(said, ["err\n", "out\n"]);
    }

    #[test]
    fn a_program_that_is_none_exits_with_127() {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let program = Executable::at(Path::new("/etc/passwd")).unwrap();
        let command = Command::new(&program, ["x"]).unwrap().fds([null.as_fd(); 3]);
        assert_eq!(exit_of(&command.spawn().unwrap()), EXIT_EXEC);
    }

    #[test]
    fn only_namespace_flags_are_taken() {
        let program = Executable::own().unwrap();
        let command = Command::new(&program, ["x"]).unwrap();
        assert!(matches!(command.namespaces(libc::CLONE_VM as u64), Err(SpawnError::Namespaces(_))));
    }
}
