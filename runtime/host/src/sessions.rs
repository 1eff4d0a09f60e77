//! Making sessions and ending them.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use drydock_protocol::{
    gateway::Name,
    host::{AddNode, CreateSession, Extend, Node, NodeState, Session as SessionView},
};
use drydock_sandbox::{link::Mac, namespaces};

use crate::{
    error::HostError,
    host::{Host, Session, now},
    ids, life,
    network::Network,
    record::Record,
};

const TEXT_MAX: usize = 100;
/// Deadlines are looked at this often even when nothing happens: the clock may
/// be set.
const LOOK: Duration = Duration::from_secs(15);

/// Makes a session and starts its nodes. A node that can't start is `failed`
/// and says why; the session is there all the same.
pub(crate) async fn create(host: &Arc<Host>, asked: CreateSession) -> Result<SessionView, HostError> {
    let record = plan(host, &asked)?;
    let session = host.admit(record)?;
    host.deadlines.notify_one();
    if let Err(error) = open_network(host, &session).await {
        end(host, &session).await?;
        return Err(error);
    }
    let starts = asked.nodes.iter().map(|name| life::start(host, &session, name));
    for (name, started) in asked.nodes.iter().zip(futures_util::future::join_all(starts).await) {
        if let Err(error) = started {
            tracing::error!("{}/{name}: {error}", session.id);
        }
    }
    Ok(session.record().session)
}

fn plan(host: &Host, asked: &CreateSession) -> Result<Record, HostError> {
    let invalid = |words: String| Err(HostError::Invalid(words));
    if asked.owner.len() > TEXT_MAX || asked.purpose.len() > TEXT_MAX {
        return invalid(format!("owner and purpose may have {TEXT_MAX} bytes each"));
    }
    let most = host.config.session_nodes_max;
    let nodes_max = asked.nodes_max.unwrap_or(most).min(most);
    if asked.nodes.is_empty() || asked.nodes.len() > nodes_max as usize {
        return invalid(format!("a session has 1 to {nodes_max} nodes, not {}", asked.nodes.len()));
    }
    let random = || ids::random().map_err(HostError::call("get random bytes"));
    let mut view = SessionView {
        id: random()?,
        owner: asked.owner.clone(),
        purpose: asked.purpose.clone(),
        key: random()?,
        created: now(),
        deadline: now() + asked.seconds.clamp(1, host.config.session_seconds_max),
        features: asked.features,
        limits: host.clamp(asked.limits),
        nodes_max,
        nodes: Vec::new(),
    };
    for name in &asked.nodes {
        let node = new_node(host, &view, name)?;
        view.nodes.push(node);
    }
    Ok(Record::new(view))
}

/// A node that has no id range yet.
fn new_node(host: &Host, view: &SessionView, name: &str) -> Result<Node, HostError> {
    if !ids::is_name(name) {
        return Err(HostError::Invalid(format!(
            "\"{name}\" can't be a node's name: up to 20 lower-case letters, digits and hyphens, a letter first"
        )));
    }
    if view.nodes.iter().any(|node| node.name == name) {
        return Err(HostError::Conflict(format!("there is a node \"{name}\" already")));
    }
    let taken = view.nodes.iter().map(|node| node.address);
    let address = ids::next_address(taken)
        .ok_or_else(|| HostError::Conflict("the session's network has no free address".into()))?;
    let directory = host.instance.node_dir(&view.id, name);
    Ok(Node {
        name: name.to_string(),
        address,
        mac: Mac::of(address).to_string(),
        state: NodeState::Creating,
        cut: false,
        error: None,
        base_id: 0,
        pid: None,
        agent: directory.join("agent.sock"),
        docker: directory.join("docker.sock"),
    })
}

/// Makes the session's network, or opens the one that is there, and its
/// gateway's sockets.
pub(crate) async fn open_network(host: &Host, session: &Session) -> Result<(), HostError> {
    let path = host.instance.nets_dir().join(&session.id);
    let network = match Network::open(&path).await? {
        Some(network) => network,
        None => {
            namespaces::release(&path)?;
            Network::create(&path).await?
        }
    };
    session
        .network
        .set(network)
        .map_err(|_| HostError::Conflict("the session has a network already".into()))?;
    open_sockets(host, session)
}

