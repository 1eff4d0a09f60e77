//! Modes that a program switches, and the cursor's look.

/// Which mouse events the program asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MouseTracking {
    /// None.
    #[default]
    Off,
    /// Button presses only (`?9`).
    Press,
    /// Presses and releases (`?1000`).
    Buttons,
    /// And movement while a button is down (`?1002`).
    Drag,
    /// And all movement (`?1003`).
    Motion,
}

/// How the program wants mouse events written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MouseEncoding {
    /// Three bytes after `CSI M`.
    #[default]
    Plain,
    /// `CSI <` with decimal numbers (`?1006`).
    Sgr,
    /// The same in pixels (`?1016`).
    SgrPixels,
}

/// The modes a program has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    /// Arrow keys send `ESC O` (`?1`).
    pub application_cursor: bool,
    /// The keypad sends `ESC O` (`ESC =`, `?66`).
    pub application_keypad: bool,
    /// Pastes are bracketed (`?2004`).
    pub bracketed_paste: bool,
    /// Focus is reported (`?1004`).
    pub focus_reports: bool,
    /// Which mouse events are asked for.
    pub mouse: MouseTracking,
    /// How they are written.
    pub mouse_encoding: MouseEncoding,
    /// New characters push the old ones right (`4`).
    pub insert: bool,
    /// A line feed also returns to the first column (`20`).
    pub newline: bool,
    /// Rows count from the scroll region's top (`?6`).
    pub origin: bool,
    /// Text goes on in the next row at the margin (`?7`).
    pub autowrap: bool,
    /// Backspace goes back over a soft wrap (`?45`).
    pub reverse_wrap: bool,
    /// The cursor is shown (`?25`).
    pub cursor_visible: bool,
    /// The program is in the middle of an update (`?2026`).
    pub synchronized: bool,
}

impl Default for Modes {
    fn default() -> Modes {
        Modes {
            application_cursor: false,
            application_keypad: false,
            bracketed_paste: false,
            focus_reports: false,
            mouse: MouseTracking::Off,
            mouse_encoding: MouseEncoding::Plain,
            insert: false,
            newline: false,
            origin: false,
            autowrap: true,
            reverse_wrap: false,
            cursor_visible: true,
            synchronized: false,
        }
    }
}

/// The cursor's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CursorShape {
    /// A filled cell.
    #[default]
    Block,
    /// A line under the cell.
    Underline,
    /// A line left of the cell.
    Bar,
}

/// The cursor's look as `DECSCUSR` set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorStyle {
    /// Its shape.
    pub shape: CursorShape,
    /// Whether it blinks.
    pub blinking: bool,
}

impl Default for CursorStyle {
    fn default() -> CursorStyle {
        CursorStyle { shape: CursorShape::Block, blinking: true }
    }
}

/// Where the cursor is and how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Column, from 0 to the last.
    pub x: u16,
    /// Row of the screen, from 0.
    pub y: u16,
    /// The next character goes to the next row.
    pub pending_wrap: bool,
    /// Whether it is shown.
    pub visible: bool,
    /// Its look.
    pub style: CursorStyle,
}
