//! From a container's pipe or terminal into its log.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use nix::fcntl::{SpliceFFlags, splice};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Log, Stream, nonblocking};

const PIECE: usize = 64 * 1024;

/// Moves all that comes until the other side is closed.
pub(crate) async fn pump(source: OwnedFd, stream: Stream, terminal: bool, log: Arc<Log>) -> io::Result<()> {
    nonblocking(source.as_fd())?;
    // SAFETY: an `OwnedFd` is the same descriptor until it is dropped, and
    // nothing takes it out of the `AsyncFd`.
    let source = unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) }?;
    loop {
        let moved = source
            .async_io(Interest::READABLE, |source| {
                if terminal { read_piece(source, stream, &log) } else { splice_piece(source, stream, &log) }
            })
            .await?;
        if moved == 0 {
            return Ok(());
        }
        // A program that floods its output must not keep others waiting.
        tokio::task::yield_now().await;
    }
}

/// A pipe's bytes go straight to the file.
fn splice_piece(source: &OwnedFd, stream: Stream, log: &Log) -> io::Result<usize> {
    let (file, at) = log.place(stream);
    let mut offset = at as i64;
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    let moved = splice(source, None, file, Some(&mut offset), PIECE, flags)?;
    if moved > 0 {
        log.appended(stream, moved as u32)?;
    }
    Ok(moved)
}

/// A terminal can't be spliced; it ends with EIO.
fn read_piece(source: &OwnedFd, stream: Stream, log: &Log) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let read = match rustix::io::read(source, &mut buffer[..]) {
        Err(rustix::io::Errno::IO) => return Ok(0),
        other => other?,
    };
    if read > 0 {
        log.write(stream, &buffer[..read])?;
    }
    Ok(read)
}
