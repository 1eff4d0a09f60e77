//! A node's rules for its bridges and for published ports.
//!
//! One table. Which ports lead where stands in two maps, so that a port is
//! opened and closed by one element, whatever else there is:
//!
//! | chain | what it does |
//! | --- | --- |
//! | `raw` | nothing from outside is for 127.0.0.0/8, though `route_localnet` is on |
//! | `prerouting`, `output` | what is for a published port of ours goes to its container |
//! | `forward` | bridges don't reach each other, nor is a port reached that isn't published |
//! | `postrouting` | what leaves a bridge gets our address; so does what comes back into it |

use std::net::Ipv4Addr;

use super::{
    APPEND, Batch, CREATE, DELETE_TABLE, NEW_CHAIN, NEW_RULE, NEW_TABLE, NftError, attribute,
    expression::{
        FIRST, Fate, SECOND, THIRD, came_by, constant, divert, from, in_state, leaves_by, load_destination,
        load_port, load_protocol, look_up, masquerade, to, to_port, to_us, tracked_as, verdict,
    },
    nested, number, open, string,
};

/// The table's name.
const TABLE: &str = "drydock";
/// Ports that are open at every address: protocol and port.
const ANYWHERE: &str = "ports";
/// Ports that are open at one address: address, protocol and port.
const SOMEWHERE: &str = "ports_at";

const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;

const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
/// `NF_IP_PRI_*`: the order in which a hook's chains run.
const RAW: i32 = -300;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

/// Bits of a tracked connection: its destination was changed; it is known.
const STATUS_DIVERTED: u32 = 1 << 5;
const STATE_KNOWN: u32 = 1 << 1 | 1 << 2;

/// Elements in one message, whose length is 16 bits.
const ELEMENTS_MAX: usize = 500;

/// A bridge with containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The link's name.
    pub name: String,
    /// Its network: address and prefix length.
    pub network: (Ipv4Addr, u8),
    /// Nothing gets in or out.
    pub internal: bool,
    /// What leaves gets the node's address.
    pub masquerade: bool,
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Forward {
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub protocol: u8,
    /// The node's address; `0.0.0.0` for all.
    pub address: Ipv4Addr,
    /// The node's port.
    pub port: u16,
    /// The container's address and port.
    pub to: (Ipv4Addr, u16),
}

/// Sets the rules of the calling thread's namespace, in place of all earlier
/// ones.
pub fn replace(bridges: &[Bridge], forwards: &[Forward]) -> Result<(), NftError> {
    let mut batch = Batch::new(libc::NFPROTO_IPV4);
    new_table(&mut batch);
    map(&mut batch, ANYWHERE, 1, &[PROTOCOL, PORT]);
    map(&mut batch, SOMEWHERE, 2, &[ADDRESS, PROTOCOL, PORT]);
    chain(&mut batch, "raw", "filter", PREROUTING, RAW);
    chain(&mut batch, "prerouting", "nat", PREROUTING, DESTINATION_NAT);
    chain(&mut batch, "output", "nat", OUTPUT, DESTINATION_NAT);
    chain(&mut batch, "forward", "filter", FORWARD, FILTER);
    chain(&mut batch, "postrouting", "nat", POSTROUTING, SOURCE_NAT);
    let loopback = (u32::from(Ipv4Addr::LOCALHOST), 8);
    rule(&mut batch, "raw", &[came_by("lo", false), to(loopback.0, loopback.1), verdict(Fate::Drop)]);
    for name in ["prerouting", "output"] {
        let keys = [to_us(), load_protocol(FIRST), load_port(SECOND), look_up(ANYWHERE), divert()];
        rule(&mut batch, name, &keys);
        let keys = [load_destination(FIRST), load_protocol(SECOND), load_port(THIRD), look_up(SOMEWHERE)];
        rule(&mut batch, name, &[keys.concat(), divert()]);
    }
    rule(&mut batch, "forward", &[in_state(STATE_KNOWN), verdict(Fate::Accept)]);
    for bridge in bridges {
        bridge_rules(&mut batch, bridge);
    }
    add_elements(&mut batch, NEW_ELEMENT, forwards);
    batch.send(&open()?)
}

