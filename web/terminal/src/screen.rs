//! The screen's whole state, and the operations that sequences are made of.

use crate::buffer::{Buffer, Saved};
use crate::cell::Pen;
use crate::charset::Charsets;
use crate::marks::{MarkKind, Marks, Position};
use crate::modes::{CursorStyle, Modes};
use crate::shell::Shell;

/// The most characters of a title.
const TITLE_MAX: usize = 256;
/// The most titles that are pushed on the stack.
const TITLES_MAX: usize = 8;
/// The most bytes of answers that wait to be taken.
const REPLIES_MAX: usize = 4096;

#[derive(Debug, Clone)]
pub(crate) struct Screen {
    pub(crate) main: Buffer,
    /// The alternate screen while it is shown.
    pub(crate) alternate: Option<Buffer>,
    pub(crate) pen: Pen,
    pub(crate) charsets: Charsets,
    pub(crate) modes: Modes,
    pub(crate) cursor_style: CursorStyle,
    /// Which columns are tab stops.
    pub(crate) tabs: Vec<bool>,
    pub(crate) title: String,
    pub(crate) titles: Vec<String>,
    /// The character that `REP` repeats, if one was printed just before.
    pub(crate) last_printed: Option<char>,
    pub(crate) marks: Marks,
    pub(crate) shell: Shell,
    /// How often the screen was erased or another one shown.
    pub(crate) clears: u64,
    pub(crate) replies: Vec<u8>,
    /// How many DCS queries with an answer are open: none or one.
    pub(crate) status_query: bool,
    /// Whether a snapshot is being read; see `dump.rs`.
    pub(crate) restoring: bool,
    pub(crate) title_changed: bool,
    pub(crate) bell: bool,
}

impl Screen {
    pub(crate) fn new(cols: usize, height: usize, lines_max: usize) -> Screen {
        Screen {
            main: Buffer::new(cols, height, lines_max, Pen::default()),
            alternate: None,
            pen: Pen::default(),
            charsets: Charsets::default(),
            modes: Modes::default(),
            cursor_style: CursorStyle::default(),
            tabs: default_tabs(cols),
            title: String::new(),
            titles: Vec::new(),
            last_printed: None,
            marks: Marks::default(),
            shell: Shell::default(),
            clears: 0,
            replies: Vec::new(),
            status_query: false,
            restoring: false,
            title_changed: false,
            bell: false,
        }
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        self.alternate.as_ref().unwrap_or(&self.main)
    }

    pub(crate) fn buffer_mut(&mut self) -> &mut Buffer {
        self.alternate.as_mut().unwrap_or(&mut self.main)
    }

    /// The line number of the shown screen's first row.
    pub(crate) fn screen_line(&self) -> u64 {
        self.main.screen_line()
    }

    pub(crate) fn position(&self) -> Position {
        let buffer = self.buffer();
        Position { line: self.screen_line() + buffer.y as u64, col: buffer.x as u16 }
    }

    pub(crate) fn add_mark(&mut self, kind: MarkKind) {
        let at = self.position();
        self.marks.add(kind, at);
        self.shell.see(kind);
    }

    /// Brings the cursor onto the screen, and into the region in origin mode.
    pub(crate) fn restrict_cursor(&mut self, x_max: usize) {
        let origin = self.modes.origin;
        let buffer = self.buffer_mut();
        buffer.x = buffer.x.min(x_max);
        buffer.y =
            if origin { buffer.y.clamp(buffer.top, buffer.bottom) } else { buffer.y.min(buffer.height - 1) };
    }

    /// Ends a pending wrap: the cursor stands on the last column.
    pub(crate) fn settle_cursor(&mut self) {
        let last = self.buffer().cols - 1;
        self.restrict_cursor(last);
    }

    pub(crate) fn move_to(&mut self, x: usize, y: usize) {
        let origin = self.modes.origin;
        let buffer = self.buffer_mut();
        buffer.x = x;
        buffer.y = if origin { buffer.top.saturating_add(y) } else { y };
        self.settle_cursor();
    }

    /// Moves by rows and columns from where the cursor is.
    pub(crate) fn move_by(&mut self, dx: isize, dy: isize) {
        self.settle_cursor();
        let buffer = self.buffer_mut();
        buffer.x = buffer.x.saturating_add_signed(dx);
        buffer.y = buffer.y.saturating_add_signed(dy);
        self.settle_cursor();
    }

