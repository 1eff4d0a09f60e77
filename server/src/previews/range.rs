//! Previews on ports of this server: for a server that is reached by a bare
//! address, where no name can be made up for each preview.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{IpAddr, TcpListener},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use axum::{Router, extract::Request};
use tokio::sync::oneshot;
use tokio_rustls::rustls::ServerConfig;

use super::{Previews, Target, proxy};
use crate::{
    config::PortRange,
    web::{address::Proxies, serve::serve},
};

/// The ports, and what each is used for.
pub(super) struct Range {
    listen: IpAddr,
    ports: PortRange,
    /// Scheme and host, as people type them.
    base: String,
    tls: OnceLock<Option<Arc<ServerConfig>>>,
    used: Mutex<BTreeMap<u16, Used>>,
}

struct Used {
    target: Target,
    /// Dropped with the entry, which ends the port's server.
    _stop: oneshot::Sender<()>,
}

impl Range {
    pub(super) fn new(listen: IpAddr, ports: PortRange, base: String) -> Range {
        Range { listen, ports, base, tls: OnceLock::new(), used: Mutex::default() }
    }

    pub(super) fn use_tls(&self, tls: Option<Arc<ServerConfig>>) {
        // Set once, before anything is served.
        drop(self.tls.set(tls));
    }

    /// The address for a target, whose port begins to be served with it; `None`
    /// when all ports are in use.
    pub(super) fn address(&self, previews: &Previews, target: Target) -> Option<String> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, used| previews.session(&used.target.session).is_some());
        let known = used.iter().find(|(_, used)| used.target == target).map(|(port, _)| *port);
        let port = match known {
            Some(port) => port,
            None => {
                let (port, listener) = self.free(&used, &target)?;
                let stop = self.start(previews, listener, target.clone());
                used.insert(port, Used { target, _stop: stop });
                port
            }
        };
        Some(format!("{}:{port}/", self.base))
    }

    /// A free port, bound. The search begins at a place that follows from the
    /// target, so that a link mostly survives a restart of ours.
    fn free(&self, used: &BTreeMap<u16, Used>, target: &Target) -> Option<(u16, TcpListener)> {
        let mut hasher = DefaultHasher::new();
        target.hash(&mut hasher);
        let count = u64::from(self.ports.last - self.ports.first) + 1;
        let begin = hasher.finish() % count;
        (0..count)
            .map(|step| self.ports.first + ((begin + step) % count) as u16)
            .filter(|port| !used.contains_key(port))
            .find_map(|port| {
                let bound = bind(self.listen, port).inspect_err(|error| {
                    tracing::warn!(port, %error, "a port of preview_ports can't be used");
                });
                Some((port, bound.ok()?))
            })
    }

    fn start(&self, previews: &Previews, listener: TcpListener, target: Target) -> oneshot::Sender<()> {
        let (stop, stopped) = oneshot::channel::<()>();
        let tls = self.tls.get().cloned().flatten();
        let previews = previews.clone();
        tokio::spawn(async move {
            let listener = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "cannot serve a preview's port"),
            };
            let handler = move |request: Request| {
                let (previews, target) = (previews.clone(), target.clone());
                async move { proxy::pass(&previews, &target, request, proxy::Origin::Shared).await }
            };
            let ended = async {
                // It is never sent: the sender's end is the word.
                drop(stopped.await);
            };
            serve(listener, tls, Router::new().fallback(handler), Proxies::default(), ended).await;
        });
        stop
    }
}

fn bind(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((address, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
