//! Packet filter rules by nftables' netlink protocol.
//!
//! A table of ours with masquerading for a bridge, and the parts that other
//! tables are built of. A batch replaces a table whole or not at all.

use std::{
    io,
    net::Ipv4Addr,
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

/// The table's name.
const TABLE: &str = "drydock";
const CHAIN: &str = "postrouting";
/// `NF_IP_PRI_NAT_SRC`: after all that may still change the packet.
const PRIORITY_SOURCE_NAT: i32 = 100;
const POSTROUTING: u32 = 4;

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

/// Gives packets from a bridge's network that leave by another link the
/// sender's address of that link.
pub fn masquerade(bridge: &str, (network, prefix): (Ipv4Addr, u8)) -> Result<(), NftError> {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    let mut batch = Batch::new(libc::NFPROTO_IPV4);
    batch.add("its table", NEW_TABLE, CREATE, &string(1, TABLE));
    // What an earlier engine left goes first.
    batch.add("its old table", DELETE_TABLE, 0, &string(1, TABLE));
    batch.add("its table", NEW_TABLE, CREATE, &string(1, TABLE));
    let hook = [number(1, POSTROUTING), number(2, PRIORITY_SOURCE_NAT as u32)].concat();
    let chain = [string(1, TABLE), string(3, CHAIN), nested(4, &hook), string(7, "nat")].concat();
    batch.add("its chain", NEW_CHAIN, CREATE, &chain);
    let expressions = [
        source_address(),
        bitwise(mask),
        compare(EQUAL, &(u32::from(network) & mask).to_be_bytes()),
        output_link(),
        compare(NOT_EQUAL, &link_name(bridge)),
        expression("masq", &[]),
    ]
    .concat();
    let rule = [string(1, TABLE), string(2, CHAIN), nested(4, &expressions)].concat();
    batch.add("its rule", NEW_RULE, CREATE | APPEND, &rule);
    batch.send(&open()?)
}

pub(crate) const EQUAL: u32 = 0;
pub(crate) const NOT_EQUAL: u32 = 1;

/// Loads the packet's source address: 4 bytes at 12 of the network header.
fn source_address() -> Vec<u8> {
    expression("payload", &[number(1, REGISTER), number(2, 1), number(3, 12), number(4, 4)].concat())
}

fn bitwise(mask: u32) -> Vec<u8> {
    let data = [
        number(1, REGISTER),
        number(2, REGISTER),
        number(3, 4),
        nested(4, &attribute(1, &mask.to_be_bytes())),
        nested(5, &attribute(1, &[0; 4])),
    ];
    expression("bitwise", &data.concat())
}

/// Loads the name of the link that the packet leaves by.
fn output_link() -> Vec<u8> {
    expression("meta", &[number(1, REGISTER), number(2, 7)].concat())
}

pub(crate) fn compare(how: u32, value: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, REGISTER), number(2, how), nested(3, &attribute(1, value))].concat())
}

fn link_name(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    for (place, byte) in padded.iter_mut().take(15).zip(name.bytes()) {
        *place = byte;
    }
    padded
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

    /// Needs root: it makes a network namespace of its own.
    #[test]
    fn the_kernel_takes_the_table_twice() {
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("this test needs root");
            for _ in 0..2 {
                masquerade("docker0", (Ipv4Addr::new(172, 17, 0, 0), 16)).unwrap();
            }
        })
        .join()
        .unwrap();
    }
}
