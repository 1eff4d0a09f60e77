//! A node's life: its verbs, and what happens when it ends by itself.

use std::{collections::BTreeSet, fs, io, sync::Arc, time::Duration};

use drydock_agent::{Agent, AgentError};
use drydock_protocol::host::{NodeState, Session as SessionView, Verb};
use drydock_sandbox::cgroup::{Group, layout::Kind};

use crate::{
    cgroups, disk_rate,
    error::HostError,
    host::{Host, Live, Session, no_node},
    node::{self, Running},
    process::Process,
    record,
    sessions::remove_directory,
};

/// Time that programs have to end in order when a node is stopped.
const GRACE: Duration = Duration::from_secs(3);
/// After which a stop becomes a kill.
const STOP_WITHIN: Duration = Duration::from_secs(8);

/// The pause before what a node left is tried to be removed again.
const CLEAN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Does what a verb says.
pub(crate) async fn act(
    host: &Arc<Host>,
    session: &Arc<Session>,
    name: &str,
    verb: Verb,
) -> Result<SessionView, HostError> {
    match verb {
        Verb::Start => start(host, session, name).await?,
        Verb::Stop => stop(host, session, name).await?,
        Verb::Kill => kill(host, session, name).await?,
        Verb::Reset => reset(host, session, name).await?,
        Verb::Cut => set_cut(host, session, name, true).await?,
        Verb::Join => set_cut(host, session, name, false).await?,
    }
    Ok(session.record().session)
}

/// Starts a node on the disk it has, or on a new one. It is no error if it runs.
pub(crate) async fn start(host: &Arc<Host>, session: &Arc<Session>, name: &str) -> Result<(), HostError> {
    let lock = session.node(name)?;
    let mut live = lock.lock().await;
    if live.is_some() {
        return Ok(());
    }
    begin(host, session, name, &mut live).await
}

async fn begin(
    host: &Arc<Host>,
    session: &Arc<Session>,
    name: &str,
    live: &mut Option<Live>,
) -> Result<(), HostError> {
    if session.record().ended {
        return Err(HostError::NotFound(format!("session \"{}\"", session.id)));
    }
    let mut plan = host.plan(session, name)?;
    plan.check_disk = lived_through_crash(session, name)? || has_failed(session, name);
    session.update(host, |record| record.set_state(name, NodeState::Creating, None))?;
    let started = match node::start(&plan, session.network()?).await {
        Ok(running) => match remember(host, session, name, &running) {
            Ok(()) => Ok(running),
            Err(error) => {
                node::end(&running, &host.groups(&session.id, name)).await?;
                node::clean_up(&plan, session.network.get()).await?;
                Err(error)
            }
        },
        Err(error) => Err(error),
    };
    match started {
        Ok(running) => {
            take_on(host, session, name, live, running);
            Ok(())
        }
        Err(error) => {
            session.set_failed(host, name, error.to_string());
            Err(error)
        }
    }
}

/// Whether the node last ran before a restart of the machine.
fn lived_through_crash(session: &Session, name: &str) -> Result<bool, HostError> {
    let failed = HostError::call("read when the machine started");
    match session.record().processes.get(name) {
        Some(process) => process.is_of_this_boot().map(|same| !same).map_err(failed),
        None => Ok(false),
    }
}

/// Whether the node ended without anybody asking.
fn has_failed(session: &Session, name: &str) -> bool {
    session.record().node(name).is_some_and(|node| node.state == NodeState::Failed)
}

fn remember(host: &Host, session: &Session, name: &str, running: &Running) -> Result<(), HostError> {
    let process = Process::of(running.pid).map_err(HostError::call("look at a node's first process"))?;
    session.update(host, |record| {
        record.processes.insert(name.to_string(), process);
        if let Some(node) = record.node_mut(name) {
            node.state = NodeState::Running;
            node.pid = Some(running.pid);
            node.error = None;
        }
    })
}

/// Watches a node that runs and answers its cgroup requests.
pub(crate) fn take_on(
    host: &Arc<Host>,
    session: &Arc<Session>,
    name: &str,
    live: &mut Option<Live>,
    running: Running,
) {
    let pidfd = running.pidfd.clone();
    let pid = running.pid;
    let groups = host.groups(&session.id, name);
    let socket = host.instance.node_dir(&session.id, name).join("agent.sock");
    let delegated = host.layout.kind() == Kind::V2;
    // Containers stay in `inner` where that bounds how fast the disk is used.
    let inner = Group::new(Arc::new(host.layout.without("blkio")), groups.inner.path());
    let cgroups = (!delegated).then(|| tokio::spawn(cgroups::serve(socket, inner)));
    *live = Some(Live { running, cgroups });
    let (host, session, name) = (host.clone(), session.clone(), name.to_string());
    tokio::spawn(async move {
        if let Err(error) = pidfd.readable().await.map(|mut ready| ready.retain_ready()) {
            return tracing::error!("cannot watch {}/{name}: {error}", session.id);
        }
        if let Err(error) = ended_by_itself(&host, &session, &name, pid).await {
            tracing::error!("after the end of {}/{name}: {error}", session.id);
        }
    });
}

/// Cleans up after a node that ended with nobody having asked for it.
async fn ended_by_itself(host: &Host, session: &Session, name: &str, pid: i32) -> Result<(), HostError> {
    let Ok(lock) = session.node(name) else { return Ok(()) };
    let mut live = lock.lock().await;
    // Whoever ends a node takes it out under the lock.
    if live.as_ref().is_none_or(|live| live.running.pid != pid) {
        return Ok(());
    }
    tracing::warn!("{}/{name} has ended by itself", session.id);
    finish(host, session, name, &mut live).await?;
    let words = "the node's first process ended".to_string();
    session.set_state(host, name, NodeState::Failed, Some(words));
    Ok(())
}

