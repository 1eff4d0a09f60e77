//! The terminal: a parser in front of a screen.

use vte::Parser;

use crate::dump;
use crate::marks::{Mark, MarkKind, Position};
use crate::modes::{Cursor, Modes};
use crate::row::Row;
use crate::screen::Screen;
use crate::sequence::Sequence;
use crate::shell::Shell;

/// The most bytes of an OSC that are looked at.
const OSC_MAX: usize = 2048;
/// The least and most columns and rows.
const COLS: (u16, u16) = (2, 1000);
const ROWS: (u16, u16) = (1, 1000);
/// The most lines of scrollback.
const SCROLLBACK_MAX: usize = 100_000;

/// What changed since it was last asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The rows of the screen that look different, from the top.
    pub rows: Vec<u16>,
    /// How many rows went from the screen to the scrollback.
    pub scrolled: u64,
    /// The title was set.
    pub title: bool,
    /// A bell was printed.
    pub bell: bool,
}

/// A terminal: feed it what a program prints, look at its screen.
pub struct Terminal {
    parser: Parser<OSC_MAX>,
    sequence: Sequence,
    /// The beginning of a character whose other bytes are still to come.
    partial: Vec<u8>,
    /// How many bytes were fed.
    fed: u64,
    pub(crate) screen: Screen,
}

impl Terminal {
    /// A blank terminal of this size (2 to 1000 columns, 1 to 1000 rows) that
    /// keeps so many lines of scrollback.
    pub fn new(cols: u16, rows: u16, scrollback_lines: usize) -> Terminal {
        let cols = usize::from(cols.clamp(COLS.0, COLS.1));
        let rows = usize::from(rows.clamp(ROWS.0, ROWS.1));
        Terminal {
            parser: Parser::new_with_size(),
            sequence: Sequence::default(),
            partial: Vec::with_capacity(4),
            fed: 0,
            screen: Screen::new(cols, rows, scrollback_lines.min(SCROLLBACK_MAX)),
        }
    }

    /// The terminal that [`Terminal::dump`] was called on, if it had this size
    /// and scrollback.
    pub fn from_dump(cols: u16, rows: u16, scrollback_lines: usize, dump: &[u8]) -> Terminal {
        let mut terminal = Terminal::new(cols, rows, scrollback_lines);
        terminal.screen.restoring = true;
        terminal.feed(dump);
        terminal.screen.restoring = false;
        terminal.fed = 0;
        terminal
    }

