//! After a restart of the engine: containers from disk, their processes from
//! PID 1.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    os::fd::OwnedFd,
    sync::Arc,
};

use super::{
    Container, Registry, end,
    record::{Record, Status},
    taken,
};
use crate::{
    engine::{Shared, below_root},
    error::ApiError,
    keeper::{Exit, Kept},
    log::Stream,
    state_file,
};

/// Reads all containers. One that can't be read is left alone and reported.
pub(crate) fn load() -> io::Result<Registry> {
    let registry = Registry::default();
    let place = below_root(&["containers"]);
    fs::create_dir_all(&place)?;
    for entry in fs::read_dir(&place)? {
        let entry = entry?;
        let path = entry.path();
        let read = state_file::read::<Record>(&path.join("container.json"));
        let container = match read {
            Ok(Some(record)) => Container::new(record),
            // It was being made, or is half removed: its directory is the first to
            // come and the last to go.
            Ok(None) => {
                let id = entry.file_name();
                super::remove_tree(&below_root(&["overlay2", &id.to_string_lossy()]))?;
                super::remove_tree(&path)?;
                continue;
            }
            Err(error) => Err(error),
        };
        match container {
            Ok(container) => {
                registry.locked().insert(container.id.clone(), Arc::new(container));
            }
            Err(error) => tracing::error!(%error, path = %path.display(), "a container could not be read"),
        }
    }
    Ok(registry)
}

/// Takes up what PID 1 kept: running containers go on, ended ones are ended.
pub(crate) async fn adopt(engine: &Shared, mut kept: Kept) -> Result<(), ApiError> {
    let node_is_new = node_is_new().map_err(crate::error::failed("noting the node's start failed"))?;
    for container in engine.containers.all() {
        let key = container.key();
        let process = kept.processes.remove(&key);
        let parked = take_parked(&mut kept.parked, &key);
        let record = container.record();
        if let Some(number) = record.group {
            engine.cgroups.reserve(number);
        }
        engine.networks.keep(engine, &record, &mut kept.parked)?;
        match process {
            Some((pid, pidfd, None)) => go_on(engine, &container, pid, pidfd, parked)?,
            Some((_, _, Some(exit))) => finish(engine, &container, exit, parked).await?,
            None if record.state.status.is_up() => {
                // The node itself was started anew.
                let exit = Exit { status: 255, time_ms: now_ms() };
                end::end(engine, &container, exit).await?;
            }
            None if record.state.status == Status::Removing => {
                super::remove::finish(engine, &container, record.host_config.auto_remove)?;
            }
            None if record.host_config.auto_remove && record.state.status != Status::Created => {
                super::remove::remove(engine, &container, true).await?;
            }
            None if record.group.is_some() || record.sandbox.is_some() || !parked.is_empty() => {
                // We died while it was being started.
                taken::clean_up(engine, &key, record.group, record.sandbox.as_ref()).await;
                container.change(|record| {
                    record.group = None;
                    record.sandbox = None;
                })?;
                if record.host_config.auto_remove {
                    super::remove::remove(engine, &container, true).await?;
                }
            }
            None if record.state.status == Status::Restarting => {
                super::start::again(engine.clone(), container.clone());
            }
            None if node_is_new => super::start::by_policy(engine, &container)?,
            None => {}
        }
    }
    forget_unused(engine, &kept.parked).await;
    // The clients of execs went with the engine before; the processes go on.
    for (key, (_, _, exit)) in kept.processes {
        let keeper = engine.keeper.clone();
        let ended = exit.is_none().then(|| keeper.exit_of(&key));
        tokio::spawn(async move {
            if let Some(ended) = ended
                && ended.await.is_err()
            {
                return;
            }
            if let Err(error) = keeper.forget(&key).await {
                tracing::warn!(%error, key, "PID 1 was not told that a process is done with");
            }
        });
    }
    Ok(())
}

/// Lets PID 1 close what was kept for starts that never came to a process.
async fn forget_unused(engine: &Shared, parked: &HashMap<(String, String), OwnedFd>) {
    let mut keys: BTreeSet<&String> =
        parked.keys().map(|(key, _)| key).filter(|key| key.starts_with("container/")).collect();
    for container in engine.containers.all() {
        if container.locked().sandbox.is_some() || container.life.borrow().up {
            keys.remove(&container.key());
        }
    }
    for key in keys {
        if let Err(error) = engine.keeper.forget(key).await {
            tracing::warn!(%error, key, "PID 1 was not told that a start came to nothing");
        }
    }
}

/// Whether this is the first engine since the node was started: PID 1 is
/// another than the one noted on the node's disk.
fn node_is_new() -> io::Result<bool> {
    let path = below_root(&["init.json"]);
    let stat = fs::read_to_string("/proc/1/stat")?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let started =
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)).unwrap_or_default();
    let now = format!("{}/{started}", boot.trim());
    if state_file::read::<String>(&path)?.as_deref() == Some(now.as_str()) {
        return Ok(false);
    }
    state_file::write(&path, &now)?;
    Ok(true)
}

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

fn take_parked(parked: &mut HashMap<(String, String), OwnedFd>, key: &str) -> HashMap<String, OwnedFd> {
    let names = ["stdin", "stdout", "stderr", "console"];
    names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), parked.remove(&(key.to_owned(), name.to_owned()))?)))
        .collect()
}

fn outputs(
    container: &Container,
    parked: &mut HashMap<String, OwnedFd>,
) -> Result<Vec<(Stream, OwnedFd)>, ApiError> {
    let mut outputs: Vec<(Stream, OwnedFd)> =
        Stream::BOTH.into_iter().filter_map(|stream| Some((stream, parked.remove(stream.name())?))).collect();
    let mut live = container.live();
    live.stdin = parked.remove("stdin").map(Arc::new);
    if let Some(console) = parked.remove("console") {
        let copy = console.try_clone().map_err(crate::error::failed("copying a descriptor failed"))?;
        outputs.push((Stream::Stdout, copy));
        live.console = Some(Arc::new(console));
    }
    Ok(outputs)
}

/// A container whose process runs.
fn go_on(
    engine: &Shared,
    container: &Arc<Container>,
    pid: i32,
    pidfd: Option<OwnedFd>,
    mut parked: HashMap<String, OwnedFd>,
) -> Result<(), ApiError> {
    let outputs = outputs(container, &mut parked)?;
    container.live().pidfd = pidfd.map(Arc::new);
    container.change(|record| {
        // We died between its start and writing that down.
        if !record.state.status.is_up() {
            record.state.status = Status::Running;
            record.state.started_at = crate::clock::now();
        }
        record.state.pid = pid;
    })?;
    container.life.send_modify(|life| life.up = true);
    let exit = engine.keeper.exit_of(&container.key());
    end::attend(engine.clone(), container.clone(), outputs, exit);
    Ok(())
}

/// A container whose process ended while we were away.
async fn finish(
    engine: &Shared,
    container: &Arc<Container>,
    exit: Exit,
    mut parked: HashMap<String, OwnedFd>,
) -> Result<(), ApiError> {
    let outputs = outputs(container, &mut parked)?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    end::attend(engine.clone(), container.clone(), outputs, receiver);
    // The task that waits was just started.
    let _ = sender.send(exit);
    Ok(())
}
