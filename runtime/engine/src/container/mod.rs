//! `drydock-node container`: the single-threaded stages that become a
//! container's process, a process in a container, or read and write a
//! container's files.
//!
//! PID 1 starts them for the engine, in new namespaces where that is asked.
//! They get stdio as 0 to 2, a control socket as 3, their [`config`] in a memfd
//! as 4, and descriptors named there from 5 on.

pub mod changes;
pub mod config;
mod control;
mod dev;
mod entry;
mod exec;
mod export;
mod extract;
pub mod files;
mod fill;
mod process;
mod rootfs;
mod tree;
mod user;

use std::{os::fd::OwnedFd, process::ExitCode};

pub use control::{FromStage, GO};
use thiserror::Error;

/// Why a container's process could not be started.
#[derive(Debug, Error)]
pub enum StageError {
    /// The program can't be run: Docker's words after `exec: `.
    #[error("{0}")]
    Exec(String),
    /// The user or group is not known: Docker's own sentence.
    #[error("{0}")]
    User(String),
    /// A path can't be had.
    #[error("{0:?}")]
    Refused(files::Refusal),
    /// A step of making the container failed.
    #[error("{what}: {}", process::go_words(.source))]
    Step {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// What the engine sent is not to be understood.
    #[error("{0}")]
    Config(String),
    /// A capability could not be changed.
    #[error(transparent)]
    Capability(#[from] drydock_sandbox::capabilities::CapabilityError),
    /// The filter could not be installed.
    #[error(transparent)]
    Seccomp(#[from] drydock_sandbox::seccomp::SeccompError),
    /// A mask could not be made.
    #[error(transparent)]
    Mask(#[from] drydock_sandbox::masks::MaskError),
}

/// Words before an I/O error, for `map_err`.
pub(crate) fn step<E: Into<std::io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> StageError {
    let what = what.into();
    move |error| StageError::Step { what, source: error.into() }
}

/// Runs the stage named by the third argument: `run`, `exec`, `export`, `files`
/// or `changes`.
pub fn stage() -> ExitCode {
    let mode = std::env::args().nth(2).unwrap_or_default();
    // SAFETY: prctl with numbers only. Nobody in the node may look into us
    // while we hold the engine's descriptors.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    // As every runtime gives it to a container's first program.
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let control = control::Control::inherited();
    let result = config::read().and_then(|config| match (mode.as_str(), config) {
        ("run", config::Stage::Run(config)) => entry::run(&config, &control),
        ("exec", config::Stage::Exec(config)) => exec::run(&config, &control),
        ("export", config::Stage::Export(config)) => export::run(&config),
        ("files", config::Stage::Files(config)) => files::run(&config, &control),
        ("changes", config::Stage::Changes(config)) => changes::run(&config),
        ("images", config::Stage::Images(config)) => crate::images::stage::run(*config),
        _ => Err(StageError::Config(format!("no stage is called \"{mode}\""))),
    });
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            control.failed(&error);
            ExitCode::from(error.exit_status())
        }
    }
}

impl StageError {
    /// The exit status that Docker gives a container that failed so.
    fn exit_status(&self) -> u8 {
        match self {
            StageError::Exec(text)
                if text.ends_with("permission denied") || text.ends_with("is a directory") =>
            {
                126
            }
            StageError::Exec(_) => 127,
            _ => 128,
        }
    }
}

/// Moves this process into as many cgroups as the engine gave descriptors for.
pub(crate) fn enter_cgroups(count: usize) -> Result<(), StageError> {
    entry::enter_cgroups(config::FDS_FROM, count)
}

/// Takes over a descriptor that this process was started with.
fn inherited(number: i32) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the engine gave us this descriptor by its number, and each number
    // is taken over once.
    unsafe { OwnedFd::from_raw_fd(number) }
}
