//! What is wrong with a lab, and where.

use std::{fmt, path::PathBuf};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The lab does not load.
    Error,
    /// The lab loads; `lab lint` still fails.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters it is about, at least 1.
    pub length: usize,
    /// What is wrong: a clause, lower-case.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// The line's text.
    pub source: String,
}

impl fmt::Display for Diagnostic {
    /// `FILE:LINE:COLUMN: error: what is wrong`, the line with a mark under
    /// the place, and the help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {word}: {}", self.message)?;
        if self.line > 0 && !self.source.is_empty() {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            // Tabs are one column here, so that the mark stands under its place.
            let text = self.source.replace('\t', " ");
            let indent = " ".repeat(self.column.saturating_sub(1));
            let mark = "^".repeat(self.length.max(1));
            write!(f, "\n {gutter} |\n {number} | {text}\n {gutter} | {indent}{mark}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n   help: {help}")?;
        }
        Ok(())
    }
}

/// Collects diagnostics about one file.
pub(crate) struct Report<'a> {
    file: PathBuf,
    lines: Vec<&'a str>,
    found: Vec<Diagnostic>,
}

/// A place in a file: line and column from 1, and a length in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) length: usize,
}

impl Place {
    /// The whole of line `line`.
    pub(crate) fn line(line: usize) -> Place {
        Place { line, column: 1, length: 0 }
    }
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: PathBuf, text: &'a str) -> Report<'a> {
        Report { file, lines: text.lines().collect(), found: Vec::new() }
    }

    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, place, message.into())
    }

    pub(crate) fn warning(&mut self, place: Place, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, place, message.into())
    }

    fn add(&mut self, severity: Severity, place: Place, message: String) -> &mut Diagnostic {
        let source = place.line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or("");
        let mut place = place;
        if place.length == 0 {
            let indent = source.chars().take_while(|c| c.is_whitespace()).count();
            place.column = indent + 1;
            place.length = source.trim().chars().count().max(1);
        }
        self.found.push(Diagnostic {
            severity,
            file: self.file.clone(),
            line: place.line,
            column: place.column,
            length: place.length,
            message,
            help: None,
            source: source.to_owned(),
        });
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    pub(crate) fn into_found(self) -> Vec<Diagnostic> {
        self.found
    }
}

impl Diagnostic {
    /// Says what would be right.
    pub(crate) fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }
}

/// The known word nearest to `word`, when one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3 + 1)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
