//! Network links by rtnetlink: bridges, veth pairs, addresses, routes.
//!
//! Every function takes the [`Handle`] of a connection to one network
//! namespace: [`connect`] to the caller's own, [`connect_in`] to another.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd},
    str::FromStr,
};

use futures_util::TryStreamExt;
use netlink_sys::{Socket, TokioSocket, protocols::NETLINK_ROUTE};
pub use rtnetlink::Handle;
use rtnetlink::{
    LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder,
    packet_route::{
        link::{InfoData, InfoVeth, LinkAttribute},
        neighbour::{NeighbourFlags, NeighbourState},
    },
};
use thiserror::Error;

use crate::namespaces::{self, NamespaceError};

/// A link could not be made, found or changed.
#[derive(Debug, Error)]
pub enum LinkError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The other network namespace could not be entered.
    #[error("cannot open a netlink socket in another network namespace: {0}")]
    Namespace(#[from] NamespaceError),
    /// The kernel refused.
    #[error("cannot {what} link {link}: {source}")]
    Refused {
        /// What was to be done.
        what: &'static str,
        /// The link's name or index.
        link: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// There is no link of that name.
    #[error("there is no link {0}")]
    Missing(String),
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The locally administered address `02:42:` and the IPv4 address.
    pub fn of(address: Ipv4Addr) -> Mac {
        let [a, b, c, d] = address.octets();
        Mac([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let refuse = || format!("\"{text}\" is not an Ethernet address");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(refuse)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(refuse());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| refuse())?;
        }
        if parts.next().is_some() { Err(refuse()) } else { Ok(Mac(bytes)) }
    }
}

/// One end of a veth pair.
#[derive(Debug, Clone)]
pub struct End<'a> {
    /// Its name in its namespace.
    pub name: &'a str,
    /// Its Ethernet address; random when not given.
    pub mac: Option<Mac>,
    /// The namespace it is made in; the connection's own when not given.
    pub netns: Option<BorrowedFd<'a>>,
}

/// Connects to the caller's own network namespace.
///
/// The connection's driver is a task of the current runtime; it ends with the
/// last clone of the handle.
pub fn connect() -> Result<Handle, LinkError> {
    drive(route_socket()?)
}

/// Connects to another network namespace.
pub fn connect_in(netns: BorrowedFd<'_>) -> Result<Handle, LinkError> {
    drive(namespaces::in_network_namespace(netns, route_socket)?)
}

fn route_socket() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

fn drive(socket: Socket) -> Result<Handle, LinkError> {
    // SAFETY: the descriptor was just released by `socket`, and nothing else owns it.
    let socket = unsafe { TokioSocket::from_raw_fd(socket.into_raw_fd()) };
    let (connection, handle, _) = rtnetlink::from_socket(socket);
    tokio::spawn(connection);
    Ok(handle)
}

fn refused(what: &'static str, link: impl ToString) -> impl FnOnce(rtnetlink::Error) -> LinkError {
    move |error| {
        let source = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other.to_string()),
        };
        LinkError::Refused { what, link: link.to_string(), source }
    }
}

/// The index of the link called `name`.
pub async fn index(handle: &Handle, name: &str) -> Result<u32, LinkError> {
    let mut links = handle.link().get().match_name(name).execute();
    let found = links.try_next().await.map_err(refused("find", name))?;
    found.map(|link| link.header.index).ok_or_else(|| LinkError::Missing(name.to_string()))
}

/// All links: index and name.
pub async fn list(handle: &Handle) -> Result<Vec<(u32, String)>, LinkError> {
    let messages: Vec<_> =
        handle.link().get().execute().try_collect().await.map_err(refused("list", "of any name"))?;
    let named = messages.into_iter().filter_map(|link| {
        let index = link.header.index;
        link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some((index, name)),
            _ => None,
        })
    });
    Ok(named.collect())
}

/// Makes a bridge that is up, and tells its index.
pub async fn add_bridge(handle: &Handle, name: &str, mac: Option<Mac>) -> Result<u32, LinkError> {
    let mut bridge = LinkBridge::new(name);
    if let Some(mac) = mac {
        bridge = bridge.address(mac.0.to_vec());
    }
    handle.link().add(bridge.build()).execute().await.map_err(refused("make bridge", name))?;
    index(handle, name).await
}

