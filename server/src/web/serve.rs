//! The accept loop: bounds on connections and on slow clients.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::address::{Peer, Proxies};

/// Connections at once, WebSockets and event streams among them.
const CONNECTIONS_MAX: usize = 8192;

/// Connections of one address at once: a class behind one router fits.
const ADDRESS_CONNECTIONS_MAX: usize = 2048;

/// Said to who has more, and the connection is closed.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 10\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 43\r\n\r\nyour address has too many open connections\n";

/// A request's head must have arrived within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest request head, in bytes.
const HEAD_MAX: usize = 32 * 1024;

/// How long requests under way may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves; over TLS if there is a configuration.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    proxies: Proxies,
    shutdown: impl Future<Output = ()>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let addresses = Addresses::default();
    let stopping = watch::Sender::new(());
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, peer, slot)) = accepted else { continue };
        let Some(place) = addresses.take(peer, &proxies) else {
            if tls.is_none() {
                // Whoever does not read it loses nothing.
                drop(stream.try_write(TOO_MANY));
            }
            continue;
        };
        let (router, stopping, tls) = (router.clone(), stopping.subscribe(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => connection(stream, peer, router, stopping).await,
                Some(tls) => match tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, peer, router, stopping).await,
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS connection"),
                    Err(_) => tracing::debug!("no TLS connection in time"),
                },
            }
            drop((slot, place));
        });
    }
    drop(stopping);
    let all = slots.acquire_many(CONNECTIONS_MAX as u32);
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::info!("requests were still under way at the end");
    }
}

/// One connection: to its end, or until its current request is answered once
/// the server stops.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    router: Router,
    mut stopping: watch::Receiver<()>,
) {
    // HTTP/1 only, and not found out by looking at the first bytes: who sends
    // none would be waited for without end.
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_MAX);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.call(request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let served = tokio::select! {
        served = &mut connection => served,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

/// Waits for a free slot, then for a connection. Descriptors may run out: that
/// passes, so it is waited for and not failed on.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    match listener.accept().await {
        Ok((stream, peer)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot switch off Nagle's algorithm");
            }
            Some((stream, peer.ip().to_canonical(), slot))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// How many connections each address has.
#[derive(Default)]
struct Addresses {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of them; given back when dropped.
struct Place {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Addresses {
    /// `None` if this address has too many. A proxy of ours speaks for many.
    fn take(&self, address: IpAddr, proxies: &Proxies) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= ADDRESS_CONNECTIONS_MAX && !proxies.has(address) {
            return None;
        }
        *count += 1;
        Some(Place { open: self.open.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}
