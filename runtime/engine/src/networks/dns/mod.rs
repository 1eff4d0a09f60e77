//! The embedded DNS server: 127.0.0.11 in each container that is in a network
//! with names.
//!
//! Its sockets are made in the container's network namespace, at free ports,
//! where the packet filter sends what is for port 53; they are kept by PID 1
//! over our restart. Names of containers are answered here; everything else is
//! asked of the node's resolver.

mod message;
mod names;

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use drydock_sandbox::nft::bridges;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use crate::engine::Shared;
use message::{Answer, Kind, Query, UDP_MAX};
pub(super) use names::names;

/// Where it answers.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// Under which names PID 1 keeps the sockets.
pub(super) const PARKED: [&str; 2] = ["dns/udp", "dns/tcp"];

/// Queries of one container that wait for an answer from elsewhere.
const FORWARDED_MAX: usize = 100;
/// The same, of all containers: each has a descriptor of ours.
static FORWARDED: Semaphore = Semaphore::const_new(400);
/// TCP connections of one container.
const CONNECTIONS_MAX: usize = 16;
/// The same, of all containers.
static CONNECTIONS: Semaphore = Semaphore::const_new(256);
/// A TCP client says something in this time, or is left.
const IDLE: Duration = Duration::from_secs(10);
/// Another server answers in this time, or has failed.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest message that is read.
const MESSAGE_MAX: usize = 4096;
/// After a failure of a socket that isn't the client's fault.
const PAUSE: Duration = Duration::from_millis(100);

/// A server's sockets.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) udp: OwnedFd,
    pub(super) tcp: OwnedFd,
}

impl Sockets {
    /// Makes them in the calling thread's network namespace, with the rules
    /// that lead there.
    pub(super) fn make() -> io::Result<Sockets> {
        let udp = UdpSocket::bind((ADDRESS, 0))?;
        let tcp = TcpListener::bind((ADDRESS, 0))?;
        let ports = (udp.local_addr()?.port(), tcp.local_addr()?.port());
        bridges::divert_dns(ADDRESS, ports.0, ports.1).map_err(io::Error::other)?;
        Ok(Sockets { udp: udp.into(), tcp: tcp.into() })
    }
}

/// A container's server. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server(#[expect(dead_code, reason = "its drop ends the tasks")] JoinSet<()>);

/// Who asks, and whom to ask for what we don't know.
#[derive(Clone)]
struct Asker {
    engine: Shared,
    container: String,
    upstream: SocketAddr,
    forwarded: Arc<Semaphore>,
}

/// Starts a container's server.
pub(super) fn serve(
    engine: &Shared,
    container: &str,
    sockets: Sockets,
    server: Option<Ipv4Addr>,
) -> io::Result<Server> {
    let udp = UdpSocket::from(sockets.udp);
    udp.set_nonblocking(true)?;
    let udp = tokio::net::UdpSocket::from_std(udp)?;
    let tcp = TcpListener::from(sockets.tcp);
    tcp.set_nonblocking(true)?;
    let tcp = tokio::net::TcpListener::from_std(tcp)?;
    let asker = Asker {
        engine: engine.clone(),
        container: container.to_owned(),
        upstream: SocketAddrV4::new(server.unwrap_or(engine.spec.gateway), 53).into(),
        forwarded: Arc::new(Semaphore::new(FORWARDED_MAX)),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_udp(Arc::new(udp), asker.clone()));
    tasks.spawn(serve_tcp(tcp, asker));
    Ok(Server(tasks))
}

