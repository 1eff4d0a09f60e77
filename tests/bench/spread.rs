//! Median, minimum and maximum of some times, as BENCH.md shows them.

use std::time::Duration;

/// Times, in order.
pub(crate) struct Spread(Vec<Duration>);

impl Spread {
    pub(crate) fn of(mut times: Vec<Duration>) -> Spread {
        times.sort();
        Spread(times)
    }

    /// The time that this many per cent of the runs stayed under.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(at).copied().unwrap_or_default()
    }
}

/// A time in milliseconds; short ones with a decimal.
pub(crate) fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0.first(), self.0.last()) {
            (Some(least), Some(most)) => {
                write!(out, "**{}** ({}–{})", ms(self.percentile(50)), ms(*least), ms(*most))
            }
            _ => write!(out, "not installed"),
        }
    }
}
