//! Packet filter rules by nftables' netlink protocol.
//!
//! What tables are built of: attributes, expressions, and batches, of which the
//! kernel takes all or nothing.

pub mod bridges;
mod expression;

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use thiserror::Error;

use crate::namespaces::NamespaceError;

/// Rules could not be set.
#[derive(Debug, Error)]
pub enum NftError {
    /// The socket failed.
    #[error("talking to the packet filter failed: {0}")]
    Socket(#[from] io::Error),
    /// The network namespace could not be entered.
    #[error("cannot reach the packet filter of another network namespace: {0}")]
    Namespace(#[from] NamespaceError),
    /// The kernel refused a part of the batch.
    #[error("the packet filter refused {what}: {source}")]
    Refused {
        /// Which part.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
pub(crate) const NEW_TABLE: u16 = 0;
pub(crate) const DELETE_TABLE: u16 = 2;
pub(crate) const NEW_CHAIN: u16 = 3;
pub(crate) const NEW_RULE: u16 = 6;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;

const NESTED: u16 = 1 << 15;
/// The first register of 16 bytes.
pub(crate) const REGISTER: u32 = 1;

pub(crate) const EQUAL: u32 = 0;
pub(crate) const NOT_EQUAL: u32 = 1;

pub(crate) fn compare(how: u32, value: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, REGISTER), number(2, how), nested(3, &attribute(1, value))].concat())
}

pub(crate) fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    nested(1, &[string(1, name), nested(2, data)].concat())
}

pub(crate) fn string(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

pub(crate) fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

pub(crate) fn nested(kind: u16, inner: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, inner)
}

/// A netlink attribute: length, kind, value, padded to four bytes.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Messages that the kernel takes all or none of.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// `NFPROTO_…` of all of them.
    family: u8,
    /// What each message is, from number 1 on.
    parts: Vec<&'static str>,
}

impl Batch {
    pub(crate) fn new(family: libc::c_int) -> Batch {
        let mut bytes = Vec::new();
        message(&mut bytes, BATCH_BEGIN, REQUEST, 0, (0, SUBSYSTEM), &[]);
        Batch { bytes, family: family as u8, parts: Vec::new() }
    }

    pub(crate) fn add(&mut self, what: &'static str, kind: u16, flags: u16, attributes: &[u8]) {
        self.parts.push(what);
        let number = self.parts.len() as u32;
        let family = self.family;
        message(
            &mut self.bytes,
            SUBSYSTEM << 8 | kind,
            REQUEST | ACK | flags,
            number,
            (family, 0),
            attributes,
        );
    }

    /// Sends it to the network namespace that the socket was opened in.
    pub(crate) fn send(mut self, socket: &OwnedFd) -> Result<(), NftError> {
        message(&mut self.bytes, BATCH_END, REQUEST, 0, (0, SUBSYSTEM), &[]);
        // SAFETY: the kernel reads `bytes`, which live for the call.
        let sent = unsafe { libc::send(socket.as_raw_fd(), self.bytes.as_ptr().cast(), self.bytes.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error().into());
        }
        let mut missing = self.parts.len();
        while missing > 0 {
            missing = missing.saturating_sub(self.answers(socket)?);
        }
        Ok(())
    }

    /// Reads answers, which are there when the batch is sent; how many.
    fn answers(&self, socket: &OwnedFd) -> Result<usize, NftError> {
        let mut buffer = [0u8; 16 * 1024];
        // SAFETY: the kernel writes at most the buffer's length into it.
        let read = unsafe {
            libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
        };
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        let mut rest = &buffer[..read];
        let mut count = 0;
        while rest.len() >= 20 {
            let field = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
            let length = field(0) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            if kind == libc::NLMSG_ERROR as u16 {
                let error = field(16) as i32;
                if error != 0 {
                    let what =
                        self.parts.get((field(8) as usize).wrapping_sub(1)).copied().unwrap_or("the batch");
                    return Err(NftError::Refused { what, source: io::Error::from_raw_os_error(-error) });
                }
                count += 1;
            }
            rest = rest.get(length.next_multiple_of(4).max(16)..).unwrap_or(&[]);
        }
        Ok(count)
    }
}

/// Appends a message: netlink's head, nfnetlink's head, attributes.
fn message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    number: u32,
    (family, subject): (u8, u16),
    rest: &[u8],
) {
    bytes.extend_from_slice(&((20 + rest.len()) as u32).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&number.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&subject.to_be_bytes());
    bytes.extend_from_slice(rest);
}

/// A socket to the packet filter of the caller's network namespace.
pub(crate) fn open() -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes numbers and makes a new descriptor.
    let socket = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_NETFILTER)
    };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded() {
        assert_eq!(attribute(1, b"abcde"), [9, 0, 1, 0, b'a', b'b', b'c', b'd', b'e', 0, 0, 0]);
    }
}
