//! Addresses that a name must not lead to: this machine, its network, and what
//! clouds answer on. A host that the operator named is excepted.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The networks that are not the internet's: RFC 6890, and 100.64/10.
const REFUSED_V4: [(Ipv4Addr, u32); 14] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Likewise; what is not in 2000::/3 is refused altogether.
const REFUSED_V6: [(Ipv6Addr, u32); 4] = [
    // Teredo and 6to4 hold IPv4 addresses of anybody's.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28),
];

/// Whether this is an address of the internet's, and not this machine's own.
pub(super) fn is_public(address: IpAddr, own: &[IpAddr]) -> bool {
    !own.contains(&address)
        && match address {
            IpAddr::V4(address) => !REFUSED_V4.iter().any(|(network, bits)| v4_in(address, *network, *bits)),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(inner) => is_public(IpAddr::V4(inner), own),
                None => {
                    address.segments()[0] & 0xe000 == 0x2000
                        && !REFUSED_V6.iter().any(|(network, bits)| v6_in(address, *network, *bits))
                }
            },
        }
}

fn v4_in(address: Ipv4Addr, network: Ipv4Addr, bits: u32) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0
}

fn v6_in(address: Ipv6Addr, network: Ipv6Addr, bits: u32) -> bool {
    (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0
}

/// This machine's own addresses.
pub(super) fn own() -> io::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    Ok(interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap(), &["8.8.4.4".parse().unwrap()])
    }

    #[test]
    fn only_the_internets_addresses_are_public() {
        for address in
            ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "192.167.1.1", "198.51.100.7", "2606:4700::1"]
        {
            assert!(public(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!public(address), "{address}");
        }
        assert!(!public("8.8.4.4"), "this machine's own");
        assert!(!public("::ffff:8.8.4.4"), "this machine's own");
    }

    #[test]
    fn this_machine_knows_its_addresses() {
        assert!(own().unwrap().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
