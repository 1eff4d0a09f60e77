//! The snapshot: a screen as bytes, and reading it back.
//!
//! Most of a dump is what any terminal understands. For what escape sequences
//! can't say (which rows were wrapped, where marks are) it has an OSC of our
//! own, 7770, that is obeyed only while a dump is read, so a program can't
//! use it.

use std::fmt::Write;

use crate::buffer::{Buffer, Saved};
use crate::cell::{Attrs, Cell, Color, Pen, Underline};
use crate::charset::Charsets;
use crate::marks::{Mark, MarkKind, Position};
use crate::modes::{CursorShape, Modes, MouseEncoding, MouseTracking};
use crate::row::Row;
use crate::screen::{Screen, default_tabs};
use crate::shell::{Shell, ShellPhase};

/// Line numbers and ids in a dump stay below this, so that sums don't overflow.
const NUMBER_MAX: u64 = 1 << 48;

/// Writes a dump. `write!` to a `String` can't fail, so its results are dropped.
struct Writer {
    out: String,
    pen: Pen,
}

/// The screen as bytes.
pub(crate) fn dump(screen: &Screen) -> Vec<u8> {
    let mut writer = Writer { out: String::new(), pen: Pen::default() };
    writer.own(format_args!("lines;{}", screen.main.dropped));
    writer.out.push_str("\x1b[?7l");
    writer.buffer(&screen.main);
    if let Some(alternate) = &screen.alternate {
        writer.own(format_args!("alternate"));
        writer.buffer(alternate);
    }
    writer.tabs(screen);
    writer.cursor(screen.buffer());
    writer.titles(screen);
    writer.modes(screen);
    writer.marks(screen);
    writer.set_pen(screen.pen);
    writer.charsets(&screen.charsets);
    writer.own(format_args!("repeat;{}", screen.last_printed.map_or(0, u32::from)));
    writer.out.into_bytes()
}

impl Writer {
    /// A sequence of our own.
    fn own(&mut self, what: std::fmt::Arguments<'_>) {
        let _ = write!(self.out, "\x1b]7770;{what}\x07");
    }

    fn buffer(&mut self, buffer: &Buffer) {
        for (index, row) in buffer.rows.iter().enumerate() {
            if index > 0 {
                self.set_pen(Pen::default());
                self.out.push_str("\r\n");
            }
            if row.wrapped {
                self.own(format_args!("wrapped"));
            }
            self.row(row);
        }
        let Saved { x, y, pen, charsets, origin } = buffer.saved;
        self.set_pen(pen);
        self.charsets(&charsets);
        self.own(format_args!("saved;{x};{y};{}", u8::from(origin)));
        self.charsets(&Charsets::default());
        self.set_pen(Pen::default());
        self.own(format_args!("region;{};{}", buffer.top, buffer.bottom));
        self.cursor(buffer);
    }

    fn cursor(&mut self, buffer: &Buffer) {
        self.own(format_args!("cursor;{};{}", buffer.x, buffer.y));
    }

    fn row(&mut self, row: &Row) {
        let cells = row.cells();
        let end = cells.iter().rposition(|cell| *cell != Cell::default()).map_or(0, |last| last + 1);
        let mut column = 0;
        while column < end {
            let cell = cells[column];
            if cell.has_content() {
                self.set_pen(cell.pen);
                self.out.push(cell.character);
                self.out.push_str(row.marks(column));
                column += usize::from(cell.width.max(1));
                continue;
            }
            let run = cells[column..end].iter().take_while(|other| **other == cell).count();
            if cell.pen == Pen::default() {
                let _ = write!(self.out, "\x1b[{run}C");
            } else {
                self.set_pen(cell.pen);
                self.own(format_args!("blank;{run}"));
            }
            column += run;
        }
    }

