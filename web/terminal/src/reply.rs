//! Answers to what a program asks. Numbers and fixed words only: nothing that
//! a program printed is ever sent back to a shell.

use crate::modes::{Modes, MouseEncoding, MouseTracking};
use crate::screen::Screen;

impl Screen {
    /// `DA1`: a VT220 with colour.
    pub(crate) fn report_attributes(&mut self) {
        self.answer(b"\x1b[?62;22c");
    }

    /// `DA2`: what xterm.js says, so that programs expect what it can do.
    pub(crate) fn report_version(&mut self) {
        self.answer(b"\x1b[>0;276;0c");
    }

    /// `XTVERSION`: the name.
    pub(crate) fn report_name(&mut self) {
        self.answer(b"\x1bP>|drydock\x1b\\");
    }

    /// `DSR`: that all is well, or where the cursor is.
    pub(crate) fn report_status(&mut self, code: u16, private: bool) {
        match code {
            5 if !private => self.answer(b"\x1b[0n"),
            6 => {
                let buffer = self.buffer();
                let top = if self.modes.origin { buffer.top } else { 0 };
                let (x, y) = (buffer.x.min(buffer.cols - 1) + 1, buffer.y.saturating_sub(top) + 1);
                let mark = if private { "?" } else { "" };
                self.answer(format!("\x1b[{mark}{y};{x}R").as_bytes());
            }
            _ => {}
        }
    }

    /// `DECRQSS`: never answered with content.
    pub(crate) fn report_setting(&mut self) {
        self.answer(b"\x1bP0$r\x1b\\");
    }

    /// The size in cells, `CSI 18 t`.
    pub(crate) fn report_size(&mut self) {
        let (cols, height) = (self.main.cols, self.main.height);
        self.answer(format!("\x1b[8;{height};{cols}t").as_bytes());
    }

    /// `DECRQM`: whether a mode is set.
    pub(crate) fn report_mode(&mut self, mode: u16, private: bool) {
        let state = if private { self.private_mode_state(mode) } else { self.ansi_mode_state(mode) };
        let mark = if private { "?" } else { "" };
        self.answer(format!("\x1b[{mark}{mode};{state}$y").as_bytes());
    }

    fn ansi_mode_state(&self, mode: u16) -> u8 {
        match mode {
            2 => 4,
            4 => set_or_reset(self.modes.insert),
            12 => 3,
            20 => set_or_reset(self.modes.newline),
            _ => 0,
        }
    }

    fn private_mode_state(&self, mode: u16) -> u8 {
        let Modes { mouse, mouse_encoding, .. } = self.modes;
        match mode {
            1 => set_or_reset(self.modes.application_cursor),
            6 => set_or_reset(self.modes.origin),
            7 => set_or_reset(self.modes.autowrap),
            8 => 3,
            9 => set_or_reset(mouse == MouseTracking::Press),
            12 => set_or_reset(self.cursor_style.blinking),
            25 => set_or_reset(self.modes.cursor_visible),
            45 => set_or_reset(self.modes.reverse_wrap),
            47 | 1047 | 1049 => set_or_reset(self.alternate.is_some()),
            66 => set_or_reset(self.modes.application_keypad),
            67 | 1005 | 1015 => 4,
            1000 => set_or_reset(mouse == MouseTracking::Buttons),
            1002 => set_or_reset(mouse == MouseTracking::Drag),
            1003 => set_or_reset(mouse == MouseTracking::Motion),
            1004 => set_or_reset(self.modes.focus_reports),
            1006 => set_or_reset(mouse_encoding == MouseEncoding::Sgr),
            1016 => set_or_reset(mouse_encoding == MouseEncoding::SgrPixels),
            1048 => 1,
            2004 => set_or_reset(self.modes.bracketed_paste),
            2026 => set_or_reset(self.modes.synchronized),
            _ => 0,
        }
    }
}

fn set_or_reset(set: bool) -> u8 {
    if set { 1 } else { 2 }
}
