//! The list of sessions that live, kept fresh by asking host.

use std::{sync::Arc, time::Duration};

use drydock_protocol::host::Session;
use tokio::sync::{Notify, watch};

use crate::host::HostClient;

/// How often host is asked when nobody tells that something changed.
const EVERY: Duration = Duration::from_secs(1);

/// What lived a moment ago. While host is away the last known list stays.
pub(super) struct Roster {
    host: HostClient,
    sessions: watch::Sender<Arc<Vec<Session>>>,
    changed: Notify,
}

impl Roster {
    pub(super) fn new(host: HostClient) -> Roster {
        Roster { host, sessions: watch::Sender::new(Arc::default()), changed: Notify::new() }
    }

    pub(super) fn now(&self) -> Arc<Vec<Session>> {
        self.sessions.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<Vec<Session>>> {
        self.sessions.subscribe()
    }

    pub(super) fn refresh(&self) {
        self.changed.notify_one();
    }

    pub(super) async fn run(&self) {
        let mut away = false;
        let mut first = true;
        loop {
            match self.host.sessions().await {
                Ok(sessions) => {
                    away = false;
                    self.sessions.send_if_modified(|known| {
                        // The first list is news even when it is empty.
                        let changed = std::mem::take(&mut first) || **known != sessions;
                        if changed {
                            *known = Arc::new(sessions);
                        }
                        changed
                    });
                }
                Err(error) if !away => {
                    away = true;
                    tracing::warn!(%error, "cannot list the sessions");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.changed.notified() => {}
            }
        }
    }
}