    pub(crate) fn cursor_up(&mut self, count: usize) {
        let buffer = self.buffer();
        let room = if buffer.y >= buffer.top { buffer.y - buffer.top } else { buffer.y };
        self.move_by(0, -(count.min(room) as isize));
    }

    pub(crate) fn cursor_down(&mut self, count: usize) {
        let buffer = self.buffer();
        let last = if buffer.y <= buffer.bottom { buffer.bottom } else { buffer.height - 1 };
        self.move_by(0, count.min(last.saturating_sub(buffer.y)) as isize);
    }

    pub(crate) fn line_feed(&mut self) {
        if self.modes.newline {
            self.buffer_mut().x = 0;
        }
        if !self.next_row(false) {
            let buffer = self.buffer_mut();
            let y = buffer.y;
            buffer.row_mut(y).wrapped = false;
        }
        let buffer = self.buffer_mut();
        buffer.x = buffer.x.min(buffer.cols - 1);
    }

    /// Goes one row down, scrolling at the region's end. Says whether it scrolled.
    pub(crate) fn next_row(&mut self, wrapped: bool) -> bool {
        let pen = self.pen.erasing();
        let buffer = self.alternate.as_mut().unwrap_or(&mut self.main);
        if buffer.y == buffer.bottom {
            let marks = self.alternate.is_none().then_some(&mut self.marks);
            let buffer = self.alternate.as_mut().unwrap_or(&mut self.main);
            buffer.scroll(pen, wrapped, marks);
            return true;
        }
        buffer.y = (buffer.y + 1).min(buffer.height - 1);
        false
    }

    /// `IND`: down, with the column kept.
    pub(crate) fn index(&mut self) {
        self.settle_cursor();
        self.next_row(false);
    }

    /// `RI`: up, scrolling down at the region's top.
    pub(crate) fn reverse_index(&mut self) {
        self.settle_cursor();
        let pen = self.pen.erasing();
        let buffer = self.buffer_mut();
        if buffer.y == buffer.top {
            buffer.rotate_down(buffer.top, buffer.bottom + 1, 1, pen);
        } else {
            buffer.y = buffer.y.saturating_sub(1);
        }
    }

    pub(crate) fn backspace(&mut self) {
        let reverse_wrap = self.modes.reverse_wrap;
        if !reverse_wrap {
            self.settle_cursor();
            let buffer = self.buffer_mut();
            buffer.x = buffer.x.saturating_sub(1);
            return;
        }
        let buffer = self.buffer_mut();
        buffer.x = buffer.x.min(buffer.cols);
        let (y, last) = (buffer.y, buffer.cols - 1);
        if buffer.x > 0 {
            buffer.x -= 1;
        } else if y > buffer.top && y <= buffer.bottom && buffer.row(y).wrapped {
            buffer.row_mut(y).wrapped = false;
            buffer.y -= 1;
            let end = buffer.row(y - 1).cells()[last];
            // A wide character that had no room left the last cell empty.
            buffer.x = if end.width() == 1 && !end.has_content() { last - 1 } else { last };
        }
        self.settle_cursor();
    }

    pub(crate) fn tab_forward(&mut self, count: usize) {
        let last = self.buffer().cols - 1;
        if self.buffer().x > last {
            return;
        }
        for _ in 0..count.min(last + 1) {
            let from = self.buffer().x + 1;
            let next = (from..last).find(|x| self.tabs[*x]).unwrap_or(last);
            self.buffer_mut().x = next;
        }
    }

    pub(crate) fn tab_backward(&mut self, count: usize) {
        if self.buffer().x >= self.buffer().cols {
            return;
        }
        for _ in 0..count.min(self.buffer().cols) {
            let to = self.buffer().x;
            let next = (0..to).rev().find(|x| self.tabs[*x]).unwrap_or(0);
            self.buffer_mut().x = next;
        }
    }

    pub(crate) fn save_cursor(&mut self) {
        let (pen, charsets, origin) = (self.pen, self.charsets, self.modes.origin);
        let buffer = self.buffer_mut();
        buffer.saved = Saved { x: buffer.x.min(buffer.cols - 1), y: buffer.y, pen, charsets, origin };
    }

    pub(crate) fn restore_cursor(&mut self) {
        let saved = self.buffer().saved;
        let buffer = self.buffer_mut();
        (buffer.x, buffer.y) = (saved.x, saved.y);
        (self.pen, self.charsets, self.modes.origin) = (saved.pen, saved.charsets, saved.origin);
        self.settle_cursor();
    }

