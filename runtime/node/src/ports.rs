//! Which TCP ports somebody serves: those that the engine publishes, and those
//! that the node's own programs listen on.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use drydock_agent::{
    AgentError,
    frames::{FrameReader, FrameWriter},
};
use drydock_protocol::{
    agent::{OpenPort, PORTS},
    event::Port,
};
use drydock_sandbox::sock_diag;
use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::init::Node;

/// How often the kernel is asked, while somebody wants to know. Published ports
/// are told at once.
const EVERY: Duration = Duration::from_secs(2);
/// The most ports that are told.
const PORTS_MAX: usize = 100;
/// How long a watcher may take to read.
const WRITE: Duration = Duration::from_secs(20);

/// Whether a socket that listens there can be reached by loopback or by the
/// node's own address.
fn is_reachable(socket: &SocketAddr, own: Ipv4Addr) -> bool {
    match socket.ip() {
        IpAddr::V4(address) => address.is_unspecified() || address == Ipv4Addr::LOCALHOST || address == own,
        // Of IPv6, only a socket for any address takes IPv4 as well.
        IpAddr::V6(address) => address.is_unspecified(),
    }
}

/// Both kinds in one list, by port.
fn together(published: &[Port], listening: &[SocketAddr], own: Ipv4Addr) -> Vec<OpenPort> {
    let reachable = listening.iter().filter(|socket| is_reachable(socket, own));
    let mut ports: BTreeMap<u16, Option<String>> = reachable.map(|socket| (socket.port(), None)).collect();
    for port in published.iter().filter(|port| port.protocol == "tcp") {
        ports.insert(port.host_port, Some(port.name.clone()));
    }
    ports.into_iter().take(PORTS_MAX).map(|(port, container)| OpenPort { port, container }).collect()
}

/// Tells a watcher the open ports, and again whenever they change.
pub(crate) async fn serve(
    node: &Rc<Node>,
    mut reader: FrameReader<OwnedReadHalf>,
    mut writer: FrameWriter<OwnedWriteHalf>,
) -> Result<(), AgentError> {
    let mut published = node.events.published();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // The sender lives in `node`.
            Ok(()) = published.changed() => {}
            // A watcher has nothing to say but that it goes.
            _ = reader.next() => return Ok(()),
        }
        let listening = sock_diag::listening().unwrap_or_else(|error| {
            tracing::debug!("listening sockets are not known: {error}");
            Vec::new()
        });
        let now = together(&published.borrow_and_update(), &listening, node.dials.address);
        if told.as_ref() != Some(&now) {
            let json = serde_json::to_vec(&now)?;
            timeout(WRITE, writer.send(PORTS, &json)).await.map_err(|_| AgentError::Closed)??;
            told = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 11);

    #[test]
    fn only_what_can_be_reached_is_told() {
        for (socket, reachable) in [
            ("0.0.0.0:80", true),
            ("127.0.0.1:80", true),
            ("192.168.0.11:80", true),
            ("[::]:80", true),
            ("127.0.0.11:53", false),
            ("172.17.0.1:80", false),
            ("[::1]:80", false),
        ] {
            assert_eq!(is_reachable(&socket.parse().unwrap(), OWN), reachable, "{socket}");
        }
    }

    #[test]
    fn published_ports_have_their_containers_name() {
        let published = Port {
            host_ip: Ipv4Addr::UNSPECIFIED,
            host_port: 8080,
            protocol: "tcp".into(),
            container_port: 80,
            container: "c".repeat(64),
            name: "web".into(),
        };
        let udp = Port { protocol: "udp".into(), host_port: 53, ..published.clone() };
        let ports = together(
            &[published, udp],
            &["0.0.0.0:9000".parse().unwrap(), "0.0.0.0:8080".parse().unwrap()],
            OWN,
        );
        let named =
            |port, container: Option<&str>| OpenPort { port, container: container.map(str::to_owned) };
        assert_eq!(ports, [named(8080, Some("web")), named(9000, None)]);
    }
}
