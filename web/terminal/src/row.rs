//! A row of cells.

use crate::cell::{Cell, Pen};

/// The most combining characters that one cell keeps; more are dropped.
pub const COMBINING_MAX: usize = 8;

/// A row of cells, with the combining characters that belong to them.
///
/// The row upholds that wide characters are whole: an operation that takes one
/// half of one blanks the other.
#[derive(Debug, Clone, Default)]
pub struct Row {
    cells: Vec<Cell>,
    /// The combining characters by column, in no order.
    combining: Vec<(u16, String)>,
    /// The row goes on from the one above it, with no line feed between them.
    pub(crate) wrapped: bool,
    pub(crate) dirty: bool,
}

impl Row {
    pub(crate) fn new(cols: usize, pen: Pen) -> Row {
        Row { cells: vec![Cell::blank(pen); cols], combining: Vec::new(), wrapped: false, dirty: true }
    }

    /// An empty row that goes on from the one above it.
    pub(crate) fn wrapping() -> Row {
        Row { wrapped: true, ..Row::default() }
    }

    /// Makes the row as [`Row::new`] would, in the memory that it has.
    pub(crate) fn clear(&mut self, cols: usize, pen: Pen) {
        self.cells.clear();
        self.cells.resize(cols, Cell::blank(pen));
        self.combining.clear();
        self.wrapped = false;
        self.dirty = true;
    }

    /// The cells, from the left.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Whether the row goes on from the one above it with no line feed between.
    pub fn is_wrapped(&self) -> bool {
        self.wrapped
    }

    /// The combining characters of a cell.
    pub fn marks(&self, column: usize) -> &str {
        match self.cells.get(column) {
            Some(cell) if cell.combined => {
                self.combining.iter().find(|(at, _)| usize::from(*at) == column).map_or("", |(_, text)| text)
            }
            _ => "",
        }
    }

    /// How many cells there are up to the last with a character.
    pub fn content_len(&self) -> usize {
        self.cells
            .iter()
            .rposition(Cell::has_content)
            .map_or(0, |i| i + usize::from(self.cells[i].width.max(1)))
    }

    /// The row's text with blanks for empty cells, up to the last character.
    pub fn text(&self) -> String {
        self.text_between(0, self.content_len())
    }

    /// The text of the cells `from..to`.
    pub fn text_between(&self, from: usize, to: usize) -> String {
        let to = to.min(self.cells.len());
        let mut text = String::with_capacity(to.saturating_sub(from));
        for (column, cell) in self.cells.iter().enumerate().take(to).skip(from) {
            match cell.character {
                '\0' if cell.width == 0 => {}
                '\0' => text.push(' '),
                character => text.push(character),
            }
            if cell.combined {
                text.push_str(self.marks(column));
            }
        }
        text
    }

    fn forget_marks(&mut self, from: usize, to: usize) {
        if !self.combining.is_empty() {
            self.combining.retain(|(at, _)| !(from..to).contains(&usize::from(*at)));
        }
    }

    /// Blanks both halves of a wide character that spans `column - 1` and `column`.
    pub(crate) fn split_wide(&mut self, column: usize, pen: Pen) {
        if column > 0 && self.cells.get(column).is_some_and(|cell| cell.width == 0) {
            self.cells[column - 1] = Cell::blank(pen);
            self.cells[column] = Cell::blank(pen);
            self.forget_marks(column - 1, column + 1);
        }
    }

    /// Writes printable ASCII, which must fit.
    pub(crate) fn put_ascii(&mut self, column: usize, text: &[u8], pen: Pen) {
        let end = column + text.len();
        self.split_wide(column, pen);
        self.split_wide(end, pen);
        self.forget_marks(column, end);
        for (cell, byte) in self.cells[column..end].iter_mut().zip(text) {
            *cell = Cell { character: char::from(*byte), pen, width: 1, combined: false };
        }
        self.dirty = true;
    }

