//! `drydock-node unpack PURPOSE STORE`: the process that reads archives.
//!
//! It starts as root, with the archive as its standard input, and before it
//! reads a byte of that it becomes nobody: a child in namespaces of its own,
//! without a network, whose root is an empty tmpfs with nothing but the store,
//! as root of the id range STORE only, with the five capabilities that
//! unpacking needs there, bounded memory, and ring 2's system call filter.
//! Whatever an archive makes of this code, the store is all it can reach.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use caps::Capability;
use drydock_sandbox::capabilities::{self, CapabilityError};
use drydock_sandbox::id_map::{self, IdMap, IdMapError};
use drydock_sandbox::mount::{self, Attributes, MountError};
use drydock_sandbox::seccomp::{self, SeccompError};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid, fork, setgroups, setresgid, setresuid};

use crate::import::{self, Purpose};
use crate::limits::Limits;
use crate::sandboxed::Report;
use crate::store::ID_BASE;

/// A window of zstd, an index, and what a reader holds, with room to spare.
const MEMORY: u64 = 1 << 30;
const DESCRIPTORS: u64 = 256;
const CPU_SECONDS: u64 = 3600;

const NEEDED: [Capability; 5] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_SETFCAP,
];

/// Why the process could not be confined; it reads nothing then.
#[derive(Debug, thiserror::Error)]
enum ConfineError {
    #[error("usage: drydock-node unpack catalogue|node-root STORE <ARCHIVE")]
    Usage,
    #[error("unpacking must be started as root")]
    NotRoot,
    #[error("cannot {0}: {1}")]
    Step(&'static str, nix::Error),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    IdMap(#[from] IdMapError),
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error("the other half of the process is gone: {0}")]
    Half(io::Error),
    #[error("the process that unpacks {0}")]
    Died(String),
}

