//! The info string of a fenced block: a language, then words and `key=value`.

use crate::diagnostic::{Place, Report, nearest};

/// A fence's info string, read from the guide's own line: what CommonMark
/// does to backslashes there would spoil regular expressions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Info {
    pub(crate) language: String,
    pub(crate) language_place: Option<Place>,
    pub(crate) words: Vec<Word>,
    /// The fence's line.
    pub(crate) line: usize,
}

/// One word after the language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) key: String,
    /// What stands after `=`.
    pub(crate) value: Option<String>,
    pub(crate) place: Place,
}

impl Info {
    /// Reads the fence that `line_text`, line `line` of the guide, opens.
    pub(crate) fn parse(line_text: &str, line: usize, report: &mut Report<'_>) -> Info {
        let chars: Vec<char> = line_text.chars().collect();
        let fence = chars.iter().position(|c| *c == '`' || *c == '~').unwrap_or(0);
        let mut at = fence + chars[fence..].iter().take_while(|c| **c == chars[fence]).count();
        let mut info = Info { line, ..Info::default() };
        let mut first = true;
        loop {
            at += chars[at..].iter().take_while(|c| c.is_whitespace()).count();
            if at >= chars.len() {
                return info;
            }
            let start = at;
            let (word, value, next, closed) = read_word(&chars, at);
            at = next;
            let place = Place { line, column: start + 1, length: at - start };
            if !closed {
                report.error(place, "the quote is never closed").help("end the value with `\"`");
            }
            if first && value.is_none() {
                info.language = word;
                info.language_place = Some(place);
            } else {
                info.words.push(Word { key: word, value, place });
            }
            first = false;
        }
    }

    /// The place of the language word, or the whole line.
    pub(crate) fn place(&self) -> Place {
        self.language_place.unwrap_or(Place::line(self.line))
    }

    /// Whether the word `key` stands there without a value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.words.iter().any(|word| word.key == key && word.value.is_none())
    }

    /// The words `key=…`.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (&'a str, Place)> {
        self.words
            .iter()
            .filter(move |word| word.key == key)
            .filter_map(|word| Some((word.value.as_deref()?, word.place)))
    }

    /// The value of `key=…`.
    pub(crate) fn value<'a>(&'a self, key: &'a str) -> Option<(&'a str, Place)> {
        self.all(key).next()
    }

    /// Reports words that mean nothing in a block of this kind: `flags` stand
    /// alone, `keys` take a value, `repeated` may come more than once.
    pub(crate) fn check(
        &self,
        kind: &str,
        flags: &[&str],
        keys: &[&str],
        repeated: &[&str],
        report: &mut Report<'_>,
    ) {
        let mut seen: Vec<&str> = Vec::new();
        for word in &self.words {
            let (known, wrong_way) = match word.value {
                Some(_) => (keys.contains(&word.key.as_str()), flags.contains(&word.key.as_str())),
                None => (flags.contains(&word.key.as_str()), keys.contains(&word.key.as_str())),
            };
            if wrong_way && word.value.is_some() {
                report.error(word.place, format!("`{}` takes no value", word.key));
            } else if wrong_way {
                report
                    .error(word.place, format!("`{}` needs a value", word.key))
                    .help(format!("write `{}=…`", word.key));
            } else if !known {
                let all: Vec<&str> = flags.iter().chain(keys).copied().collect();
                let error = report.error(word.place, format!("{kind} has no attribute `{}`", word.key));
                match nearest(&word.key, &all) {
                    Some(meant) => error.help(format!("did you mean `{meant}`?")),
                    None if all.is_empty() => error.help("it takes none"),
                    None => error.help(format!("known are {}", all.join(", "))),
                }
            } else if seen.contains(&word.key.as_str()) && !repeated.contains(&word.key.as_str()) {
                report.error(word.place, format!("`{}` is there twice", word.key));
            }
            seen.push(&word.key);
        }
    }
}

/// Reads one word at `at`: its key, its value, where it ends, and whether its
/// quote was closed. In quotes, only `\"` is an escape.
fn read_word(chars: &[char], mut at: usize) -> (String, Option<String>, usize, bool) {
    let mut key = String::new();
    while at < chars.len() && !chars[at].is_whitespace() && chars[at] != '=' {
        key.push(chars[at]);
        at += 1;
    }
    if at >= chars.len() || chars[at] != '=' {
        return (key, None, at, true);
    }
    at += 1;
    let mut value = String::new();
    if at < chars.len() && chars[at] == '"' {
        at += 1;
        while at < chars.len() {
            match chars[at] {
                '"' => return (key, Some(value), at + 1, true),
                '\\' if chars.get(at + 1) == Some(&'"') => {
                    value.push('"');
                    at += 2;
                }
                other => {
                    value.push(other);
                    at += 1;
                }
            }
        }
        return (key, Some(value), at, false);
    }
    while at < chars.len() && !chars[at].is_whitespace() {
        value.push(chars[at]);
        at += 1;
    }
    (key, Some(value), at, true)
}

/// `3s`, `500ms` or `2m`, in milliseconds.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let ms = match unit {
        "ms" => number,
        "s" => number.checked_mul(1000)?,
        "m" => number.checked_mul(60_000)?,
        _ => return None,
    };
    (ms <= 3_600_000).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Info, usize) {
        let mut report = Report::new("guide.md".into(), "");
        let info = Info::parse(line, 1, &mut report);
        (info, report.into_found().len())
    }

    #[test]
    fn words_and_values_are_read_with_their_places() {
        let (info, wrong) = parse(r#"```sh run node=node2 answer="a \"b\" \d" answer=n"#);
        assert_eq!((info.language.as_str(), wrong), ("sh", 0));
        assert!(info.has("run") && !info.has("node"));
        assert_eq!(info.value("node"), Some(("node2", Place { line: 1, column: 11, length: 10 })));
        let answers: Vec<&str> = info.all("answer").map(|(value, _)| value).collect();
        assert_eq!(answers, [r#"a "b" \d"#, "n"]);
    }

    #[test]
    fn an_open_quote_is_reported() {
        assert_eq!(parse(r#"~~~sh check title="x"#).1, 1);
        assert_eq!(parse("```").1, 0);
        assert_eq!(parse("").1, 0);
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration_ms("3s"), Some(3000));
        assert_eq!(duration_ms("250ms"), Some(250));
        assert_eq!(duration_ms("2m"), Some(120_000));
        for wrong in ["3", "s", "", "3h", "-1s", "99999999999999999999s", "61m"] {
            assert_eq!(duration_ms(wrong), None, "{wrong}");
        }
    }
}
