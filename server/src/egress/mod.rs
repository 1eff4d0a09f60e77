//! Egress: the forward proxy on a session's gateway, port 3128.
//!
//! No route leads out of a session; where a lab asks for it and the operator
//! allows some hosts, programs get to these by HTTP through here, and to
//! nothing else.
//!
//! | module | what |
//! | --- | --- |
//! | [`allow`] | the operator's list of hosts |
//! | [`address`] | the addresses that are refused whatever their name is |
//! | [`meter`] | a connection whose bytes are counted and bounded |
//! | [`audit`] | a line for each host that a session asked for |
//! | [`serve`] | requests: CONNECT and absolute addresses |

mod address;
pub mod allow;
mod audit;
mod meter;
mod serve;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

use allow::AllowList;
use audit::Audit;
use meter::Budget;

/// Connections of one session at once.
const CONNECTIONS_MAX: usize = 32;

/// What all sessions' proxies share. Cheap to clone.
#[derive(Clone)]
pub struct Egress {
    shared: Arc<Shared>,
}

struct Shared {
    allow: AllowList,
    /// The most bytes that one session may move, both ways together.
    bytes_max: u64,
    used: Mutex<HashMap<String, Budget>>,
}

/// One session's use of the proxy.
#[derive(Clone)]
struct Client {
    egress: Egress,
    budget: Budget,
    audit: Arc<Audit>,
}

/// What a connection holds until all of it has ended, its tunnel too.
struct Held {
    _slot: OwnedSemaphorePermit,
    /// Closed when the session's socket is.
    ended: watch::Receiver<()>,
}

impl Egress {
    /// A proxy to these hosts, with so many MiB for each session.
    pub fn new(allow: AllowList, mb_max: u64) -> Egress {
        let shared = Shared { allow, bytes_max: mb_max.saturating_mul(1 << 20), used: Mutex::default() };
        Egress { shared: Arc::new(shared) }
    }

    /// Serves a session's socket until the task is aborted.
    pub fn serve(&self, session: &str, listener: TcpListener) -> JoinHandle<()> {
        let client = Client {
            egress: self.clone(),
            budget: self.budget(session),
            audit: Arc::new(Audit::new(session)),
        };
        tokio::spawn(accept(listener, client))
    }

    /// Forgets a session that has ended.
    pub fn forget(&self, session: &str) {
        self.shared.used.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
    }

    /// What the session may still move; it counts on when its socket is opened
    /// anew.
    fn budget(&self, session: &str) -> Budget {
        let mut used = self.shared.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.entry(session.to_owned()).or_insert_with(|| Budget::new(self.shared.bytes_max)).clone()
    }
}

async fn accept(listener: TcpListener, client: Client) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Connections and their tunnels end with this task.
    let mut connections = JoinSet::new();
    let alive = watch::Sender::new(());
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let client = client.clone();
                let held = Arc::new(Held { _slot: slot, ended: alive.subscribe() });
                connections.spawn(serve::connection(stream, peer.ip(), client, held));
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection to the proxy");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
