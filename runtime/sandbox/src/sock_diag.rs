//! Listening TCP sockets: sock_diag(7). Unlike for `/proc/net/tcp`, the kernel
//! looks at listening sockets alone, not at all connections of the machine.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// `SOCK_DIAG_BY_FAMILY`, the type of requests and answers.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
/// The state LISTEN as a bit.
const LISTEN: u32 = 1 << 10;
/// Bytes of a netlink message's head.
const HEAD: usize = 16;
/// A request's whole length: the head and `struct inet_diag_req_v2`.
const REQUEST: u32 = 72;
/// The least that an answer holds: the head and `struct inet_diag_msg` up to
/// its source address.
const ANSWER: usize = HEAD + 24;
/// The most messages that are read for one question.
const READS_MAX: usize = 64;

/// The addresses that TCP sockets of the caller's network namespace listen on.
/// Of very many, the first some.
pub fn listening() -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        ask(family as u8, &mut found)?;
    }
    Ok(found)
}

/// Each question has a socket of its own: an answer that is not read to its end
/// goes with it.
fn ask(family: u8, found: &mut Vec<SocketAddr>) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?;
    send(socket.as_raw_fd(), &request(family), MsgFlags::empty())?;
    let mut buffer = vec![0; 32 * 1024];
    for _ in 0..READS_MAX {
        // The kernel writes each part of its answer when it is asked for.
        let count = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if read(&buffer[..count], found)? {
            break;
        }
    }
    Ok(())
}

fn request(family: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST as usize);
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(LISTEN.to_ne_bytes());
    bytes.resize(REQUEST as usize, 0);
    bytes
}

/// Takes the sockets out of an answer; whether it was the last.
fn read(mut bytes: &[u8], found: &mut Vec<SocketAddr>) -> io::Result<bool> {
    while let Some(head) = bytes.first_chunk::<HEAD>() {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let message = bytes.get(..length).filter(|_| length >= HEAD).ok_or(io::ErrorKind::InvalidData)?;
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let code = message.get(HEAD..HEAD + 4).and_then(|code| code.try_into().ok());
                let code = i32::from_ne_bytes(code.ok_or(io::ErrorKind::InvalidData)?);
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            BY_FAMILY => found.extend(socket_of(message)),
            _ => {}
        }
        // Each message begins at a multiple of four.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// `struct inet_diag_msg`: family, three bytes, then `struct inet_diag_sockid`:
/// the ports and the source address.
fn socket_of(message: &[u8]) -> Option<SocketAddr> {
    let body = message.get(HEAD..).filter(|_| message.len() >= ANSWER)?;
    let port = u16::from_be_bytes([body[4], body[5]]);
    let source: [u8; 16] = body[8..24].try_into().ok()?;
    let address = match i32::from(body[0]) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::new(source[0], source[1], source[2], source[3])),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(source)),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn listeners_are_found_and_connections_are_not() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = four.local_addr().unwrap();
        let six = TcpListener::bind("[::]:0").unwrap().local_addr().ok();
        let client = std::net::TcpStream::connect(address).unwrap();
        let found = listening().unwrap();
        assert!(found.contains(&address), "{found:?}");
        assert!(!found.contains(&client.local_addr().unwrap()));
        drop(four);
        let found = listening().unwrap();
        assert!(!found.contains(&address));
        assert!(six.is_none_or(|six| !found.contains(&six)), "it was closed at once");
    }

    #[test]
    fn hundreds_of_listeners_are_all_found() {
        let all: Vec<_> = (0..500).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let found = listening().unwrap();
        for listener in &all {
            assert!(found.contains(&listener.local_addr().unwrap()));
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let mut found = Vec::new();
        assert!(read(&[1; 20], &mut found).is_err());
        assert!(!read(&[], &mut found).unwrap());
        let mut short = vec![0; HEAD];
        short[..4].copy_from_slice(&(HEAD as u32).to_ne_bytes());
        short[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        assert!(!read(&short, &mut found).unwrap());
        assert_eq!(found, []);
    }
}
