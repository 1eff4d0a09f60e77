//! Frames in another node's name, and those of a rogue router.

use std::ffi::CString;
use std::io::Error;
use std::net::Ipv4Addr;

const BROADCAST: [u8; 6] = [0xff; 6];
const ALL_IPV6_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;

/// Sends a frame of each kind by the link, as if this host were `victim`, and
/// prints how many.
pub(crate) fn send_all(link: &str, victim: Ipv4Addr, peer: Ipv4Addr) {
    let socket = Packets::on(link);
    let (mac, own) = (socket.mac, socket.address);
    let [a, b, c, d] = victim.octets();
    let victims_mac = [0x02, 0x42, a, b, c, d];
    let frames = [
        // "victim is at my address", asked and unasked, and as if the victim said so.
        frame(BROADCAST, mac, ARP, &arp(2, (mac, victim), (BROADCAST, peer))),
        frame(BROADCAST, mac, ARP, &arp(1, (mac, victim), ([0; 6], victim))),
        frame(BROADCAST, mac, ARP, &arp(2, (victims_mac, victim), (BROADCAST, peer))),
        frame(BROADCAST, victims_mac, ARP, &arp(2, (victims_mac, victim), (BROADCAST, peer))),
        frame(BROADCAST, mac, IPV4, &udp((victim, 4000), (peer, 4000), b"not mine")),
        frame(ALL_IPV6_NODES, mac, IPV6, &router_advertisement()),
        frame(BROADCAST, mac, IPV4, &udp((own, 67), (Ipv4Addr::BROADCAST, 68), &dhcp_offer())),
        frame(BROADCAST, mac, VLAN, &[[0, 1], ARP.to_be_bytes()].concat()),
    ];
    for frame in &frames {
        socket.send(frame);
    }
    println!("{}", frames.len());
}

fn frame(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &kind.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn arp(operation: u8, sender: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &sender.0, &sender.1.octets(), &target.0, &target.1.octets()].concat()
}

fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len()) as u16;
    let mut head = vec![0x45, 0];
    head.extend((20 + length).to_be_bytes());
    head.extend([0, 0, 0, 0, 64, libc::IPPROTO_UDP as u8, 0, 0]);
    head.extend([from.0.octets(), to.0.octets()].concat());
    let sum = head.chunks(2).fold(0_u32, |sum, two| sum + u32::from(u16::from_be_bytes([two[0], two[1]])));
    let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    for field in [from.1, to.1, length, 0] {
        head.extend(field.to_be_bytes());
    }
    [&head[..], data].concat()
}

fn router_advertisement() -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 16, libc::IPPROTO_ICMPV6 as u8, 255];
    // From fe80::1 to ff02::1; a default router for half an hour.
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet
}

/// The first bytes of a BOOTP reply, which is all that matters here.
fn dhcp_offer() -> Vec<u8> {
    let mut message = vec![2, 1, 6, 0];
    message.resize(240, 0);
    message
}

/// A packet socket on one link.
struct Packets {
    socket: i32,
    index: i32,
    mac: [u8; 6],
    address: Ipv4Addr,
}

impl Packets {
    fn on(link: &str) -> Packets {
        let name = CString::new(link).unwrap_or_else(|_| crate::fail("a link's name has no zero byte"));
        // SAFETY: the call takes numbers only.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        // SAFETY: name ends with a zero byte.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
        if socket < 0 || index == 0 {
            crate::fail(&format!("cannot send on {link}: {}", Error::last_os_error()));
        }
        let hardware = ask(link, libc::SIOCGIFHWADDR);
        let internet = ask(link, libc::SIOCGIFADDR);
        let octet = |at: usize| internet[at] as u8;
        Packets {
            socket,
            index,
            mac: std::array::from_fn(|at| hardware[at] as u8),
            address: Ipv4Addr::new(octet(2), octet(3), octet(4), octet(5)),
        }
    }

    fn send(&self, frame: &[u8]) {
        // SAFETY: a plain struct of integers, for which zero is valid.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = self.index;
        to.sll_halen = 6;
        // SAFETY: frame and address are valid for the lengths given.
        let sent = unsafe {
            libc::sendto(
                self.socket,
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                size_of_val(&to) as u32,
            )
        };
        if sent < 0 {
            crate::fail(&format!("cannot send a frame: {}", Error::last_os_error()));
        }
    }
}

/// The data of an address of a link's: netdevice(7).
fn ask(link: &str, what: libc::c_ulong) -> [libc::c_char; 14] {
    // SAFETY: the call takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: a struct of integers, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(link.bytes()) {
        *place = byte as libc::c_char;
    }
    // SAFETY: request is an ifreq, as both requests want it.
    if unsafe { libc::ioctl(socket, what as _, &raw mut request) } < 0 {
        crate::fail(&format!("cannot ask for an address of {link}: {}", Error::last_os_error()));
    }
    // SAFETY: both requests fill in an address.
    unsafe { request.ifr_ifru.ifru_addr.sa_data }
}