/// Ends a node in order; its disk is kept.
async fn stop(host: &Host, session: &Session, name: &str) -> Result<(), HostError> {
    let lock = session.node(name)?;
    let mut live = lock.lock().await;
    if let Some(running) = live.as_ref().map(|live| &live.running) {
        let socket = host.instance.node_dir(&session.id, name).join("agent.sock");
        let asked = async {
            let grace = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
            match Agent::connect(&socket).await?.shutdown(grace).await {
                // It may be gone before its answer is through.
                Ok(()) | Err(AgentError::Closed | AgentError::Io(_)) => Ok(()),
                Err(error) => Err(error),
            }
        };
        let in_order = async {
            asked.await.map_err(|error| error.to_string())?;
            node::ended(&running.pidfd).await.map_err(|error| error.to_string())
        };
        match tokio::time::timeout(STOP_WITHIN, in_order).await {
            Ok(Ok(())) => {}
            Ok(Err(words)) => tracing::warn!("{}/{name} did not stop in order: {words}", session.id),
            Err(_) => tracing::warn!("{}/{name} did not stop within {STOP_WITHIN:?}", session.id),
        }
        finish(host, session, name, &mut live).await?;
    }
    session.set_state(host, name, NodeState::Stopped, None);
    Ok(())
}

/// Ends a node at once; its disk is kept.
async fn kill(host: &Host, session: &Session, name: &str) -> Result<(), HostError> {
    let lock = session.node(name)?;
    let mut live = lock.lock().await;
    finish(host, session, name, &mut live).await?;
    session.set_state(host, name, NodeState::Stopped, None);
    Ok(())
}

/// Ends a node, if it runs, and removes all that is its own but its disk. One
/// that can't be ended stays as it is, for the next who asks.
async fn finish(
    host: &Host,
    session: &Session,
    name: &str,
    live: &mut Option<Live>,
) -> Result<(), HostError> {
    if let Some(running) = live.as_ref().map(|live| &live.running) {
        let groups = host.groups(&session.id, name);
        let (layout, of_node) = (host.layout.clone(), groups.clone());
        let label = node::disk_label(&host.instance, &session.id, name);
        if let Err(error) = node::blocking(move || disk_rate::lift(&layout, &of_node, &label)).await {
            tracing::warn!("{}/{name} may take long to end: {error}", session.id);
        }
        node::end(running, &groups).await?;
    }
    *live = None;
    let cleaned = node::clean_up(&host.plan(session, name)?, session.network.get()).await;
    if let Err(error) = &cleaned {
        session.set_failed(host, name, error.to_string());
    }
    cleaned
}

/// Removes what nodes that failed left behind, where that did not work at once.
pub(crate) async fn clean_again(host: &Host, session: &Session, names: &BTreeSet<String>) {
    for name in names {
        // It may be removed meanwhile, or running again.
        let Ok(lock) = session.node(name) else { continue };
        let mut live = lock.lock().await;
        if live.is_none()
            && let Err(error) = finish(host, session, name, &mut live).await
        {
            tracing::error!("cannot clean up after {}/{name}: {error}", session.id);
            tokio::time::sleep(CLEAN_AGAIN_AFTER).await;
        }
    }
}

/// Starts a node anew on a new disk.
async fn reset(host: &Arc<Host>, session: &Arc<Session>, name: &str) -> Result<(), HostError> {
    let lock = session.node(name)?;
    let mut live = lock.lock().await;
    // Where not even the session's file can be written, on a full disk say, the
    // node that is there is better than none.
    session.update(host, |_| ())?;
    finish(host, session, name, &mut live).await?;
    remove_disk(host, session, name)?;
    // There is nothing on it to check.
    session.set_state(host, name, NodeState::Stopped, None);
    begin(host, session, name, &mut live).await
}

fn remove_disk(host: &Host, session: &Session, name: &str) -> Result<(), HostError> {
    let path = host.instance.disk(&session.id, name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HostError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Cuts a node from the session's network, or joins it again.
async fn set_cut(host: &Host, session: &Session, name: &str, cut: bool) -> Result<(), HostError> {
    let lock = session.node(name)?;
    let _live = lock.lock().await;
    let record = session.record();
    let node = record.node(name).ok_or_else(|| no_node(name))?;
    session.network()?.set_cut(node.address, cut).await?;
    session.update(host, |record| {
        if let Some(node) = record.node_mut(name) {
            node.cut = cut;
        }
    })
}

/// Ends a node and removes its disk and its directory, and then does `last`
/// before anybody else can do something to it. It is no error if it is half gone.
pub(crate) async fn destroy(
    host: &Host,
    session: &Session,
    name: &str,
    last: impl FnOnce(),
) -> Result<(), HostError> {
    let lock = session.node(name)?;
    let mut live = lock.lock().await;
    finish(host, session, name, &mut live).await?;
    if !session.record().ended {
        // Should the rest fail, it is a node that can be removed or started again.
        session.set_state(host, name, NodeState::Stopped, None);
    }
    let (layout, disk) = (host.layout.clone(), host.instance.disk(&session.id, name));
    node::blocking(move || {
        node::wait_until_free(&disk)?;
        disk_rate::forget_unused(&layout)
    })
    .await?;
    remove_disk(host, session, name)?;
    remove_directory(&host.instance.node_dir(&session.id, name))?;
    let record = record::path(&host.instance.sessions_dir(), &session.id);
    let base = host.plan(session, name)?.base;
    // While the session's file names the range, nobody else may have it.
    last();
    host.leases()?.give_back(base, &record)
}
