//! Sockets of every family, and of every netlink protocol.

use std::{io, os::fd::FromRawFd};

/// The last address family and the last netlink protocol that are tried.
const FAMILY_LAST: i32 = 46;
const NETLINK_LAST: i32 = 31;

/// Asks for a socket of each kind.
pub(crate) fn try_all() {
    for family in 0..=FAMILY_LAST {
        // One of these types exists in each family that the kernel has.
        let types = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET];
        let made = types.iter().map(|kind| socket(family, *kind, 0)).reduce(io::Result::or);
        println!("family {family}={}", crate::result(made.unwrap_or(Ok(()))));
    }
    for protocol in 0..=NETLINK_LAST {
        let made = socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol);
        println!("netlink {protocol}={}", crate::result(made));
    }
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let made = unsafe { libc::socket(family, kind, protocol) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us.
    drop(unsafe { std::os::fd::OwnedFd::from_raw_fd(made) });
    Ok(())
}
