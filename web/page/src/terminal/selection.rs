//! What is selected: two places in the text, and the words and lines between.

use drydock_terminal::{Position, Row, Terminal};

/// What a click picks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Unit {
    #[default]
    Character,
    Word,
    Line,
}

/// A selection: from where the mouse went down to where it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) anchor: Position,
    pub(crate) head: Position,
    pub(crate) unit: Unit,
}

/// The line number of the first row that can be seen by scrolling.
pub(crate) fn first_line(terminal: &Terminal) -> u64 {
    terminal.screen_line() - terminal.scrollback_len() as u64
}

/// The row with this line number, of the screen that is shown.
pub(crate) fn row(terminal: &Terminal, line: u64) -> Option<&Row> {
    let screen = terminal.screen_line();
    if line < screen {
        let index = line.checked_sub(first_line(terminal))?;
        return terminal.scrollback_row(index as usize);
    }
    let y = line - screen;
    (y < u64::from(terminal.size().1)).then(|| terminal.row(y as usize))
}

impl Selection {
    /// The places it goes from and to, widened to whole words or lines.
    pub(crate) fn range(&self, terminal: &Terminal) -> (Position, Position) {
        let (from, to) = (self.anchor.min(self.head), self.anchor.max(self.head));
        match self.unit {
            Unit::Character => (from, to),
            Unit::Word => (word_start(terminal, from), word_end(terminal, to)),
            Unit::Line => (line_start(terminal, from), line_end(terminal, to)),
        }
    }

    /// The columns that are selected in a line.
    pub(crate) fn columns(&self, terminal: &Terminal, line: u64) -> Option<(usize, usize)> {
        let (from, to) = self.range(terminal);
        if line < from.line || line > to.line {
            return None;
        }
        let start = if line == from.line { usize::from(from.col) } else { 0 };
        let end = if line == to.line { usize::from(to.col) } else { usize::from(terminal.size().0) };
        (start < end).then_some((start, end))
    }

    /// The selected text: rows that wrapped are joined, trailing blanks are cut.
    pub(crate) fn text(&self, terminal: &Terminal) -> String {
        let (from, to) = self.range(terminal);
        let mut text = String::new();
        let last = terminal.screen_line() + u64::from(terminal.size().1);
        for line in from.line.max(first_line(terminal))..=to.line.min(last) {
            let Some(row) = row(terminal, line) else { continue };
            let start = if line == from.line { usize::from(from.col) } else { 0 };
            let end = if line == to.line { usize::from(to.col) } else { usize::MAX };
            if line > from.line && !row.is_wrapped() {
                text.truncate(text.trim_end_matches(' ').len());
                text.push('\n');
            }
            text.push_str(&row.text_between(start, end.min(row.content_len())));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text
    }
}

/// Whether a character is part of a word; paths and addresses are words.
fn in_word(row: &Row, column: usize) -> bool {
    let Some(cell) = row.cells().get(column) else { return false };
    let character = cell.character();
    cell.width() == 0
        || character.is_alphanumeric()
        || (character.is_ascii_punctuation() && !"\"'`()[]{}<>|;,".contains(character))
}

fn word_start(terminal: &Terminal, at: Position) -> Position {
    let Some(row) = row(terminal, at.line) else { return at };
    let column = usize::from(at.col);
    if !in_word(row, column) {
        return at;
    }
    let start = (0..column).rev().take_while(|column| in_word(row, *column)).last().unwrap_or(column);
    Position { col: start as u16, ..at }
}

fn word_end(terminal: &Terminal, at: Position) -> Position {
    let Some(row) = row(terminal, at.line) else { return at };
    let column = usize::from(at.col);
    let end = (column..row.cells().len()).take_while(|column| in_word(row, *column)).last();
    Position { col: end.map_or(column + 1, |end| end + 1).min(row.cells().len()) as u16, ..at }
}

fn line_start(terminal: &Terminal, at: Position) -> Position {
    let mut line = at.line;
    while line > first_line(terminal) && row(terminal, line).is_some_and(Row::is_wrapped) {
        line -= 1;
    }
    Position { line, col: 0 }
}

fn line_end(terminal: &Terminal, at: Position) -> Position {
    let mut line = at.line;
    while row(terminal, line + 1).is_some_and(Row::is_wrapped) {
        line += 1;
    }
    Position { line, col: terminal.size().0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(terminal: &Terminal, unit: Unit, from: (u64, u16), to: (u64, u16)) -> String {
        let at = |(line, col)| Position { line, col };
        Selection { anchor: at(from), head: at(to), unit }.text(terminal)
    }

    #[test]
    fn characters_words_and_lines() {
        let mut terminal = Terminal::new(20, 4, 10);
        terminal.feed(b"cd /var/log; ls -l\r\nsecond   \r\nthird and a line that wraps");
        assert_eq!(selected(&terminal, Unit::Character, (0, 3), (0, 11)), "/var/log");
        assert_eq!(selected(&terminal, Unit::Character, (1, 3), (0, 13)), "ls -l\nsec");
        assert_eq!(selected(&terminal, Unit::Word, (0, 5), (0, 5)), "/var/log");
        assert_eq!(selected(&terminal, Unit::Word, (0, 5), (0, 17)), "/var/log; ls -l");
        assert_eq!(selected(&terminal, Unit::Line, (1, 3), (1, 3)), "second");
        assert_eq!(selected(&terminal, Unit::Line, (3, 1), (3, 1)), "third and a line that wraps");
    }

    #[test]
    fn the_scrollback_can_be_selected() {
        let mut terminal = Terminal::new(20, 2, 10);
        terminal.feed(b"one\r\ntwo\r\nthree\r\nfour");
        assert_eq!(terminal.scrollback_len(), 2);
        assert_eq!(selected(&terminal, Unit::Character, (0, 0), (2, 5)), "one\ntwo\nthree");
    }
}
