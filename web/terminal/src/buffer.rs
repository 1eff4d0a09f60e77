//! A screen with its scrollback, and where the cursor is on it.

use std::collections::VecDeque;

use crate::cell::Pen;
use crate::charset::Charsets;
use crate::marks::Marks;
use crate::row::Row;

/// The most cells that a scrollback holds, whatever its number of lines.
const SCROLLBACK_CELLS_MAX: usize = 400_000;

/// What `DECSC` saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Saved {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) pen: Pen,
    pub(crate) charsets: Charsets,
    pub(crate) origin: bool,
}

/// The rows of the scrollback and, after them, of the screen.
#[derive(Debug, Clone)]
pub(crate) struct Buffer {
    pub(crate) rows: VecDeque<Row>,
    pub(crate) cols: usize,
    pub(crate) height: usize,
    pub(crate) lines_max: usize,
    /// The cursor's column; equal to `cols` when the next character wraps.
    pub(crate) x: usize,
    /// The cursor's row on the screen.
    pub(crate) y: usize,
    /// First row of the scroll region.
    pub(crate) top: usize,
    /// Last row of the scroll region.
    pub(crate) bottom: usize,
    pub(crate) saved: Saved,
    /// How many rows have left the scrollback since the beginning.
    pub(crate) dropped: u64,
    /// How many rows went from the screen to the scrollback since last asked.
    pub(crate) scrolled: u64,
}

impl Buffer {
    pub(crate) fn new(cols: usize, height: usize, lines_max: usize, pen: Pen) -> Buffer {
        Buffer {
            rows: (0..height).map(|_| Row::new(cols, pen)).collect(),
            cols,
            height,
            lines_max,
            x: 0,
            y: 0,
            top: 0,
            bottom: height - 1,
            saved: Saved::default(),
            dropped: 0,
            scrolled: 0,
        }
    }

    /// How many lines the scrollback may have at this width.
    pub(crate) fn scrollback_max(&self) -> usize {
        self.lines_max.min(SCROLLBACK_CELLS_MAX / self.cols)
    }

    pub(crate) fn scrollback_len(&self) -> usize {
        self.rows.len() - self.height
    }

    /// The line number of the screen's first row.
    pub(crate) fn screen_line(&self) -> u64 {
        self.dropped + self.scrollback_len() as u64
    }

    pub(crate) fn row(&self, y: usize) -> &Row {
        &self.rows[self.rows.len() - self.height + y]
    }

    pub(crate) fn row_mut(&mut self, y: usize) -> &mut Row {
        let index = self.rows.len() - self.height + y;
        &mut self.rows[index]
    }

    pub(crate) fn mark_all_dirty(&mut self) {
        for y in 0..self.height {
            self.row_mut(y).dirty = true;
        }
    }

    fn mark_dirty(&mut self, from: usize, to: usize) {
        for y in from..to {
            self.row_mut(y).dirty = true;
        }
    }

    /// Drops the scrollback's oldest rows until it has at most `lines` of them.
    pub(crate) fn trim_scrollback(&mut self, lines: usize) {
        while self.scrollback_len() > lines {
            self.rows.pop_front();
            self.dropped += 1;
        }
    }

    /// Moves the scroll region up by a row. Rows that leave the screen's top
    /// go to the scrollback.
    pub(crate) fn scroll(&mut self, pen: Pen, wrapped: bool, marks: Option<&mut Marks>) {
        if self.top > 0 {
            self.rotate_up(self.top, self.bottom + 1, 1, pen);
            self.row_mut(self.bottom).wrapped = wrapped;
            return;
        }
        let mut row = if self.scrollback_len() == self.scrollback_max() {
            self.dropped += 1;
            self.rows.pop_front().unwrap_or_default()
        } else {
            Row::default()
        };
        row.clear(self.cols, pen);
        row.wrapped = wrapped;
        let below = self.height - 1 - self.bottom;
        let first_below = self.screen_line() + self.bottom as u64 + 1;
        self.rows.insert(self.rows.len() - below, row);
        self.scrolled += 1;
        if let Some(marks) = marks {
            if below > 0 {
                marks.push_down(first_below);
            }
            marks.forget_before(self.dropped);
        }
        self.mark_dirty(0, self.height);
    }

    /// Moves the rows `from..to` up by `count`; blanks come in below.
    pub(crate) fn rotate_up(&mut self, from: usize, to: usize, count: usize, pen: Pen) {
        let count = count.min(to - from);
        self.reverse(from, from + count);
        self.reverse(from + count, to);
        self.reverse(from, to);
        self.blank_rows(to - count, to, pen);
        self.mark_dirty(from, to);
    }

    /// Moves the rows `from..to` down by `count`; blanks come in above.
    pub(crate) fn rotate_down(&mut self, from: usize, to: usize, count: usize, pen: Pen) {
        let count = count.min(to - from);
        self.reverse(from, to - count);
        self.reverse(to - count, to);
        self.reverse(from, to);
        self.blank_rows(from, from + count, pen);
        self.mark_dirty(from, to);
    }

    fn reverse(&mut self, from: usize, to: usize) {
        let base = self.scrollback_len();
        let (mut low, mut high) = (base + from, base + to);
        while low + 1 < high {
            high -= 1;
            self.rows.swap(low, high);
            low += 1;
        }
    }

    pub(crate) fn blank_rows(&mut self, from: usize, to: usize, pen: Pen) {
        let cols = self.cols;
        for y in from..to {
            self.row_mut(y).clear(cols, pen);
        }
    }
}

impl PartialEq for Buffer {
    /// Whether both look the same and go on the same way.
    fn eq(&self, other: &Buffer) -> bool {
        self.rows == other.rows
            && (self.cols, self.height, self.lines_max) == (other.cols, other.height, other.lines_max)
            && (self.x, self.y, self.top, self.bottom) == (other.x, other.y, other.top, other.bottom)
            && self.saved == other.saved
    }
}
