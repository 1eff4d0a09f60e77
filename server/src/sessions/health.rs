//! How nodes do: asked of them every few seconds, while somebody looks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use drydock_agent::{Agent, AgentError};
use drydock_protocol::host::{Node, Session};
use serde::Serialize;
use tokio::{sync::watch, time::timeout};

use super::running;
use crate::state::AppState;

/// How often nodes are asked.
const EVERY: Duration = Duration::from_secs(5);

/// A node that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

const MIB: u64 = 1 << 20;

/// How a node does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether it answered.
    pub answers: bool,
    /// Memory in use, in MiB.
    pub memory_mb: Option<u64>,
    /// The most it may have.
    pub memory_limit_mb: Option<u64>,
    /// How often the kernel ended a program of it for want of memory.
    pub oom_kills: u64,
    /// The name of the last of those, when known.
    pub oom_name: Option<String>,
}

/// How the running nodes of a session do, by their names.
pub type Healths = Arc<BTreeMap<String, Health>>;

/// Asks the nodes of a session for as long as the receiver is held.
pub fn follow(app: &AppState, id: &str) -> watch::Receiver<Healths> {
    let (sender, receiver) = watch::channel(Healths::default());
    let (roster, id) = (app.sessions.watch(), id.to_owned());
    tokio::spawn(async move {
        loop {
            let session = roster.borrow().iter().find(|session| session.id == id).cloned();
            if let Some(session) = session {
                let before = sender.borrow().clone();
                let now = tokio::select! {
                    () = sender.closed() => return,
                    now = ask_all(&session, &before) => now,
                };
                sender.send_if_modified(|known| {
                    let changed = *known != now;
                    *known = now;
                    changed
                });
            }
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
    receiver
}

async fn ask_all(session: &Session, before: &BTreeMap<String, Health>) -> Healths {
    let asked = running(session).map(|node| async {
        let health = match timeout(PATIENCE, ask(node)).await {
            Ok(Ok(health)) => Some(health),
            // It starts or ends, and its state will say so.
            Ok(Err(error)) => {
                tracing::debug!(node = node.name, %error, "cannot ask a node how it does");
                None
            }
            Err(_) => Some(silent(before.get(&node.name))),
        };
        health.map(|health| (node.name.clone(), health))
    });
    Arc::new(futures_util::future::join_all(asked).await.into_iter().flatten().collect())
}

async fn ask(node: &Node) -> Result<Health, AgentError> {
    let status = Agent::connect(&node.agent).await?.status().await?;
    Ok(Health {
        answers: true,
        memory_mb: status.memory_used.map(|bytes| bytes.div_ceil(MIB)),
        memory_limit_mb: status.memory_limit.map(|bytes| bytes / MIB),
        oom_kills: status.oom_kills,
        // A learner chose it.
        oom_name: status.oom_name.map(|name| name.chars().filter(|c| !c.is_control()).take(40).collect()),
    })
}

/// What is last known of a node that does not answer.
fn silent(before: Option<&Health>) -> Health {
    let none = Health { answers: true, memory_mb: None, memory_limit_mb: None, oom_kills: 0, oom_name: None };
    Health { answers: false, ..before.cloned().unwrap_or(none) }
}