    fn set_pen(&mut self, pen: Pen) {
        if self.pen == pen {
            return;
        }
        self.pen = pen;
        self.out.push_str("\x1b[0");
        let attrs = [
            (Attrs::BOLD, 1),
            (Attrs::DIM, 2),
            (Attrs::ITALIC, 3),
            (Attrs::BLINK, 5),
            (Attrs::INVERSE, 7),
            (Attrs::INVISIBLE, 8),
            (Attrs::STRIKE, 9),
            (Attrs::OVERLINE, 53),
        ];
        for (_, code) in attrs.iter().filter(|(attr, _)| pen.attrs.contains(*attr)) {
            let _ = write!(self.out, ";{code}");
        }
        if pen.attrs.underline() != Underline::None {
            let _ = write!(self.out, ";4:{}", pen.attrs.underline() as u8);
        }
        for (color, code) in [(pen.fg, 38), (pen.bg, 48), (pen.underline_color, 58)] {
            let _ = match color {
                Color::Default => Ok(()),
                Color::Indexed(index) => write!(self.out, ";{code};5;{index}"),
                Color::Rgb(r, g, b) => write!(self.out, ";{code};2;{r};{g};{b}"),
            };
        }
        self.out.push('m');
    }

    fn charsets(&mut self, charsets: &Charsets) {
        for (slot, charset) in ['(', ')', '*', '+'].into_iter().zip(charsets.designated) {
            let _ = write!(self.out, "\x1b{slot}{}", char::from(charset.final_byte()));
        }
        self.out.push_str(["\x0f", "\x0e", "\x1bn", "\x1bo"][usize::from(charsets.active & 3)]);
    }

    fn tabs(&mut self, screen: &Screen) {
        if screen.tabs == default_tabs(screen.main.cols) {
            return;
        }
        self.out.push_str("\x1b[3g");
        for (column, _) in screen.tabs.iter().enumerate().filter(|(_, stop)| **stop) {
            let _ = write!(self.out, "\x1b[{}G\x1bH", column + 1);
        }
    }

    fn titles(&mut self, screen: &Screen) {
        for title in &screen.titles {
            let _ = write!(self.out, "\x1b]2;{title}\x1b\\\x1b[22;0t");
        }
        let _ = write!(self.out, "\x1b]2;{}\x1b\\", screen.title);
    }

    fn modes(&mut self, screen: &Screen) {
        let Modes { mouse, mouse_encoding, .. } = screen.modes;
        let mut set = |number: &str, on: bool| {
            let _ = write!(self.out, "\x1b[{number}{}", if on { 'h' } else { 'l' });
        };
        set("?1", screen.modes.application_cursor);
        set("?66", screen.modes.application_keypad);
        set("?2004", screen.modes.bracketed_paste);
        set("?1004", screen.modes.focus_reports);
        set("?45", screen.modes.reverse_wrap);
        set("?25", screen.modes.cursor_visible);
        set("?2026", screen.modes.synchronized);
        set("?7", screen.modes.autowrap);
        set("4", screen.modes.insert);
        set("20", screen.modes.newline);
        match mouse {
            MouseTracking::Off => {}
            MouseTracking::Press => set("?9", true),
            MouseTracking::Buttons => set("?1000", true),
            MouseTracking::Drag => set("?1002", true),
            MouseTracking::Motion => set("?1003", true),
        }
        match mouse_encoding {
            MouseEncoding::Plain => {}
            MouseEncoding::Sgr => set("?1006", true),
            MouseEncoding::SgrPixels => set("?1016", true),
        }
        let style = screen.cursor_style;
        let shape = match style.shape {
            CursorShape::Block => 1,
            CursorShape::Underline => 3,
            CursorShape::Bar => 5,
        };
        let _ = write!(self.out, "\x1b[{} q", shape + u8::from(!style.blinking));
        self.own(format_args!("origin;{}", u8::from(screen.modes.origin)));
    }