/// Opens those of the gateway's sockets that nobody holds.
pub(crate) fn open_sockets(host: &Host, session: &Session) -> Result<(), HostError> {
    let held = host.gateway.held(&session.id);
    let egress = session.record().session.features.egress;
    for (service, socket) in session.network()?.listen(&held, egress)? {
        host.gateway.add(Name { session: session.id.clone(), service }, socket);
    }
    Ok(())
}

/// Moves a session's end.
pub(crate) fn extend(host: &Host, id: &str, asked: Extend) -> Result<SessionView, HostError> {
    let session = host.session(id)?;
    let deadline = now() + asked.seconds.clamp(1, host.config.session_seconds_max);
    session.update(host, |record| record.session.deadline = deadline)?;
    host.deadlines.notify_one();
    Ok(session.record().session)
}

/// Adds a node to a session and starts it.
pub(crate) async fn add_node(host: &Arc<Host>, id: &str, asked: AddNode) -> Result<SessionView, HostError> {
    let session = host.session(id)?;
    let node = host.admit_node(&session, |record| {
        let view = &record.session;
        if view.nodes.len() >= view.nodes_max as usize {
            return Err(HostError::Conflict(format!("a session may have {} nodes", view.nodes_max)));
        }
        let names = view.nodes.iter().map(|node| node.name.as_str());
        new_node(host, view, &asked.name.unwrap_or_else(|| ids::next_name(names)))
    })?;
    life::start(host, &session, &node.name).await?;
    Ok(session.record().session)
}

/// Removes a node and all that is its own.
pub(crate) async fn remove_node(host: &Host, id: &str, name: &str) -> Result<SessionView, HostError> {
    let session = host.session(id)?;
    if session.record().session.nodes.len() == 1 {
        return Err(HostError::Conflict("a session keeps its last node; end the session".into()));
    }
    let forget = || session.note(host, |record| record.session.nodes.retain(|node| node.name != name));
    life::destroy(host, &session, name, forget).await?;
    session.forget_node(name);
    Ok(session.record().session)
}

/// Ends a session: nothing of it is left. May be called again for one that is
/// half gone.
pub(crate) async fn end(host: &Host, session: &Session) -> Result<(), HostError> {
    let _ending = session.ending.lock().await;
    if host.session_to_end(&session.id).is_none() {
        return Ok(());
    }
    // What ends a session makes room on a full disk.
    session.note(host, |record| record.ended = true);
    host.gateway.end(&session.id);
    let names: Vec<_> = session.record().session.nodes.into_iter().map(|node| node.name).collect();
    let ends = names.iter().map(|name| life::destroy(host, session, name, || ()));
    futures_util::future::join_all(ends).await.into_iter().collect::<Result<Vec<()>, _>>()?;
    remove_directory(&host.instance.sockets_dir().join(&session.id))?;
    namespaces::release(&host.instance.nets_dir().join(&session.id))?;
    Record::remove(&host.instance.sessions_dir(), &session.id)?;
    host.forget(&session.id);
    tracing::info!("session {} has ended", session.id);
    Ok(())
}

/// Removes a directory with all in it; it is no error if it is gone.
pub(crate) fn remove_directory(path: &Path) -> Result<(), HostError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HostError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Ends each session at its deadline, forever.
pub(crate) async fn watch_deadlines(host: Arc<Host>) {
    loop {
        let now = now();
        let mut wait = LOOK;
        for session in host.sessions() {
            session.save_if_due(&host);
            let unclean = session.take_unclean();
            if !unclean.is_empty() {
                let (host, session) = (host.clone(), session.clone());
                tokio::spawn(async move { life::clean_again(&host, &session, &unclean).await });
            }
            let record = session.record();
            let is_due = record.ended || record.session.deadline <= now;
            if !is_due {
                wait = wait.min(Duration::from_secs(record.session.deadline - now));
                continue;
            }
            if session.ending.try_lock().is_err() {
                continue;
            }
            let host = host.clone();
            tokio::spawn(async move {
                // One that has ended already could not be removed at the first try.
                tracing::info!("session {} is due to end", session.id);
                if let Err(error) = end(&host, &session).await {
                    tracing::error!("cannot end session {}: {error}", session.id);
                }
            });
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = host.deadlines.notified() => {}
        }
    }
}
