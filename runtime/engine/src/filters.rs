//! `filters` of lists and prunes, and times in queries.

use std::collections::{BTreeMap, BTreeSet};

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
    fn globs_match_as_in_go() {
        assert!(
            glob("al*", "alpine") && glob("*box", "busybox") && glob("b?sybox", "busybox") && glob("*", "")
        );
        assert!(!glob("al*", "library/alpine") && !glob("busy", "busybox"));
    }
}
