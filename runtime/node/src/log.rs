//! PID 1's log: standard error, a pipe that host reads.
//!
//! What a learner does can cause lines, so their number is bounded: a burst,
//! then a trickle; what is left out is counted.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Bytes that may be written at once.
const BURST: f64 = 256.0 * 1024.0;
/// Bytes a second after that: 85 MB a day at the very most.
const RATE: f64 = 1024.0;

/// A log of bounded rate.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Mutex<Budget>>);

#[derive(Debug)]
struct Budget {
    bytes: f64,
    at: Instant,
    left_out: u64,
}

impl Budget {
    /// Whether `len` bytes may be written now.
    fn take(&mut self, len: usize, now: Instant) -> bool {
        let grown = self.bytes + now.duration_since(self.at).as_secs_f64() * RATE;
        self.bytes = grown.min(BURST);
        self.at = now;
        let fits = self.bytes >= len as f64;
        if fits {
            self.bytes -= len as f64;
        } else {
            self.left_out += 1;
        }
        fits
    }
}

impl Log {
    /// Makes it the process's log.
    pub(crate) fn install() -> Log {
        let log = Log(Arc::new(Mutex::new(Budget { bytes: BURST, at: Instant::now(), left_out: 0 })));
        let filter = EnvFilter::try_from_env("DRYDOCK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log.clone()).init();
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        log
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut budget = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.take(line.len(), Instant::now()) {
            // Host reads the other end without keeping us waiting; while it is
            // away or slow, lines are lost.
            let mut stderr = io::stderr().lock();
            if budget.left_out > 0 && writeln!(stderr, "({} lines left out)", budget.left_out).is_ok() {
                budget.left_out = 0;
            }
            let _ = stderr.write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted_and_a_trickle_goes_on() {
        let start = Instant::now();
        let mut budget = Budget { bytes: BURST, at: start, left_out: 0 };
        let written = (0..1_000_000).filter(|_| budget.take(100, start)).count();
        assert_eq!(written, BURST as usize / 100);
        assert_eq!(budget.left_out, 1_000_000 - written as u64);
        assert!(budget.take(100, start + Duration::from_secs(1)));
    }
}
