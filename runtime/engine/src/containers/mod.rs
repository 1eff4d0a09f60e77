//! Containers: `/containers/…`.

pub(crate) mod archive;
pub(crate) mod attach;
pub(crate) mod changes;
pub(crate) mod config;
pub(crate) mod create;
mod end;
pub(crate) mod export;
mod files;
mod group;
mod health;
mod helper;
pub(crate) mod inspect;
pub(crate) mod kill;
mod limits;
pub(crate) mod list;
pub(crate) mod logs;
mod mounts;
mod names;
pub(crate) mod record;
pub(crate) mod remove;
pub(crate) mod restore;
mod run;
mod stage;
pub(crate) mod start;
pub(crate) mod stats;
mod stdio;
mod taken;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod wait;

use std::{
    collections::HashMap,
    fs, io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use drydock_protocol::event::What;
use tokio::sync::watch;

use crate::{
    clock,
    engine::{Engine, below_root},
    error::ApiError,
    log::Log,
    state_file,
};
use record::{Record, Status};
pub(crate) use stage::{capabilities_of, environment, memfd, no_new_privileges_of, rlimits_of, seccomp_of};

/// The most containers a node may have, running or not.
pub(crate) const CONTAINERS_MAX: usize = 1000;

/// How far a container's life is, for those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Life {
    pub(crate) up: bool,
    /// How often it ended.
    pub(crate) exits: u64,
    pub(crate) exit_code: i32,
    pub(crate) removed: bool,
}

/// What a running container holds open.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) pidfd: Option<Arc<OwnedFd>>,
    /// Its stdin, as far as it has one that is open.
    pub(crate) stdin: Option<Arc<OwnedFd>>,
    /// The controlling side of its terminal.
    pub(crate) console: Option<Arc<OwnedFd>>,
}

/// A container.
pub(crate) struct Container {
    pub(crate) id: String,
    record: Mutex<Record>,
    live: Mutex<Live>,
    /// Held while it is started, stopped or removed.
    pub(crate) busy: Arc<tokio::sync::Mutex<()>>,
    pub(crate) life: watch::Sender<Life>,
    pub(crate) log: Arc<Log>,
}

impl Container {
    /// A container with this record, whose directory exists.
    fn new(record: Record) -> io::Result<Container> {
        let log = Arc::new(Log::open(&directory(&record.id).join("log"))?);
        let life =
            Life { up: record.state.status.is_up(), exit_code: record.state.exit_code, ..Life::default() };
        Ok(Container {
            id: record.id.clone(),
            record: Mutex::new(record),
            live: Mutex::default(),
            busy: Arc::default(),
            life: watch::Sender::new(life),
            log,
        })
    }

    /// A copy of what is known of it.
    pub(crate) fn record(&self) -> Record {
        self.locked().clone()
    }

    /// What is known of it; hold it shortly.
    pub(crate) fn locked(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of it, on disk too.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> Result<T, ApiError> {
        let mut record = self.locked();
        let result = change(&mut record);
        state_file::write(&directory(&self.id).join("container.json"), &*record)
            .map_err(crate::error::failed("storing the container failed"))?;
        Ok(result)
    }

    /// The key by which PID 1 knows its process.
    pub(crate) fn key(&self) -> String {
        format!("container/{}", self.id)
    }

    /// Refuses unless it runs.
    pub(crate) fn running(&self) -> Result<Record, ApiError> {
        let record = self.record();
        if record.state.status.is_up() {
            return Ok(record);
        }
        if record.state.status == Status::Restarting {
            return Err(ApiError::Conflict(format!(
                "Container {} is restarting, wait until the container is running",
                self.id
            )));
        }
        Err(ApiError::Conflict(format!("container {} is not running", self.id)))
    }
}

/// The directory of a container's state.
pub(crate) fn directory(id: &str) -> PathBuf {
    below_root(&["containers", id])
}

/// All containers.
#[derive(Default)]
pub(crate) struct Registry(Mutex<HashMap<String, Arc<Container>>>);

impl Registry {
    fn locked(&self) -> MutexGuard<'_, HashMap<String, Arc<Container>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All, the newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        let mut all: Vec<(String, Arc<Container>)> = self
            .locked()
            .values()
            .map(|container| (container.locked().created.clone(), container.clone()))
            .collect();
        all.sort_by(|one, other| other.0.cmp(&one.0));
        all.into_iter().map(|(_, container)| container).collect()
    }

