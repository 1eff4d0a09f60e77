//! What escape sequences and control characters do: the table.

use vte::{Params, Perform};

use crate::charset::{Charset, Charsets};
use crate::marks::MarkKind;
use crate::modes::{CursorShape, CursorStyle, MouseEncoding, MouseTracking};
use crate::screen::{Screen, default_tabs};

impl Perform for Screen {
    fn print(&mut self, character: char) {
        Screen::print(self, character);
    }

    fn execute(&mut self, byte: u8) {
        self.control(byte);
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _ignored: bool, action: char) {
        let repeated = self.last_printed.take();
        let value = Values { params };
        match (intermediates, action) {
            ([], 'b') => {
                self.last_printed = repeated;
                self.repeat(value.count(0));
            }
            ([], 'm') => crate::sgr::apply(&mut self.pen, params),
            ([], _) => self.plain_csi(&value, action),
            ([b'?'], _) => self.private_csi(&value, action),
            ([b'>'], 'c') if value.get(0) == 0 => self.report_version(),
            ([b'>'], 'q') if value.get(0) == 0 => self.report_name(),
            ([b' '], 'q') => self.set_cursor_style(value.get(0)),
            ([b'!'], 'p') => self.soft_reset(),
            ([b'$'], 'p') => self.report_mode(value.get(0), false),
            ([b'?', b'$'], 'p') => self.report_mode(value.get(0), true),
            ([b' '], '@') => self.shift_columns(0, value.count(0), true),
            ([b' '], 'A') => self.shift_columns(0, value.count(0), false),
            ([b'\''], '}') => self.shift_columns(self.buffer().x, value.count(0), false),
            ([b'\''], '~') => self.shift_columns(self.buffer().x, value.count(0), true),
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _ignored: bool, byte: u8) {
        self.last_printed = None;
        match (intermediates, byte) {
            ([], b'7') => self.save_cursor(),
            ([], b'8') => self.restore_cursor(),
            ([], b'=') => self.modes.application_keypad = true,
            ([], b'>') => self.modes.application_keypad = false,
            ([], b'c') => self.full_reset(),
            ([], b'n' | b'}') => self.charsets.active = 2,
            ([], b'o' | b'|') => self.charsets.active = 3,
            ([], b'~') => self.charsets.active = 1,
            ([], b'D' | b'E' | b'H' | b'M') => self.control(byte + 0x40),
            ([b'#'], b'8') => self.fill_with_e(),
            ([b'%'], b'@' | b'G') => self.charsets = Charsets::default(),
            ([b'('], _) => self.charsets.designated[0] = Charset::from_final(byte),
            ([b')' | b'-'], _) => self.charsets.designated[1] = Charset::from_final(byte),
            ([b'*' | b'.'], _) => self.charsets.designated[2] = Charset::from_final(byte),
            ([b'+' | b'/'], _) => self.charsets.designated[3] = Charset::from_final(byte),
            _ => {}
        }
    }

    fn osc_dispatch(&mut self, params: &[&[u8]], _bell_terminated: bool) {
        self.last_printed = None;
        match params {
            [b"0" | b"2", title @ ..] => self.set_title(&title.join(&b';')),
            [b"133", mark, rest @ ..] => self.shell_mark(mark, rest),
            [b"7770", rest @ ..] => self.restore(rest),
            _ => {}
        }
    }

    fn hook(&mut self, _params: &Params, intermediates: &[u8], _ignored: bool, action: char) {
        self.last_printed = None;
        self.status_query = intermediates == b"$" && action == 'q';
    }

    fn unhook(&mut self) {
        if std::mem::take(&mut self.status_query) {
            self.report_setting();
        }
    }
}

/// The parameters of a sequence.
struct Values<'a> {
    params: &'a Params,
}

impl Values<'_> {
    /// A parameter; what was left out is 0.
    fn get(&self, index: usize) -> u16 {
        self.params.iter().nth(index).and_then(|param| param.first().copied()).unwrap_or(0)
    }

    /// A parameter that counts: 0 means 1.
    fn count(&self, index: usize) -> usize {
        usize::from(self.get(index).max(1))
    }

    fn all(&self) -> impl Iterator<Item = u16> {
        self.params.iter().filter_map(|param| param.first().copied())
    }
}

impl Screen {
    /// C0 and C1 control characters.
    pub(crate) fn control(&mut self, byte: u8) {
        self.last_printed = None;
        match byte {
            0x07 => self.bell = true,
            0x08 => self.backspace(),
            b'\t' => self.tab_forward(1),
            b'\n' | 0x0b | 0x0c => self.line_feed(),
            b'\r' => self.buffer_mut().x = 0,
            0x0e => self.charsets.active = 1,
            0x0f => self.charsets.active = 0,
            0x84 => self.index(),
            0x85 => {
                self.buffer_mut().x = 0;
                self.index();
            }
            0x88 => {
                let x = self.buffer().x;
                if let Some(stop) = self.tabs.get_mut(x) {
                    *stop = true;
                }
            }
            0x8d => self.reverse_index(),
            _ => {}
        }
    }

