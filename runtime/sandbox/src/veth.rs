//! A container's links: a bridge, and pairs that lead from it into network
//! namespaces.
//!
//! rtnetlink without a runtime, for threads that enter a namespace: the kernel
//! does a request while it is being sent, so a start needs few round trips, and
//! one request makes a pair that is in its bridge already. See rtnetlink(7).

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use crate::{
    link::{LinkError, Mac},
    nft::{attribute, string},
};

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_GATEWAY: u16 = 5;

/// `ETHTOOL_GLINK`: whether the link has a carrier.
const ETHTOOL_GLINK: u32 = 0xa;

/// Loopback is the first link of every namespace.
const LOOPBACK: u32 = 1;
/// The head of a netlink message, in bytes.
const HEAD: usize = 16;

/// One end in a container's namespace.
#[derive(Debug, Clone, Copy)]
pub struct Far<'a> {
    /// Its name there: `eth0`.
    pub name: &'a str,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The namespace.
    pub netns: BorrowedFd<'a>,
}

/// A connection to the links of one network namespace.
#[derive(Debug)]
pub struct Links {
    socket: OwnedFd,
    sequence: u32,
}

impl Links {
    /// Connects to the namespace of the calling thread.
    pub fn open() -> Result<Links, LinkError> {
        // SAFETY: socket(2) takes numbers and makes a new descriptor.
        let socket = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        };
        if socket < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the descriptor was just made for us.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        Ok(Links { socket, sequence: 0 })
    }

    /// The index of the link called `name`.
    pub fn index(&mut self, name: &str) -> Result<u32, LinkError> {
        let body = [link(0, false), string(IFLA_IFNAME, name)].concat();
        let mut found = None;
        self.ask("find", name, libc::RTM_GETLINK, 0, &body, |kind, answer| {
            if kind == libc::RTM_NEWLINK {
                found = answer.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
            }
        })
        .map_err(|error| missing(error, name))?;
        found.ok_or_else(|| LinkError::Missing(name.to_owned()))
    }

    /// The names of all links.
    pub fn names(&mut self) -> Result<Vec<String>, LinkError> {
        let mut names = Vec::new();
        let flags = libc::NLM_F_DUMP as u16;
        self.ask("list", "of any name", libc::RTM_GETLINK, flags, &link(0, false), |kind, answer| {
            if kind == libc::RTM_NEWLINK
                && let Some(name) = answer.get(16..).and_then(|attributes| text(attributes, IFLA_IFNAME))
            {
                names.push(name);
            }
        })?;
        Ok(names)
    }

    /// Makes a bridge with an address, up.
    pub fn add_bridge(
        &mut self,
        name: &str,
        mac: Mac,
        mtu: Option<u32>,
        address: (Ipv4Addr, u8),
    ) -> Result<u32, LinkError> {
        let mut body = [
            link(0, true),
            string(IFLA_IFNAME, name),
            attribute(IFLA_ADDRESS, &mac.0),
            attribute(IFLA_LINKINFO, &string(IFLA_INFO_KIND, "bridge")),
        ]
        .concat();
        if let Some(mtu) = mtu {
            body.extend(attribute(IFLA_MTU, &mtu.to_ne_bytes()));
        }
        self.add("make bridge", name, libc::RTM_NEWLINK, &body)?;
        let index = self.index(name)?;
        self.add_address(index, address.0, address.1)?;
        Ok(index)
    }

    /// Makes a pair: `near` as a port of a bridge, up; the other end in another
    /// namespace. (That one has no peer yet while it is made, so it can't be up.)
    pub fn add_pair(
        &mut self,
        near: &str,
        bridge: u32,
        mtu: Option<u32>,
        far: Far<'_>,
    ) -> Result<(), LinkError> {
        let mtu = mtu.map(|mtu| attribute(IFLA_MTU, &mtu.to_ne_bytes())).unwrap_or_default();
        // Nothing waits in a link that is no wire.
        let queue = attribute(IFLA_TXQLEN, &0u32.to_ne_bytes());
        let peer = [
            link(0, false),
            string(IFLA_IFNAME, far.name),
            attribute(IFLA_ADDRESS, &far.mac.0),
            attribute(IFLA_NET_NS_FD, &far.netns.as_raw_fd().to_ne_bytes()),
            mtu.clone(),
            queue.clone(),
        ]
        .concat();
        let info =
            [string(IFLA_INFO_KIND, "veth"), attribute(IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer))]
                .concat();
        let body = [
            link(0, true),
            string(IFLA_IFNAME, near),
            attribute(IFLA_MASTER, &bridge.to_ne_bytes()),
            mtu,
            queue,
            attribute(IFLA_LINKINFO, &info),
        ]
        .concat();
        self.add("make veth", near, libc::RTM_NEWLINK, &body)
    }

    /// Sets loopback up.
    pub fn loopback_up(&mut self) -> Result<(), LinkError> {
        self.up(LOOPBACK)
    }

    /// Sets a link up.
    pub fn up(&mut self, index: u32) -> Result<(), LinkError> {
        self.add_with("set up", &index.to_string(), libc::RTM_NEWLINK, 0, &link(index, true))
    }

    /// Makes the kernel act on a change of the link's carrier now.
    ///
    /// It would do so in a moment, and until then drop what is sent there: the
    /// first question for an address, which is asked again only after a second.
    /// See `ETHTOOL_GLINK` in linux/ethtool.h.
    pub fn settle(&self, name: &str) -> Result<(), LinkError> {
        let mut value = [ETHTOOL_GLINK, 0u32];
        // SAFETY: zero is valid for this plain struct.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let room = request.ifr_name.len() - 1;
        for (place, byte) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        // SAFETY: the request and the value that it points to live for the call,
        // which reads and writes the two numbers.
        let done = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
        if done < 0 {
            let (what, link, source) = ("settle", name.to_owned(), io::Error::last_os_error());
            return Err(LinkError::Refused { what, link, source });
        }
        Ok(())
    }

    /// Gives a link an address.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), LinkError> {
        let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        let broadcast = Ipv4Addr::from(u32::from(address) | hosts);
        let body = [
            vec![libc::AF_INET as u8, prefix, 0, 0],
            index.to_ne_bytes().to_vec(),
            attribute(IFA_LOCAL, &address.octets()),
            attribute(IFA_ADDRESS, &address.octets()),
            attribute(IFA_BROADCAST, &broadcast.octets()),
        ]
        .concat();
        self.add("give an address to", &index.to_string(), libc::RTM_NEWADDR, &body)
    }

    /// Sends what is for no link through this gateway, in place of any other.
    pub fn set_default_route(&mut self, gateway: Ipv4Addr) -> Result<(), LinkError> {
        let body = [route(), attribute(RTA_GATEWAY, &gateway.octets())].concat();
        let flags = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
        let to = gateway.to_string();
        self.add_with("set a default route through", &to, libc::RTM_NEWROUTE, flags, &body)
    }

    /// Removes the default route, if there is one.
    pub fn remove_default_route(&mut self) -> Result<(), LinkError> {
        match self.add_with("remove a default route of", "any", libc::RTM_DELROUTE, 0, &route()) {
            Err(LinkError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Removes a link; with one end of a pair goes the other. It is no error if
    /// there is none of that name.
    pub fn remove(&mut self, name: &str) -> Result<(), LinkError> {
        let body = [link(0, false), string(IFLA_IFNAME, name)].concat();
        match self.add_with("remove", name, libc::RTM_DELLINK, 0, &body) {
            Err(LinkError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    fn add(&mut self, what: &'static str, name: &str, kind: u16, body: &[u8]) -> Result<(), LinkError> {
        self.add_with(what, name, kind, (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16, body)
    }

    fn add_with(
        &mut self,
        what: &'static str,
        name: &str,
        kind: u16,
        flags: u16,
        body: &[u8],
    ) -> Result<(), LinkError> {
        self.ask(what, name, kind, flags, body, |_, _| ())
    }

    /// Sends a request and hands every part of the answer to `take`.
    fn ask(
        &mut self,
        what: &'static str,
        name: &str,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut take: impl FnMut(u16, &[u8]),
    ) -> Result<(), LinkError> {
        self.sequence += 1;
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut message = ((HEAD + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(body);
        // SAFETY: the kernel reads `message`, which lives for the call.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error().into());
        }
        let refused = |source| LinkError::Refused { what, link: name.to_owned(), source };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            // SAFETY: the kernel writes at most the buffer's length into it.
            let read =
                unsafe { libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
            for (kind, payload) in messages(&buffer[..read]) {
                match i32::from(kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        let code = payload.get(..4).and_then(|code| code.try_into().ok());
                        return match code.map(i32::from_ne_bytes) {
                            None | Some(0) => Ok(()),
                            Some(code) => Err(refused(io::Error::from_raw_os_error(code.saturating_neg()))),
                        };
                    }
                    _ => take(kind, payload),
                }
            }
        }
    }
}

fn missing(error: LinkError, name: &str) -> LinkError {
    match error {
        LinkError::Refused { source, .. } if source.raw_os_error() == Some(libc::ENODEV) => {
            LinkError::Missing(name.to_owned())
        }
        other => other,
    }
}

/// The head of a link's message; with `up`, asks for it to be up.
fn link(index: u32, up: bool) -> Vec<u8> {
    let flags = if up { libc::IFF_UP as u32 } else { 0 };
    let mut bytes = vec![libc::AF_UNSPEC as u8, 0, 0, 0];
    bytes.extend_from_slice(&index.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes
}

/// The head of the default route's message.
fn route() -> Vec<u8> {
    let (table, kind) = (libc::RT_TABLE_MAIN, libc::RTN_UNICAST);
    [&[libc::AF_INET as u8, 0, 0, 0, table, libc::RTPROT_BOOT, libc::RT_SCOPE_UNIVERSE, kind][..], &[0; 4]]
        .concat()
}

/// The messages of a datagram: kind and what comes after the head.
fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let payload = rest.get(HEAD..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, payload))
    })
}

/// The text of the attribute of this kind.
fn text(attributes: &[u8], wanted: u16) -> Option<String> {
    let mut rest = attributes;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        if kind == wanted {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            return String::from_utf8(value[..end].to_vec()).ok();
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::namespaces;

    /// Needs root: it makes network namespaces of its own.
    #[test]
    fn a_pair_leads_from_a_bridge_into_another_namespace() {
        let inside = namespaces::new_network_namespace(|| Ok(())).expect("this test needs root");
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("this test needs root");
            let gateway = Ipv4Addr::new(172, 18, 0, 1);
            let mut near = Links::open().unwrap();
            let bridge = near.add_bridge("br-test", Mac::of(gateway), Some(1400), (gateway, 16)).unwrap();
            let far = Far { name: "eth0", mac: Mac([2, 0, 0, 0, 0, 7]), netns: inside.as_fd() };
            near.add_pair("veth0", bridge, Some(1400), far).unwrap();
            assert_eq!(near.names().unwrap(), ["lo", "br-test", "veth0"]);
            let again = near.add_pair("veth0", bridge, None, far).unwrap_err().to_string();
            assert!(again.starts_with("cannot make veth link veth0: File exists"), "{again}");
            namespaces::in_network_namespace(inside.as_fd(), || {
                let mut links = Links::open().unwrap();
                links.loopback_up().unwrap();
                let eth0 = links.index("eth0").unwrap();
                links.add_address(eth0, Ipv4Addr::new(172, 18, 0, 2), 16).unwrap();
                links.up(eth0).unwrap();
                for name in ["veth0", "br-test"] {
                    near.settle(name).unwrap();
                }
                links.settle("eth0").unwrap();
                assert!(links.settle("eth1").is_err());
                links.set_default_route(gateway).unwrap();
                links.set_default_route(gateway).unwrap();
                links.remove_default_route().unwrap();
                links.remove_default_route().unwrap();
                std::net::UdpSocket::bind("172.18.0.2:0").unwrap().send_to(b"x", "172.18.0.1:9").map(drop)
            })
            .unwrap();
            near.remove("veth0").unwrap();
            near.remove("veth0").unwrap();
            assert!(matches!(near.index("veth0"), Err(LinkError::Missing(_))));
        })
        .join()
        .unwrap();
    }
}
