//! Writing text to the screen.

use crate::charset::Charset;
use crate::screen::Screen;
use crate::width::width;

impl Screen {
    /// Writes text without control characters.
    pub(crate) fn print_text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let ascii = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
            if ascii > 0 {
                self.print_ascii(&rest.as_bytes()[..ascii]);
                rest = &rest[ascii..];
            } else {
                self.print(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }

    /// Writes printable ASCII, as much at once as fits in a row.
    pub(crate) fn print_ascii(&mut self, text: &[u8]) {
        let plain = self.charsets.current() == Charset::Ascii && !self.modes.insert && self.modes.autowrap;
        if !plain {
            text.iter().for_each(|byte| self.print(char::from(*byte)));
            return;
        }
        let mut rest = text;
        while !rest.is_empty() {
            if self.buffer().x >= self.buffer().cols {
                self.wrap();
            }
            let pen = self.pen;
            let buffer = self.buffer_mut();
            let (x, y) = (buffer.x, buffer.y);
            let fits = rest.len().min(buffer.cols - x);
            buffer.row_mut(y).put_ascii(x, &rest[..fits], pen);
            buffer.x = x + fits;
            rest = &rest[fits..];
        }
        self.last_printed = text.last().map(|byte| char::from(*byte));
    }

    /// Writes one character.
    pub(crate) fn print(&mut self, character: char) {
        if character == '\x7f' {
            return;
        }
        let character = if character.is_ascii() { self.charsets.current().map(character) } else { character };
        self.put(character);
        self.last_printed = Some(character);
    }

    /// Writes a character that went through the character set.
    pub(crate) fn put(&mut self, character: char) {
        let pen = self.pen;
        let cells = width(character);
        if cells == 0 {
            self.combine(character);
            return;
        }
        let cols = self.buffer().cols;
        if self.buffer().x + cells > cols {
            if self.modes.autowrap {
                self.wrap();
            } else {
                self.buffer_mut().x = cols - 1;
                if cells == 2 {
                    return;
                }
            }
        }
        let insert = self.modes.insert;
        let buffer = self.buffer_mut();
        let (x, y) = (buffer.x, buffer.y);
        if insert {
            buffer.row_mut(y).insert(x, cells, pen);
        }
        buffer.row_mut(y).put(x, character, cells, pen);
        buffer.x = x + cells;
    }

    /// Goes on in the next row.
    fn wrap(&mut self) {
        let pen = self.pen;
        let buffer = self.buffer_mut();
        let (x, y, cols) = (buffer.x, buffer.y, buffer.cols);
        if x < cols {
            // No room for a wide character: the last cell stays empty.
            buffer.row_mut(y).erase(x, cols, pen);
        }
        buffer.x = 0;
        if !self.next_row(true) {
            let buffer = self.buffer_mut();
            let y = buffer.y;
            buffer.row_mut(y).wrapped = true;
        }
    }

    /// Gives a combining character to the cell before the cursor.
    fn combine(&mut self, mark: char) {
        let buffer = self.buffer_mut();
        let y = buffer.y;
        let Some(before) = buffer.x.checked_sub(1) else { return };
        let row = buffer.row_mut(y);
        let wide = before > 0 && row.cells()[before].width() == 0;
        row.combine(before - usize::from(wide), mark);
    }

    /// `REP`: writes the last character again, at most a screenful.
    pub(crate) fn repeat(&mut self, count: usize) {
        let Some(character) = self.last_printed else { return };
        let buffer = self.buffer();
        let count = count.min(buffer.cols * buffer.height);
        (0..count).for_each(|_| self.put(character));
        self.last_printed = Some(character);
    }
}
