//! Lending web the sockets on sessions' gateway addresses.
//!
//! See [`drydock_protocol::gateway`]. Host opens each socket in the session's
//! namespace, keeps a copy, and sends one to whoever is connected.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex},
};

use drydock_protocol::{
    Hello,
    gateway::{self, Lent, Name, Service},
};
use drydock_sandbox::fdpass;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::broadcast::{self, error::RecvError},
};

/// The longest hello: some 4,000 sockets.
const HELLO_MAX: usize = 512 * 1024;
/// How long whoever connects may take to send it.
const HELLO_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);
/// Changes that may queue for a connection before it is dropped.
const QUEUE: usize = 4096;
/// Most connections at once; web has one.
const CONNECTIONS_MAX: usize = 8;

/// The sockets that host holds.
#[derive(Debug)]
pub(crate) struct Gateway {
    held: Mutex<BTreeMap<Name, Arc<OwnedFd>>>,
    changes: broadcast::Sender<Change>,
    connections: Arc<tokio::sync::Semaphore>,
}

#[derive(Debug, Clone)]
enum Change {
    Open(Name, Arc<OwnedFd>),
    Ended(String),
}

impl Gateway {
    pub(crate) fn new() -> Gateway {
        Gateway {
            held: Mutex::default(),
            changes: broadcast::channel(QUEUE).0,
            connections: Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX)),
        }
    }

    /// Takes a socket and tells whoever is connected. One that is held already
    /// stays.
    pub(crate) fn add(&self, name: Name, socket: OwnedFd) {
        let mut held = lock(&self.held);
        if held.contains_key(&name) {
            return;
        }
        let socket = Arc::new(socket);
        held.insert(name.clone(), socket.clone());
        // Nobody connected is fine: the next one is told of all.
        let _ = self.changes.send(Change::Open(name, socket));
    }

    /// Which of a session's sockets are held.
    pub(crate) fn held(&self, session: &str) -> Vec<Service> {
        lock(&self.held).keys().filter(|name| name.session == session).map(|name| name.service).collect()
    }

    /// Closes a session's sockets.
    pub(crate) fn end(&self, session: &str) {
        lock(&self.held).retain(|name, _| name.session != session);
        let _ = self.changes.send(Change::Ended(session.to_string()));
    }

    /// Serves connections, forever. `handed_back` is told when a connection has
    /// given back what it held, so that what is then missing can be opened.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: UnixListener,
        is_session: impl Fn(&str) -> bool + Send + Sync + 'static,
        handed_back: impl Fn() + Send + Sync + 'static,
    ) {
        let is_session = Arc::new(is_session);
        let handed_back = Arc::new(handed_back);
        loop {
            let Ok(permit) = self.connections.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot accept a gateway connection: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (gateway, is_session, handed_back) = (self.clone(), is_session.clone(), handed_back.clone());
            tokio::spawn(async move {
                let _permit = permit;
                if let Err(error) = gateway.connection(&stream, &*is_session, &*handed_back).await {
                    tracing::info!("gateway connection ended: {error}");
                }
            });
        }
    }

    async fn connection(
        &self,
        stream: &UnixStream,
        is_session: &(impl Fn(&str) -> bool + Sync),
        handed_back: &(impl Fn() + Sync),
    ) -> io::Result<()> {
        let hello = tokio::time::timeout(HELLO_WITHIN, receive(stream));
        for (name, socket) in hello.await.map_err(|_| io::Error::other("it sent no hello in time"))?? {
            if is_session(&name.session) {
                self.add(name, socket);
            }
        }
        handed_back();
        let (mut changes, held) = {
            let held = lock(&self.held);
            (self.changes.subscribe(), held.clone())
        };
        for (name, socket) in held {
            tell(stream, &Lent::Open(name), Some(&socket)).await?;
        }
        let mut beyond = [0; 64];
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(Change::Open(name, socket)) => tell(stream, &Lent::Open(name), Some(&socket)).await?,
                    Ok(Change::Ended(session)) => tell(stream, &Lent::Ended { session }, None).await?,
                    Err(RecvError::Closed) => return Ok(()),
                    Err(RecvError::Lagged(_)) => {
                        return Err(io::Error::other("it reads too slowly"));
                    }
                },
                got = fdpass::recv_stream(stream, &mut beyond) => {
                    let words = if got?.len == 0 { "it was closed" } else { "it said more than its hello" };
                    return Err(io::Error::other(words));
                }
            }
        }
    }
}

