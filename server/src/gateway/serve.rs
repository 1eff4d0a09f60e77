//! Answering on a lent socket.

use std::{
    io,
    net::{IpAddr, TcpListener as StdListener, UdpSocket as StdUdp},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use drydock_protocol::{
    gateway::{Name, Service},
    host::Session,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    answer::{Zone, answer},
    rate::Rate,
};
use crate::{egress::Egress, sessions::Sessions};

/// The longest question over UDP, in bytes; longer ones are cut and refused.
const UDP_MAX: usize = 1232;

/// TCP connections of one session at once.
const TCP_MAX: usize = 16;

/// How long a TCP connection may be silent.
const TCP_SILENCE: Duration = Duration::from_secs(5);

/// Starts to answer on a socket.
pub(super) fn start(
    name: &Name,
    fd: OwnedFd,
    sessions: &Sessions,
    egress: &Egress,
) -> io::Result<JoinHandle<()>> {
    let zones = Zones { session: name.session.clone(), roster: sessions.watch(), rate: Arc::default() };
    match name.service {
        Service::DnsUdp => {
            let socket = StdUdp::from(fd);
            socket.set_nonblocking(true)?;
            let socket = UdpSocket::from_std(socket)?;
            Ok(tokio::spawn(udp(socket, zones)))
        }
        Service::DnsTcp => Ok(tokio::spawn(tcp(listening(fd)?, zones))),
        Service::Proxy => Ok(egress.serve(&name.session, listening(fd)?)),
        other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("{other:?} is not served yet"))),
    }
}

fn listening(fd: OwnedFd) -> io::Result<TcpListener> {
    let listener = StdListener::from(fd);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// A session's names, as they are now.
#[derive(Clone)]
struct Zones {
    session: String,
    roster: watch::Receiver<Arc<Vec<Session>>>,
    rate: Arc<Rate>,
}

impl Zones {
    fn now(&self) -> Zone {
        let roster = self.roster.borrow();
        roster.iter().find(|session| session.id == self.session).map(Zone::of).unwrap_or_default()
    }
}

async fn udp(socket: UdpSocket, zones: Zones) {
    let mut buffer = [0; UDP_MAX];
    loop {
        // Errors here are those of an earlier answer that could not be
        // delivered, and the client's business.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        // Who asks too much gets no answer, which costs least.
        if !zones.rate.allows(from.ip(), Instant::now()) {
            continue;
        }
        if let Some(reply) = answer(&buffer[..len], &zones.now()) {
            drop(socket.send_to(&reply, from).await);
        }
    }
}

async fn tcp(listener: TcpListener, zones: Zones) {
    let slots = Arc::new(Semaphore::new(TCP_MAX));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                let zones = zones.clone();
                tokio::spawn(async move {
                    let _slot = slot;
                    // Who breaks off is not answered: nothing to tell anybody.
                    drop(converse(stream, peer.ip(), zones).await);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a DNS connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, peer: IpAddr, zones: Zones) -> io::Result<()> {
    let mut question = Vec::new();
    loop {
        let length = timeout(TCP_SILENCE, stream.read_u16()).await??;
        question.resize(usize::from(length), 0);
        timeout(TCP_SILENCE, stream.read_exact(&mut question)).await??;
        if !zones.rate.allows(peer, Instant::now()) {
            return Ok(());
        }
        let Some(reply) = answer(&question, &zones.now()) else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let mut message = length.to_be_bytes().to_vec();
        message.extend_from_slice(&reply);
        timeout(TCP_SILENCE, stream.write_all(&message)).await??;
    }
}