/// Makes a veth pair, both ends down.
pub async fn add_veth(handle: &Handle, near: &End<'_>, far: &End<'_>) -> Result<(), LinkError> {
    let peer = end(LinkMessageBuilder::<LinkUnspec>::new().name(far.name), far).build();
    let pair = end(LinkVeth::new(near.name, far.name), near)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    handle.link().add(pair).execute().await.map_err(refused("make veth", near.name))
}

/// Makes a VXLAN link with this network identifier, down.
pub async fn add_vxlan(handle: &Handle, name: &str, vni: u32) -> Result<(), LinkError> {
    let vxlan = LinkVxlan::new(name, vni).port(4789).build();
    handle.link().add(vxlan).execute().await.map_err(refused("make vxlan", name))
}

fn end<T>(mut builder: LinkMessageBuilder<T>, end: &End<'_>) -> LinkMessageBuilder<T> {
    if let Some(mac) = end.mac {
        builder = builder.address(mac.0.to_vec());
    }
    if let Some(netns) = end.netns {
        builder = builder.setns_by_fd(netns.as_raw_fd());
    }
    builder
}

/// Sets a link up.
pub async fn up(handle: &Handle, index: u32) -> Result<(), LinkError> {
    let message = LinkUnspec::new_with_index(index).up().build();
    handle.link().change(message).execute().await.map_err(refused("set up", index))
}

/// Sets a link down.
pub async fn down(handle: &Handle, index: u32) -> Result<(), LinkError> {
    let message = LinkUnspec::new_with_index(index).down().build();
    handle.link().change(message).execute().await.map_err(refused("set down", index))
}

/// Makes a link a port of a bridge.
pub async fn set_bridge(handle: &Handle, index: u32, bridge: u32) -> Result<(), LinkError> {
    let message = LinkUnspec::new_with_index(index).controller(bridge).build();
    handle.link().change(message).execute().await.map_err(refused("put into a bridge", index))
}

/// Makes a link a port of a bridge and sets it up, in one request.
pub async fn plug(handle: &Handle, index: u32, bridge: u32) -> Result<(), LinkError> {
    let message = LinkUnspec::new_with_index(index).controller(bridge).up().build();
    handle.link().change(message).execute().await.map_err(refused("put into a bridge", index))
}

/// Lets only frames from and to `mac` through a bridge port: the port learns
/// nothing, unknown addresses are not flooded to it, and frames from another
/// sender are dropped (the port is locked).
pub async fn pin_port(handle: &Handle, port: u32, mac: Mac) -> Result<(), LinkError> {
    use rtnetlink::packet_route::link::InfoBridgePort;
    let message = LinkBridgePort::new(port)
        .learning(false)
        .flood(false)
        .append_info_data(InfoBridgePort::Locked(true))
        .build();
    handle.link().set_port(message).execute().await.map_err(refused("pin", port))?;
    handle
        .neighbours()
        .add_bridge(port, &mac.0)
        .flags(NeighbourFlags::Controller)
        // A permanent one would be the bridge's own address.
        .state(NeighbourState::Noarp)
        .replace()
        .execute()
        .await
        .map_err(refused("pin the address of", port))
}

/// Gives a link an address.
pub async fn add_address(handle: &Handle, index: u32, address: IpAddr, prefix: u8) -> Result<(), LinkError> {
    let request = handle.address().add(index, address, prefix);
    request.execute().await.map_err(refused("give an address to", index))
}

/// Adds a default route.
pub async fn add_default_route(handle: &Handle, gateway: Ipv4Addr) -> Result<(), LinkError> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
    let request = handle.route().add(route);
    request.execute().await.map_err(refused("add a default route through", gateway))
}

/// Removes a link. One end of a veth pair takes the other with it.
pub async fn remove(handle: &Handle, index: u32) -> Result<(), LinkError> {
    handle.link().del(index).execute().await.map_err(refused("remove", index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_address_reads_what_it_writes() {
        let mac = Mac::of(Ipv4Addr::new(192, 168, 0, 11));
        assert_eq!(mac.to_string(), "02:42:c0:a8:00:0b");
        assert_eq!("02:42:c0:a8:00:0b".parse(), Ok(mac));
        for bad in ["", "02:42:c0:a8:00", "02:42:c0:a8:00:0b:01", "2:42:c0:a8:00:0b", "02:42:c0:a8:00:+b"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }
}
