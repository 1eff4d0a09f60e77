//! What a node's PID 1 writes to its stderr, in host's log.

use std::{os::fd::OwnedFd, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    time::Instant,
};

/// The longest line that is kept, in bytes.
const LINE_MAX: u64 = 1024;
/// Lines of one node that are logged in [`WINDOW`].
const LINES_MAX: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// Logs the lines of a pipe until it is closed, not too many of them.
pub(crate) fn follow(session: String, node: String, pipe: OwnedFd) {
    let receiver = match tokio::net::unix::pipe::Receiver::from_owned_fd(pipe) {
        Ok(receiver) => receiver,
        Err(error) => return tracing::warn!("cannot read the log of {session}/{node}: {error}"),
    };
    tokio::spawn(async move {
        let mut reader = BufReader::new(receiver);
        let mut line = Vec::new();
        let (mut since, mut count) = (Instant::now(), 0);
        loop {
            line.clear();
            match (&mut reader).take(LINE_MAX).read_until(b'\n', &mut line).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => return tracing::warn!("the log of {session}/{node} broke: {error}"),
            }
            if since.elapsed() > WINDOW {
                (since, count) = (Instant::now(), 0);
            }
            count += 1;
            if count <= LINES_MAX {
                // Escaped: a node may be made to write what a terminal obeys.
                tracing::info!("{session}/{node}: {}", line.trim_ascii().escape_ascii());
            }
        }
    });
}
