//! Frames: one kind byte, a little-endian `u32` length, then that many bytes.
//!
//! Used on the agent socket in both directions. The length is checked against
//! [`MAX`] before anything is allocated for it.

use thiserror::Error;

/// Bytes of a frame's head: kind and length.
pub const HEAD: usize = 5;

/// The longest payload a frame may carry, in bytes.
pub const MAX: usize = 1 << 20;

/// A frame that can't be what it claims to be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// The announced length is over [`MAX`].
    #[error("frame of {0} bytes is over the limit of {MAX}")]
    TooLong(usize),
    /// The payload does not have the shape its kind asks for.
    #[error("frame of kind {kind:#04x} is malformed")]
    Malformed {
        /// The frame's kind byte.
        kind: u8,
    },
    /// The kind is not known here.
    #[error("frame kind {0:#04x} is not known")]
    Unknown(u8),
}

/// Appends one frame to `out`.
///
/// # Panics
/// When `payload` is longer than [`MAX`]: senders cut their output in pieces.
pub fn write(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    assert!(payload.len() <= MAX, "frame payload over the limit");
    out.push(kind);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Reads a frame's head: its kind and the length of its payload.
pub fn head(bytes: [u8; HEAD]) -> Result<(u8, usize), FrameError> {
    let len = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
    if len > MAX { Err(FrameError::TooLong(len)) } else { Ok((bytes[0], len)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_kind_and_length() {
        let mut out = Vec::new();
        write(&mut out, 7, b"abc");
        assert_eq!(head(out[..HEAD].try_into().unwrap()), Ok((7, 3)));
        assert_eq!(&out[HEAD..], b"abc");
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_it_is_allocated() {
        assert_eq!(head([1, 255, 255, 255, 255]), Err(FrameError::TooLong(u32::MAX as usize)));
    }
}