    fn marks(&mut self, screen: &Screen) {
        for Mark { id, kind, at } in &screen.marks.kept {
            let (letter, exit) = match kind {
                MarkKind::PromptStart => ('A', None),
                MarkKind::CommandStart => ('B', None),
                MarkKind::OutputStart => ('C', None),
                MarkKind::CommandEnd { exit } => ('D', *exit),
            };
            let exit = exit.map(|exit| exit.to_string()).unwrap_or_default();
            self.own(format_args!("mark;{id};{letter};{};{};{exit}", at.line, at.col));
        }
        self.own(format_args!("marks;{}", screen.marks.next_id));
        let Shell { phase, started, finished, last_exit } = screen.shell;
        let exit = last_exit.map(|exit| exit.to_string()).unwrap_or_default();
        self.own(format_args!("shell;{};{started};{finished};{exit}", phase as u8));
        self.own(format_args!("clears;{}", screen.clears));
    }
}

impl Screen {
    /// A sequence of a dump. Numbers are brought into their bounds.
    pub(crate) fn restore(&mut self, params: &[&[u8]]) {
        if !self.restoring {
            return;
        }
        let number = |index: usize| number(params.get(index).copied().unwrap_or_default());
        let small = |index: usize| number(index).min(u64::from(u16::MAX)) as usize;
        match params {
            [b"lines", ..] => self.main.dropped = number(1),
            [b"wrapped", ..] => {
                let buffer = self.buffer_mut();
                let y = buffer.y;
                buffer.row_mut(y).wrapped = true;
            }
            [b"blank", ..] => {
                let pen = self.pen;
                let buffer = self.buffer_mut();
                let (x, y) = (buffer.x, buffer.y);
                let end = (x + small(1)).min(buffer.cols);
                buffer.row_mut(y).erase(x, end, pen);
                buffer.x = end;
            }
            [b"saved", ..] => {
                let (pen, charsets, origin) = (self.pen, self.charsets, number(3) == 1);
                let buffer = self.buffer_mut();
                let (x, y) = (small(1).min(buffer.cols - 1), small(2).min(buffer.height - 1));
                buffer.saved = Saved { x, y, pen, charsets, origin };
            }
            [b"region", ..] => {
                let buffer = self.buffer_mut();
                buffer.bottom = small(2).min(buffer.height - 1);
                buffer.top = small(1).min(buffer.bottom);
            }
            [b"cursor", ..] => {
                let buffer = self.buffer_mut();
                (buffer.x, buffer.y) = (small(1).min(buffer.cols), small(2).min(buffer.height - 1));
            }
            [b"alternate", ..] => {
                self.show_alternate();
                let buffer = self.buffer_mut();
                (buffer.x, buffer.y) = (0, 0);
            }
            [b"origin", ..] => self.modes.origin = number(1) == 1,
            [b"mark", ..] => self.restore_mark(params),
            [b"marks", ..] => self.marks.next_id = number(1),
            [b"shell", _, started, finished, exit] => {
                let phase = match number(1) {
                    1 => ShellPhase::Prompt,
                    2 => ShellPhase::Typing,
                    3 => ShellPhase::Running,
                    4 => ShellPhase::Ended,
                    _ => ShellPhase::Unknown,
                };
                let (started, finished, last_exit) =
                    (self::number(started), self::number(finished), exit_status(exit));
                self.shell = Shell { phase, started, finished, last_exit };
            }
            [b"clears", ..] => self.clears = number(1),
            [b"repeat", ..] => {
                self.last_printed = char::from_u32(number(1) as u32).filter(|character| *character != '\0');
            }
            _ => {}
        }
    }

    fn restore_mark(&mut self, params: &[&[u8]]) {
        let [_, id, letter, line, col, exit] = params else { return };
        let exit = exit_status(exit);
        let kind = match *letter {
            b"A" => MarkKind::PromptStart,
            b"B" => MarkKind::CommandStart,
            b"C" => MarkKind::OutputStart,
            _ => MarkKind::CommandEnd { exit },
        };
        let at = Position { line: number(line), col: number(col).min(u64::from(u16::MAX)) as u16 };
        self.marks.restore(Mark { id: number(id), kind, at });
    }
}

fn exit_status(digits: &[u8]) -> Option<i32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn number(digits: &[u8]) -> u64 {
    let value = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    value.unwrap_or(0).min(NUMBER_MAX)
}