    /// Writes one character of width 1 or 2, which must fit.
    pub(crate) fn put(&mut self, column: usize, character: char, width: usize, pen: Pen) {
        self.split_wide(column, pen);
        self.split_wide(column + width, pen);
        self.forget_marks(column, column + width);
        self.cells[column] = Cell { character, pen, width: width as u8, combined: false };
        if width == 2 {
            self.cells[column + 1] = Cell { character: '\0', pen, width: 0, combined: false };
        }
        self.dirty = true;
    }

    /// Gives the cell a combining character; a blank cell has no use for one.
    pub(crate) fn combine(&mut self, column: usize, mark: char) {
        self.dirty = true;
        let cell = &mut self.cells[column];
        if !cell.has_content() {
            return;
        }
        if !cell.combined {
            cell.combined = true;
            self.combining.push((column as u16, String::from(mark)));
            return;
        }
        let text = self.combining.iter_mut().find(|(at, _)| usize::from(*at) == column);
        if let Some((_, text)) = text
            && text.chars().count() < COMBINING_MAX
        {
            text.push(mark);
        }
    }

    /// Blanks the cells `from..to`.
    pub(crate) fn erase(&mut self, from: usize, to: usize, pen: Pen) {
        let to = to.min(self.cells.len());
        if from >= to {
            return;
        }
        self.split_wide(from, pen);
        self.split_wide(to, pen);
        self.forget_marks(from, to);
        self.cells[from..to].fill(Cell::blank(pen));
        self.dirty = true;
    }

    /// Moves the cells from `column` on to the right by `count`; what leaves the row is lost.
    pub(crate) fn insert(&mut self, column: usize, count: usize, pen: Pen) {
        let len = self.cells.len();
        let count = count.min(len - column);
        self.split_wide(column, pen);
        self.split_wide(len - count, pen);
        self.forget_marks(len - count, len);
        self.cells.copy_within(column..len - count, column + count);
        self.cells[column..column + count].fill(Cell::blank(pen));
        for (at, _) in &mut self.combining {
            if usize::from(*at) >= column {
                *at += count as u16;
            }
        }
        self.dirty = true;
    }

    /// Removes `count` cells at `column`; blanks come in at the right.
    pub(crate) fn delete(&mut self, column: usize, count: usize, pen: Pen) {
        let len = self.cells.len();
        let count = count.min(len - column);
        self.split_wide(column, pen);
        self.split_wide(column + count, pen);
        self.forget_marks(column, column + count);
        self.cells.copy_within(column + count..len, column);
        self.cells[len - count..].fill(Cell::blank(pen));
        for (at, _) in &mut self.combining {
            if usize::from(*at) >= column {
                *at -= count as u16;
            }
        }
        self.dirty = true;
    }

    /// Makes the row this long, cutting it or adding blanks.
    pub(crate) fn resize(&mut self, cols: usize) {
        self.split_wide(cols, Pen::default());
        self.forget_marks(cols, usize::MAX);
        self.cells.resize(cols, Cell::default());
        self.dirty = true;
    }

    /// Appends a copy of the cells `from..to` of another row.
    pub(crate) fn append(&mut self, other: &Row, from: usize, to: usize) {
        let offset = self.cells.len();
        self.cells.extend_from_slice(&other.cells[from..to]);
        for (at, text) in &other.combining {
            let at = usize::from(*at);
            if (from..to).contains(&at) {
                self.combining.push(((offset + at - from) as u16, text.clone()));
            }
        }
    }

    fn same_marks(&self, other: &Row) -> bool {
        self.cells
            .iter()
            .enumerate()
            .filter(|(_, cell)| cell.combined)
            .all(|(i, _)| self.marks(i) == other.marks(i))
    }
}

impl PartialEq for Row {
    /// Whether both look the same; what the renderer still has to draw doesn't count.
    fn eq(&self, other: &Row) -> bool {
        self.cells == other.cells && self.wrapped == other.wrapped && self.same_marks(other)
    }
}
