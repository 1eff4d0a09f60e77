//! The host's state: sessions, and what all of them share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use drydock_protocol::host::{Full, Limits, Node, NodeState, Resource};
use drydock_sandbox::{cgroup::layout::Layout, spawn::Executable};
use tokio::sync::{Notify, OnceCell};

use crate::{
    admission::{Load, Machine},
    config::Config,
    error::HostError,
    gateway::Gateway,
    ids,
    instance::Instance,
    lease::Leases,
    network::Network,
    node::{Groups, Plan, Running},
    record::{self, Record},
};

/// Everything that requests work on.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) instance: Instance,
    pub(crate) layout: Arc<Layout>,
    pub(crate) stage_program: Arc<Executable>,
    pub(crate) node_program: Arc<Executable>,
    pub(crate) socket_group: u32,
    pub(crate) gateway: Arc<Gateway>,
    /// Id ranges that belong to users of this machine.
    pub(crate) foreign: Vec<(u32, u32)>,
    /// A deadline has changed.
    pub(crate) deadlines: Notify,
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
}

/// A session, as long as host runs.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    /// What is also in its file.
    record: Mutex<Record>,
    /// The file lacks something of it.
    unsaved: AtomicBool,
    /// Nodes that have ended and may have left something behind.
    unclean: Mutex<BTreeSet<String>>,
    /// Set as soon as it is made or opened.
    pub(crate) network: OnceCell<Network>,
    /// Held by whoever removes it.
    pub(crate) ending: tokio::sync::Mutex<()>,
    /// One lock a node, held for as long as something is done to it.
    nodes: Mutex<BTreeMap<String, Arc<NodeLock>>>,
}

/// Whoever holds it decides about the node.
pub(crate) type NodeLock = tokio::sync::Mutex<Option<Live>>;

/// A node that runs.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) running: Running,
    /// Answers its cgroup requests; ended with it.
    pub(crate) cgroups: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(task) = &self.cgroups {
            task.abort();
        }
    }
}

/// What a [`Host`] is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) instance: Instance,
    pub(crate) layout: Layout,
    pub(crate) stage_program: Executable,
    pub(crate) node_program: Executable,
    pub(crate) socket_group: u32,
}

