//! `filters` of lists and prunes, and times in queries.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;

use crate::error::ApiError;

/// What a list is narrowed to: by key, any of several values.
#[derive(Debug, Default)]
pub(crate) struct Filters(BTreeMap<String, BTreeSet<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Set(BTreeMap<String, bool>),
    List(Vec<String>),
}

/// The query of every prune.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PruneQuery {
    pub(crate) filters: String,
}

impl Filters {
    /// Reads the JSON of the query, in the form of today or of old clients.
    pub(crate) fn parse(text: &str) -> Result<Filters, ApiError> {
        if text.is_empty() {
            return Ok(Filters::default());
        }
        let read: BTreeMap<String, Values> = serde_json::from_str(text)
            .map_err(|error| ApiError::Invalid(format!("invalid filter: {error}")))?;
        let values = |values| match values {
            Values::Set(set) => {
                set.into_iter().filter(|(_, wanted)| *wanted).map(|(value, _)| value).collect()
            }
            Values::List(list) => list.into_iter().collect(),
        };
        Ok(Filters(read.into_iter().map(|(key, found)| (key, values(found))).collect()))
    }

    /// Refuses keys that the list doesn't know.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(ApiError::Invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// The values asked for under a key.
    pub(crate) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether nothing is asked for under the key, or something that fits.
    pub(crate) fn allows(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|wanted| wanted.is_empty() || wanted.iter().any(|value| fits(value)))
    }

    /// Whether labels have all that is asked for.
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label").all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|held| held == value),
            None => labels.contains_key(wanted),
        })
    }

    /// Whether a prune's `label` and `label!` allow these labels.
    pub(crate) fn prune_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|held| held == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").all(has) && !self.values("label!").any(has)
    }

    /// The time of a prune's `until`, in seconds since the epoch.
    pub(crate) fn until(&self) -> Result<Option<i64>, ApiError> {
        let mut values = self.values("until");
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(text), None) => moment(text).map(Some),
            _ => Err(ApiError::Invalid("more than one until filter specified".to_owned())),
        }
    }

    /// Whether a filter that is true or false is true.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, ApiError> {
        match self.values(key).next() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(ApiError::Invalid(format!("invalid filter '{key}={other}'"))),
        }
    }
}

/// Reads `SECONDS[.NANOSECONDS]` since the epoch as nanoseconds; nothing or 0
/// is `None`.
pub(crate) fn unix_time(text: &str) -> Result<Option<i64>, ApiError> {
    let refuse = || ApiError::Invalid(format!("failed to parse value as time or duration: \"{text}\""));
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| refuse())?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: i64 = digits.parse().map_err(|_| refuse())?;
    seconds
        .checked_mul(1_000_000_000)
        .and_then(|all| all.checked_add(nanoseconds))
        .map(Some)
        .ok_or_else(refuse)
}

/// A time in a filter, in seconds since the epoch: how long ago, as Go writes
/// durations, or a date, or seconds.
pub(crate) fn moment(text: &str) -> Result<i64, ApiError> {
    let refuse = || ApiError::Invalid(format!("failed to parse value as time or duration: \"{text}\""));
    if let Some(seconds) = duration(text) {
        return Timestamp::now().as_second().checked_sub(seconds).ok_or_else(refuse);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_second());
    }
    // Without a zone, it is the node's, which is UTC.
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        return jiff::tz::TimeZone::UTC.to_timestamp(time).map(|time| time.as_second()).map_err(|_| refuse());
    }
    unix_time(text)?.map(|nanoseconds| nanoseconds / 1_000_000_000).ok_or_else(refuse)
}

/// Whole seconds of a duration such as `1h30m` or `1.5s`.
fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit =
            rest[end..].find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(rest.len() - end);
        let factor = match &rest[end..end + unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number * factor;
        rest = &rest[end + unit..];
    }
    // What no clock reaches is no duration.
    let whole = (seconds < 1e15).then_some(seconds as i64)?;
    Some(if negative { -whole } else { whole })
}