    /// Takes in what a program printed. Cuts anywhere are fine.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.fed = self.fed.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken =
                if self.sequence.is_ground() { self.feed_text(rest) } else { self.feed_sequence(rest) };
            rest = &rest[taken..];
        }
    }

    fn feed_sequence(&mut self, bytes: &[u8]) -> usize {
        let (taken, for_parser) = self.sequence.take(bytes);
        if for_parser {
            self.parser.advance(&mut self.screen, &bytes[..taken]);
        }
        taken
    }

    /// Takes text and control characters up to the next escape sequence.
    fn feed_text(&mut self, bytes: &[u8]) -> usize {
        if !self.partial.is_empty() {
            return self.finish_character(bytes);
        }
        let end = bytes.iter().position(|byte| *byte == 0x1b).unwrap_or(bytes.len());
        if end == 0 {
            return self.feed_sequence(bytes);
        }
        match std::str::from_utf8(&bytes[..end]) {
            Ok(text) => self.feed_str(text),
            Err(error) => {
                let valid = error.valid_up_to();
                let text = std::str::from_utf8(&bytes[..valid]).unwrap_or_default();
                let taken = self.feed_str(text);
                if !self.sequence.is_ground() {
                    return taken;
                }
                match error.error_len() {
                    None if end == bytes.len() => {
                        self.partial.extend_from_slice(&bytes[valid..]);
                        end
                    }
                    bad => {
                        self.screen.print('\u{fffd}');
                        valid + bad.unwrap_or(end - valid)
                    }
                }
            }
        }
    }

    /// Adds a byte to a character that was cut.
    fn finish_character(&mut self, bytes: &[u8]) -> usize {
        self.partial.push(bytes[0]);
        let partial = std::mem::take(&mut self.partial);
        match std::str::from_utf8(&partial) {
            Ok(text) => {
                self.feed_str(text);
                1
            }
            Err(error) if error.error_len().is_none() => {
                self.partial = partial;
                1
            }
            Err(_) => {
                // The new byte is not of this character; it is taken next.
                self.screen.print('\u{fffd}');
                0
            }
        }
    }

    /// Returns how much was taken: all, or up to a C1 that begins a sequence.
    fn feed_str(&mut self, text: &str) -> usize {
        let mut start = 0;
        for (at, character) in text.char_indices() {
            if !matches!(character, '\0'..='\x1f' | '\x7f'..='\u{9f}') {
                continue;
            }
            self.screen.print_text(&text[start..at]);
            start = at + character.len_utf8();
            match character {
                '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}'..='\u{9f}' => {
                    self.feed_sequence(&[0x1b]);
                    self.feed_sequence(&[character as u8 - 0x40]);
                    return start;
                }
                '\x7f' => {}
                control => self.screen.control(control as u8),
            }
        }
        self.screen.print_text(&text[start..]);
        text.len()
    }

    /// Gives the screen another size; text is wrapped anew.
    pub fn resize(&mut self, cols: u16, rows: u16) {
        let cols = usize::from(cols.clamp(COLS.0, COLS.1));
        let rows = usize::from(rows.clamp(ROWS.0, ROWS.1));
        self.screen.resize(cols, rows);
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        (self.screen.main.cols as u16, self.screen.main.height as u16)
    }

    /// The answers to what the program asked (DA, DSR, DECRQM). Whoever owns
    /// the program's terminal sends them; a viewer throws them away.
    pub fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.screen.replies)
    }

    /// The screen as bytes, from which [`Terminal::from_dump`] makes an equal
    /// terminal that goes on like this one, in the middle of an escape
    /// sequence too.
    pub fn dump(&self) -> Vec<u8> {
        let mut bytes = dump::dump(&self.screen);
        bytes.extend_from_slice(self.sequence.kept());
        bytes.extend_from_slice(&self.partial);
        bytes
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let screen = &mut self.screen;
        let buffer = screen.alternate.as_mut().unwrap_or(&mut screen.main);
        let mut rows = Vec::new();
        for y in 0..buffer.height {
            if std::mem::take(&mut buffer.row_mut(y).dirty) {
                rows.push(y as u16);
            }
        }
        Changes {
            rows,
            scrolled: std::mem::take(&mut screen.main.scrolled),
            title: std::mem::take(&mut screen.title_changed),
            bell: std::mem::take(&mut screen.bell),
        }
    }

    /// Where the cursor is and how it looks.
    pub fn cursor(&self) -> Cursor {
        let buffer = self.screen.buffer();
        Cursor {
            x: buffer.x.min(buffer.cols - 1) as u16,
            y: buffer.y as u16,
            pending_wrap: buffer.x >= buffer.cols,
            visible: self.screen.modes.cursor_visible,
            style: self.screen.cursor_style,
        }
    }

    /// The modes that are set.
    pub fn modes(&self) -> Modes {
        self.screen.modes
    }

    /// The title, without control characters.
    pub fn title(&self) -> &str {
        &self.screen.title
    }

    /// Whether the alternate screen is shown, as by vim or less.
    pub fn is_alternate(&self) -> bool {
        self.screen.alternate.is_some()
    }

    /// A row of the screen, from 0.
    ///
    /// # Panics
    /// If the screen has no such row.
    pub fn row(&self, y: usize) -> &Row {
        assert!(y < self.screen.buffer().height, "no row {y} on the screen");
        self.screen.buffer().row(y)
    }

    /// How many rows are in the scrollback; none while the alternate screen is shown.
    pub fn scrollback_len(&self) -> usize {
        self.screen.buffer().scrollback_len()
    }

    /// A row of the scrollback; 0 is the oldest.
    pub fn scrollback_row(&self, index: usize) -> Option<&Row> {
        let buffer = self.screen.buffer();
        if index < buffer.scrollback_len() { buffer.rows.get(index) } else { None }
    }

    /// The rows of the screen as text, without trailing blanks.
    pub fn text(&self) -> Vec<String> {
        (0..self.screen.buffer().height).map(|y| self.row(y).text().trim_end().to_owned()).collect()
    }

    /// The line number of the oldest row that is kept.
    pub fn first_line(&self) -> u64 {
        self.screen.main.dropped
    }

    /// The line number of the screen's first row.
    pub fn screen_line(&self) -> u64 {
        self.screen.screen_line()
    }

    /// Where the cursor is, in line numbers that outlive scrolling.
    pub fn position(&self) -> Position {
        self.screen.position()
    }

    /// The shell marks since the last call. After a snapshot was fed, all that
    /// it had; their ids tell which are news.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        self.screen.marks.take_fresh()
    }

    /// The shell marks whose lines are still kept, oldest first. A resize
    /// moves them along with their text.
    pub fn marks(&self) -> impl DoubleEndedIterator<Item = &Mark> {
        self.screen.marks.kept.iter()
    }

    /// A mark by its id, if its line is still kept.
    pub fn mark(&self, id: u64) -> Option<&Mark> {
        self.screen.marks.kept.iter().rev().find(|mark| mark.id == id)
    }

    /// What the shell is doing, as its marks tell.
    pub fn shell(&self) -> Shell {
        self.screen.shell
    }

    /// Where the last prompt ended and typing begins, if that line is still kept.
    pub fn prompt_end(&self) -> Option<Position> {
        let last = self.screen.marks.kept.iter().rev().find(|mark| mark.kind == MarkKind::CommandStart);
        last.map(|mark| mark.at)
    }

    /// How many bytes were fed; those of a dump don't count.
    pub fn fed(&self) -> u64 {
        self.fed
    }

    /// How often the whole screen was erased or the alternate one shown.
    pub fn clears(&self) -> u64 {
        self.screen.clears
    }

    /// The text of the rows that a line is part of, joined where it wrapped,
    /// and the first of their line numbers. None if the line isn't kept.
    pub fn logical_line(&self, line: u64) -> Option<(u64, String)> {
        let main = &self.screen.main;
        let index = usize::try_from(line.checked_sub(main.dropped)?).ok()?;
        main.rows.get(index)?;
        let first = (0..=index).rev().find(|at| !main.rows[*at].wrapped).unwrap_or(0);
        let last = (index + 1..main.rows.len()).find(|at| !main.rows[*at].wrapped).unwrap_or(main.rows.len());
        let text: String = (first..last).map(|at| main.rows[at].text()).collect();
        Some((main.dropped + first as u64, text.trim_end_matches(' ').to_owned()))
    }

    /// The cursor's line up to the cursor, joined where it wrapped and with its
    /// spaces, and the line number where it begins.
    pub fn line_before_cursor(&self) -> (u64, String) {
        let Position { line, col } = self.screen.position();
        let buffer = self.screen.buffer();
        let base = buffer.scrollback_len();
        let index = base + buffer.y;
        let first = (0..=index).rev().find(|at| !buffer.rows[*at].wrapped).unwrap_or(0);
        let mut text: String = (first..index).map(|at| buffer.rows[at].text()).collect();
        text.push_str(&buffer.rows[index].text_between(0, usize::from(col)));
        (line.saturating_sub((index - first) as u64), text)
    }

    /// The text from one place up to another, on the main screen and in its
    /// scrollback: rows that wrapped are joined, trailing blanks are cut, and
    /// every line but the last ends in a line feed.
    pub fn output_text(&self, from: Position, to: Position) -> String {
        let main = &self.screen.main;
        let mut text = String::new();
        let first = from.line.max(main.dropped);
        let last = to.line.min(main.dropped + main.rows.len() as u64 - 1);
        for line in first..=last {
            let row = &main.rows[(line - main.dropped) as usize];
            let start = if line == from.line { usize::from(from.col) } else { 0 };
            let end = if line == to.line { usize::from(to.col) } else { usize::MAX };
            if line > first && !row.wrapped {
                text.truncate(text.trim_end_matches(' ').len());
                text.push('\n');
            }
            text.push_str(&row.text_between(start, end.min(row.content_len())));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text
    }
}

impl PartialEq for Terminal {
    /// Whether both show the same and go on the same way; answers not yet
    /// taken and what was already drawn don't count.
    fn eq(&self, other: &Terminal) -> bool {
        self.screen == other.screen && self.sequence == other.sequence && self.partial == other.partial
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("text", &self.text())
            .field("cursor", &self.cursor())
            .finish_non_exhaustive()
    }
}
