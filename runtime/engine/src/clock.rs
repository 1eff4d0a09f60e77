//! Times as Docker writes them.

use jiff::Timestamp;

/// Go's zero time: "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Now, in RFC 3339 with nanoseconds.
pub(crate) fn now() -> String {
    format(Timestamp::now())
}

/// A time in RFC 3339, with as many digits as it has.
pub(crate) fn format(time: Timestamp) -> String {
    time.to_string()
}

/// A time from milliseconds since the epoch.
pub(crate) fn from_ms(ms: u64) -> String {
    Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).map_or_else(|_| now(), format)
}

/// Seconds since the epoch, of a time as written by [`now`]; 0 for "never".
pub(crate) fn seconds(time: &str) -> i64 {
    time.parse::<Timestamp>().map_or(0, |time| time.as_second().max(0))
}

/// How long ago, in the words of `docker ps`: "5 minutes", "About an hour".
pub(crate) fn ago(time: &str) -> String {
    let Ok(then) = time.parse::<Timestamp>() else { return "292 years".to_owned() };
    human(Timestamp::now().as_second() - then.as_second())
}

fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_docker_s_words() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (300, "5 minutes"),
            (3700, "About an hour"),
            (7300, "2 hours"),
            (49 * 3600, "2 days"),
        ] {
            assert_eq!(human(seconds), words);
        }
    }
}
