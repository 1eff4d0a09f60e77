//! Expected output, and how it is compared with what came out.
//!
//! A line `...` stands for any lines; in a line, `[..]` stands for anything
//! and `[ID]`, `[IP]`, `[TIME]`, `[SIZE]`, `[N]` for what varies. A run of
//! spaces stands for any run of spaces, since columns move with what varies;
//! spaces at a line's ends count for nothing.

use std::fmt;

/// What a block is expected to print.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its lines.
    pub lines: Vec<ExpectedLine>,
    /// Its line in the guide, from 1.
    pub line: usize,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedLine {
    /// Any number of lines.
    Any,
    /// A line of these parts.
    Parts(Vec<Part>),
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This text.
    Text(String),
    /// Something that varies.
    Varies(Varies),
}

/// What varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Varies {
    /// `[..]`
    Anything,
    /// `[ID]`
    Id,
    /// `[IP]`
    Ip,
    /// `[TIME]`
    Time,
    /// `[SIZE]`
    Size,
    /// `[N]`
    Number,
}

impl Varies {
    const ALL: [(&str, Varies); 6] = [
        ("[..]", Varies::Anything),
        ("[ID]", Varies::Id),
        ("[IP]", Varies::Ip),
        ("[TIME]", Varies::Time),
        ("[SIZE]", Varies::Size),
        ("[N]", Varies::Number),
    ];

    /// What stands there, in words.
    pub fn words(self) -> &'static str {
        match self {
            Varies::Anything => "anything",
            Varies::Id => "an id",
            Varies::Ip => "an address",
            Varies::Time => "a time",
            Varies::Size => "a size",
            Varies::Number => "a number",
        }
    }

    /// As the guide writes it.
    pub fn token(self) -> &'static str {
        Varies::ALL.iter().find(|(_, varies)| *varies == self).map_or("", |(token, _)| token)
    }

    /// Whether `text` can be it. `text` is never empty, but for `[..]`.
    fn allows(self, text: &str) -> bool {
        match self {
            Varies::Anything => true,
            Varies::Id => {
                text.len() >= 4 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
            }
            Varies::Ip => is_address(text),
            Varies::Time => {
                text.chars().all(|c| c.is_ascii_alphanumeric() || " :.,+-".contains(c))
                    && !text.starts_with(' ')
                    && !text.ends_with(' ')
            }
            Varies::Size => is_size(text),
            Varies::Number => is_number(text),
        }
    }
}

fn is_address(text: &str) -> bool {
    let (address, prefix) = text.split_once('/').unwrap_or((text, "0"));
    address.parse::<std::net::IpAddr>().is_ok() && prefix.parse::<u8>().is_ok_and(|bits| bits <= 128)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let well_placed =
        digits.starts_with(|c: char| c.is_ascii_digit()) && digits.ends_with(|c: char| c.is_ascii_digit());
    well_placed && digits.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ',')
}

fn is_size(text: &str) -> bool {
    let end = text.rfind(|c: char| c.is_ascii_digit()).map_or(0, |at| at + 1);
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    is_number(number)
        && matches!(
            unit.trim_end_matches("iB").trim_end_matches('B'),
            "" | "k" | "K" | "M" | "G" | "T" | "m" | "g" | "b"
        )
}

/// How output differs from what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The expected line that did not come, counted from 0; `None` when
    /// there was more output than expected.
    pub at: Option<usize>,
    /// What was wanted there.
    pub wanted: Option<String>,
    /// The output's lines.
    pub got: Vec<String>,
    /// How many of them were as expected.
    pub matched: usize,
}

impl fmt::Display for Difference {
    /// The output, with `-` before what was wanted and `+` before what came.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BEFORE: usize = 3;
        const AFTER: usize = 10;
        let from = self.matched.saturating_sub(BEFORE);
        let mut lines: Vec<String> =
            self.got[from..self.matched].iter().map(|line| format!("  {line}")).collect();
        if let Some(wanted) = &self.wanted {
            lines.push(format!("- {wanted}"));
        }
        lines.extend(self.got[self.matched..].iter().take(AFTER).map(|line| format!("+ {line}")));
        if self.got.len() > self.matched + AFTER {
            lines.push(format!("  ({} more lines)", self.got.len() - self.matched - AFTER));
        }
        if self.got.is_empty() {
            lines.push("  (no output)".to_owned());
        }
        f.write_str(&lines.join("\n"))
    }
}

impl Expected {
    /// Reads an `output` block's text.
    pub fn parse(text: &str, line: usize) -> Expected {
        let parse = |text: &str| {
            if text.trim() == "..." { ExpectedLine::Any } else { ExpectedLine::Parts(parts(text)) }
        };
        Expected { lines: text.lines().map(parse).collect(), line }
    }

    /// Compares `output` with what was expected. Empty lines at its end count
    /// for nothing.
    pub fn compare(&self, output: &str) -> Result<(), Difference> {
        let got: Vec<&str> = output.trim_end().lines().collect();
        // reached[j]: the expected lines so far can stand for the first j lines.
        let mut reached = vec![false; got.len() + 1];
        reached[0] = true;
        let mut furthest = 0;
        for (index, wanted) in self.lines.iter().enumerate() {
            let next = match wanted {
                ExpectedLine::Any => {
                    let first = reached.iter().position(|reached| *reached).unwrap_or(got.len());
                    (0..=got.len()).map(|at| at >= first).collect()
                }
                ExpectedLine::Parts(parts) => {
                    let mut next = vec![false; got.len() + 1];
                    for at in (0..got.len()).filter(|at| reached[*at]) {
                        next[at + 1] = line_matches(parts, got[at]);
                    }
                    next
                }
            };
            if !next.contains(&true) {
                let at = reached.iter().position(|reached| *reached).unwrap_or(furthest);
                return Err(self.difference(Some(index), at, &got));
            }
            reached = next;
            furthest = reached.iter().rposition(|reached| *reached).unwrap_or(furthest);
        }
        if reached[got.len()] { Ok(()) } else { Err(self.difference(None, furthest, &got)) }
    }