/// A flag in a query: `1`, `true`, and so on.
pub(crate) fn is_true(text: &str) -> bool {
    !matches!(text.to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

/// A glob such as `al*`, as Go's `path.Match` reads it, without classes.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Positions of the pattern that the text so far may have come to.
    let mut at: BTreeSet<usize> = BTreeSet::from([0]);
    let spread = |at: &mut BTreeSet<usize>| {
        let mut more: Vec<usize> = at.iter().copied().collect();
        while let Some(place) = more.pop() {
            if pattern.get(place) == Some(&'*') && at.insert(place + 1) {
                more.push(place + 1);
            }
        }
    };
    spread(&mut at);
    for char in text {
        let mut next = BTreeSet::new();
        for place in at {
            match pattern.get(place) {
                Some('*') if char != '/' => {
                    next.insert(place);
                }
                Some('?') if char != '/' => {
                    next.insert(place + 1);
                }
                Some(same) if *same == char => {
                    next.insert(place + 1);
                }
                _ => {}
            }
        }
        spread(&mut next);
        at = next;
    }
    at.contains(&pattern.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_of_filters_are_read() {
        for text in [r#"{"name":{"web":true,"not":false}}"#, r#"{"name":["web"]}"#] {
            let filters = Filters::parse(text).unwrap();
            assert_eq!(filters.values("name").collect::<Vec<_>>(), ["web"]);
            assert!(filters.only(&["name"]).is_ok());
            assert_eq!(filters.only(&["id"]), Err(ApiError::Invalid("invalid filter 'name'".to_owned())));
        }
    }

    #[test]
    fn times_have_nanoseconds() {
        assert_eq!(unix_time("12.5"), Ok(Some(12_500_000_000)));
        assert_eq!(unix_time("12.000000001"), Ok(Some(12_000_000_001)));
        assert_eq!(unix_time(""), Ok(None));
        assert!(unix_time("soon").is_err());
    }

    #[test]
    fn moments_are_durations_dates_or_seconds() {
        let now = Timestamp::now().as_second();
        for (text, ago) in [("1h", 3600), ("1h30m", 5400), ("1.5s", 1), ("0s", 0)] {
            let found = moment(text).unwrap();
            assert!((now - ago..=now - ago + 60).contains(&found), "{text}");
        }
        assert_eq!(moment("2020-01-01T00:00:00Z"), Ok(1_577_836_800));
        assert_eq!(moment("2020-01-01"), Ok(1_577_836_800));
        assert_eq!(moment("1577836800"), Ok(1_577_836_800));
        assert!(moment("1x").is_err() && moment("").is_err() && moment("h").is_err());
    }

    #[test]
    fn globs_match_as_in_go() {
        assert!(
            glob("al*", "alpine") && glob("*box", "busybox") && glob("b?sybox", "busybox") && glob("*", "")
        );
        assert!(!glob("al*", "library/alpine") && !glob("busy", "busybox"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_refused(text in ".{0,60}", json in r#"[\[\]{}":,a0tf.e-]{0,60}"#) {
            for text in [text, json] {
                if let Ok(filters) = Filters::parse(&text) {
                    let _ = (filters.only(&["a"]), filters.flag("a"), filters.until());
                    filters.labels(&BTreeMap::new());
                }
            }
        }

        #[test]
        fn any_text_is_a_time_or_refused(text in ".{0,40}", number in "-?[0-9]{0,25}[.]?[0-9]{0,12}[hmsunµ]{0,3}") {
            let _ = (moment(&text), unix_time(&text), moment(&number), unix_time(&number));
        }

        #[test]
        fn a_glob_fits_what_it_was_made_from(text in "[a-c/]{0,8}", at in 0_usize..8, more in "[*?]{0,6}") {
            prop_assert!(glob(&text, &text));
            let plain: String = text.chars().filter(|char| *char != '/').collect();
            let cut = plain.len().min(at);
            let pattern = format!("{}*{}", &plain[..cut], &plain[cut..]);
            prop_assert!(glob(&pattern, &plain), "{pattern} {plain}");
            // However many stars, it ends soon.
            let _ = glob(&format!("{more}{pattern}{more}"), &plain.repeat(50));
        }
    }
}
