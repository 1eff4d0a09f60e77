//! `drydock-node shell`: the stage that confines itself and becomes a
//! learner's program. Single-threaded, in the order of the steps below.

use std::{
    ffi::{CString, NulError, OsString},
    fs::File,
    io::{self, Write},
    os::{
        fd::{FromRawFd, RawFd},
        unix::{ffi::OsStringExt, fs::FileExt},
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

use drydock_sandbox::{
    capabilities::{self, CapabilityError},
    seccomp::{self, SeccompError},
};
use nix::{errno::Errno, sched::CloneFlags, sys::resource::Resource};
use thiserror::Error;

use crate::{
    files::{self, FileError},
    stage::{ORDER_FD, Order, TASKS_FD, Task},
};

/// Longest order, in bytes.
const ORDER_MAX: u64 = 2 << 20;
/// Open files that a program may have without asking for more.
const FILES_SOFT: u64 = 1024;

/// A step that failed. Its words are what the learner reads.
#[derive(Debug, Error)]
enum ShellError {
    #[error("cannot read the order: {0}")]
    Order(io::Error),
    #[error("the order is no order: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot enter the node's control group: {0}")]
    Cgroup(io::Error),
    #[error("cannot unshare the cgroup namespace: {0}")]
    Namespace(Errno),
    #[error("cannot begin a session: {0}")]
    Session(Errno),
    #[error("cannot take the terminal: {0}")]
    Terminal(io::Error),
    #[error("cannot set limits: {0}")]
    Limits(Errno),
    #[error("cannot close descriptors: {0}")]
    Close(io::Error),
    #[error("cannot drop capabilities: {0}")]
    Capabilities(#[from] CapabilityError),
    #[error("cannot filter system calls: {0}")]
    Seccomp(#[from] SeccompError),
    #[error("{path}: {source}")]
    Directory { path: String, source: io::Error },
    #[error("no command given")]
    Empty,
    #[error("argument or variable with a zero byte: {0}")]
    Nul(#[from] NulError),
    #[error("{program}: command not found")]
    NotFound { program: String },
    #[error("{program}: {source}")]
    Exec { program: String, source: io::Error },
    #[error(transparent)]
    File(#[from] FileError),
}

impl ShellError {
    fn status(&self) -> u8 {
        match self {
            ShellError::NotFound { .. } => 127,
            ShellError::File(_) => 1,
            _ => 126,
        }
    }
}

/// The stage's whole life.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(error.status())
        }
    }
}

fn run() -> Result<(), ShellError> {
    // Named after what it becomes rather than after a descriptor's number.
    let _ = nix::sys::prctl::set_name(c"drydock-shell");
    let _ = nix::sys::prctl::set_dumpable(false);
    let order = read_order()?;
    enter_cgroups(order.tasks)?;
    // Rooted where we are now, so that nothing of `init` is seen.
    nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP).map_err(ShellError::Namespace)?;
    nix::unistd::setsid().map_err(ShellError::Session)?;
    if order.tty {
        take_terminal()?;
    }
    limit_files().map_err(ShellError::Limits)?;
    close_from(ORDER_FD)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    capabilities::drop_bounding(&capabilities::NODE)?;
    capabilities::set(&capabilities::NODE)?;
    seccomp::apply(&seccomp::node(order.features.userns, order.features.netfilter))?;
    match order.task {
        Task::Program { argv, env, cwd } => {
            let env = env.into_iter().map(|(name, value)| CString::new(format!("{name}={value}")));
            become_program(&argv, &env.collect::<Result<Vec<_>, _>>()?, &cwd)
        }
        Task::Put { path, mode } => Ok(files::put(Path::new(&path), mode, &mut io::stdin().lock())?),
        Task::Get { path, limit } => Ok(files::get(Path::new(&path), limit, &mut io::stdout().lock())?),
    }
}

fn read_order() -> Result<Order, ShellError> {
    // SAFETY: PID 1 gave us this descriptor, and nothing else here owns it.
    let file = unsafe { File::from_raw_fd(ORDER_FD) };
    let len = file.metadata().map_err(ShellError::Order)?.len().min(ORDER_MAX);
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(ShellError::Order)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// v1: a single-threaded process enters by writing `0`. On v2 PID 1 has
/// started us in our group.
fn enter_cgroups(tasks: usize) -> Result<(), ShellError> {
    for number in 0..tasks {
        // SAFETY: as many descriptors from here on are ours, as the order says.
        let mut file = unsafe { File::from_raw_fd(TASKS_FD + number as RawFd) };
        file.write_all(b"0").map_err(ShellError::Cgroup)?;
    }
    Ok(())
}

fn take_terminal() -> Result<(), ShellError> {
    // SAFETY: TIOCSCTTY takes a number.
    if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
        return Err(ShellError::Terminal(io::Error::last_os_error()));
    }
    Ok(())
}

/// PID 1 may have more files open than is usual; its children begin as usual.
fn limit_files() -> Result<(), Errno> {
    let (_, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE)?;
    nix::sys::resource::setrlimit(Resource::RLIMIT_NOFILE, FILES_SOFT.min(hard), hard)
}

fn close_from(first: RawFd) -> Result<(), ShellError> {
    // SAFETY: what is open from here on was closed above or belongs to nobody.
    if unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } < 0 {
        return Err(ShellError::Close(io::Error::last_os_error()));
    }
    Ok(())
}

fn become_program(argv: &[String], env: &[CString], cwd: &str) -> Result<(), ShellError> {
    nix::unistd::chdir(cwd)
        .map_err(|errno| ShellError::Directory { path: cwd.to_owned(), source: errno.into() })?;
    let program = argv.first().filter(|name| !name.is_empty()).ok_or(ShellError::Empty)?;
    let arguments = argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>()?;
    let mut refused = None;
    for candidate in candidates(program, env) {
        let path = CString::new(candidate.into_os_string().into_vec())?;
        // It returns only when it failed.
        let Err(errno) = nix::unistd::execve(&path, &arguments, env);
        match errno {
            Errno::ENOENT | Errno::ENOTDIR => {}
            other => refused = refused.or(Some(other)),
        }
    }
    Err(match refused {
        Some(errno) => ShellError::Exec { program: program.clone(), source: errno.into() },
        None => ShellError::NotFound { program: program.clone() },
    })
}

/// Where the program may be: itself if it is a path, else in each directory of
/// the PATH it will have.
fn candidates(program: &str, env: &[CString]) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![program.into()];
    }
    let path = env.iter().find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="));
    let path = OsString::from_vec(path.unwrap_or_default().to_vec());
    std::env::split_paths(&path).map(|directory| directory.join(program)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_on_the_path_they_will_have() {
        let env = [c"HOME=/root".to_owned(), c"PATH=/usr/bin:/bin".to_owned()];
        assert_eq!(candidates("ls", &env), [Path::new("/usr/bin/ls"), Path::new("/bin/ls")]);
        assert_eq!(candidates("./ls", &env), [Path::new("./ls")]);
        assert!(candidates("ls", &[]).iter().all(|path| path == Path::new("ls")));
    }
}
