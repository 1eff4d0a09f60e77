//! A terminal's screen as PID 1 keeps it.

use drydock_protocol::{frame, terminal::Size};
use drydock_terminal::Terminal;

/// Lines of scrollback that a new viewer gets.
const SCROLLBACK: usize = 1000;
/// A screen may be this large: eight of them fit PID 1's memory.
const LARGEST: Size = Size { cols: 500, rows: 300 };
/// The longest snapshot: a frame, less the snapshot's own head.
const SNAPSHOT_MAX: usize = frame::MAX - 12;

/// What a program has drawn.
pub(crate) struct Screen(Terminal);

/// The size that a viewer gets when it asks for this one.
pub(crate) fn allowed(size: Size) -> Size {
    let size = size.clamped();
    Size { cols: size.cols.min(LARGEST.cols), rows: size.rows.min(LARGEST.rows) }
}

impl Screen {
    pub(crate) fn new(size: Size) -> Screen {
        Screen(Terminal::new(size.cols, size.rows, SCROLLBACK))
    }

    /// Takes in output and returns what the program is to read as answers.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.feed(bytes);
        // Nobody here draws; the lists must not grow all the same.
        let _ = self.0.take_changes();
        let _ = self.0.take_marks();
        self.0.take_replies()
    }

    pub(crate) fn resize(&mut self, size: Size) {
        self.0.resize(size.cols, size.rows);
    }

    /// The screen as VT bytes that fit a frame: with all its scrollback, or as
    /// much of it as fits, or in the worst case as plain text.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut dump = self.0.dump();
        let (cols, rows) = self.0.size();
        for lines in [SCROLLBACK / 4, 0] {
            if dump.len() <= SNAPSHOT_MAX {
                return dump;
            }
            dump = Terminal::from_dump(cols, rows, lines, &dump).dump();
        }
        if dump.len() > SNAPSHOT_MAX {
            dump = self.0.text().join("\r\n").into_bytes();
            dump.truncate(SNAPSHOT_MAX);
        }
        dump
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_fits_a_frame_however_colourful_the_screen() {
        let size = allowed(Size { cols: 1000, rows: 1000 });
        assert_eq!(size, LARGEST);
        let mut screen = Screen::new(size);
        for row in 0..2000u32 {
            let mut line = String::new();
            for col in 0..u32::from(size.cols) {
                line.push_str(&format!("\x1b[38;2;{};{};{}mx", row % 256, col % 256, (row + col) % 256));
            }
            screen.feed(line.as_bytes());
        }
        assert!(screen.snapshot().len() <= SNAPSHOT_MAX);
    }

    #[test]
    fn queries_are_answered_once() {
        let mut screen = Screen::new(Size { cols: 80, rows: 24 });
        assert_eq!(screen.feed(b"ab\x1b[6n"), b"\x1b[1;3R");
        assert!(screen.feed(b"c").is_empty());
    }
}
