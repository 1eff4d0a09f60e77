//! The last steps before a program: terminal, user, limits, capabilities,
//! filter, and its exec.

use std::{
    convert::Infallible,
    ffi::CString,
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use caps::Capability;
use drydock_sandbox::{capabilities, seccomp};
use nix::{
    sys::resource::{Resource, setrlimit},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use super::{
    StageError,
    config::{Process, Seccomp},
    control::{Control, FromStage},
    step, user,
};

/// The status of a program that was found but could not be executed.
const EXIT_NOT_EXECUTED: u8 = 255;

/// Becomes the program. Returns only when it could not be executed.
///
/// `announce`: tell the engine that all is made.
pub(super) fn become_program(
    process: &Process,
    terminal: Option<OwnedFd>,
    announce: bool,
    control: &Control,
) -> Result<u8, StageError> {
    // Fails only where this process leads a session already.
    let _ = nix::unistd::setsid();
    if let Some(terminal) = terminal {
        use_terminal(terminal)?;
    }
    let identity = user::find(&process.user, &process.groups)?;
    if identity.uid != 0 {
        give_stdio(&identity)?;
    }
    for (name, soft, hard) in &process.rlimits {
        setrlimit(resource(name)?, *soft, *hard)
            .map_err(step(format!("error setting rlimit type {name}")))?;
    }
    if process.oom_score_adj != 0 {
        std::fs::write("/proc/self/oom_score_adj", process.oom_score_adj.to_string())
            .map_err(step("setting oom_score_adj"))?;
    }
    enter_cwd(&process.cwd)?;
    give_up_privileges(process, &identity)?;
    let mut env = process.env.clone();
    if !env.iter().any(|one| one.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
    }
    let name = process.argv.first().map(String::as_str).unwrap_or_default();
    let program = look_up(name, &env)?;
    if announce {
        control.tell(&FromStage::Ready { pid: None }, &[])?;
    }
    let Err(error) = execute(&program, &process.argv, &env)?;
    // As for Docker, the container has begun by now: this is its output.
    let words = format!("exec {}: {}\n", program.display(), go_words(&error));
    io::stderr().write_all(words.as_bytes()).map_err(step("telling why"))?;
    Ok(EXIT_NOT_EXECUTED)
}

fn use_terminal(terminal: OwnedFd) -> Result<(), StageError> {
    let failed = || step("taking the terminal as stdio")(io::Error::last_os_error());
    // SAFETY: the ioctl takes a number; the terminal is open.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY as _, 0) } != 0 {
        return Err(failed());
    }
    for number in 0..3 {
        // SAFETY: both are descriptors; the old stdio is closed by it.
        if unsafe { libc::dup2(terminal.as_raw_fd(), number) } < 0 {
            return Err(failed());
        }
    }
    Ok(())
}

/// The user may open `/dev/stdout` anew only when it is theirs.
fn give_stdio(identity: &user::Identity) -> Result<(), StageError> {
    let null = std::fs::metadata("/dev/null").map_err(step("looking at /dev/null"))?;
    let stdin = io::stdin();
    let (stdout, stderr) = (io::stdout(), io::stderr());
    for stdio in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        let stat = rustix::fs::fstat(stdio).map_err(step("looking at stdio"))?;
        if stat.st_rdev == null.rdev() && stat.st_ino == null.ino() {
            continue;
        }
        let (uid, gid) = (rustix::fs::Uid::from_raw(identity.uid), rustix::fs::Gid::from_raw(identity.gid));
        match rustix::fs::fchown(stdio, Some(uid), Some(gid)) {
            // What somebody else owns (a terminal's other side) stays theirs.
            Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL | rustix::io::Errno::ROFS) => {}
            Err(error) => return Err(step("giving stdio to the user")(error)),
        }
    }
    Ok(())
}

fn resource(name: &str) -> Result<Resource, StageError> {
    Ok(match name {
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        other => return Err(StageError::Config(format!("invalid ulimit type: {other}"))),
    })
}

