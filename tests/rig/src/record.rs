//! The world's record: a line for each packet that arrives on its link.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

/// Listens on the link and appends to the file from a thread of its own.
pub(crate) fn start(link: &str, record: &Path) -> Result<()> {
    let mut file = File::create(record).with_context(|| format!("cannot write {}", record.display()))?;
    let socket =
        socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
            .context("cannot open a packet socket")?;
    bind_to(&socket, if_nametoindex(link).context("the world has no link")?)?;
    thread::spawn(move || {
        let mut packet = vec![0; 65536];
        while let Ok(len) = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            if let Some(line) = describe(&packet[..len]) {
                // Without the record a test would pass for nothing: end instead.
                writeln!(file, "{line}").expect("the record can be written");
            }
        }
    });
    Ok(())
}

fn bind_to(socket: &OwnedFd, index: u32) -> Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: address is a sockaddr_ll of the length given.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
    };
    nix::errno::Errno::result(result).context("cannot bind the packet socket")?;
    Ok(())
}

/// `SOURCE > DESTINATION proto N`; `None` for what the link itself says: ARP,
/// and IPv6 to multicast (router and neighbour discovery).
fn describe(packet: &[u8]) -> Option<String> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => {
            let address =
                |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
            Some(line(address(12).into(), address(16).into(), packet[9]))
        }
        6 if packet.len() >= 40 => {
            let address = |at: usize| {
                let bytes: [u8; 16] = packet[at..at + 16].try_into().expect("sixteen bytes were taken");
                Ipv6Addr::from(bytes)
            };
            let neighbour_discovery = packet[6] == 58;
            (!neighbour_discovery).then(|| line(address(8).into(), address(24).into(), packet[6]))
        }
        _ => None,
    }
}

fn line(from: IpAddr, to: IpAddr, protocol: u8) -> String {
    format!("{from} > {to} proto {protocol}")
}
