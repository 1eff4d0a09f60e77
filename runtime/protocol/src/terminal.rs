//! A terminal's frames, between PID 1 and whoever looks at the terminal.
//!
//! On the agent socket they are [`crate::frame`]s; on a WebSocket each is one
//! binary message: the kind byte, then the payload. Offsets count the bytes of
//! the terminal's output stream since it began, so that a viewer can say how
//! far it has read and PID 1 can hold a program back.

use crate::frame::FrameError;

/// A terminal's size in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Size {
    /// Columns, 1 to 1000.
    pub cols: u16,
    /// Rows, 1 to 1000.
    pub rows: u16,
}

impl Size {
    /// The size, brought into the bounds that a terminal accepts.
    pub fn clamped(self) -> Size {
        Size { cols: self.cols.clamp(2, 1000), rows: self.rows.clamp(1, 1000) }
    }
}

/// WebSocket close code (RFC 6455, IANA's registry): the server is started again.
pub const CLOSE_RESTART: u16 = 1012;

/// The reason that goes with [`CLOSE_RESTART`]: when to come back.
pub fn back_in(seconds: u32) -> String {
    format!("the server is started again; back in {seconds} s")
}

/// The seconds of a reason made by [`back_in`].
pub fn seconds_of(reason: &str) -> Option<u32> {
    reason.rsplit_once("back in ")?.1.strip_suffix(" s")?.parse().ok()
}

/// What PID 1 tells a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToViewer {
    /// The whole screen as VT bytes, valid at `offset`. Feed it to a fresh
    /// terminal of `size`. Always the first frame.
    Snapshot {
        /// Where the stream goes on after this snapshot.
        offset: u64,
        /// The size the snapshot was taken at.
        size: Size,
        /// Bytes that draw the screen, its scrollback, modes and title.
        bytes: Vec<u8>,
    },
    /// Bytes the program printed. The offset grows by their number.
    Output(Vec<u8>),
    /// The terminal has this size from here on; an event in the stream.
    Resized(Size),
    /// The terminal's program ended with this exit status; nothing follows.
    Ended(i32),
    /// The viewer can't be served, in words; nothing follows.
    Refused(String),
}

/// What a viewer tells PID 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromViewer {
    /// Bytes typed. The viewer that types decides the size.
    Input(Vec<u8>),
    /// The size this viewer has room for.
    Resize(Size),
    /// All output up to this offset was taken in. The program is held back
    /// while an attached viewer is more than [`WINDOW`] bytes behind.
    Ack(u64),
}

/// How many bytes of output may be on their way to a viewer.
pub const WINDOW: u64 = 512 * 1024;

/// The longest `Output` or `Input` payload that is sent, in bytes.
pub const CHUNK: usize = 64 * 1024;

const SNAPSHOT: u8 = 0x01;
const OUTPUT: u8 = 0x02;
const RESIZED: u8 = 0x03;
const ENDED: u8 = 0x04;
const REFUSED: u8 = 0x05;
const INPUT: u8 = 0x11;
const RESIZE: u8 = 0x12;
const ACK: u8 = 0x13;

fn size_from(kind: u8, bytes: &[u8]) -> Result<Size, FrameError> {
    match bytes {
        [a, b, c, d] => Ok(Size { cols: u16::from_le_bytes([*a, *b]), rows: u16::from_le_bytes([*c, *d]) }),
        _ => Err(FrameError::Malformed { kind }),
    }
}

fn size_to(size: Size) -> [u8; 4] {
    let [a, b] = size.cols.to_le_bytes();
    let [c, d] = size.rows.to_le_bytes();
    [a, b, c, d]
}

impl ToViewer {
    /// The frame's kind byte and payload.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            ToViewer::Snapshot { offset, size, bytes } => {
                let mut out = Vec::with_capacity(12 + bytes.len());
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(&size_to(*size));
                out.extend_from_slice(bytes);
                (SNAPSHOT, out)
            }
            ToViewer::Output(bytes) => (OUTPUT, bytes.clone()),
            ToViewer::Resized(size) => (RESIZED, size_to(*size).to_vec()),
            ToViewer::Ended(status) => (ENDED, status.to_le_bytes().to_vec()),
            ToViewer::Refused(why) => (REFUSED, why.clone().into_bytes()),
        }
    }

    /// Reads a frame; the counterpart of [`ToViewer::encode`].
    pub fn decode(kind: u8, payload: &[u8]) -> Result<ToViewer, FrameError> {
        let malformed = FrameError::Malformed { kind };
        match kind {
            SNAPSHOT => {
                let (head, bytes) = payload.split_at_checked(12).ok_or(malformed)?;
                let (offset, size) = head.split_at(8);
                let offset = u64::from_le_bytes(offset.try_into().expect("eight bytes were split off"));
                Ok(ToViewer::Snapshot { offset, size: size_from(kind, size)?, bytes: bytes.to_vec() })
            }
            OUTPUT => Ok(ToViewer::Output(payload.to_vec())),
            RESIZED => Ok(ToViewer::Resized(size_from(kind, payload)?)),
            ENDED => Ok(ToViewer::Ended(i32::from_le_bytes(payload.try_into().map_err(|_| malformed)?))),
            REFUSED => Ok(ToViewer::Refused(String::from_utf8_lossy(payload).into_owned())),
            other => Err(FrameError::Unknown(other)),
        }
    }
}

impl FromViewer {
    /// The frame's kind byte and payload.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            FromViewer::Input(bytes) => (INPUT, bytes.clone()),
            FromViewer::Resize(size) => (RESIZE, size_to(*size).to_vec()),
            FromViewer::Ack(offset) => (ACK, offset.to_le_bytes().to_vec()),
        }
    }

    /// Reads a frame; the counterpart of [`FromViewer::encode`].
    pub fn decode(kind: u8, payload: &[u8]) -> Result<FromViewer, FrameError> {
        match kind {
            INPUT => Ok(FromViewer::Input(payload.to_vec())),
            RESIZE => Ok(FromViewer::Resize(size_from(kind, payload)?)),
            ACK => Ok(FromViewer::Ack(u64::from_le_bytes(
                payload.try_into().map_err(|_| FrameError::Malformed { kind })?,
            ))),
            other => Err(FrameError::Unknown(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goodbye_says_when_to_come_back() {
        assert_eq!(seconds_of(&back_in(7)), Some(7));
        assert_eq!(seconds_of("the node closed the terminal"), None);
    }

    #[test]
    fn frames_come_back_as_they_went() {
        let size = Size { cols: 120, rows: 40 };
        for frame in [
            ToViewer::Snapshot { offset: u64::MAX, size, bytes: b"\x1b[H".to_vec() },
            ToViewer::Output(b"hello".to_vec()),
            ToViewer::Resized(size),
            ToViewer::Ended(-9),
            ToViewer::Refused("no such terminal".into()),
        ] {
            let (kind, payload) = frame.encode();
            assert_eq!(ToViewer::decode(kind, &payload), Ok(frame));
        }
        for frame in [FromViewer::Input(b"ls\r".to_vec()), FromViewer::Resize(size), FromViewer::Ack(7)] {
            let (kind, payload) = frame.encode();
            assert_eq!(FromViewer::decode(kind, &payload), Ok(frame));
        }
    }

    #[test]
    fn short_payloads_are_errors() {
        assert!(ToViewer::decode(SNAPSHOT, b"short").is_err());
        assert!(FromViewer::decode(ACK, b"").is_err());
        assert!(FromViewer::decode(RESIZE, b"abcde").is_err());
    }
}
