//! Giving the screen another size.

use crate::buffer::Buffer;
use crate::row::Row;
use crate::screen::Screen;

impl Screen {
    pub(crate) fn resize(&mut self, cols: usize, height: usize) {
        if (cols, height) == (self.main.cols, self.main.height) {
            return;
        }
        self.main.resize_height(cols, height);
        self.main.resize_rows(cols);
        if let Some(alternate) = &mut self.alternate {
            alternate.resize_height(cols, height);
            alternate.resize_rows(cols);
            alternate.trim_scrollback(0);
        }
        self.resize_tabs(cols);
        self.marks.forget_before(self.main.dropped);
    }
}

impl Buffer {
    /// Adds or removes rows so that the screen has `height` of them: first
    /// blank ones below the cursor, then those at the top.
    fn resize_height(&mut self, cols: usize, height: usize) {
        while self.height < height {
            if self.scrollback_len() > 0 && self.y + 1 == self.height {
                self.y += 1;
            } else {
                self.rows.push_back(Row::new(cols, Default::default()));
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
        (self.top, self.bottom) = (0, height - 1);
        self.saved.y = self.saved.y.min(height - 1);
    }

    /// Cuts the rows to `cols` or adds blanks at their ends.
    fn resize_rows(&mut self, cols: usize) {
        self.rows.iter_mut().for_each(|row| row.resize(cols));
        self.cols = cols;
        self.x = self.x.min(cols - 1);
        self.saved.x = self.saved.x.min(cols - 1);
        self.trim_scrollback(self.scrollback_max());
    }
}