async fn serve_udp(socket: Arc<tokio::net::UdpSocket>, asker: Asker) {
    let mut tasks = JoinSet::new();
    let mut buffer = [0; MESSAGE_MAX];
    loop {
        while tasks.try_join_next().is_some() {}
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An earlier answer met a closed port.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                tracing::warn!(%error, container = asker.container, "the embedded DNS server fails");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match asker.own_answer(&buffer[..length], UDP_MAX) {
            Own::Answer(answer) => reply(&socket, &answer, client).await,
            Own::Nonsense => {}
            Own::Elsewhere => {
                // Too many wait: the client asks again by itself.
                let places = (asker.forwarded.clone().try_acquire_owned(), FORWARDED.try_acquire());
                let (Ok(own), Ok(common)) = places else { continue };
                let (socket, asker, query) = (socket.clone(), asker.clone(), buffer[..length].to_vec());
                tasks.spawn(async move {
                    let answer = asker.ask_elsewhere(&query).await;
                    reply(&socket, &answer, client).await;
                    drop((own, common));
                });
            }
        }
    }
}

async fn reply(socket: &tokio::net::UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%error, "a client of the embedded DNS server is gone");
    }
}

async fn serve_tcp(listener: tokio::net::TcpListener, asker: Asker) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let (Ok(own), Ok(common)) = (room.clone().acquire_owned().await, CONNECTIONS.acquire().await) else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let asker = asker.clone();
                tasks.spawn(async move {
                    if let Err(error) = converse(stream, &asker).await {
                        tracing::debug!(%error, "a client of the embedded DNS server is gone");
                    }
                    drop((own, common));
                });
            }
            Err(error) => {
                tracing::warn!(%error, container = asker.container, "the embedded DNS server fails");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the queries of a TCP connection, each with its length before it.
async fn converse(mut stream: TcpStream, asker: &Asker) -> io::Result<()> {
    loop {
        let length = match timeout(IDLE, stream.read_u16()).await {
            Ok(Ok(length)) => usize::from(length),
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        if length > MESSAGE_MAX {
            return Ok(());
        }
        let mut query = vec![0; length];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let answer = match asker.own_answer(&query, usize::from(u16::MAX)) {
            Own::Answer(answer) => answer,
            Own::Nonsense => return Ok(()),
            Own::Elsewhere => asker.ask_elsewhere(&query).await,
        };
        let mut message = (answer.len() as u16).to_be_bytes().to_vec();
        message.extend(answer);
        timeout(IDLE, stream.write_all(&message)).await??;
    }
}

/// What we can say to a query.
enum Own {
    Answer(Vec<u8>),
    /// It is to be asked elsewhere.
    Elsewhere,
    /// It is no query.
    Nonsense,
}

impl Asker {
    fn own_answer(&self, bytes: &[u8], max: usize) -> Own {
        let Some(query) = Query::parse(bytes) else { return Own::Nonsense };
        let answer = match query.kind {
            Kind::A | Kind::Aaaa => {
                names::addresses(&self.engine, &self.container, &query.name).map(Answer::Addresses)
            }
            Kind::Ptr => query
                .reversed()
                .and_then(|address| names::name_of(&self.engine, &self.container, address))
                .map(Answer::Name),
            Kind::Other => None,
        };
        match answer {
            Some(answer) => Own::Answer(query.answer(&answer, max)),
            None if names::has_way_out(&self.engine, &self.container) => Own::Elsewhere,
            None => Own::Answer(query.answer(&Answer::Failure, max)),
        }
    }

    /// The answer of the node's resolver, or that it failed.
    async fn ask_elsewhere(&self, bytes: &[u8]) -> Vec<u8> {
        let Some(query) = Query::parse(bytes) else { return Vec::new() };
        match timeout(PATIENCE, self.ask_upstream(&query, bytes)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::debug!(%error, upstream = %self.upstream, "a DNS server failed");
                query.answer(&Answer::Failure, UDP_MAX)
            }
            Err(_) => query.answer(&Answer::Failure, UDP_MAX),
        }
    }

    async fn ask_upstream(&self, query: &Query<'_>, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.connect(self.upstream).await?;
        socket.send(bytes).await?;
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if query.is_answered_by(&buffer[..length]) {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }
}
