//! A container's place in networks: what was asked for, and what it has while
//! it runs.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use drydock_sandbox::nft::bridges::Forward;
use serde::{Deserialize, Serialize};

/// How a container is attached to a network: what was asked for, in the API's
/// words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Attachment {
    #[serde(rename = "IPAMConfig")]
    pub(crate) ipam_config: Option<AskedAddress>,
    pub(crate) links: Option<Vec<String>>,
    pub(crate) aliases: Option<Vec<String>>,
    pub(crate) mac_address: String,
    pub(crate) driver_opts: Option<BTreeMap<String, String>>,
    pub(crate) gw_priority: i64,
}

/// The address that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AskedAddress {
    #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
    pub(crate) ipv4_address: String,
    #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
    pub(crate) ipv6_address: String,
    #[serde(rename = "LinkLocalIPs", skip_serializing_if = "Option::is_none")]
    pub(crate) link_local_ips: Option<Vec<String>>,
}

/// What a container that runs has: a network namespace, links in it, and ports
/// of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    /// The identifier of the network namespace.
    pub(crate) id: String,
    /// The container's id.
    pub(crate) container: String,
    /// By the network's name.
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    pub(crate) ports: Vec<Published>,
}

/// A place on a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) id: String,
    /// The network's id.
    pub(crate) network: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    /// None in an internal network.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// The endpoint of the highest is the way out.
    pub(crate) priority: i64,
    pub(crate) mac: String,
    /// The node's end of the pair.
    pub(crate) link: String,
    /// The container's end.
    pub(crate) interface: String,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A port of the node that leads into the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Published {
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) host_ip: Ipv4Addr,
    pub(crate) host_port: u16,
}

impl Published {
    /// The packet filter's words for it.
    pub(crate) fn forward(&self, to: Ipv4Addr) -> Forward {
        let protocol = match self.protocol {
            Protocol::Tcp => libc::IPPROTO_TCP,
            Protocol::Udp => libc::IPPROTO_UDP,
        };
        Forward { protocol: protocol as u8, address: self.host_ip, port: self.host_port, to: (to, self.port) }
    }

    /// The name under which PID 1 holds its socket.
    pub(crate) fn parked_as(&self) -> String {
        format!("port/{}/{}/{}", self.protocol, self.host_ip, self.host_port)
    }
}

impl Sandbox {
    /// The endpoint through which the container reaches the world, and the
    /// world its published ports.
    pub(crate) fn way_out(&self) -> Option<&Endpoint> {
        let outside = self.endpoints.iter().filter(|(_, endpoint)| endpoint.gateway.is_some());
        let best = outside.min_by_key(|(name, endpoint)| (-i128::from(endpoint.priority), name.as_str()));
        best.map(|(_, endpoint)| endpoint)
    }

    /// Its published ports in the packet filter's words.
    pub(crate) fn forwards(&self) -> Vec<Forward> {
        let Some(endpoint) = self.way_out() else { return Vec::new() };
        self.ports.iter().map(|port| port.forward(endpoint.address)).collect()
    }

    /// A name for one more link in the container.
    pub(crate) fn free_interface(&self) -> String {
        let taken = |name: &String| self.endpoints.values().any(|endpoint| endpoint.interface == *name);
        (0..=self.endpoints.len())
            .map(|number| format!("eth{number}"))
            .find(|name| !taken(name))
            .unwrap_or_else(|| format!("eth{}", self.endpoints.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(gateway: bool, priority: i64, interface: &str) -> Endpoint {
        let address = Ipv4Addr::new(172, 18, 0, 2);
        Endpoint {
            id: String::new(),
            network: String::new(),
            address,
            prefix: 16,
            gateway: gateway.then_some(Ipv4Addr::new(172, 18, 0, 1)),
            priority,
            mac: String::new(),
            link: String::new(),
            interface: interface.to_owned(),
        }
    }

    #[test]
    fn the_way_out_is_the_highest_priority_then_the_first_name() {
        let mut sandbox = Sandbox::default();
        assert_eq!(sandbox.way_out(), None);
        sandbox.endpoints.insert("a".to_owned(), endpoint(false, 9, "eth0"));
        assert_eq!(sandbox.way_out(), None);
        sandbox.endpoints.insert("c".to_owned(), endpoint(true, 0, "eth1"));
        sandbox.endpoints.insert("b".to_owned(), endpoint(true, 0, "eth3"));
        assert_eq!(sandbox.way_out().unwrap().interface, "eth3");
        sandbox.endpoints.insert("d".to_owned(), endpoint(true, 1, "eth4"));
        assert_eq!(sandbox.way_out().unwrap().interface, "eth4");
        assert_eq!(sandbox.free_interface(), "eth2");
    }
}
