//! What a container printed: each stream's bytes in a file, and an index that
//! says when which bytes came.
//!
//! Bytes go from the container's pipe to the file by splice(2) at an explicit
//! offset, so that each is either still in the pipe or in the file, whenever
//! the engine dies. What is in a file and not in the index is put there when
//! the log is opened again. Old bytes are given back to the disk by punching
//! holes, so that offsets stay what they are.

mod lines;
mod pump;

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    path::Path,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use nix::fcntl::{FallocateFlags, fallocate};
use rustix::fs::OFlags;
use tokio::sync::watch;

pub(crate) use lines::{Line, Lines};
pub(crate) use pump::pump;

/// The most bytes that are kept of one container's output.
const DATA_MAX: u64 = 16 << 20;
/// The most bytes that its index may have.
const INDEX_MAX: u64 = 4 << 20;
const RECORD: u64 = 24;

/// One of a program's output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout = 1,
    Stderr = 2,
}

impl Stream {
    pub(crate) const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    fn index(self) -> usize {
        self as usize - 1
    }
}

/// Bytes that came at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Nanoseconds since the epoch.
    pub(crate) time: u64,
    pub(crate) stream: Stream,
    /// Where they are in the stream's file.
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// How far a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The index's end.
    pub(crate) end: u64,
    /// How often all output of a run was complete.
    pub(crate) completed: u64,
}

#[derive(Debug)]
struct Ends {
    /// Where the index begins, as far as it is kept.
    first: u64,
    index: u64,
    data: [u64; 2],
    /// Bytes of data that are kept.
    kept: u64,
}

/// One container's log.
#[derive(Debug)]
pub(crate) struct Log {
    data: [File; 2],
    index: File,
    ends: Mutex<Ends>,
    progress: watch::Sender<Progress>,
}

impl Log {
    /// Opens the log in `directory`, made if it is not there.
    pub(crate) fn open(directory: &Path) -> io::Result<Log> {
        let open = |name: &str| {
            File::options().read(true).write(true).create(true).truncate(false).open(directory.join(name))
        };
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let data = [open("stdout")?, open("stderr")?];
        let index = open("index")?;
        // Without what a crash left half-written.
        let end = index.metadata()?.len() / RECORD * RECORD;
        let log = Log {
            data,
            index,
            ends: Mutex::new(Ends { first: 0, index: end, data: [0; 2], kept: 0 }),
            progress: watch::Sender::new(Progress { end, completed: 0 }),
        };
        if end > 0 {
            log.recover()?;
        }
        Ok(log)
    }

    /// Finds where the kept part begins, and indexes bytes that are not.
    fn recover(&self) -> io::Result<()> {
        let (mut first, mut ends, mut kept) = (None, [0u64; 2], 0u64);
        let mut at = 0;
        while let Some((record, next)) = self.record(at)? {
            first.get_or_insert(next - RECORD);
            ends[record.stream.index()] = record.offset + u64::from(record.length);
            kept += u64::from(record.length);
            at = next;
        }
        {
            let mut state = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            state.first = first.unwrap_or(state.index);
            state.data = ends;
            state.kept = kept;
        }
        self.index_the_rest()
    }

    /// Indexes what is in the files behind the last record of each stream.
    fn index_the_rest(&self) -> io::Result<()> {
        for stream in Stream::BOTH {
            let length = self.data[stream.index()].metadata()?.len();
            let end = self.ends.lock().unwrap_or_else(PoisonError::into_inner).data[stream.index()];
            if length > end {
                self.appended(stream, (length - end).min(u64::from(u32::MAX)) as u32)?;
            }
        }
        Ok(())
    }

    /// The stream's file and where its next bytes go.
    fn place(&self, stream: Stream) -> (BorrowedFd<'_>, u64) {
        let end = self.ends.lock().unwrap_or_else(PoisonError::into_inner).data[stream.index()];
        (self.data[stream.index()].as_fd(), end)
    }

