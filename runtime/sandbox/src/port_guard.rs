//! What may pass a bridge port: nftables' hooks `ingress` and `egress` of a link.
//!
//! A node's root makes any frame it likes. The port lets in what comes from the
//! node's own Ethernet and IPv4 address, and ARP that says so; no IPv6, so no
//! router advertisement; no answer of a DHCP server. Both ways it lets through
//! so many bytes a second, and a burst of one second's worth.
//!
//! Each port has a table of its own, named as the link, so that a batch
//! replaces it whole or not at all.

use std::{
    net::Ipv4Addr,
    os::fd::{BorrowedFd, OwnedFd},
};

use crate::{
    link::Mac,
    namespaces,
    nft::{
        APPEND, Batch, CREATE, DELETE_TABLE, EQUAL, NEW_CHAIN, NEW_RULE, NEW_TABLE, NOT_EQUAL, NftError,
        REGISTER, attribute, compare, expression, nested, number, open, string,
    },
};

const IN: &str = "in";
const OUT: &str = "out";
const HOOK_IN: u32 = 0;
const HOOK_OUT: u32 = 1;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

const LINK_HEADER: u32 = 0;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const META_PROTOCOL: u32 = 1;
const META_TRANSPORT: u32 = 16;
/// Ethernet and IPv4, in the first bytes of an ARP packet: RFC 826.
const ARP_OF_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const DHCP_SERVER: u16 = 67;
/// A packet may be this long before it is cut for the wire, and must fit.
const BURST: u32 = 256 * 1024;

/// A bridge port and whom it is for.
#[derive(Debug, Clone, Copy)]
pub struct Port<'a> {
    /// The link's name.
    pub name: &'a str,
    /// The only Ethernet address that may send.
    pub mac: Mac,
    /// The only IPv4 address that may send.
    pub address: Ipv4Addr,
    /// Bytes a second, each way.
    pub rate: u64,
}

/// Guards a port of this network namespace, in place of an earlier guard.
pub fn guard(netns: BorrowedFd<'_>, port: &Port<'_>) -> Result<(), NftError> {
    let mut batch = cleared(port.name);
    let (table, limit) = (string(1, port.name), [over(port.rate), drop_and_count()].concat());
    batch.add("a port's table", NEW_TABLE, CREATE, &table);
    batch.add("a port's chain in", NEW_CHAIN, CREATE, &chain(port.name, IN, HOOK_IN, DROP));
    batch.add("a port's chain out", NEW_CHAIN, CREATE, &chain(port.name, OUT, HOOK_OUT, ACCEPT));
    for rule in [foreign_ethernet(port.mac), limit.clone(), own_arp(port), dhcp_server(), own_packet(port)] {
        batch.add("a port's rule in", NEW_RULE, CREATE | APPEND, &in_chain(port.name, IN, &rule));
    }
    batch.add("a port's rule in", NEW_RULE, CREATE | APPEND, &in_chain(port.name, IN, &drop_and_count()));
    batch.add("a port's rule out", NEW_RULE, CREATE | APPEND, &in_chain(port.name, OUT, &limit));
    batch.send(&socket(netns)?)
}

/// Removes a port's guard; it is no error if there is none.
pub fn remove(netns: BorrowedFd<'_>, name: &str) -> Result<(), NftError> {
    cleared(name).send(&socket(netns)?)
}

fn socket(netns: BorrowedFd<'_>) -> Result<OwnedFd, NftError> {
    Ok(namespaces::in_network_namespace(netns, open)?)
}

/// A batch that begins with no table of this name.
fn cleared(name: &str) -> Batch {
    let mut batch = Batch::new(libc::NFPROTO_NETDEV);
    // Only what is there can be deleted.
    batch.add("a port's table", NEW_TABLE, CREATE, &string(1, name));
    batch.add("a port's old table", DELETE_TABLE, 0, &string(1, name));
    batch
}

