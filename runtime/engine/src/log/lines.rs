//! A log read line by line, as `docker logs` shows it.

use std::{io, sync::Arc};

use super::{Log, Record, Stream};

/// A longer line is cut, as by Docker.
const LINE_MAX: usize = 16 * 1024;

/// A line, or the begin of one that is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// When its end came, in nanoseconds since the epoch.
    pub(crate) time: u64,
    pub(crate) stream: Stream,
    /// With its newline, if it has come.
    pub(crate) bytes: Vec<u8>,
}

/// Reads lines from a log, and goes on when there are more.
pub(crate) struct Lines {
    log: Arc<Log>,
    at: u64,
    /// The record that is being cut, and what of it is left.
    current: Option<(Record, Vec<u8>, usize)>,
    /// Begun lines of each stream.
    begun: [Vec<u8>; 2],
    begun_time: [u64; 2],
}

impl Lines {
    /// From the beginning.
    pub(crate) fn new(log: Arc<Log>) -> Lines {
        Lines { log, at: 0, current: None, begun: Default::default(), begun_time: [0; 2] }
    }

    /// The next complete line, if it is there.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.cut() {
                return Ok(Some(line));
            }
            let Some((record, next)) = self.log.record(self.at)? else { return Ok(None) };
            let bytes = self.log.bytes(&record)?;
            self.at = next;
            self.current = Some((record, bytes, 0));
        }
    }

    /// The rest of what was begun, when no more is to come.
    pub(crate) fn rest(&mut self) -> Option<Line> {
        Stream::BOTH.into_iter().find_map(|stream| {
            let bytes = std::mem::take(&mut self.begun[stream.index()]);
            let time = self.begun_time[stream.index()];
            (!bytes.is_empty()).then_some(Line { time, stream, bytes })
        })
    }

    fn cut(&mut self) -> Option<Line> {
        let (record, bytes, used) = self.current.as_mut()?;
        let stream = record.stream;
        let begun = &mut self.begun[stream.index()];
        let room = LINE_MAX - begun.len();
        let rest = &bytes[*used..];
        let newline = rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let take = newline.unwrap_or(rest.len()).min(room);
        begun.extend_from_slice(&rest[..take]);
        *used += take;
        self.begun_time[stream.index()] = record.time;
        let time = record.time;
        if *used == bytes.len() {
            self.current = None;
        }
        let complete = begun.ends_with(b"\n") || begun.len() >= LINE_MAX;
        complete.then(|| Line { time, stream, bytes: std::mem::take(begun) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_by_stream() {
        let place = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::open(&place.path().join("log")).unwrap());
        log.write(Stream::Stdout, b"a\nb").unwrap();
        log.write(Stream::Stderr, b"x").unwrap();
        log.write(Stream::Stdout, b"c\nd").unwrap();
        let mut lines = Lines::new(log.clone());
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(line.bytes);
        }
        assert_eq!(found, [b"a\n".to_vec(), b"bc\n".to_vec()]);
        log.write(Stream::Stderr, b"y\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"xy\n");
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!(lines.rest().unwrap().bytes, b"d");
        assert_eq!(lines.rest(), None);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let place = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::open(&place.path().join("log")).unwrap());
        log.write(Stream::Stdout, &vec![b'x'; LINE_MAX + 5]).unwrap();
        let mut lines = Lines::new(log);
        assert_eq!(lines.next().unwrap().unwrap().bytes.len(), LINE_MAX);
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!(lines.rest().unwrap().bytes.len(), 5);
    }
}
