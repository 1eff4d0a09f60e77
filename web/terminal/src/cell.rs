//! One cell of the screen, and the pen that wrote it.

/// A colour as the program named it; the viewer's palette decides what it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Color {
    /// The terminal's own foreground or background.
    #[default]
    Default,
    /// One of the 256: 0-15 from the palette, then the colour cube, then greys.
    Indexed(u8),
    /// Red, green, blue.
    Rgb(u8, u8, u8),
}

/// How a cell is underlined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Underline {
    /// Not at all.
    #[default]
    None,
    /// One line.
    Single,
    /// Two lines.
    Double,
    /// A wave.
    Curly,
    /// Dots.
    Dotted,
    /// Dashes.
    Dashed,
}

/// The attributes of a pen but for colours, packed in 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Attrs(u16);

impl Attrs {
    /// Bold.
    pub const BOLD: Attrs = Attrs(1);
    /// Dim, or faint.
    pub const DIM: Attrs = Attrs(1 << 1);
    /// Italic.
    pub const ITALIC: Attrs = Attrs(1 << 2);
    /// Blinking.
    pub const BLINK: Attrs = Attrs(1 << 3);
    /// Foreground and background change places.
    pub const INVERSE: Attrs = Attrs(1 << 4);
    /// Not shown.
    pub const INVISIBLE: Attrs = Attrs(1 << 5);
    /// Struck through.
    pub const STRIKE: Attrs = Attrs(1 << 6);
    /// A line above.
    pub const OVERLINE: Attrs = Attrs(1 << 7);
    const UNDERLINE_SHIFT: u16 = 8;
    const UNDERLINE_MASK: u16 = 7 << Self::UNDERLINE_SHIFT;

    /// Whether all of `other` is set here.
    pub fn contains(self, other: Attrs) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and `other`.
    #[must_use]
    pub fn with(self, other: Attrs) -> Attrs {
        Attrs(self.0 | other.0)
    }

    /// These but for `other`.
    #[must_use]
    pub fn without(self, other: Attrs) -> Attrs {
        Attrs(self.0 & !other.0)
    }

    /// How the cell is underlined.
    pub fn underline(self) -> Underline {
        match (self.0 & Self::UNDERLINE_MASK) >> Self::UNDERLINE_SHIFT {
            1 => Underline::Single,
            2 => Underline::Double,
            3 => Underline::Curly,
            4 => Underline::Dotted,
            5 => Underline::Dashed,
            _ => Underline::None,
        }
    }

    /// These with another underline.
    #[must_use]
    pub fn with_underline(self, underline: Underline) -> Attrs {
        Attrs(self.0 & !Self::UNDERLINE_MASK | (underline as u16) << Self::UNDERLINE_SHIFT)
    }
}

/// How characters are written: colours and attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Pen {
    /// Colour of the text.
    pub fg: Color,
    /// Colour behind the text.
    pub bg: Color,
    /// Colour of the underline; `Default` is that of the text.
    pub underline_color: Color,
    /// Everything else.
    pub attrs: Attrs,
}

impl Pen {
    /// What erasing with this pen leaves: its background alone.
    #[must_use]
    pub fn erasing(self) -> Pen {
        Pen { bg: self.bg, ..Pen::default() }
    }
}

/// One cell. `'\0'` stands for a cell nothing was written to.
///
/// A wide character is two cells: the first of width 2, the second of width 0
/// and without a character. Neither is ever seen without the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub(crate) character: char,
    pub(crate) pen: Pen,
    pub(crate) width: u8,
    /// Whether the row keeps combining characters for this cell.
    pub(crate) combined: bool,
}

impl Cell {
    /// A cell nothing was written to, in this pen.
    pub(crate) fn blank(pen: Pen) -> Cell {
        Cell { character: '\0', pen, width: 1, combined: false }
    }

    /// The cell's character, `'\0'` if it has none.
    pub fn character(&self) -> char {
        self.character
    }

    /// How it was written.
    pub fn pen(&self) -> Pen {
        self.pen
    }

    /// 1, 2 for the first cell of a wide character, 0 for its second.
    pub fn width(&self) -> u8 {
        self.width
    }

    /// Whether combining characters belong to it; [`crate::Row::marks`] has them.
    pub fn is_combined(&self) -> bool {
        self.combined
    }

    /// Whether a character was written to it.
    pub fn has_content(&self) -> bool {
        self.character != '\0'
    }
}

impl Default for Cell {
    fn default() -> Cell {
        Cell::blank(Pen::default())
    }
}
