//! Giving the screen another size: lines that wrapped are wrapped anew.

use std::collections::VecDeque;

use crate::buffer::Buffer;
use crate::marks::{Marks, Position};
use crate::row::Row;
use crate::screen::Screen;

impl Screen {
    pub(crate) fn resize(&mut self, cols: usize, height: usize) {
        if (cols, height) == (self.main.cols, self.main.height) {
            return;
        }
        self.main.resize_height(height);
        if cols != self.main.cols {
            self.main.rewrap(cols, &mut self.marks);
        }
        if let Some(alternate) = &mut self.alternate {
            alternate.resize_height(height);
            alternate.rows.iter_mut().for_each(|row| row.resize(cols));
            alternate.cols = cols;
            alternate.settle(height);
            alternate.trim_scrollback(0);
        }
        self.main.settle(height);
        self.main.trim_scrollback(self.main.scrollback_max());
        self.resize_tabs(cols);
        self.marks.forget_before(self.main.dropped);
    }
}

impl Buffer {
    /// Adds or removes rows so that the screen has `height` of them: first
    /// blank ones below the cursor, then those at the top.
    fn resize_height(&mut self, height: usize) {
        while self.height < height {
            if self.scrollback_len() > 0 && self.y + 1 == self.height {
                self.y += 1;
            } else {
                self.rows.push_back(Row::new(self.cols, Default::default()));
            }
            self.height += 1;
        }
        while self.height > height {
            if self.y + 1 < self.height {
                self.rows.pop_back();
            } else {
                self.y -= 1;
            }
            self.height -= 1;
        }
    }

    /// Brings what points into the screen into its new bounds.
    fn settle(&mut self, height: usize) {
        (self.top, self.bottom) = (0, height - 1);
        self.x = self.x.min(self.cols - 1);
        self.y = self.y.min(height - 1);
        self.saved.x = self.saved.x.min(self.cols - 1);
        self.saved.y = self.saved.y.min(height - 1);
        self.mark_all_dirty();
    }

    /// Wraps all lines anew at `cols`, and moves the marks along. The line
    /// that the cursor is in is cut or widened only: its program draws it
    /// anew when it hears of the size.
    fn rewrap(&mut self, cols: usize, marks: &mut Marks) {
        let old: Vec<Row> = std::mem::take(&mut self.rows).into();
        let cursor = old.len() - self.height + self.y;
        let mut new_cursor = 0;
        let mut new: VecDeque<Row> = VecDeque::with_capacity(old.len());
        let mut moves = Moves { dropped: self.dropped, places: Vec::with_capacity(old.len()) };
        let mut start = 0;
        while start < old.len() {
            let end = (start + 1..old.len()).find(|at| !old[*at].wrapped).unwrap_or(old.len());
            let line = &old[start..end];
            let has_cursor = (start..end).contains(&cursor);
            if has_cursor {
                new_cursor = new.len() + cursor - start;
            }
            let fits = line.len() == 1 && line[0].content_len() <= cols;
            if has_cursor || fits {
                moves.rows_stay(line.len(), new.len());
            } else {
                let rows = rewrapped(line, cols);
                moves.line_moves(line, &rows, new.len());
                new.extend(rows);
                start = end;
                continue;
            }
            new.extend(line.iter().cloned());
            start = end;
        }
        new.iter_mut().for_each(|row| row.resize(cols));
        moves.apply(marks);
        self.rows = new;
        self.cols = cols;
        self.place_screen(new_cursor);
    }

    /// Puts the screen so that the cursor's row stays where it was on it, if
    /// the rows allow.
    fn place_screen(&mut self, cursor: usize) {
        let mut base = cursor.saturating_sub(self.y);
        while self.rows.len() > base + self.height && self.rows.len() - 1 > cursor {
            if self.rows.back().is_some_and(|row| row.content_len() > 0) {
                break;
            }
            self.rows.pop_back();
        }
        if self.rows.len() > base + self.height {
            base = (self.rows.len() - self.height).min(cursor);
            self.rows.truncate(base + self.height);
        }
        while self.rows.len() < base + self.height {
            self.rows.push_back(Row::new(self.cols, Default::default()));
        }
        self.y = cursor - base;
    }
}

/// How many cells of a line's row belong to its text.
fn used(line: &[Row], index: usize) -> usize {
    let Some(next) = line.get(index + 1) else { return line[index].content_len() };
    let cells = line[index].cells();
    // A wide character that had no room left the last cell empty.
    let early = cells.last().is_some_and(|last| last.width() == 1 && !last.has_content());
    let wide = next.cells().first().is_some_and(|first| first.width() == 2);
    cells.len() - usize::from(early && wide)
}

