//! Character sets: ASCII, DEC special graphics, and the British pound sign.

/// What a designated set makes of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Charset {
    #[default]
    Ascii,
    /// Line drawing in place of lower-case letters.
    Graphics,
    /// `#` is the pound sign.
    British,
}

/// The four designated sets and the one in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Charsets {
    pub(crate) designated: [Charset; 4],
    /// Which of the four is in use, 0 to 3.
    pub(crate) active: u8,
}

impl Charsets {
    pub(crate) fn current(&self) -> Charset {
        self.designated[usize::from(self.active & 3)]
    }
}

impl Charset {
    /// The set that `ESC (` and this final byte designate.
    pub(crate) fn from_final(byte: u8) -> Charset {
        match byte {
            b'0' => Charset::Graphics,
            b'A' => Charset::British,
            _ => Charset::Ascii,
        }
    }

    /// The final byte that designates the set.
    pub(crate) fn final_byte(self) -> u8 {
        match self {
            Charset::Ascii => b'B',
            Charset::Graphics => b'0',
            Charset::British => b'A',
        }
    }

    pub(crate) fn map(self, character: char) -> char {
        match self {
            Charset::Ascii => character,
            Charset::British if character == '#' => '£',
            Charset::British => character,
            Charset::Graphics => match character {
                '`'..='~' => GRAPHICS[character as usize - '`' as usize],
                other => other,
            },
        }
    }
}

/// DEC special graphics, from the grave accent to the tilde.
const GRAPHICS: [char; 31] = [
    '◆', '▒', '␉', '␌', '␍', '␊', '°', '±', '␤', '␋', '┘', '┐', '┌', '└', '┼', '⎺', '⎻', '─', '⎼', '⎽', '├',
    '┤', '┴', '┬', '│', '≤', '≥', 'π', '≠', '£', '·',
];