    pub(crate) fn show_alternate(&mut self) {
        if self.alternate.is_some() {
            return;
        }
        let main = &self.main;
        let mut buffer = Buffer::new(main.cols, main.height, 0, self.pen.erasing());
        (buffer.x, buffer.y) = (main.x, main.y);
        self.alternate = Some(buffer);
        self.count_clear();
    }

    pub(crate) fn show_main(&mut self) {
        if let Some(buffer) = self.alternate.take() {
            (self.main.x, self.main.y) = (buffer.x, buffer.y);
            self.main.mark_all_dirty();
        }
    }

    pub(crate) fn count_clear(&mut self) {
        self.clears = self.clears.saturating_add(1);
    }

    pub(crate) fn set_region(&mut self, top: usize, bottom: usize) {
        let buffer = self.buffer_mut();
        let bottom = if bottom == 0 || bottom > buffer.height { buffer.height } else { bottom };
        let top = top.max(1);
        if bottom > top {
            (buffer.top, buffer.bottom) = (top - 1, bottom - 1);
            self.move_to(0, 0);
        }
    }

    pub(crate) fn set_title(&mut self, title: &[u8]) {
        let text = String::from_utf8_lossy(title);
        self.title = text.chars().filter(|c| !is_unsafe_in_title(*c)).take(TITLE_MAX).collect();
        self.title_changed = true;
    }

    pub(crate) fn push_title(&mut self) {
        if self.titles.len() == TITLES_MAX {
            self.titles.remove(0);
        }
        self.titles.push(self.title.clone());
    }

    pub(crate) fn pop_title(&mut self) {
        if let Some(title) = self.titles.pop() {
            self.title = title;
            self.title_changed = true;
        }
    }

    pub(crate) fn answer(&mut self, reply: &[u8]) {
        if self.replies.len() + reply.len() <= REPLIES_MAX {
            self.replies.extend_from_slice(reply);
        }
    }

    /// `DECSTR`: what a program may have left in disorder, but not the text.
    pub(crate) fn soft_reset(&mut self) {
        let kept = Modes { bracketed_paste: false, ..self.modes };
        self.modes = Modes {
            mouse: kept.mouse,
            mouse_encoding: kept.mouse_encoding,
            newline: kept.newline,
            ..Modes::default()
        };
        self.pen = Pen::default();
        self.charsets = Charsets::default();
        let buffer = self.buffer_mut();
        (buffer.top, buffer.bottom) = (0, buffer.height - 1);
        buffer.saved = Saved::default();
    }

    /// `RIS`: a terminal as at its start. Line numbers go on, so that marks
    /// and places that others remember don't come to mean something else.
    pub(crate) fn full_reset(&mut self) {
        let (cols, height) = (self.main.cols, self.main.height);
        let fresh = Screen::new(cols, height, self.main.lines_max);
        let dropped = self.main.dropped + self.main.rows.len() as u64;
        self.marks.forget_before(dropped);
        self.main = Buffer { dropped, ..fresh.main };
        self.alternate = None;
        self.pen = fresh.pen;
        self.charsets = fresh.charsets;
        self.modes = fresh.modes;
        self.cursor_style = fresh.cursor_style;
        self.tabs = fresh.tabs;
        self.titles = fresh.titles;
        self.count_clear();
        self.last_printed = None;
    }
}

/// Whether a title must not have the character: controls, and what turns the
/// direction of text or hides in it.
fn is_unsafe_in_title(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A stop at every eighth column.
pub(crate) fn default_tabs(cols: usize) -> Vec<bool> {
    (0..cols).map(|x| x % 8 == 0).collect()
}

impl PartialEq for Screen {
    fn eq(&self, other: &Screen) -> bool {
        self.main == other.main
            && self.main.dropped == other.main.dropped
            && self.alternate == other.alternate
            && (self.pen, self.charsets, self.modes) == (other.pen, other.charsets, other.modes)
            && self.cursor_style == other.cursor_style
            && self.tabs == other.tabs
            && (&self.title, &self.titles) == (&other.title, &other.titles)
            && self.last_printed == other.last_printed
            && (&self.marks.kept, self.marks.next_id) == (&other.marks.kept, other.marks.next_id)
            && (self.shell, self.clears) == (other.shell, other.clears)
            && self.status_query == other.status_query
    }
}