/// The rows of a line, wrapped at `cols`. They end where their text does.
fn rewrapped(line: &[Row], cols: usize) -> Vec<Row> {
    let mut rows = vec![Row::default()];
    rows[0].wrapped = line[0].wrapped;
    for (index, old) in line.iter().enumerate() {
        let end = used(line, index);
        let mut from = 0;
        while from < end {
            let last = rows.len() - 1;
            let room = cols - rows[last].cells().len();
            let mut count = room.min(end - from);
            if count > 0 && old.cells()[from + count - 1].width() == 2 {
                count -= 1;
            }
            if count == 0 {
                rows.push(Row::wrapping());
                continue;
            }
            rows[last].append(old, from, from + count);
            from += count;
        }
    }
    rows
}

/// Where the rows' text goes when it is wrapped anew.
struct Moves {
    dropped: u64,
    places: Vec<Place>,
}

/// Where an old row's text goes.
enum Place {
    /// To this row, at the same columns.
    Row(usize),
    /// To rows from `first` on of these lengths, `offset` cells into them.
    Line { first: usize, lengths: std::rc::Rc<[usize]>, offset: usize },
}

impl Moves {
    fn rows_stay(&mut self, count: usize, first: usize) {
        self.places.extend((first..first + count).map(Place::Row));
    }

    fn line_moves(&mut self, line: &[Row], rows: &[Row], first: usize) {
        let lengths: std::rc::Rc<[usize]> = rows.iter().map(|row| row.cells().len()).collect();
        let mut offset = 0;
        for index in 0..line.len() {
            self.places.push(Place::Line { first, lengths: lengths.clone(), offset });
            offset += used(line, index);
        }
    }

    fn apply(&self, marks: &mut Marks) {
        for mark in &mut marks.kept {
            mark.at = self.moved(mark.at);
        }
    }

    fn moved(&self, at: Position) -> Position {
        let index = at.line.checked_sub(self.dropped).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.places.get(index)) {
            None => at,
            Some(Place::Row(row)) => Position { line: self.dropped + *row as u64, ..at },
            Some(Place::Line { first, lengths, offset }) => {
                let (mut row, mut left) = (0, offset + usize::from(at.col));
                while row + 1 < lengths.len() && left >= lengths[row] {
                    left -= lengths[row];
                    row += 1;
                }
                Position {
                    line: self.dropped + (first + row) as u64,
                    col: left.min(usize::from(u16::MAX)) as u16,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{MarkKind, Terminal};

    fn lines(terminal: &Terminal) -> Vec<String> {
        let scrollback = (0..terminal.scrollback_len()).filter_map(|index| terminal.scrollback_row(index));
        scrollback.map(|row| row.text()).chain(terminal.text()).collect()
    }

    #[test]
    fn lines_wrap_anew_and_back() {
        let mut terminal = Terminal::new(10, 4, 100);
        terminal.feed("abcdefghijklmnop\r\n漢字漢字漢字\r\nshort\r\n$ ".as_bytes());
        let before = lines(&terminal);
        terminal.resize(7, 4);
        assert_eq!(lines(&terminal), ["abcdefg", "hijklmn", "op", "漢字漢", "字漢字", "short", "$"]);
        terminal.resize(20, 4);
        assert_eq!(lines(&terminal), ["abcdefghijklmnop", "漢字漢字漢字", "short", "$"]);
        terminal.resize(10, 4);
        assert_eq!(lines(&terminal), before);
    }

    #[test]
    fn marks_move_with_their_text() {
        let mut terminal = Terminal::new(10, 4, 100);
        terminal.feed(b"0123456789abcde\x1b]133;C\x07fgh\r\nend\r\n");
        let mark = *terminal.marks().next().expect("a mark");
        assert_eq!((mark.kind, mark.at.line, mark.at.col), (MarkKind::OutputStart, 1, 5));
        terminal.resize(6, 4);
        let moved = *terminal.mark(mark.id).expect("the mark is kept");
        assert_eq!((moved.at.line, moved.at.col), (2, 3));
        assert_eq!(terminal.output_text(moved.at, terminal.position()), "fgh\nend\n");
        terminal.resize(40, 4);
        let moved = *terminal.mark(mark.id).expect("the mark is kept");
        assert_eq!((moved.at.line, moved.at.col), (0, 15));
    }

    #[test]
    fn the_cursors_line_is_left_to_its_program() {
        let mut terminal = Terminal::new(10, 3, 100);
        terminal.feed(b"one\r\n$ a long command");
        terminal.resize(6, 3);
        assert_eq!(terminal.text().last().map(String::as_str), Some("ommand"));
        assert_eq!(terminal.cursor().x, 5);
    }

    #[test]
    fn rows_come_from_and_go_to_the_scrollback() {
        let mut terminal = Terminal::new(10, 3, 100);
        terminal.feed(b"1\r\n2\r\n3\r\n4\r\n5");
        terminal.resize(10, 5);
        assert_eq!(terminal.text(), ["1", "2", "3", "4", "5"]);
        terminal.resize(10, 2);
        assert_eq!(terminal.text(), ["4", "5"]);
        assert_eq!(terminal.cursor().y, 1);
    }
}
