//! A container's standard input and output: pipes that PID 1 keeps too, so
//! that they outlive the engine.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use super::record::Record;
use crate::{
    engine::Engine,
    error::{ApiError, failed},
    log::Stream,
};

/// The engine's ends of a container's stdio, and the stage's.
pub(super) struct Stdio {
    pub(super) theirs: [OwnedFd; 3],
    pub(super) stdin: Option<OwnedFd>,
    pub(super) outputs: Vec<(Stream, OwnedFd)>,
}

impl Stdio {
    pub(super) fn new(record: &Record) -> io::Result<Stdio> {
        let null = || fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        if record.config.tty {
            return Ok(Stdio { theirs: [null()?, null()?, null()?], stdin: None, outputs: Vec::new() });
        }
        let (stdin_theirs, stdin) = if record.config.open_stdin {
            let (read, write) = io::pipe()?;
            (OwnedFd::from(read), Some(OwnedFd::from(write)))
        } else {
            (null()?, None)
        };
        let (stdout, stdout_theirs) = io::pipe()?;
        let (stderr, stderr_theirs) = io::pipe()?;
        Ok(Stdio {
            theirs: [stdin_theirs, stdout_theirs.into(), stderr_theirs.into()],
            stdin,
            outputs: vec![(Stream::Stdout, stdout.into()), (Stream::Stderr, stderr.into())],
        })
    }
}

/// Lets PID 1 keep our ends.
pub(super) async fn park(engine: &Engine, key: &str, stdio: &Stdio) -> Result<(), ApiError> {
    let failed = || failed("keeping the container's pipes failed");
    for (stream, fd) in &stdio.outputs {
        engine.keeper.park(key, stream.name(), fd.as_fd()).await.map_err(failed())?;
    }
    if let Some(stdin) = &stdio.stdin {
        engine.keeper.park(key, "stdin", stdin.as_fd()).await.map_err(failed())?;
    }
    Ok(())
}