/// Reads a hello and the descriptors that come with it.
async fn receive(stream: &UnixStream) -> io::Result<Vec<(Name, OwnedFd)>> {
    let invalid = |words: String| io::Error::new(io::ErrorKind::InvalidData, words);
    let (mut line, mut sockets) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    let hello: gateway::Hello = loop {
        let got = fdpass::recv_stream(stream, &mut buffer).await?;
        if got.len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&buffer[..got.len]);
        sockets.extend(got.fds);
        if line.len() > HELLO_MAX {
            return Err(invalid("a hello that is too long".into()));
        }
        if let Some(text) = line.strip_suffix(b"\n") {
            break serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
        }
    };
    if Hello::OURS.agree(hello.hello).is_none() {
        return Err(invalid(format!("it speaks protocol {:?}", hello.hello)));
    }
    if hello.held.len() != sockets.len() {
        let words = format!("{} sockets named and {} sent", hello.held.len(), sockets.len());
        return Err(invalid(words));
    }
    Ok(hello.held.into_iter().zip(sockets).collect())
}

async fn tell(stream: &UnixStream, lent: &Lent, socket: Option<&OwnedFd>) -> io::Result<()> {
    let mut line = serde_json::to_vec(lent)?;
    line.push(b'\n');
    let sockets: Vec<_> = socket.iter().map(|socket| socket.as_fd()).collect();
    fdpass::send_stream(stream, &line, &sockets).await
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while it was held left a whole map.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    fn name(session: &str) -> Name {
        Name { session: session.into(), service: Service::DnsUdp }
    }

    fn socket() -> OwnedFd {
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()
    }

    #[tokio::test]
    async fn web_gets_what_is_held_what_comes_and_what_ends() {
        let path = std::env::temp_dir().join(format!("drydock-gateway-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let gateway = Arc::new(Gateway::new());
        gateway.add(name("one"), socket());
        tokio::spawn(gateway.clone().serve(listener, |session| session != "gone", || {}));

        let stream = UnixStream::connect(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let held = vec![name("two"), name("gone")];
        let hello = gateway::Hello { hello: Hello::OURS, held };
        let mut line = serde_json::to_vec(&hello).unwrap();
        line.push(b'\n');
        let (two, gone) = (socket(), socket());
        fdpass::send_stream(&stream, &line, &[two.as_fd(), gone.as_fd()]).await.unwrap();

        let mut buffer = vec![0; 4096];
        let mut lent = Vec::new();
        while lent.len() < 2 {
            let got = fdpass::recv_stream(&stream, &mut buffer).await.unwrap();
            let lines = buffer[..got.len].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            assert_eq!(lines.clone().count(), got.fds.len());
            lent.extend(lines.map(|line| serde_json::from_slice::<Lent>(line).unwrap()));
        }
        assert_eq!(lent, [Lent::Open(name("one")), Lent::Open(name("two"))]);
        assert_eq!(gateway.held("two"), [Service::DnsUdp]);
        assert_eq!(gateway.held("gone"), [], "of a session that is no more");

        gateway.end("one");
        let mut lines = BufReader::new(stream).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Lent>(&line).unwrap(), Lent::Ended { session: "one".into() });
        // Whoever says more than a hello is dropped.
        lines.get_mut().write_all(b"x").await.unwrap();
        assert_eq!(lines.next_line().await.unwrap(), None);
    }
}
