//! A session's network: a namespace with a bridge, from which no route leads out.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use drydock_protocol::gateway::{PROXY_PORT, Service};
use drydock_sandbox::{
    link::{self, End, Handle, LinkError, Mac},
    mount, namespaces,
    port_guard::{self, Port},
};

use crate::{error::HostError, node::blocking};

/// Host's address on each session's network.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
const PREFIX: u8 = 24;
const BRIDGE: &str = "br0";
/// The node's end of its link.
const NODE_END: &str = "eth0";

/// The gateway's services: who is told of a socket, and its port. The proxy is
/// only there where a session may have it.
const SERVICES: [(Service, u16); 3] =
    [(Service::DnsUdp, 53), (Service::DnsTcp, 53), (Service::Proxy, PROXY_PORT)];

/// What a session's namespace must and must not do. It inherits the machine's
/// own settings otherwise.
const SYSCTLS: [(&str, &str); 11] = [
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/bridge/bridge-nf-call-arptables", "0"),
];

/// A session's network.
#[derive(Debug)]
pub(crate) struct Network {
    namespace: OwnedFd,
    handle: Handle,
    bridge: u32,
}

impl Network {
    /// Makes it, held at `path` so that it outlives host.
    pub(crate) async fn create(path: &Path) -> Result<Network, HostError> {
        let namespace = namespaces::new_network_namespace(set_up)?;
        let handle = link::connect_in(namespace.as_fd())?;
        let bridge = link::add_bridge(&handle, BRIDGE, Some(Mac::of(GATEWAY))).await?;
        link::add_address(&handle, bridge, IpAddr::V4(GATEWAY), PREFIX).await?;
        // Last, so that one that is held is whole.
        namespaces::hold(namespace.as_fd(), path)?;
        Ok(Network { namespace, handle, bridge })
    }

    /// Opens the one that is held at `path`; `None` if there is none, or only
    /// half of one.
    pub(crate) async fn open(path: &Path) -> Result<Option<Network>, HostError> {
        let text = path.to_string_lossy();
        if !mount::list()?.iter().any(|mount| mount.kind == "nsfs" && mount.target == text) {
            return Ok(None);
        }
        let namespace = namespaces::open(path)?;
        let handle = link::connect_in(namespace.as_fd())?;
        match link::index(&handle, BRIDGE).await {
            Ok(bridge) => Ok(Some(Network { namespace, handle, bridge })),
            Err(LinkError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a node's link: `eth0` in the node's namespace, a port of the bridge
    /// here. The port takes frames only from the node's own addresses, and so
    /// many bytes a second each way.
    pub(crate) async fn connect(
        &self,
        address: Ipv4Addr,
        netns: BorrowedFd<'_>,
        rate: u64,
        cut: bool,
    ) -> Result<(), HostError> {
        self.unplug(address).await?;
        let (name, mac) = (port_name(address), Mac::of(address));
        let near = End { name: &name, mac: None, netns: None };
        let far = End { name: NODE_END, mac: Some(mac), netns: Some(netns) };
        link::add_veth(&self.handle, &near, &far).await?;
        self.guard(address, rate).await?;
        let port = link::index(&self.handle, &name).await?;
        link::set_bridge(&self.handle, port, self.bridge).await?;
        link::pin_port(&self.handle, port, mac).await?;
        if cut { Ok(()) } else { Ok(link::up(&self.handle, port).await?) }
    }

    /// Says anew what may pass a node's port; it is no error if there is none.
    pub(crate) async fn renew_guard(&self, address: Ipv4Addr, rate: u64) -> Result<(), HostError> {
        if self.port(address).await?.is_some() { self.guard(address, rate).await } else { Ok(()) }
    }

    async fn guard(&self, address: Ipv4Addr, rate: u64) -> Result<(), HostError> {
        let namespace = self.namespace()?;
        blocking(move || {
            let port = Port { name: &port_name(address), mac: Mac::of(address), address, rate };
            Ok(port_guard::guard(namespace.as_fd(), &port)?)
        })
        .await
    }

    fn namespace(&self) -> Result<OwnedFd, HostError> {
        self.namespace.try_clone().map_err(HostError::call("copy a namespace's descriptor"))
    }

    /// Removes a node's link; it is no error if there is none.
    pub(crate) async fn disconnect(&self, address: Ipv4Addr) -> Result<(), HostError> {
        self.unplug(address).await?;
        let namespace = self.namespace()?;
        blocking(move || Ok(port_guard::remove(namespace.as_fd(), &port_name(address))?)).await
    }

    async fn unplug(&self, address: Ipv4Addr) -> Result<(), HostError> {
        let Some(port) = self.port(address).await? else { return Ok(()) };
        match link::remove(&self.handle, port).await {
            // The kernel removed it in between, with the node's namespace.
            Err(LinkError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Cuts a node from the network or joins it again.
    pub(crate) async fn set_cut(&self, address: Ipv4Addr, cut: bool) -> Result<(), HostError> {
        let Some(port) = self.port(address).await? else { return Ok(()) };
        if cut {
            link::down(&self.handle, port).await?
        } else {
            link::up(&self.handle, port).await?
        }
        Ok(())
    }

    async fn port(&self, address: Ipv4Addr) -> Result<Option<u32>, HostError> {
        match link::index(&self.handle, &port_name(address)).await {
            Ok(port) => Ok(Some(port)),
            Err(LinkError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(LinkError::Missing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the gateway's sockets, but for those that somebody else holds.
    pub(crate) fn listen(
        &self,
        held: &[Service],
        egress: bool,
    ) -> Result<Vec<(Service, OwnedFd)>, HostError> {
        let wanted = |service: Service| !held.contains(&service) && (egress || service != Service::Proxy);
        let wanted: Vec<_> = SERVICES.iter().filter(|(service, _)| wanted(*service)).collect();
        let opened = namespaces::in_network_namespace(self.namespace.as_fd(), || {
            wanted.iter().filter_map(|(service, port)| open(*service, *port).transpose()).collect()
        })?;
        Ok(opened)
    }
}

/// The name of a node's port: the last byte of its address is unique here.
fn port_name(address: Ipv4Addr) -> String {
    format!("n{}", address.octets()[3])
}

/// Opens a service's socket, non-blocking; `None` if another process has it.
fn open(service: Service, port: u16) -> io::Result<Option<(Service, OwnedFd)>> {
    let socket = match service {
        Service::DnsUdp => UdpSocket::bind((GATEWAY, port)).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(OwnedFd::from(socket))
        }),
        _ => TcpListener::bind((GATEWAY, port)).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(OwnedFd::from(socket))
        }),
    };
    match socket {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        socket => Ok(Some((service, socket?))),
    }
}

fn set_up() -> io::Result<()> {
    for (name, value) in SYSCTLS {
        let path = Path::new("/proc/sys").join(name);
        match fs::write(&path, value) {
            // No IPv6 in this kernel, or no br_netfilter.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            Ok(()) => {}
        }
    }
    Ok(())
}