    fn plain_csi(&mut self, value: &Values<'_>, action: char) {
        let count = value.count(0);
        match action {
            'A' => self.cursor_up(count),
            'B' => self.cursor_down(count),
            'C' | 'a' => self.move_by(count as isize, 0),
            'D' => self.move_by(-(count as isize), 0),
            'E' | 'F' => {
                if action == 'E' {
                    self.cursor_down(count)
                } else {
                    self.cursor_up(count)
                }
                self.buffer_mut().x = 0;
            }
            'G' | '`' => {
                self.buffer_mut().x = count - 1;
                self.settle_cursor();
            }
            'H' | 'f' => self.move_to(value.count(1) - 1, count - 1),
            'I' => self.tab_forward(count),
            'Z' => self.tab_backward(count),
            'd' => self.move_to(self.buffer().x, count - 1),
            'e' => self.move_by(0, count as isize),
            'J' => self.erase_display(value.get(0)),
            'K' => self.erase_line(value.get(0)),
            'L' | 'M' => self.shift_lines(count, action == 'M'),
            '@' | 'P' | 'X' => self.edit_cells(count, action),
            'S' | 'T' => self.scroll_region(count, action == 'S'),
            'c' if value.get(0) == 0 => self.report_attributes(),
            'g' => self.clear_tabs(value.get(0)),
            'h' | 'l' => value.all().for_each(|mode| self.set_mode(mode, action == 'h')),
            'n' => self.report_status(value.get(0), false),
            'r' => self.set_region(usize::from(value.get(0)), usize::from(value.get(1))),
            's' => self.save_cursor(),
            'u' => self.restore_cursor(),
            't' => match value.get(0) {
                18 => self.report_size(),
                22 if value.get(1) != 1 => self.push_title(),
                23 if value.get(1) != 1 => self.pop_title(),
                _ => {}
            },
            _ => {}
        }
    }

    fn private_csi(&mut self, value: &Values<'_>, action: char) {
        match action {
            'h' | 'l' => value.all().for_each(|mode| self.set_private_mode(mode, action == 'h')),
            'J' => self.erase_display(value.get(0)),
            'K' => self.erase_line(value.get(0)),
            'n' => self.report_status(value.get(0), true),
            _ => {}
        }
    }

    fn set_mode(&mut self, mode: u16, on: bool) {
        match mode {
            4 => self.modes.insert = on,
            20 => self.modes.newline = on,
            _ => {}
        }
    }

    fn set_private_mode(&mut self, mode: u16, on: bool) {
        let mouse = |tracking| if on { tracking } else { MouseTracking::Off };
        let encoding = |encoding| if on { encoding } else { MouseEncoding::Plain };
        match mode {
            1 => self.modes.application_cursor = on,
            6 => {
                self.modes.origin = on;
                self.move_to(0, 0);
            }
            7 => self.modes.autowrap = on,
            9 => self.modes.mouse = mouse(MouseTracking::Press),
            12 => self.cursor_style.blinking = on,
            25 => self.modes.cursor_visible = on,
            45 => self.modes.reverse_wrap = on,
            66 => self.modes.application_keypad = on,
            1000 => self.modes.mouse = mouse(MouseTracking::Buttons),
            1002 => self.modes.mouse = mouse(MouseTracking::Drag),
            1003 => self.modes.mouse = mouse(MouseTracking::Motion),
            1004 => self.modes.focus_reports = on,
            1006 => self.modes.mouse_encoding = encoding(MouseEncoding::Sgr),
            1016 => self.modes.mouse_encoding = encoding(MouseEncoding::SgrPixels),
            2004 => self.modes.bracketed_paste = on,
            2026 => self.modes.synchronized = on,
            47 | 1047 | 1048 | 1049 => self.set_alternate(mode, on),
            _ => {}
        }
    }

    fn set_alternate(&mut self, mode: u16, on: bool) {
        if on {
            if mode != 47 && mode != 1047 {
                self.save_cursor();
            }
            if mode != 1048 {
                self.show_alternate();
            }
        } else {
            if mode != 1048 {
                self.show_main();
            }
            if mode != 47 && mode != 1047 {
                self.restore_cursor();
            }
        }
    }

    fn set_cursor_style(&mut self, code: u16) {
        let shape = match code {
            0..=2 => CursorShape::Block,
            3 | 4 => CursorShape::Underline,
            5 | 6 => CursorShape::Bar,
            _ => return,
        };
        self.cursor_style = CursorStyle { shape, blinking: code == 0 || code % 2 == 1 };
    }

