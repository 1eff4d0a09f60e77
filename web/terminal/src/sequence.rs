//! Follows where in an escape sequence the stream is, and keeps its beginning.
//!
//! The parser keeps its state to itself. A snapshot may be taken in the middle
//! of a sequence, though, so its bytes so far are kept here and end the dump.
//! The states are those of `vte`; only what changes them is looked at.

/// The most bytes of an unfinished sequence that are kept. What a longer one
/// goes on with is not given to the parser, so that the kept bytes always say
/// all that the parser knows.
const KEPT_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Ground,
    Escape,
    EscapeIntermediate,
    Csi,
    Osc,
    DcsEntry,
    DcsParam,
    DcsIntermediate,
    DcsPayload,
    /// SOS, PM, APC, or a DCS that can't be: nothing in it matters.
    Ignored,
}

/// The sequence that the stream is in, if it is in one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sequence {
    state: State,
    kept: Vec<u8>,
}

impl Sequence {
    pub(crate) fn is_ground(&self) -> bool {
        self.state == State::Ground
    }

    /// The bytes of the unfinished sequence that bring a fresh parser to the same state.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Takes bytes up to the sequence's end. Returns how many it took, and
    /// whether the parser should see them: they are all alike.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let first = self.is_for_parser(bytes[0]);
        let mut taken = 0;
        for byte in bytes {
            if self.is_for_parser(*byte) != first {
                break;
            }
            taken += 1;
            self.advance(*byte);
            if self.is_ground() {
                break;
            }
        }
        (taken, first)
    }

    /// Whether the parser has to see a byte: not the payload of a string that
    /// is ignored, nor what is too long to be kept.
    fn is_for_parser(&self, byte: u8) -> bool {
        match byte {
            0x18 | 0x1a | 0x1b => true,
            _ => match self.state {
                State::DcsPayload | State::Ignored => false,
                State::Osc if byte == 0x07 => true,
                State::Osc => byte >= 0x20 && self.kept.len() < KEPT_MAX,
                State::Csi | State::Escape | State::EscapeIntermediate => {
                    byte < 0x20 || (0x40..0x7f).contains(&byte) || self.kept.len() < KEPT_MAX
                }
                _ => (0x40..0x7f).contains(&byte) || self.kept.len() < KEPT_MAX,
            },
        }
    }

    fn advance(&mut self, byte: u8) {
        let next = self.next(byte);
        if byte == 0x1b {
            self.kept.clear();
            self.kept.push(byte);
        } else if next == State::Ground {
            self.kept.clear();
        } else if self.is_for_parser(byte) && byte >= 0x20 && self.kept.len() < KEPT_MAX {
            self.kept.push(byte);
        }
        self.state = next;
    }

    fn next(&self, byte: u8) -> State {
        match (self.state, byte) {
            (_, 0x1b) => State::Escape,
            (_, 0x18 | 0x1a) => State::Ground,
            (State::Escape, 0x20..=0x2f) => State::EscapeIntermediate,
            (State::Escape, b'P') => State::DcsEntry,
            (State::Escape, b'[') => State::Csi,
            (State::Escape, b']') => State::Osc,
            (State::Escape, b'X' | b'^' | b'_') => State::Ignored,
            (State::Escape | State::EscapeIntermediate, 0x30..=0x7e) => State::Ground,
            (State::Csi, 0x40..=0x7e) => State::Ground,
            (State::Osc, 0x07) => State::Ground,
            (State::DcsEntry | State::DcsParam | State::DcsIntermediate, 0x40..=0x7e) => State::DcsPayload,
            (State::DcsEntry | State::DcsParam, 0x20..=0x2f) => State::DcsIntermediate,
            (State::DcsEntry, 0x30..=0x3f) => State::DcsParam,
            (State::DcsParam, 0x3c..=0x3f) | (State::DcsIntermediate, 0x30..=0x3f) => State::Ignored,
            (state, _) => state,
        }
    }
}
