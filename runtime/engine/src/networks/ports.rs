//! Published ports: what a container asks for, and which ports of the node it
//! gets.
//!
//! A port is held by a socket, too, which PID 1 keeps: so that nobody else in
//! the node can listen there, and a port where somebody listens is refused.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::place::{Protocol, Published};
use crate::{
    containers::{
        config::{HostConfig, PortBinding},
        record::Record,
    },
    error::ApiError,
};

/// Ports of its own choice are the node's from here on, as the kernel's are.
const FREE_FIRST: u16 = 32_768;
const FREE_LAST: u16 = 60_999;
/// The most published ports of a node.
const PORTS_MAX: usize = 2000;
/// How many ports of our choice are tried before we give up.
const TRIES_MAX: usize = 200;

/// A port that a container wants to have published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) host_ip: Ipv4Addr,
    /// The first and the last that will do; none for any.
    pub(super) host_ports: Option<(u16, u16)>,
}

/// Reads `80/tcp`.
pub(crate) fn parse_port(text: &str) -> Result<(u16, Protocol), ApiError> {
    let refuse = || ApiError::Invalid(format!("invalid port specification: \"{text}\""));
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => {
            return Err(ApiError::NotImplemented("this engine publishes no SCTP ports".to_owned()));
        }
        _ => return Err(refuse()),
    };
    let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(refuse)?;
    Ok((number, protocol))
}

/// Reads `8080`, `8000-8010`, or nothing.
fn parse_host_ports(text: &str) -> Result<Option<(u16, u16)>, ApiError> {
    let refuse = || ApiError::Invalid(format!("invalid port specification: \"{text}\""));
    let number = |text: &str| text.parse::<u16>().map_err(|_| refuse());
    let (first, last) = match text.split_once('-') {
        None if text.is_empty() => return Ok(None),
        None => (number(text)?, number(text)?),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    match (first, last) {
        (0, 0) => Ok(None),
        (first, last) if first == 0 || first > last => Err(refuse()),
        both => Ok(Some(both)),
    }
}

fn parse_binding(
    (port, protocol): (u16, Protocol),
    binding: &PortBinding,
    default: Ipv4Addr,
) -> Result<Wanted, ApiError> {
    let host_ip = match binding.host_ip.as_str() {
        "" => default,
        text => text.parse().map_err(|_| ApiError::Invalid(format!("invalid IP address: {text}")))?,
    };
    Ok(Wanted { port, protocol, host_ip, host_ports: parse_host_ports(&binding.host_port)? })
}

/// What a container wants published, in the order in which it gets it.
pub(super) fn wanted(record: &Record, default: Ipv4Addr) -> Result<Vec<Wanted>, ApiError> {
    let host = &record.host_config;
    let mut all: BTreeMap<(u16, Protocol), Vec<Wanted>> = BTreeMap::new();
    for (text, bindings) in &host.port_bindings {
        let port = parse_port(text)?;
        let read = bindings.iter().flatten().map(|binding| parse_binding(port, binding, default));
        all.entry(port).or_default().extend(read.collect::<Result<Vec<_>, _>>()?);
    }
    if host.publish_all_ports {
        for text in record.config.exposed_ports.keys() {
            let port = parse_port(text)?;
            let wanted = all.entry(port).or_default();
            if wanted.is_empty() {
                wanted.push(parse_binding(port, &PortBinding::default(), default)?);
            }
        }
    }
    Ok(all.into_values().flatten().collect())
}

/// Refuses ports that can't be read.
pub(crate) fn check(host: &HostConfig) -> Result<(), ApiError> {
    for (text, bindings) in &host.port_bindings {
        let port = parse_port(text)?;
        for binding in bindings.iter().flatten() {
            parse_binding(port, binding, Ipv4Addr::UNSPECIFIED)?;
        }
    }
    Ok(())
}

/// Which ports are published, and for whom.
#[derive(Debug, Default)]
pub(super) struct Ports(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    held: HashMap<(Protocol, u16), Vec<(Ipv4Addr, String)>>,
    count: usize,
    /// Where the search for a free one goes on.
    next: u16,
}

/// Why a port could not be had.
#[derive(Debug)]
pub(super) enum Refused {
    /// A container has it.
    Allocated(Published),
    /// A socket could not be bound.
    Bind(Published, io::Error),
    /// The node publishes as many as it may.
    TooMany,
}

impl Refused {
    /// Docker's words, for a container with this address.
    pub(super) fn words(&self, address: Ipv4Addr) -> String {
        match self {
            Refused::Allocated(Published { host_ip, host_port, .. }) => {
                format!("Bind for {host_ip}:{host_port} failed: port is already allocated")
            }
            Refused::Bind(Published { port, protocol, host_ip, host_port }, error) => {
                let why = match error.raw_os_error() {
                    Some(libc::EADDRINUSE) => "address already in use".to_owned(),
                    Some(libc::EADDRNOTAVAIL) => "cannot assign requested address".to_owned(),
                    _ => error.to_string(),
                };
                format!(
                    "failed to bind host port for {host_ip}:{host_port}:{address}:{port}/{protocol}: {why}"
                )
            }
            Refused::TooMany => format!("this node publishes {PORTS_MAX} ports already"),
        }
    }

    /// A socket that is being closed may be what is in the way.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Refused::Bind(_, error) if error.raw_os_error() == Some(libc::EADDRINUSE))
    }
}

