//! The expressions that rules are made of, in nf_tables' netlink form.
//!
//! A rule's expressions run one after the other on registers; one that doesn't
//! match ends the rule.

use crate::nft::{EQUAL, NOT_EQUAL, attribute, compare, expression, nested, number};

/// The first two registers of 4 bytes.
pub(super) const FIRST: u32 = 8;
pub(super) const SECOND: u32 = 9;
pub(super) const THIRD: u32 = 10;
const VERDICT: u32 = 0;

const IN_NAME: u32 = 6;
const OUT_NAME: u32 = 7;
const TRANSPORT: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// What happens to a packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Drop,
    Accept,
}

fn meta(key: u32, register: u32) -> Vec<u8> {
    expression("meta", &[number(1, register), number(2, key)].concat())
}

fn payload(header: u32, offset: u32, length: u32, register: u32) -> Vec<u8> {
    let data = [number(1, register), number(2, header), number(3, offset), number(4, length)];
    expression("payload", &data.concat())
}

/// Keeps the bits of `mask` in the first register.
fn and(mask: [u8; 4]) -> Vec<u8> {
    let data = [
        number(1, FIRST),
        number(2, FIRST),
        number(3, 4),
        nested(4, &attribute(1, &mask)),
        nested(5, &attribute(1, &[0; 4])),
    ];
    expression("bitwise", &data.concat())
}

fn link_name(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    for (place, byte) in padded.iter_mut().take(15).zip(name.bytes()) {
        *place = byte;
    }
    padded
}

/// Matches what leaves by this link, or by any other.
pub(super) fn leaves_by(name: &str, is: bool) -> Vec<u8> {
    [meta(OUT_NAME, 1), compare(if is { EQUAL } else { NOT_EQUAL }, &link_name(name))].concat()
}

/// Matches what came by this link, or by any other.
pub(super) fn came_by(name: &str, is: bool) -> Vec<u8> {
    [meta(IN_NAME, 1), compare(if is { EQUAL } else { NOT_EQUAL }, &link_name(name))].concat()
}

/// Matches a source address.
pub(super) fn from(network: u32, prefix: u8) -> Vec<u8> {
    in_network(12, network, prefix)
}

/// Matches a destination address.
pub(super) fn to(network: u32, prefix: u8) -> Vec<u8> {
    in_network(16, network, prefix)
}

fn in_network(offset: u32, network: u32, prefix: u8) -> Vec<u8> {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    [
        payload(NETWORK_HEADER, offset, 4, FIRST),
        and(mask.to_be_bytes()),
        compare_short(EQUAL, &(network & mask).to_be_bytes()),
    ]
    .concat()
}

/// As [`compare`], on the first register of 4 bytes.
fn compare_short(how: u32, value: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, FIRST), number(2, how), nested(3, &attribute(1, value))].concat())
}

/// Matches a destination that is one of the machine's own addresses.
pub(super) fn to_us() -> Vec<u8> {
    const ADDRESS_TYPE: u32 = 3;
    const DESTINATION: u32 = 2;
    let fib = [number(1, FIRST), number(2, ADDRESS_TYPE), number(3, DESTINATION)].concat();
    let local = u32::from(libc::RTN_LOCAL).to_ne_bytes();
    [expression("fib", &fib), compare_short(EQUAL, &local)].concat()
}

/// Matches a connection whose tracking has one of these status bits.
pub(super) fn tracked_as(bits: u32) -> Vec<u8> {
    const STATUS: u32 = 2;
    any_of(STATUS, bits)
}

/// Matches packets of a connection in one of these states.
pub(super) fn in_state(bits: u32) -> Vec<u8> {
    const STATE: u32 = 0;
    any_of(STATE, bits)
}

fn any_of(key: u32, bits: u32) -> Vec<u8> {
    [
        expression("ct", &[number(1, FIRST), number(2, key)].concat()),
        and(bits.to_ne_bytes()),
        compare_short(NOT_EQUAL, &[0; 4]),
    ]
    .concat()
}

/// Loads the transport protocol's number.
pub(super) fn load_protocol(register: u32) -> Vec<u8> {
    meta(TRANSPORT, register)
}

/// Loads the destination port.
pub(super) fn load_port(register: u32) -> Vec<u8> {
    payload(TRANSPORT_HEADER, 2, 2, register)
}

/// Loads the destination address.
pub(super) fn load_destination(register: u32) -> Vec<u8> {
    payload(NETWORK_HEADER, 16, 4, register)
}

/// Matches a transport protocol and a destination port.
pub(super) fn to_port(protocol: u8, port: u16) -> Vec<u8> {
    [
        load_protocol(FIRST),
        compare_short(EQUAL, &[protocol]),
        load_port(FIRST),
        compare_short(EQUAL, &port.to_be_bytes()),
    ]
    .concat()
}

/// Looks the registers from the first on up in a map, whose value comes into
/// the same registers.
pub(super) fn look_up(map: &str) -> Vec<u8> {
    let data = [super::string(1, map), number(2, FIRST), number(3, FIRST)];
    expression("lookup", &data.concat())
}

/// Loads a constant.
pub(super) fn constant(register: u32, value: &[u8]) -> Vec<u8> {
    expression("immediate", &[number(1, register), nested(2, &attribute(1, value))].concat())
}

/// Sends the packet to the address and port in the first two registers.
pub(super) fn divert() -> Vec<u8> {
    const DESTINATION: u32 = 1;
    let family = libc::NFPROTO_IPV4 as u32;
    let data = [number(1, DESTINATION), number(2, family), number(3, FIRST), number(5, SECOND)];
    expression("nat", &data.concat())
}

/// Gives the packet the sender's address of the link it leaves by.
pub(super) fn masquerade() -> Vec<u8> {
    expression("masq", &[])
}

/// Ends a packet's way through the chain.
pub(super) fn verdict(fate: Fate) -> Vec<u8> {
    let code = match fate {
        Fate::Drop => 0,
        Fate::Accept => 1,
    };
    expression("immediate", &[number(1, VERDICT), nested(2, &nested(2, &number(1, code)))].concat())
}