fn bridge_rules(batch: &mut Batch, bridge: &Bridge) {
    let (name, (network, prefix)) = (bridge.name.as_str(), bridge.network);
    let of_network = || from(network.into(), prefix);
    if bridge.internal {
        rule(batch, "forward", &[leaves_by(name, true), came_by(name, false), verdict(Fate::Drop)]);
        rule(batch, "forward", &[came_by(name, true), leaves_by(name, false), verdict(Fate::Drop)]);
        return;
    }
    let published = [leaves_by(name, true), tracked_as(STATUS_DIVERTED), verdict(Fate::Accept)];
    rule(batch, "forward", &published);
    rule(batch, "forward", &[leaves_by(name, true), came_by(name, false), verdict(Fate::Drop)]);
    if bridge.masquerade {
        rule(batch, "postrouting", &[of_network(), leaves_by(name, false), masquerade()]);
    }
    // Or the answer would go straight to the sender, who asked somebody else.
    let hairpin = [of_network(), leaves_by(name, true), tracked_as(STATUS_DIVERTED), masquerade()];
    rule(batch, "postrouting", &hairpin);
    let loopback = from(Ipv4Addr::LOCALHOST.into(), 8);
    rule(batch, "postrouting", &[loopback, leaves_by(name, true), masquerade()]);
}

/// Opens ports.
pub fn open_ports(forwards: &[Forward]) -> Result<(), NftError> {
    change(NEW_ELEMENT, forwards)
}

/// Closes ports that are open.
pub fn close_ports(forwards: &[Forward]) -> Result<(), NftError> {
    change(DELETE_ELEMENT, forwards)
}

fn change(kind: u16, forwards: &[Forward]) -> Result<(), NftError> {
    if forwards.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::new(libc::NFPROTO_IPV4);
    add_elements(&mut batch, kind, forwards);
    batch.send(&open()?)
}

/// In a container's namespace: what its programs send to `address`, port 53,
/// goes to these ports of the same address. So the container itself may serve
/// port 53.
pub fn divert_dns(address: Ipv4Addr, udp: u16, tcp: u16) -> Result<(), NftError> {
    let mut batch = Batch::new(libc::NFPROTO_IPV4);
    // Nothing to clear away, which would cost milliseconds: no earlier engine
    // has done this here.
    batch.add("its table", NEW_TABLE, CREATE, &string(1, TABLE));
    chain(&mut batch, "output", "nat", OUTPUT, DESTINATION_NAT);
    for (protocol, port) in [(libc::IPPROTO_UDP, udp), (libc::IPPROTO_TCP, tcp)] {
        let expressions = [
            to(address.into(), 32),
            to_port(protocol as u8, 53),
            constant(FIRST, &address.octets()),
            constant(SECOND, &port.to_be_bytes()),
            divert(),
        ];
        rule(&mut batch, "output", &expressions);
    }
    batch.send(&open()?)
}

fn new_table(batch: &mut Batch) {
    batch.add("its table", NEW_TABLE, CREATE, &string(1, TABLE));
    // What an earlier engine left goes first.
    batch.add("its old table", DELETE_TABLE, 0, &string(1, TABLE));
    batch.add("its table", NEW_TABLE, CREATE, &string(1, TABLE));
}

fn chain(batch: &mut Batch, name: &str, kind: &str, hook: u32, priority: i32) {
    let hook = [number(1, hook), number(2, priority as u32)].concat();
    let chain = [string(1, TABLE), string(3, name), nested(4, &hook), string(7, kind)].concat();
    batch.add("a chain", NEW_CHAIN, CREATE, &chain);
}