/// Goes where the program runs, and makes sure that this is in the container:
/// a path such as `/proc/self/fd/7` could lead out.
fn enter_cwd(cwd: &str) -> Result<(), StageError> {
    let path = if cwd.is_empty() { "/" } else { cwd };
    std::env::set_current_dir(path).map_err(|error| StageError::Step {
        what: format!("chdir to cwd (\"{path}\") set in config.json failed"),
        source: error,
    })?;
    std::env::current_dir()
        .map(drop)
        .map_err(step("current working directory is outside of container mount namespace root"))
}

fn give_up_privileges(process: &Process, identity: &user::Identity) -> Result<(), StageError> {
    let names = process.capabilities.iter().map(|name| capabilities::parse(name));
    let keep: Vec<Capability> = names.collect::<Result<_, _>>()?;
    capabilities::drop_bounding(&keep)?;
    if process.no_new_privileges {
        // SAFETY: prctl with numbers only.
        let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        if result != 0 {
            return Err(step("setting no_new_privs")(io::Error::last_os_error()));
        }
    }
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    setgroups(&groups).map_err(step("setting groups"))?;
    let gid = Gid::from_raw(identity.gid);
    setresgid(gid, gid, gid).map_err(step("setting the group"))?;
    // The filter needs a privilege that the user may not have.
    seccomp::apply(&match process.seccomp {
        Seccomp::Default => seccomp::docker_default(&keep),
        Seccomp::Node { userns, netfilter } => seccomp::node(userns, netfilter),
    })?;
    let uid = Uid::from_raw(identity.uid);
    setresuid(uid, uid, uid).map_err(step("setting the user"))?;
    // Another user than root gets none, as for Docker; set-user-ID programs
    // are bound by the bounding set.
    Ok(capabilities::set(if identity.uid == 0 { &keep } else { &[] })?)
}

/// Finds the program, with Docker's words where it is not to be had.
fn look_up(name: &str, env: &[String]) -> Result<PathBuf, StageError> {
    let refuse = |words: String| StageError::Exec(format!("exec: \"{name}\": {words}"));
    if name.contains('/') {
        let path = PathBuf::from(name);
        return match check(&path) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(refuse(format!("stat {name}: no such file or directory")))
            }
            Err(error) => Err(refuse(go_words(&error))),
        };
    }
    let path = env.iter().find_map(|one| one.strip_prefix("PATH=")).unwrap_or_default();
    let mut denied = false;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = Path::new(directory).join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) => denied |= error.kind() == ErrorKind::PermissionDenied,
        }
    }
    if denied && !name.is_empty() {
        return Err(refuse("permission denied".to_owned()));
    }
    Err(refuse("executable file not found in $PATH".to_owned()))
}

fn check(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::Error::from(ErrorKind::IsADirectory));
    }
    Ok(rustix::fs::accessat(
        rustix::fs::CWD,
        path,
        rustix::fs::Access::EXEC_OK,
        rustix::fs::AtFlags::EACCESS,
    )?)
}

/// An error in the words of Go, which Docker's messages have.
pub(super) fn go_words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "is a directory".to_owned(),
        ErrorKind::NotADirectory => "not a directory".to_owned(),
        _ if error.raw_os_error() == Some(libc::ENOEXEC) => "exec format error".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
    }
}

fn execute(
    program: &Path,
    argv: &[String],
    env: &[String],
) -> Result<Result<Infallible, io::Error>, StageError> {
    let strings = |list: &[String]| -> Result<Vec<CString>, StageError> {
        let made = list.iter().map(|one| CString::new(one.as_str())).collect::<Result<_, _>>();
        made.map_err(|_| StageError::Config("an argument or variable has a zero byte".to_owned()))
    };
    let path = CString::new(program.as_os_str().as_bytes())
        .map_err(|_| StageError::Config("the program's name has a zero byte".to_owned()))?;
    reset_signals();
    Ok(nix::unistd::execve(&path, &strings(argv)?, &strings(env)?).map_err(Into::into))
}

/// Rust ignores SIGPIPE; a program expects the default.
fn reset_signals() {
    // SAFETY: sets the default action, which calls no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
