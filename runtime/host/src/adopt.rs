//! Taking up what an earlier host left: nodes that live go on, what leaked is
//! removed. There is no other start than this one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use drydock_agent::{Agent, AgentError};
use drydock_protocol::host::NodeState;
use drydock_sandbox::{cgroup::Group, loop_device, namespaces};

use crate::{
    disk_rate,
    error::HostError,
    host::{Host, Session},
    instance::Instance,
    life,
    node::{self, Running, blocking},
    record::{self, Record},
    sessions::{self, remove_directory},
};

/// The pause before a session that could not be taken up is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long an adopted node may take to say which protocol it speaks.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// Takes up all sessions of this instance and removes what belongs to none.
pub(crate) async fn adopt(host: &Arc<Host>) -> Result<(), HostError> {
    let (records, damaged) = record::load(&host.instance.sessions_dir())?;
    for path in damaged {
        fs::remove_file(&path).map_err(HostError::file("remove", &path))?;
    }
    let sessions: Vec<_> = records.into_iter().map(|record| host.adopt(record)).collect();
    sweep(host).await?;
    let all = sessions.iter().map(|session| take_up(host, session));
    for (session, taken) in sessions.iter().zip(futures_util::future::join_all(all).await) {
        if let Err(error) = taken {
            tracing::error!("cannot take up session {}: {error}; it is tried again", session.id);
            tokio::spawn(try_again(host.clone(), session.clone()));
        }
    }
    Ok(())
}

/// What one session lacks must not keep the others from going on.
async fn try_again(host: Arc<Host>, session: Arc<Session>) {
    loop {
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
        if host.session_to_end(&session.id).is_none() {
            return;
        }
        match take_up(&host, &session).await {
            Ok(()) => return,
            Err(error) => tracing::error!("cannot take up session {}: {error}", session.id),
        }
    }
}

async fn take_up(host: &Arc<Host>, session: &Arc<Session>) -> Result<(), HostError> {
    let record = session.record();
    if record.ended {
        return sessions::end(host, session).await;
    }
    if record.making {
        tracing::info!("session {} was never whole: it is removed", session.id);
        return sessions::end(host, session).await;
    }
    let failed = HostError::call("read which start of the machine this is");
    if record.is_of_earlier_boot().map_err(failed)? {
        tracing::info!("session {} ended with an earlier start of the machine", session.id);
        return sessions::end(host, session).await;
    }
    match session.network.get() {
        None => sessions::open_network(host, session).await?,
        // An earlier try came that far.
        Some(_) => sessions::open_sockets(host, session)?,
    }
    let file = record::path(&host.instance.sessions_dir(), &session.id);
    for node in &record.session.nodes {
        if !host.leases()?.take(node.base_id, &file)? {
            // Only after a restart of the machine, when another instance was faster.
            tracing::error!("{}/{}: its ids are another instance's now", session.id, node.name);
            return sessions::end(host, session).await;
        }
    }
    for node in &record.session.nodes {
        take_up_node(host, session, &record, &node.name, node.state).await?;
    }
    tracing::info!("session {} goes on", session.id);
    Ok(())
}

async fn take_up_node(
    host: &Arc<Host>,
    session: &Arc<Session>,
    record: &Record,
    name: &str,
    state: NodeState,
) -> Result<(), HostError> {
    let lock = session.node(name)?;
    let mut live = lock.lock().await;
    if live.is_some() {
        return Ok(());
    }
    let opened = match record.processes.get(name) {
        Some(process) => process
            .open()
            .map_err(HostError::call("look for a node's first process"))?
            .map(|fd| (process, fd)),
        None => None,
    };
    if let Some((process, pidfd)) = opened {
        let pidfd = Arc::new(node::watch(pidfd)?);
        life::take_on(host, session, name, &mut live, Running { pid: process.pid, pidfd });
        if let Some(node) = record.session.nodes.iter().find(|node| node.name == name) {
            let rate = host.config.rates.network_mb_s << 20;
            session.network()?.renew_guard(node.address, rate).await?;
        }
        tokio::spawn(check_protocol(host.clone(), session.clone(), name.to_string()));
        return Ok(());
    }
    node::clean_up(&host.plan(session, name)?, session.network.get()).await?;
    let words = match state {
        NodeState::Stopped | NodeState::Failed => return Ok(()),
        NodeState::Creating => "host ended while the node was made",
        NodeState::Running | NodeState::Foreign => "the node ended while host was away",
    };
    // The process stays in the record: it tells whether the disk needs a check.
    session.note(host, |record| {
        if let Some(node) = record.node_mut(name) {
            node.state = NodeState::Failed;
            node.pid = None;
            node.error = Some(words.into());
        }
    });
    Ok(())
}

