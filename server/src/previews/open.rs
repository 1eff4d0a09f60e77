//! Which ports of a session's nodes are open: followed while somebody looks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use drydock_agent::{Agent, AgentError};
use drydock_protocol::{
    agent::OpenPort,
    host::{Node, Session},
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use crate::{sessions::running, state::AppState};

/// How long to wait before a node is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Changes that may wait to be taken in.
const QUEUE: usize = 16;

/// The open ports by the node's name.
pub type Open = Arc<BTreeMap<String, Vec<OpenPort>>>;

type Change = (String, Vec<OpenPort>);

/// Follows a session's open ports for as long as the receiver is held.
pub fn follow(app: &AppState, id: &str) -> watch::Receiver<Open> {
    let (sender, receiver) = watch::channel(Open::default());
    let (roster, id) = (app.sessions.watch(), id.to_owned());
    tokio::spawn(follow_nodes(sender, roster, id));
    receiver
}

async fn follow_nodes(
    sender: watch::Sender<Open>,
    mut roster: watch::Receiver<Arc<Vec<Session>>>,
    id: String,
) {
    let (changes, mut queue) = mpsc::channel::<Change>(QUEUE);
    let mut tasks = JoinSet::new();
    let mut followed: BTreeMap<String, AbortHandle> = BTreeMap::new();
    loop {
        let session = roster.borrow_and_update().iter().find(|session| session.id == id).cloned();
        let nodes: Vec<Node> = session.iter().flat_map(running).cloned().collect();
        followed.retain(|name, task| {
            let runs = nodes.iter().any(|node| node.name == *name);
            if !runs {
                task.abort();
                tell(&sender, name, None);
            }
            runs
        });
        for node in nodes {
            followed
                .entry(node.name.clone())
                .or_insert_with(|| tasks.spawn(follow_node(node, changes.clone())));
        }
        tokio::select! {
            () = sender.closed() => return,
            changed = roster.changed() => if changed.is_err() { return },
            Some((name, ports)) = queue.recv() => {
                if followed.contains_key(&name) {
                    tell(&sender, &name, Some(ports));
                }
            }
        }
    }
}

fn tell(sender: &watch::Sender<Open>, name: &str, ports: Option<Vec<OpenPort>>) {
    sender.send_if_modified(|known| {
        if known.get(name) == ports.as_ref() {
            return false;
        }
        let mut now = (**known).clone();
        match ports {
            Some(ports) => now.insert(name.to_owned(), ports),
            None => now.remove(name),
        };
        *known = Arc::new(now);
        true
    });
}

/// Follows one node, through its restarts.
async fn follow_node(node: Node, changes: mpsc::Sender<Change>) {
    loop {
        if let Err(error) = hear(&node, &changes).await {
            tracing::debug!(node = node.name, %error, "a node's ports are not known");
        }
        if changes.send((node.name.clone(), Vec::new())).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn hear(node: &Node, changes: &mpsc::Sender<Change>) -> Result<(), AgentError> {
    let mut ports = Agent::connect(&node.agent).await?.ports().await?;
    while let Some(now) = ports.next().await? {
        if changes.send((node.name.clone(), now)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