impl Host {
    pub(crate) fn new(parts: Parts) -> Result<Host, HostError> {
        Ok(Host {
            config: parts.config,
            instance: parts.instance,
            layout: Arc::new(parts.layout),
            stage_program: Arc::new(parts.stage_program),
            node_program: Arc::new(parts.node_program),
            socket_group: parts.socket_group,
            gateway: Arc::new(Gateway::new()),
            foreign: ids::foreign_ranges().map_err(HostError::call("read /etc/subuid and /etc/subgid"))?,
            deadlines: Notify::new(),
            sessions: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        self.lock().values().cloned().collect()
    }

    /// A session that is not being removed.
    pub(crate) fn session(&self, id: &str) -> Result<Arc<Session>, HostError> {
        let found = self.lock().get(id).cloned();
        found
            .filter(|session| !session.record().ended)
            .ok_or_else(|| HostError::NotFound(format!("session \"{id}\"")))
    }

    /// A session, even one that is being removed.
    pub(crate) fn session_to_end(&self, id: &str) -> Option<Arc<Session>> {
        self.lock().get(id).cloned()
    }

    /// Takes on a session from its file.
    pub(crate) fn adopt(&self, record: Record) -> Arc<Session> {
        let session = Arc::new(Session::new(record));
        self.lock().insert(session.id.clone(), session.clone());
        session
    }

    /// Takes on a new session, with an id range for each of its nodes. All
    /// checks and the leases are one step, so that two requests can't both get
    /// the last place.
    pub(crate) fn admit(&self, mut record: Record) -> Result<Arc<Session>, HostError> {
        let machine = self.machine()?;
        let mut sessions = self.lock();
        let most = self.config.sessions_max as usize;
        if sessions.len() >= most {
            return Err(full(Resource::Sessions, &sessions, (most, sessions.len(), 1)));
        }
        self.check_room(&machine, &sessions, &record.session.limits, record.session.nodes.len())?;
        // Locked until the record is there, without which a lease is void.
        let leases = self.leases()?;
        let id = record.session.id.clone();
        let leased = self
            .lease(&leases, &sessions, &id, &mut record.session.nodes)
            .and_then(|()| record.save(&self.instance.sessions_dir()));
        if let Err(error) = leased {
            self.give_back(&leases, &id, &record.session.nodes);
            return Err(error);
        }
        let session = Arc::new(Session::new(record));
        sessions.insert(session.id.clone(), session.clone());
        Ok(session)
    }

    /// Adds a node to a session, with an id range.
    pub(crate) fn admit_node(
        &self,
        session: &Session,
        make: impl FnOnce(&Record) -> Result<Node, HostError>,
    ) -> Result<Node, HostError> {
        let machine = self.machine()?;
        let sessions = self.lock();
        let record = session.record();
        let mut node = make(&record)?;
        self.check_room(&machine, &sessions, &record.session.limits, 1)?;
        let leases = self.leases()?;
        let leased = self
            .lease(&leases, &sessions, &session.id, std::slice::from_mut(&mut node))
            .and_then(|()| session.update(self, |record| record.session.nodes.push(node.clone())));
        match leased {
            Ok(()) => Ok(node),
            Err(error) => {
                self.give_back(&leases, &session.id, &[node]);
                Err(error)
            }
        }
    }

    /// Gives back the ranges of nodes that came to nothing.
    fn give_back(&self, leases: &Leases, id: &str, nodes: &[Node]) {
        let record = record::path(&self.instance.sessions_dir(), id);
        for node in nodes.iter().filter(|node| node.base_id != 0) {
            if let Err(error) = leases.give_back(node.base_id, &record) {
                tracing::error!("{error}");
            }
        }
    }

    /// What the machine has right now.
    pub(crate) fn machine(&self) -> Result<Machine, HostError> {
        Machine::look(&self.instance.state_dir).map_err(HostError::call("look at what this machine has"))
    }

    /// Whether so many more nodes fit. Whoever asks holds the sessions' lock
    /// until the nodes are among them.
    fn check_room(
        &self,
        machine: &Machine,
        sessions: &BTreeMap<String, Arc<Session>>,
        limits: &Limits,
        nodes: usize,
    ) -> Result<(), HostError> {
        let (mut count, mut taken) = (0, Load::default());
        for session in sessions.values() {
            let view = session.record().session;
            count += view.nodes.len();
            taken = taken.and(Load::of_node(&view.limits).times(view.nodes.len()));
        }
        let most = self.config.nodes_max as usize;
        if count + nodes > most {
            return Err(full(Resource::Nodes, sessions, (most, count, nodes)));
        }
        let asked = Load::of_node(limits).times(nodes);
        machine
            .admit(&self.config.policy, taken, asked)
            .map_err(|full| HostError::Full(Full { soonest_deadline: soonest(sessions), ..full }))
    }

    /// The leases of id ranges, locked.
    pub(crate) fn leases(&self) -> Result<Leases, HostError> {
        Leases::lock(self.instance.run_of_all())
    }

    fn lease(
        &self,
        leases: &Leases,
        sessions: &BTreeMap<String, Arc<Session>>,
        id: &str,
        nodes: &mut [Node],
    ) -> Result<(), HostError> {
        let record = record::path(&self.instance.sessions_dir(), id);
        let mut taken = BTreeSet::new();
        for session in sessions.values() {
            taken.extend(session.record().session.nodes.iter().map(|node| node.base_id));
        }
        for node in nodes {
            node.base_id = loop {
                let base = ids::next_base(&taken, &self.foreign)
                    .ok_or_else(|| full(Resource::Ids, sessions, (taken.len(), taken.len(), 1)))?;
                // Whoever has it, the next search goes past it.
                taken.insert(base);
                if leases.take(base, &record)? {
                    break base;
                }
            };
        }
        Ok(())
    }

    /// Forgets a session.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// What a start of this node needs to know.
    pub(crate) fn plan(&self, session: &Session, name: &str) -> Result<Plan, HostError> {
        let record = session.record();
        let node = record.node(name).ok_or_else(|| no_node(name))?;
        Ok(Plan {
            instance: self.instance.clone(),
            layout: self.layout.clone(),
            stage_program: self.stage_program.clone(),
            node_program: self.node_program.clone(),
            socket_group: self.socket_group,
            session: session.id.clone(),
            name: name.to_string(),
            address: node.address,
            base: node.base_id,
            cut: node.cut,
            limits: record.session.limits,
            features: record.session.features,
            rates: self.config.rates,
            check_disk: false,
        })
    }

    pub(crate) fn groups(&self, session: &str, name: &str) -> Groups {
        Groups::of(self.layout.clone(), &self.instance, session, name)
    }

    /// No value over the host's own.
    pub(crate) fn clamp(&self, asked: Limits) -> Limits {
        let most = self.config.limits;
        Limits {
            memory_mb: asked.memory_mb.clamp(16, most.memory_mb),
            disk_mb: asked.disk_mb.clamp(16, most.disk_mb),
            inodes: asked.inodes.clamp(1024, most.inodes),
            pids: asked.pids.clamp(16, most.pids),
            cpu_milli: asked.cpu_milli.clamp(50, most.cpu_milli),
        }
    }
}

impl Session {
    fn new(record: Record) -> Session {
        Session {
            id: record.session.id.clone(),
            record: Mutex::new(record),
            unsaved: AtomicBool::new(false),
            unclean: Mutex::default(),
            network: OnceCell::new(),
            ending: tokio::sync::Mutex::default(),
            nodes: Mutex::default(),
        }
    }

    /// A copy of what is known about it.
    pub(crate) fn record(&self) -> Record {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known, in the file first: for what is yet to be done.
    pub(crate) fn update(&self, host: &Host, change: impl FnOnce(&mut Record)) -> Result<(), HostError> {
        let mut record = self.locked();
        let mut changed = record.clone();
        change(&mut changed);
        changed.settle();
        changed.save(&host.instance.sessions_dir())?;
        *record = changed;
        self.unsaved.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Changes what is known, for what has happened already: it holds though the
    /// file can't be written, on a full disk say. That is tried again later.
    pub(crate) fn note(&self, host: &Host, change: impl FnOnce(&mut Record)) {
        let mut record = self.locked();
        change(&mut record);
        record.settle();
        self.save(host, &record);
    }

    /// Writes the file if it lacks something that was noted.
    pub(crate) fn save_if_due(&self, host: &Host) {
        let record = self.locked();
        if self.unsaved.load(Ordering::Relaxed) {
            self.save(host, &record);
        }
    }

    /// Whoever calls it holds the record's lock.
    fn save(&self, host: &Host, record: &Record) {
        let saved = record.save(&host.instance.sessions_dir());
        self.unsaved.store(saved.is_err(), Ordering::Relaxed);
        if let Err(error) = saved {
            tracing::error!("{error}; it is tried again");
        }
    }

    /// Notes that a node failed, and that what it left must be removed before
    /// long.
    pub(crate) fn set_failed(&self, host: &Host, name: &str, words: String) {
        self.set_state(host, name, NodeState::Failed, Some(words));
        self.unclean.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string());
        host.deadlines.notify_one();
    }

    /// Takes the nodes whose leavings are to be removed.
    pub(crate) fn take_unclean(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.unclean.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a node's state, and what goes with it.
    pub(crate) fn set_state(&self, host: &Host, name: &str, state: NodeState, error: Option<String>) {
        self.note(host, |record| record.set_state(name, state, error));
    }

    /// The lock of a node.
    pub(crate) fn node(&self, name: &str) -> Result<Arc<NodeLock>, HostError> {
        if self.locked().node(name).is_none() {
            return Err(no_node(name));
        }
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(nodes.entry(name.to_string()).or_default().clone())
    }

    /// Forgets a node's lock.
    pub(crate) fn forget_node(&self, name: &str) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub(crate) fn network(&self) -> Result<&Network, HostError> {
        self.network.get().ok_or_else(|| HostError::Conflict("the session's network is not there yet".into()))
    }
}

fn full(
    resource: Resource,
    sessions: &BTreeMap<String, Arc<Session>>,
    (most, used, asked): (usize, usize, usize),
) -> HostError {
    let (most, used, asked) = (most as u64, used as u64, asked as u64);
    HostError::Full(Full { resource, most, used, asked, soonest_deadline: soonest(sessions) })
}

/// When the first session ends.
fn soonest(sessions: &BTreeMap<String, Arc<Session>>) -> Option<u64> {
    sessions.values().map(|session| session.record().session.deadline).min()
}

pub(crate) fn no_node(name: &str) -> HostError {
    HostError::NotFound(format!("node \"{name}\""))
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