/// Runs the command line of this process. It must have no other thread.
pub fn main() -> ExitCode {
    match run(std::env::args_os().skip(2).collect()) {
        Ok(code) => code,
        Err(error) => {
            report(&Report::Failed(error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<OsString>) -> Result<ExitCode, ConfineError> {
    let [purpose, store] = arguments.as_slice() else { return Err(ConfineError::Usage) };
    let purpose = purpose.to_str().and_then(Purpose::named).ok_or(ConfineError::Usage)?;
    let store = PathBuf::from(store);
    if !Uid::effective().is_root() {
        return Err(ConfineError::NotRoot);
    }
    close_other_descriptors()?;
    die_with_parent()?;
    unshare(CloneFlags::CLONE_NEWPID).map_err(step("make a pid namespace"))?;
    let (ready_reader, ready_writer) = io::pipe().map_err(ConfineError::Half)?;
    let (mapped_reader, mapped_writer) = io::pipe().map_err(ConfineError::Half)?;
    // SAFETY: this process has one thread, so the child may do all that the
    // parent may.
    match unsafe { fork() }.map_err(step("fork"))? {
        ForkResult::Parent { child } => {
            drop((ready_writer, mapped_reader));
            watch(child, ready_reader, mapped_writer)
        }
        ForkResult::Child => {
            drop((ready_reader, mapped_writer));
            confine(&store, ready_writer, mapped_reader)?;
            Ok(unpack(purpose))
        }
    }
}

/// The half that stays root: maps the child's ids and waits for it.
fn watch(child: Pid, mut ready: PipeReader, mut mapped: PipeWriter) -> Result<ExitCode, ConfineError> {
    // Without the byte the child has failed, and said why.
    if ready.read(&mut [0]).map_err(ConfineError::Half)? == 1 {
        id_map::write(child.as_raw(), IdMap::node(ID_BASE))?;
        mapped.write_all(&[0]).map_err(ConfineError::Half)?;
    }
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Err(ConfineError::Died(format!(
                    "was ended by {signal}; it may have asked for too much memory"
                )));
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(step("wait for the process that unpacks")(error)),
        }
    }
}

/// Gives up everything but the store, which is at `/store` then.
fn confine(store: &Path, mut ready: PipeWriter, mut mapped: PipeReader) -> Result<(), ConfineError> {
    die_with_parent()?;
    let others = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(others).map_err(step("make namespaces"))?;
    enter_empty_root(store)?;

    // As the range's own user, but still able to make the namespace: so its
    // use of the kernel counts for that user, and where users may not make
    // user namespaces this still works.
    let (uid, gid) = (Uid::from_raw(ID_BASE), Gid::from_raw(ID_BASE));
    nix::sys::prctl::set_keepcaps(true).map_err(step("keep capabilities"))?;
    setgroups(&[]).map_err(step("leave groups"))?;
    setresgid(gid, gid, gid).map_err(step("change the group"))?;
    setresuid(uid, uid, uid).map_err(step("change the user"))?;
    capabilities::set(&[Capability::CAP_SYS_ADMIN])?;
    unshare(CloneFlags::CLONE_NEWUSER).map_err(step("make a user namespace"))?;
    ready.write_all(&[0]).map_err(ConfineError::Half)?;
    mapped.read_exact(&mut [0]).map_err(ConfineError::Half)?;

    // A change of user has ended it.
    die_with_parent()?;
    seccomp::apply(&seccomp::node(false, false))?;
    capabilities::drop_bounding(&NEEDED)?;
    capabilities::set(&NEEDED)?;
    nix::sys::prctl::set_no_new_privs().map_err(step("forbid new privileges"))?;
    for (resource, limit) in [
        (Resource::RLIMIT_AS, MEMORY),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
        (Resource::RLIMIT_CPU, CPU_SECONDS),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, limit, limit).map_err(step("set limits"))?;
    }
    Ok(())
}

/// An empty root with the store in it, where no device, no program and no
/// set-user-ID bit counts.
fn enter_empty_root(store: &Path) -> Result<(), MountError> {
    mount::make_private()?;
    let tree = mount::copy(store)?;
    let attributes = Attributes { nosuid: true, nodev: true, noexec: true, ..Attributes::default() };
    mount::set_attributes(std::os::fd::AsFd::as_fd(&tree), attributes)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Any directory can carry the new root; this one is sure to be there.
    mount::filesystem("tmpfs", "none", store, flags, "mode=0755,size=64k,nr_inodes=16")?;
    mount::pivot_root(store)?;
    let inside = Path::new("/store");
    std::fs::create_dir(inside).map_err(|source| mount::MountError {
        what: "make a directory for",
        path: inside.display().to_string(),
        source,
    })?;
    mount::attach(std::os::fd::AsFd::as_fd(&tree), inside)?;
    mount::remount_bind(Path::new("/"), flags | MsFlags::MS_RDONLY)
}

fn unpack(purpose: Purpose) -> ExitCode {
    let mut progress = |progress| report(&Report::Progress(progress));
    let store = Path::new("/store");
    match import::import(store, io::stdin().lock(), purpose, Limits::default(), &mut progress) {
        Ok(names) => {
            report(&Report::Imported(names));
            ExitCode::SUCCESS
        }
        Err(error) => {
            report(&Report::Failed(error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Tells whoever has started us. If nobody listens any more, the next write or
/// the parent's death ends this process; there is nobody to tell of it.
fn report(report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        if io::stdout().lock().write_all(&line).is_err() {
            std::process::exit(1);
        }
    }
}

fn close_other_descriptors() -> Result<(), ConfineError> {
    // SAFETY: the call takes numbers only, and this process has not opened any
    // descriptor above 2 itself yet, so nothing here owns one that it closes.
    // By its number, since musl's libc has no name for it.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    nix::Error::result(result).map(drop).map_err(step("close descriptors"))
}

fn die_with_parent() -> Result<(), ConfineError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("tie this process to its parent"))
}

fn step(what: &'static str) -> impl FnOnce(nix::Error) -> ConfineError {
    move |error| ConfineError::Step(what, error)
}