    fn difference(&self, at: Option<usize>, matched: usize, got: &[&str]) -> Difference {
        Difference {
            at,
            wanted: at.map(|index| self.lines[index].to_string()),
            got: got.iter().map(|line| line.to_string()).collect(),
            matched,
        }
    }
}

impl fmt::Display for ExpectedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExpectedLine::Parts(parts) = self else { return f.write_str("...") };
        parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Varies(varies) => f.write_str(varies.token()),
        })
    }
}

fn parts(line: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = line.trim_end();
    while let Some(c) = rest.chars().next() {
        match Varies::ALL.iter().find(|(token, _)| rest.starts_with(token)) {
            Some((token, varies)) => {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Varies(*varies));
                rest = &rest[token.len()..];
            }
            None => {
                text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}

/// The longest text, in characters, that anything but `[..]` may stand for.
const VARIES_MAX: usize = 128;

fn line_matches(parts: &[Part], line: &str) -> bool {
    let line = squeezed(line.trim());
    let ends: Vec<usize> = line.char_indices().map(|(at, _)| at).chain([line.len()]).collect();
    // The places in `line`, as indices into `ends`, that the parts so far lead to.
    let mut reached = vec![0];
    for (index, part) in parts.iter().enumerate() {
        let mut next: Vec<usize> = Vec::new();
        match part {
            Part::Text(text) => {
                let mut text = squeezed(text);
                if index == 0 {
                    text = text.trim_start().to_owned();
                }
                if index + 1 == parts.len() {
                    text = text.trim_end().to_owned();
                }
                let length = text.chars().count();
                next.extend(
                    reached.iter().filter(|at| line[ends[**at]..].starts_with(&text)).map(|at| at + length),
                );
            }
            Part::Varies(Varies::Anything) => {
                let first = reached.iter().min().copied().unwrap_or(ends.len());
                next.extend(first..ends.len());
            }
            Part::Varies(varies) => {
                for at in reached {
                    let last = (at + VARIES_MAX).min(ends.len() - 1);
                    next.extend((at + 1..=last).filter(|end| varies.allows(&line[ends[at]..ends[*end]])));
                }
                next.sort_unstable();
                next.dedup();
            }
        }
        reached = next;
    }
    reached.contains(&(ends.len() - 1))
}

/// `text` with each run of spaces made one space.
fn squeezed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let space = c == ' ' || c == '\t';
        if !(space && out.ends_with(' ')) {
            out.push(if space { ' ' } else { c });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(expected: &str, output: &str) -> bool {
        Expected::parse(expected, 1).compare(output).is_ok()
    }

    #[test]
    fn plain_lines_are_compared_whole() {
        assert!(holds("a\nb", "a\nb\n\n"));
        assert!(!holds("a\nb", "a"));
        assert!(!holds("a", "a\nb"));
        assert!(!holds("a", "ab"));
        assert!(holds("", ""));
        assert!(!holds("", "a"));
    }

    #[test]
    fn dots_stand_for_any_lines() {
        assert!(holds("a\n...\nd", "a\nb\nc\nd"));
        assert!(holds("a\n...\nd", "a\nd"));
        assert!(holds("...\nd\n...", "a\nd\nd\ne"));
        assert!(holds("...", ""));
        assert!(!holds("a\n...\nd", "a\nb"));
    }

    #[test]
    fn what_varies_is_recognised() {
        assert!(holds("pid:[[N]]", "pid:[4026532301]"));
        assert!(!holds("pid:[[N]]", "pid:[no]"));
        assert!(holds("[ID]", "8f3c1b7a52e0"));
        assert!(!holds("[ID]", "8F3C"));
        assert!(holds("inet [IP] scope", "inet 172.17.0.2/16 scope"));
        assert!(!holds("inet [IP] scope", "inet 172.17.0 scope"));
        assert!(holds(
            "[ID]   debian   \"top\"   [TIME]   Up [TIME]   lonely",
            "8f3c1b7a52e0  debian  \"top\"  4 seconds ago  Up 3 seconds  lonely"
        ));
        assert!(holds("[SIZE] [SIZE] [SIZE]", "7.5MB 12 kB 0B"));
        assert!(!holds("[SIZE]", "big"));
        assert!(holds("load [N], [N]", "load 0.04, 1,024"));
        assert!(holds("a[..]z", "az"));
        assert!(holds("a\n[..]\nb", "a\n\nb"));
    }

    #[test]
    fn columns_may_move() {
        assert!(holds("  [N] root  bash", "1 root bash"));
        assert!(holds("1 root bash", "   1 root     bash  "));
        assert!(!holds("1 root", "1root"));
    }

    #[test]
    fn unknown_brackets_are_text() {
        assert!(holds("[kthreadd] [NO]", "[kthreadd] [NO]"));
        assert_eq!(parts("[NO]"), [Part::Text("[NO]".into())]);
    }

    #[test]
    fn a_difference_says_what_was_wanted() {
        let difference = Expected::parse("a\nb [N]\nc", 1).compare("a\nx\nc").unwrap_err();
        assert_eq!((difference.at, difference.matched), (Some(1), 1));
        assert_eq!(difference.to_string(), "  a\n- b [N]\n+ x\n+ c");
        let more = Expected::parse("a", 1).compare("a\nb").unwrap_err();
        assert_eq!((more.at, more.to_string()), (None, "  a\n+ b".into()));
    }
}