/// A chain on the link that the table is named after.
fn chain(link: &str, name: &str, hook: u32, policy: u32) -> Vec<u8> {
    let hook = [number(1, hook), number(2, 0), string(3, link)].concat();
    [string(1, link), string(3, name), nested(4, &hook), number(5, policy), string(7, "filter")].concat()
}

fn in_chain(link: &str, chain: &str, expressions: &[u8]) -> Vec<u8> {
    [string(1, link), string(2, chain), nested(4, expressions)].concat()
}

fn foreign_ethernet(mac: Mac) -> Vec<u8> {
    [payload(LINK_HEADER, 6, 6), compare(NOT_EQUAL, &mac.0), drop_and_count()].concat()
}

fn own_arp(port: &Port<'_>) -> Vec<u8> {
    let sender = [&port.mac.0[..], &port.address.octets()].concat();
    [
        meta(META_PROTOCOL),
        compare(EQUAL, &(libc::ETH_P_ARP as u16).to_be_bytes()),
        payload(NETWORK_HEADER, 0, ARP_OF_IPV4.len() as u32),
        compare(EQUAL, &ARP_OF_IPV4),
        payload(NETWORK_HEADER, 8, sender.len() as u32),
        compare(EQUAL, &sender),
        verdict(ACCEPT),
    ]
    .concat()
}

fn dhcp_server() -> Vec<u8> {
    [
        meta(META_PROTOCOL),
        compare(EQUAL, &(libc::ETH_P_IP as u16).to_be_bytes()),
        meta(META_TRANSPORT),
        compare(EQUAL, &[libc::IPPROTO_UDP as u8]),
        payload(TRANSPORT_HEADER, 0, 2),
        compare(EQUAL, &DHCP_SERVER.to_be_bytes()),
        drop_and_count(),
    ]
    .concat()
}

fn own_packet(port: &Port<'_>) -> Vec<u8> {
    [
        meta(META_PROTOCOL),
        compare(EQUAL, &(libc::ETH_P_IP as u16).to_be_bytes()),
        payload(NETWORK_HEADER, 12, 4),
        compare(EQUAL, &port.address.octets()),
        verdict(ACCEPT),
    ]
    .concat()
}

/// Holds for packets that come when a second's bytes are used up.
fn over(rate: u64) -> Vec<u8> {
    const OF_BYTES: u32 = 1;
    const INVERTED: u32 = 1;
    let long = |kind, value: u64| attribute(kind, &value.to_be_bytes());
    let data = [long(1, rate), long(2, 1), number(3, BURST), number(4, OF_BYTES), number(5, INVERTED)];
    expression("limit", &data.concat())
}

fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
    let data = [number(1, REGISTER), number(2, base), number(3, offset), number(4, length)];
    expression("payload", &data.concat())
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(1, REGISTER), number(2, key)].concat())
}

fn drop_and_count() -> Vec<u8> {
    [expression("counter", &[]), verdict(DROP)].concat()
}

fn verdict(code: u32) -> Vec<u8> {
    const VERDICT_REGISTER: u32 = 0;
    let data = nested(2, &nested(2, &number(1, code)));
    expression("immediate", &[number(1, VERDICT_REGISTER), data].concat())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const PORT: Port<'_> = Port {
        name: "n11",
        mac: Mac([2, 0x42, 192, 168, 0, 11]),
        address: Ipv4Addr::new(192, 168, 0, 11),
        rate: 1 << 20,
    };

    /// Needs root and iproute2: it makes a network namespace of its own.
    #[test]
    fn the_kernel_takes_a_guard_twice_and_lets_go_of_it() {
        let netns = namespaces::new_network_namespace(|| {
            let made = Command::new("ip").args(["link", "add", "n11", "type", "veth"]).status()?;
            assert!(made.success(), "this test needs root and iproute2");
            Ok(())
        });
        let netns = netns.expect("this test needs root");
        let netns = std::os::fd::AsFd::as_fd(&netns);
        guard(netns, &PORT).unwrap();
        guard(netns, &PORT).unwrap();
        remove(netns, PORT.name).unwrap();
        remove(netns, PORT.name).unwrap();
    }
}