fn rule(batch: &mut Batch, chain: &str, expressions: &[Vec<u8>]) {
    let rule = [string(1, TABLE), string(2, chain), nested(4, &expressions.concat())].concat();
    batch.add("a rule", NEW_RULE, CREATE | APPEND, &rule);
}

/// The kinds of a key's parts, as `nft` numbers and prints them.
const ADDRESS: u32 = 7;
const PROTOCOL: u32 = 12;
const PORT: u32 = 13;
/// Each part of a key has a register of this many bytes.
const PART: u32 = 4;

/// Adds a map to address and port.
fn map(batch: &mut Batch, name: &str, id: u32, key: &[u32]) {
    const MAP: u32 = 8;
    let kind_of = |parts: &[u32]| parts.iter().fold(0, |kind, part| kind << 6 | part);
    let value = [ADDRESS, PORT];
    let set = [
        string(1, TABLE),
        string(2, name),
        number(3, MAP),
        number(4, kind_of(key)),
        number(5, PART * key.len() as u32),
        number(6, kind_of(&value)),
        number(7, PART * value.len() as u32),
        number(10, id),
    ];
    batch.add("a map", NEW_SET, CREATE, &set.concat());
}

fn add_elements(batch: &mut Batch, kind: u16, forwards: &[Forward]) {
    let (anywhere, somewhere): (Vec<&Forward>, Vec<&Forward>) =
        forwards.iter().partition(|forward| forward.address.is_unspecified());
    for (map, forwards) in [(ANYWHERE, anywhere), (SOMEWHERE, somewhere)] {
        for some in forwards.chunks(ELEMENTS_MAX) {
            let elements: Vec<u8> =
                some.iter().flat_map(|forward| element(forward, kind == NEW_ELEMENT)).collect();
            let message = [string(1, TABLE), string(2, map), nested(3, &elements)].concat();
            let flags = if kind == NEW_ELEMENT { CREATE } else { 0 };
            batch.add("a published port", kind, flags, &message);
        }
    }
}

/// A published port in its map: key and value.
fn element(forward: &Forward, value: bool) -> Vec<u8> {
    let port = |port: u16| [port.to_be_bytes(), [0; 2]].concat();
    let mut key = Vec::new();
    if !forward.address.is_unspecified() {
        key.extend(forward.address.octets());
    }
    key.extend([forward.protocol, 0, 0, 0]);
    key.extend(port(forward.port));
    let mut parts = nested(1, &attribute(1, &key));
    if value {
        let target = [forward.to.0.octets().to_vec(), port(forward.to.1)].concat();
        parts.extend(nested(2, &attribute(1, &target)));
    }
    nested(1, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root: it makes a network namespace of its own.
    #[test]
    fn the_kernel_takes_rules_and_ports() {
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("this test needs root");
            let bridge = |name: &str, third, internal| Bridge {
                name: name.to_owned(),
                network: (Ipv4Addr::new(172, third, 0, 0), 16),
                internal,
                masquerade: true,
            };
            let forward = |address, port| Forward {
                protocol: libc::IPPROTO_TCP as u8,
                address,
                port,
                to: (Ipv4Addr::new(172, 17, 0, 2), 80),
            };
            let here = forward(Ipv4Addr::LOCALHOST, 8081);
            let many: Vec<Forward> = (1..1200).map(|port| forward(Ipv4Addr::UNSPECIFIED, port)).collect();
            for _ in 0..2 {
                replace(&[bridge("docker0", 17, false), bridge("br-0", 18, true)], &many).unwrap();
            }
            open_ports(&[here]).unwrap();
            close_ports(&many).unwrap();
            close_ports(&[here]).unwrap();
            let gone = close_ports(&[here]).unwrap_err().to_string();
            assert!(gone.starts_with("the packet filter refused a published port"), "{gone}");
            divert_dns(Ipv4Addr::new(127, 0, 0, 11), 4000, 4001).unwrap();
        })
        .join()
        .unwrap();
    }
}