    /// The one that a name, an id or the begin of one means.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>, ApiError> {
        let missing = || ApiError::NotFound(format!("No such container: {reference}"));
        let name = reference.trim_start_matches('/');
        let all = self.locked();
        if let Some(container) = all.get(name) {
            return Ok(container.clone());
        }
        if let Some(container) = all.values().find(|container| container.locked().name == name) {
            return Ok(container.clone());
        }
        if name.is_empty() {
            return Err(missing());
        }
        let mut found = all.iter().filter(|(id, _)| id.starts_with(name)).map(|(_, container)| container);
        match (found.next(), found.next()) {
            (Some(container), None) => Ok(container.clone()),
            (Some(_), Some(_)) => {
                Err(ApiError::Invalid(format!("multiple IDs found with provided prefix: {reference}")))
            }
            (None, _) => Err(missing()),
        }
    }

    /// Adds a container under its name, which must be free.
    fn add(&self, container: Arc<Container>) -> Result<(), ApiError> {
        let name = container.locked().name.clone();
        let mut all = self.locked();
        if let Some(holder) = all.values().find(|other| other.locked().name == name) {
            return Err(name_taken(&name, &holder.id));
        }
        if all.len() >= CONTAINERS_MAX {
            return Err(ApiError::Conflict(format!(
                "this node has {CONTAINERS_MAX} containers already: remove some"
            )));
        }
        all.insert(container.id.clone(), container);
        Ok(())
    }

    /// Gives a container another name, which must be free.
    pub(crate) fn rename(&self, container: &Container, name: &str) -> Result<(), ApiError> {
        let all = self.locked();
        if let Some(holder) = all.values().find(|other| other.locked().name == name) {
            return Err(name_taken(name, &holder.id).context("Error when allocating new name: "));
        }
        container.change(|record| name.clone_into(&mut record.name))
    }

    /// The holder of a name.
    fn holder(&self, name: &str) -> Option<String> {
        self.locked().values().find(|other| other.locked().name == name).map(|holder| holder.id.clone())
    }

    fn remove(&self, id: &str) {
        self.locked().remove(id);
    }

    /// How many there are in each state.
    pub(crate) fn count(&self, wanted: impl Fn(Status) -> bool) -> usize {
        self.locked().values().filter(|container| wanted(container.locked().state.status)).count()
    }
}

fn name_taken(name: &str, holder: &str) -> ApiError {
    ApiError::Conflict(format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove \
         (or rename) that container to be able to reuse that name."
    ))
}

/// Tells an event of a container, to Docker's clients and into the node's
/// stream.
pub(crate) fn tell(engine: &Engine, record: &Record, action: &str, status: Option<i32>) {
    let mut more = Vec::new();
    if let Some(status) = status {
        let lived = clock::seconds(&record.state.finished_at) - clock::seconds(&record.state.started_at);
        more.push(("exitCode", status.to_string()));
        more.push(("execDuration", lived.max(0).to_string()));
    }
    tell_with(engine, record, action, status, more);
}

/// [`tell`] of a signal that was sent.
fn tell_kill(engine: &Engine, record: &Record, signal: i32) {
    tell_with(engine, record, "kill", None, vec![("signal", signal.to_string())]);
}

fn tell_with(engine: &Engine, record: &Record, action: &str, status: Option<i32>, more: Vec<(&str, String)>) {
    let mut attributes = record.attributes();
    attributes.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
    engine.events.tell("container", action, &record.id, attributes);
    engine.keeper.event(What::Container {
        id: record.id.clone(),
        name: record.name.clone(),
        image: record.config.image.clone(),
        action: action.to_owned(),
        pid: Some(record.state.pid).filter(|pid| *pid > 0),
        status,
    });
}

/// Removes a directory tree; one that is gone already is fine.
fn remove_tree(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
