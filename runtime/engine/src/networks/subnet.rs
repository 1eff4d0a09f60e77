//! IPv4 blocks in CIDR notation: RFC 4632.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An address and a prefix length; as written, so perhaps with host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
}

/// It is no IPv4 block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotSubnet;

impl Subnet {
    pub(crate) const fn new(address: Ipv4Addr, prefix: u8) -> Subnet {
        Subnet { address, prefix }
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    /// The same block without host bits.
    pub(crate) fn masked(self) -> Subnet {
        Subnet { address: Ipv4Addr::from(u32::from(self.address) & self.mask()), prefix: self.prefix }
    }

    /// Its first and its last address.
    pub(crate) fn ends(self) -> (u32, u32) {
        let first = u32::from(self.address) & self.mask();
        (first, first | !self.mask())
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        let (first, last) = self.ends();
        (first..=last).contains(&u32::from(address))
    }

    pub(crate) fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.masked().address) || other.contains(self.masked().address)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = NotSubnet;

    fn from_str(text: &str) -> Result<Subnet, NotSubnet> {
        let (address, prefix) = text.split_once('/').ok_or(NotSubnet)?;
        let plain = !prefix.is_empty() && prefix.bytes().all(|digit| digit.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|prefix| plain && *prefix <= 32).ok_or(NotSubnet)?;
        Ok(Subnet { address: address.parse().map_err(|_| NotSubnet)?, prefix })
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Subnet, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|NotSubnet| de::Error::custom(format!("{text} is no IPv4 block")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_are_read_and_written() {
        assert_eq!(subnet("172.18.0.1/16").to_string(), "172.18.0.1/16");
        assert_eq!(subnet("172.18.0.1/16").masked(), subnet("172.18.0.0/16"));
        assert_eq!(subnet("0.0.0.0/0").ends(), (0, u32::MAX));
        assert_eq!(subnet("10.0.0.7/32").ends(), (0x0a00_0007, 0x0a00_0007));
        for bad in
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "999.0.0.0/8", "fd00::/8", "1.2.3.4/"]
        {
            assert_eq!(bad.parse::<Subnet>(), Err(NotSubnet), "{bad}");
        }
    }

    #[test]
    fn blocks_overlap_when_one_holds_the_other() {
        assert!(subnet("172.16.0.0/12").overlaps(subnet("172.31.5.0/24")));
        assert!(subnet("172.31.5.0/24").overlaps(subnet("172.16.0.0/12")));
        assert!(!subnet("172.18.0.0/16").overlaps(subnet("172.19.0.0/16")));
    }
}