/// Lists a node that speaks no protocol of ours as foreign, and leaves it.
async fn check_protocol(host: Arc<Host>, session: Arc<Session>, name: String) {
    let socket = host.instance.node_dir(&session.id, &name).join("agent.sock");
    let state = match tokio::time::timeout(HELLO_WITHIN, Agent::connect(&socket)).await {
        Ok(Ok(_)) => NodeState::Running,
        Ok(Err(AgentError::Version { theirs })) => {
            tracing::warn!("{}/{name} speaks protocol {theirs:?}: it is left running", session.id);
            NodeState::Foreign
        }
        Ok(Err(error)) => return tracing::warn!("{}/{name} does not answer: {error}", session.id),
        Err(_) => return tracing::warn!("{}/{name} does not answer within {HELLO_WITHIN:?}", session.id),
    };
    session.note(&host, |record| {
        if let Some(node) = record.node_mut(&name)
            && matches!(node.state, NodeState::Running | NodeState::Foreign)
        {
            node.state = state;
        }
    });
}

/// What of this instance belongs to which session or node, by its name.
struct Known {
    sessions: BTreeSet<String>,
    /// `SESSION-NODE`.
    nodes: BTreeSet<String>,
    /// Labels of loop devices.
    disks: BTreeSet<String>,
    /// Sessions' files, by the id ranges of their nodes.
    ids: BTreeMap<u32, PathBuf>,
}

/// Removes everything of this instance that belongs to no session. What can't
/// be removed is said, and the next start tries it again.
async fn sweep(host: &Arc<Host>) -> Result<(), HostError> {
    let mut known = Known {
        sessions: BTreeSet::new(),
        nodes: BTreeSet::new(),
        disks: BTreeSet::new(),
        ids: BTreeMap::new(),
    };
    let records = host.instance.sessions_dir();
    for session in host.sessions() {
        for node in session.record().session.nodes {
            known.nodes.insert(format!("{}-{}", session.id, node.name));
            known.ids.insert(node.base_id, record::path(&records, &session.id));
            known.disks.insert(node::disk_label(&host.instance, &session.id, &node.name));
        }
        known.sessions.insert(session.id.clone());
    }
    let host = host.clone();
    blocking(move || {
        complain(sweep_groups(&host, &known));
        let is_session = |name: &str| known.sessions.contains(name);
        complain(sweep_files(&host.instance.sockets_dir(), is_session, remove_directory));
        complain(sweep_files(&host.instance.nets_dir(), is_session, |path| Ok(namespaces::release(path)?)));
        let has_disk = |name: &str| name.strip_suffix(".img").is_some_and(|name| known.nodes.contains(name));
        complain(sweep_loops(&host.instance, &known.disks));
        complain(disk_rate::forget_unused(&host.layout));
        complain(sweep_files(&host.instance.disks_dir(), has_disk, remove_file));
        let has_record =
            |name: &str| name.strip_suffix(".json").is_some_and(|id| known.sessions.contains(id));
        complain(sweep_files(&records, has_record, remove_file));
        complain(host.leases().and_then(|leases| leases.sweep(&records, &known.ids)));
        Ok(())
    })
    .await
}

fn complain(swept: Result<(), HostError>) {
    if let Err(error) = swept {
        tracing::error!("cannot remove what belongs to no session: {error}");
    }
}

fn sweep_groups(host: &Host, known: &Known) -> Result<(), HostError> {
    let ours = Group::new(host.layout.clone(), host.instance.group());
    for name in ours.children()? {
        if name.strip_prefix("n-").is_some_and(|node| known.nodes.contains(node)) {
            continue;
        }
        tracing::warn!("removing the control group {name}, which belongs to no session");
        let group = ours.child(&name);
        complain(group.kill().and_then(|()| group.remove()).map_err(HostError::from));
    }
    Ok(())
}

fn sweep_loops(instance: &Instance, known: &BTreeSet<String>) -> Result<(), HostError> {
    let ours = format!("{} ", instance.name);
    for used in loop_device::list()? {
        if used.label.starts_with(&ours) && !known.contains(&used.label) {
            tracing::warn!("clearing {}, whose disk belongs to no session", used.path.display());
            complain(loop_device::detach(&used.path).map_err(HostError::from));
        }
    }
    Ok(())
}

fn sweep_files(
    directory: &Path,
    is_known: impl Fn(&str) -> bool,
    remove: impl Fn(&Path) -> Result<(), HostError>,
) -> Result<(), HostError> {
    for path in entries(directory)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !is_known(&name) {
            tracing::warn!("removing {}, which belongs to no session", path.display());
            complain(remove(&path));
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, HostError> {
    let list = || fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    list().map_err(HostError::file("list", directory))
}

fn remove_file(path: &Path) -> Result<(), HostError> {
    fs::remove_file(path).map_err(HostError::file("remove", path))
}