    /// Writes bytes that were read already (a terminal's).
    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let (_, at) = self.place(stream);
        self.data[stream.index()].write_all_at(bytes, at)?;
        self.appended(stream, bytes.len() as u32)
    }

    /// Records that the stream's file has `length` more bytes.
    fn appended(&self, stream: Stream, length: u32) -> io::Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let end = {
            let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            let offset = ends.data[stream.index()];
            let mut bytes = [0; RECORD as usize];
            bytes[..8].copy_from_slice(&time.to_le_bytes());
            bytes[8..16].copy_from_slice(&offset.to_le_bytes());
            bytes[16..20].copy_from_slice(&length.to_le_bytes());
            bytes[20] = stream as u8;
            self.index.write_all_at(&bytes, ends.index)?;
            ends.index += RECORD;
            ends.data[stream.index()] += u64::from(length);
            ends.kept += u64::from(length);
            if ends.kept > DATA_MAX || ends.index - ends.first > INDEX_MAX {
                self.forget_the_oldest(&mut ends)?;
            }
            ends.index
        };
        self.progress.send_modify(|progress| progress.end = end);
        Ok(())
    }

    /// Gives a quarter of what is kept back to the disk.
    fn forget_the_oldest(&self, ends: &mut Ends) -> io::Result<()> {
        let mut data = [None; 2];
        let mut first = ends.first;
        while ends.kept > DATA_MAX / 4 * 3 || ends.index - first > INDEX_MAX / 4 * 3 {
            let Some((record, next)) = self.record_between(first, ends.index)? else { break };
            if next >= ends.index {
                break;
            }
            data[record.stream.index()] = Some(record.offset + u64::from(record.length));
            ends.kept -= u64::from(record.length);
            first = next;
        }
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        for (file, end) in self.data.iter().zip(data) {
            if let Some(end) = end.filter(|end| *end > 0) {
                fallocate(file, punch, 0, end as i64)?;
            }
        }
        if first > 0 {
            fallocate(&self.index, punch, 0, first as i64)?;
        }
        ends.first = first;
        Ok(())
    }

    /// The first record at or after a place in the index, and the place behind
    /// it. Forgotten ones are zeros and passed over.
    pub(crate) fn record(&self, at: u64) -> io::Result<Option<(Record, u64)>> {
        let (first, end) = {
            let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
            (ends.first, ends.index)
        };
        self.record_between(at.max(first), end)
    }

    fn record_between(&self, mut at: u64, end: u64) -> io::Result<Option<(Record, u64)>> {
        let mut bytes = [0; RECORD as usize];
        while at < end {
            self.index.read_exact_at(&mut bytes, at)?;
            at += RECORD;
            let stream = match bytes[20] {
                1 => Stream::Stdout,
                2 => Stream::Stderr,
                _ => continue,
            };
            let number = |from: usize| u64::from_le_bytes(std::array::from_fn(|place| bytes[from + place]));
            let length = u32::from_le_bytes(std::array::from_fn(|place| bytes[16 + place]));
            return Ok(Some((Record { time: number(0), stream, offset: number(8), length }, at)));
        }
        Ok(None)
    }

    /// A record's bytes. Those of a record forgotten meanwhile are zeros.
    pub(crate) fn bytes(&self, record: &Record) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; record.length as usize];
        self.data[record.stream.index()].read_exact_at(&mut bytes, record.offset)?;
        Ok(bytes)
    }

    /// How far the log is, now and later.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// All output of a run is here.
    pub(crate) fn complete(&self) {
        self.progress.send_modify(|progress| progress.completed += 1);
    }
}

/// A pipe that doesn't block us.
pub(crate) fn nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(log: &Log) -> Vec<(Stream, Vec<u8>)> {
        let mut at = 0;
        let mut found = Vec::new();
        while let Some((record, next)) = log.record(at).unwrap() {
            found.push((record.stream, log.bytes(&record).unwrap()));
            at = next;
        }
        found
    }

    #[test]
    fn what_was_not_indexed_is_found_when_opened_again() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("log");
        let log = Log::open(&directory).unwrap();
        log.write(Stream::Stdout, b"one").unwrap();
        log.write(Stream::Stderr, b"two").unwrap();
        // As a splice whose engine died before it wrote the record.
        log.data[0].write_all_at(b"three", 3).unwrap();
        drop(log);
        let log = Log::open(&directory).unwrap();
        let expected = [(Stream::Stdout, &b"one"[..]), (Stream::Stderr, b"two"), (Stream::Stdout, b"three")];
        assert_eq!(all(&log), expected.map(|(stream, bytes)| (stream, bytes.to_vec())));
    }

    #[test]
    fn old_output_is_forgotten_and_the_rest_keeps_its_place() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("log");
        let log = Log::open(&directory).unwrap();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..40 {
            log.write(Stream::Stdout, &piece).unwrap();
        }
        log.write(Stream::Stdout, b"last").unwrap();
        let kept: u64 = all(&log).iter().map(|(_, bytes)| bytes.len() as u64).sum();
        assert!(kept <= DATA_MAX, "{kept}");
        drop(log);
        let log = Log::open(&directory).unwrap();
        let found = all(&log);
        assert_eq!(found.last().unwrap().1, b"last");
        assert!(found[0].1 == piece);
    }
}
