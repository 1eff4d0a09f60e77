//! The accept loop: bounds on connections and on slow clients.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
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

/// Connections at once, WebSockets and event streams among them.
const CONNECTIONS_MAX: usize = 4096;

/// A request's head must have arrived within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest request head, in bytes.
const HEAD_MAX: usize = 32 * 1024;

/// How long requests under way may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// Serves until `shutdown` resolves; over TLS if there is a configuration.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stopping = watch::Sender::new(());
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let (router, stopping, tls) = (router.clone(), stopping.subscribe(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => connection(stream, router, stopping).await,
                Some(tls) => match tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, router, stopping).await,
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS connection"),
                    Err(_) => tracing::debug!("no TLS connection in time"),
                },
            }
            drop(slot);
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
    router: Router,
    mut stopping: watch::Receiver<()>,
) {
    // HTTP/1 only, and not found out by looking at the first bytes: who sends
    // none would be waited for without end.
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_MAX);
    let service = TowerToHyperService::new(router);
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
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot switch off Nagle's algorithm");
            }
            Some((stream, slot))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
