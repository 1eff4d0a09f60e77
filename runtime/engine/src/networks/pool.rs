//! Which addresses a network has, and who has them: Docker's default IPAM
//! driver.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde::{Deserialize, Serialize};

use super::subnet::Subnet;

/// A network's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub(crate) subnet: Subnet,
    pub(crate) gateway: Ipv4Addr,
    /// Where addresses are taken from when none is asked for.
    pub(crate) range: Option<Subnet>,
    /// Addresses that no container gets.
    pub(crate) reserved: BTreeSet<Ipv4Addr>,
    /// The subnet was asked for; so addresses may be, too.
    pub(crate) configured: bool,
}

/// An address could not be given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// All are taken.
    Full,
    /// Somebody has it.
    Taken,
    /// It is none of the network's.
    Outside,
}

/// The networks that are made of their own, in Docker's order.
fn defaults() -> impl Iterator<Item = Subnet> {
    let class_b = (17..32).map(|second| Subnet::new(Ipv4Addr::new(172, second, 0, 0), 16));
    let class_c = (0..16).map(|part| Subnet::new(Ipv4Addr::new(192, 168, part * 16, 0), 20));
    class_b.chain(class_c)
}

/// The first default network that overlaps with none of these.
pub(crate) fn free_subnet(used: &[Subnet]) -> Option<Subnet> {
    defaults().find(|subnet| !used.iter().any(|other| subnet.overlaps(*other)))
}

impl Pool {
    /// The addresses of a subnet, the first of which is the gateway's.
    pub(crate) fn new(subnet: Subnet) -> Pool {
        let gateway = Ipv4Addr::from(subnet.ends().0.saturating_add(1));
        Pool { subnet, gateway, range: None, reserved: BTreeSet::new(), configured: false }
    }

    fn is_special(&self, address: Ipv4Addr) -> bool {
        let (first, last) = self.subnet.ends();
        let at_an_end = self.subnet.prefix < 31 && [first, last].contains(&address.into());
        at_an_end || address == self.gateway || self.reserved.contains(&address)
    }

    /// The lowest free address, or the one that is wanted.
    pub(crate) fn choose(
        &self,
        taken: &BTreeMap<Ipv4Addr, String>,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Ipv4Addr, Denied> {
        let free = |address: &Ipv4Addr| !self.is_special(*address) && !taken.contains_key(address);
        match wanted {
            Some(address) if !self.subnet.contains(address) => Err(Denied::Outside),
            Some(address) if !free(&address) => Err(Denied::Taken),
            Some(address) => Ok(address),
            None => {
                let (first, last) = self.range.unwrap_or(self.subnet).ends();
                (first..=last).map(Ipv4Addr::from).find(free).ok_or(Denied::Full)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(addresses: &[[u8; 4]]) -> BTreeMap<Ipv4Addr, String> {
        addresses.iter().map(|octets| (Ipv4Addr::from(*octets), String::new())).collect()
    }

    #[test]
    fn the_lowest_free_address_is_given() {
        let pool = Pool::new("172.18.0.0/16".parse().unwrap());
        assert_eq!(pool.choose(&taken(&[]), None), Ok([172, 18, 0, 2].into()));
        assert_eq!(pool.choose(&taken(&[[172, 18, 0, 2]]), None), Ok([172, 18, 0, 3].into()));
        assert_eq!(pool.choose(&taken(&[]), Some([172, 18, 0, 77].into())), Ok([172, 18, 0, 77].into()));
        for special in [[172, 18, 0, 0], [172, 18, 0, 1], [172, 18, 255, 255]] {
            assert_eq!(pool.choose(&taken(&[]), Some(special.into())), Err(Denied::Taken));
        }
        assert_eq!(pool.choose(&taken(&[]), Some([172, 19, 0, 2].into())), Err(Denied::Outside));
    }

    #[test]
    fn a_range_and_a_small_subnet_run_out() {
        let mut pool = Pool::new("10.1.0.0/16".parse().unwrap());
        pool.range = Some("10.1.5.0/31".parse().unwrap());
        assert_eq!(pool.choose(&taken(&[[10, 1, 5, 0]]), None), Ok([10, 1, 5, 1].into()));
        assert_eq!(pool.choose(&taken(&[[10, 1, 5, 0], [10, 1, 5, 1]]), None), Err(Denied::Full));
        let small = Pool::new("10.1.0.0/30".parse().unwrap());
        assert_eq!(small.choose(&taken(&[[10, 1, 0, 2]]), None), Err(Denied::Full));
    }

    #[test]
    fn networks_of_their_own_come_in_docker_s_order() {
        let mut used: Vec<Subnet> = vec!["172.17.0.0/16".parse().unwrap(), "192.168.0.0/24".parse().unwrap()];
        assert_eq!(free_subnet(&used).unwrap().to_string(), "172.18.0.0/16");
        used.push("172.16.0.0/12".parse().unwrap());
        assert_eq!(free_subnet(&used).unwrap().to_string(), "192.168.16.0/20");
        used.push("192.168.0.0/16".parse().unwrap());
        assert_eq!(free_subnet(&used), None);
    }
}