    fn erase_display(&mut self, code: u16) {
        let last = self.buffer().cols;
        self.restrict_cursor(last);
        let pen = self.pen.erasing();
        let line = self.screen_line();
        let on_main = self.alternate.is_none();
        let buffer = self.buffer();
        let (x, y, cols, height) = (buffer.x, buffer.y, buffer.cols, buffer.height);
        let all = code == 2 || code == 3 || (code == 0 && (x, y) == (0, 0));
        if all {
            self.count_clear();
        }
        let buffer = self.buffer_mut();
        match code {
            0 => {
                self.erase_cells(x, cols, x == 0);
                let buffer = self.buffer_mut();
                buffer.blank_rows(y + 1, height, pen);
            }
            1 => {
                self.erase_cells(0, x + 1, true);
                let buffer = self.buffer_mut();
                if x + 1 >= cols && y + 1 < height {
                    buffer.row_mut(y + 1).wrapped = false;
                }
                buffer.blank_rows(0, y, pen);
            }
            2 => {
                buffer.blank_rows(0, height, pen);
                if on_main {
                    self.marks.forget_between(line, line + height as u64);
                }
            }
            3 => {
                buffer.trim_scrollback(0);
                let dropped = self.main.dropped;
                self.marks.forget_before(dropped);
            }
            _ => {}
        }
    }

    fn erase_line(&mut self, code: u16) {
        let cols = self.buffer().cols;
        self.restrict_cursor(cols);
        let x = self.buffer().x;
        match code {
            0 => self.erase_cells(x, cols, x == 0),
            1 => self.erase_cells(0, x + 1, false),
            2 => self.erase_cells(0, cols, true),
            _ => {}
        }
    }

    /// Erases in the cursor's row.
    fn erase_cells(&mut self, from: usize, to: usize, unwrap: bool) {
        let pen = self.pen.erasing();
        let buffer = self.buffer_mut();
        let y = buffer.y;
        let row = buffer.row_mut(y);
        row.erase(from, to, pen);
        if unwrap {
            row.wrapped = false;
        }
    }

    /// `ICH`, `DCH` and `ECH`.
    fn edit_cells(&mut self, count: usize, action: char) {
        self.settle_cursor();
        let pen = self.pen.erasing();
        let buffer = self.buffer_mut();
        let (x, y) = (buffer.x, buffer.y);
        let row = buffer.row_mut(y);
        match action {
            '@' => row.insert(x, count, pen),
            'P' => row.delete(x, count, pen),
            _ => row.erase(x, x + count, pen),
        }
    }

    /// `IL` and `DL`.
    fn shift_lines(&mut self, count: usize, up: bool) {
        self.settle_cursor();
        let pen = self.pen.erasing();
        let buffer = self.buffer_mut();
        let (y, end) = (buffer.y, buffer.bottom + 1);
        if y < buffer.top || y >= end {
            return;
        }
        if up {
            buffer.rotate_up(y, end, count, pen)
        } else {
            buffer.rotate_down(y, end, count, pen)
        }
        buffer.x = 0;
    }

    /// `SU` and `SD`.
    fn scroll_region(&mut self, count: usize, up: bool) {
        let pen = self.pen.erasing();
        let buffer = self.buffer_mut();
        let (top, end) = (buffer.top, buffer.bottom + 1);
        if up { buffer.rotate_up(top, end, count, pen) } else { buffer.rotate_down(top, end, count, pen) }
    }

    /// `SL`, `SR`, `DECIC` and `DECDC`: columns of the region move sideways.
    fn shift_columns(&mut self, from: usize, count: usize, left: bool) {
        let pen = self.pen.erasing();
        let buffer = self.buffer_mut();
        if buffer.y < buffer.top || buffer.y > buffer.bottom {
            return;
        }
        let from = from.min(buffer.cols - 1);
        for y in buffer.top..=buffer.bottom {
            let row = buffer.row_mut(y);
            if left {
                row.delete(from, count, pen)
            } else {
                row.insert(from, count, pen)
            }
            row.wrapped = false;
        }
    }

    fn clear_tabs(&mut self, code: u16) {
        let x = self.buffer().x;
        match code {
            0 => {
                if let Some(stop) = self.tabs.get_mut(x) {
                    *stop = false;
                }
            }
            3 => self.tabs.fill(false),
            _ => {}
        }
    }

    /// `DECALN`.
    fn fill_with_e(&mut self) {
        let pen = self.pen;
        self.move_to(0, 0);
        let buffer = self.buffer_mut();
        let e = vec![b'E'; buffer.cols];
        for y in 0..buffer.height {
            let row = buffer.row_mut(y);
            row.put_ascii(0, &e, pen);
            row.wrapped = false;
        }
        self.move_to(0, 0);
    }

    /// OSC 133.
    fn shell_mark(&mut self, mark: &[u8], rest: &[&[u8]]) {
        let kind = match mark {
            b"A" => MarkKind::PromptStart,
            b"B" => MarkKind::CommandStart,
            b"C" => MarkKind::OutputStart,
            b"D" => {
                let exit = rest.first().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                MarkKind::CommandEnd { exit }
            }
            _ => return,
        };
        self.add_mark(kind);
    }

    /// `RIS` and `CSI 3 g` leave other stops than a new width needs.
    pub(crate) fn resize_tabs(&mut self, cols: usize) {
        let known = self.tabs.len();
        if cols > known {
            self.tabs.extend(default_tabs(cols).into_iter().skip(known));
        }
        self.tabs.truncate(cols.max(1));
    }
}