impl Ports {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a port for a container, and the socket that holds it.
    pub(super) fn take(&self, wanted: &Wanted, container: &str) -> Result<(Published, OwnedFd), Refused> {
        let Wanted { port, protocol, host_ip, .. } = *wanted;
        let mut table = self.table();
        if table.count >= PORTS_MAX {
            return Err(Refused::TooMany);
        }
        let mut last = Refused::TooMany;
        for host_port in table.candidates(wanted) {
            let published = Published { port, protocol, host_ip, host_port };
            if table.is_held(&published) {
                last = Refused::Allocated(published);
                continue;
            }
            match bind(&published) {
                Ok(socket) => {
                    table.hold(&published, container);
                    return Ok((published, socket));
                }
                Err(error) => last = Refused::Bind(published, error),
            }
        }
        Err(last)
    }

    /// Notes ports that a container has had over our restart.
    pub(super) fn keep(&self, ports: &[Published], container: &str) {
        let mut table = self.table();
        ports.iter().for_each(|port| table.hold(port, container));
    }

    /// Takes back all that a container has.
    pub(super) fn free(&self, container: &str) {
        let table = &mut *self.table();
        for holders in table.held.values_mut() {
            let before = holders.len();
            holders.retain(|(_, holder)| holder != container);
            table.count -= before - holders.len();
        }
        table.held.retain(|_, holders| !holders.is_empty());
    }
}

impl Table {
    fn candidates(&mut self, wanted: &Wanted) -> Vec<u16> {
        if let Some((first, last)) = wanted.host_ports {
            return (first..=last).collect();
        }
        let next = self.next.clamp(FREE_FIRST, FREE_LAST);
        let free = (next..=FREE_LAST).chain(FREE_FIRST..next);
        let held = |port: &u16| self.held.contains_key(&(wanted.protocol, *port));
        free.filter(|port| !held(port)).take(TRIES_MAX).collect()
    }

    /// Whether a container has it, or one at every address stands in its way.
    fn is_held(&self, port: &Published) -> bool {
        let mine = port.host_ip;
        self.held.get(&(port.protocol, port.host_port)).is_some_and(|holders| {
            holders.iter().any(|(ip, _)| *ip == mine || ip.is_unspecified() || mine.is_unspecified())
        })
    }

    fn hold(&mut self, port: &Published, container: &str) {
        let holders = self.held.entry((port.protocol, port.host_port)).or_default();
        holders.push((port.host_ip, container.to_owned()));
        self.count += 1;
        if (FREE_FIRST..=FREE_LAST).contains(&port.host_port) {
            self.next = if port.host_port == FREE_LAST { FREE_FIRST } else { port.host_port + 1 };
        }
    }
}

fn bind(port: &Published) -> io::Result<OwnedFd> {
    let address = (port.host_ip, port.host_port);
    Ok(match port.protocol {
        Protocol::Tcp => TcpListener::bind(address)?.into(),
        Protocol::Udp => UdpSocket::bind(address)?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(port: u16, protocol: Protocol, host_ports: Option<(u16, u16)>) -> Wanted {
        Wanted { port, protocol, host_ip: Ipv4Addr::LOCALHOST, host_ports }
    }

    #[test]
    fn ports_are_read_as_docker_writes_them() {
        assert_eq!(parse_port("80/tcp"), Ok((80, Protocol::Tcp)));
        assert_eq!(parse_port("53/UDP"), Ok((53, Protocol::Udp)));
        assert_eq!(parse_port("80"), Ok((80, Protocol::Tcp)));
        for bad in ["", "0/tcp", "65536/tcp", "80/icmp", "x/tcp"] {
            assert!(matches!(parse_port(bad), Err(ApiError::Invalid(_))), "{bad}");
        }
        assert_eq!(parse_host_ports(""), Ok(None));
        assert_eq!(parse_host_ports("0"), Ok(None));
        assert_eq!(parse_host_ports("8080"), Ok(Some((8080, 8080))));
        assert_eq!(parse_host_ports("8000-8010"), Ok(Some((8000, 8010))));
        for bad in ["x", "8010-8000", "0-5", "70000", "-"] {
            assert!(parse_host_ports(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_is_had_once_and_a_socket_holds_it() {
        let ports = Ports::default();
        let (first, socket) = ports.take(&any(80, Protocol::Tcp, None), "one").unwrap();
        assert!((FREE_FIRST..=FREE_LAST).contains(&first.host_port));
        let same = any(80, Protocol::Tcp, Some((first.host_port, first.host_port)));
        let refused = ports.take(&same, "two").unwrap_err();
        let words = format!("Bind for 127.0.0.1:{} failed: port is already allocated", first.host_port);
        assert_eq!(refused.words(Ipv4Addr::LOCALHOST), words);
        assert!(!refused.may_pass());
        ports.free("one");
        let refused = ports.take(&same, "two").unwrap_err();
        let words = format!(
            "failed to bind host port for 127.0.0.1:{}:172.17.0.2:80/tcp: address already in use",
            first.host_port
        );
        assert_eq!(refused.words(Ipv4Addr::new(172, 17, 0, 2)), words);
        assert!(refused.may_pass());
        drop(socket);
        assert_eq!(ports.take(&same, "two").unwrap().0.host_port, first.host_port);
    }

    #[test]
    fn a_range_gives_the_first_that_is_free() {
        let ports = Ports::default();
        let (first, _socket) = ports.take(&any(53, Protocol::Udp, None), "one").unwrap();
        let range = any(53, Protocol::Udp, Some((first.host_port, first.host_port + 20)));
        let (second, _) = ports.take(&range, "two").unwrap();
        assert!(second.host_port > first.host_port);
    }
}
