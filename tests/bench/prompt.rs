//! From the request for a session to the first prompt on each node's terminal.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use drydock_protocol::host::{CreateSession, Features, Limits, NodeState, Session};

use crate::unix_http::ask;
use drydock_tests::viewer::Viewer;

/// Asks host for a session of this many nodes.
pub(crate) fn create(socket: &Path, nodes: usize, limits: Limits) -> Result<Session> {
    let create = CreateSession {
        owner: "bench".into(),
        purpose: String::new(),
        nodes: (1..=nodes).map(|number| format!("node{number}")).collect(),
        limits,
        features: Features::default(),
        seconds: 3600,
        nodes_max: None,
    };
    let made = ask(socket, "POST", "/v1/sessions", &serde_json::to_string(&create)?)?;
    let session: Session = serde_json::from_str(&made)?;
    if let Some(node) = session.nodes.iter().find(|node| node.state != NodeState::Running) {
        bail!("{} is {:?}: {}", node.name, node.state, node.error.as_deref().unwrap_or("no reason is given"));
    }
    Ok(session)
}

/// Ends a session.
pub(crate) fn remove(socket: &Path, id: &str) -> Result<()> {
    ask(socket, "DELETE", &format!("/v1/sessions/{id}"), "").map(drop)
}

/// Makes a session by host's API, attaches to each node, and waits for all
/// prompts; the session is removed afterwards, untimed.
pub(crate) fn session_to_prompt(socket: &Path, nodes: usize) -> Result<Duration> {
    let begin = Instant::now();
    let session = create(socket, nodes, Limits { memory_mb: 512, ..Limits::default() })?;
    let waiting: Vec<_> = session
        .nodes
        .iter()
        .map(|node| {
            let agent = node.agent.clone();
            std::thread::spawn(move || Viewer::attach(&agent)?.prompt())
        })
        .collect();
    for thread in waiting {
        thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    let took = begin.elapsed();
    remove(socket, &session.id)?;
    Ok(took)
}
