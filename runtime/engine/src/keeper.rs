//! The engine's end of the keeper socket: PID 1 starts processes for us, keeps
//! descriptors over our restarts and tells exit statuses. See
//! [`drydock_protocol::keeper`].

use std::{
    collections::HashMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use drydock_protocol::{
    Hello, cgroup, event,
    keeper::{MAX, ToEngine, ToKeeper},
};
use drydock_sandbox::fdpass::Packets;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

/// PID 1 could not be asked, or refused.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// The socket failed.
    #[error("talking to the node's PID 1 failed: {0}")]
    Socket(#[from] io::Error),
    /// A message was not to be understood.
    #[error("the node's PID 1 sent what is no message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// PID 1 speaks another protocol.
    #[error("the node's PID 1 speaks protocol version {0}")]
    Version(u32),
    /// PID 1 is gone.
    #[error("the node's PID 1 closed the connection")]
    Gone,
    /// The process could not be started.
    #[error("{0}")]
    Spawn(String),
    /// Host refused a cgroup request.
    #[error("{0}")]
    Cgroup(String),
}

/// A process that PID 1 started for us.
#[derive(Debug)]
pub struct Spawned {
    /// Its PID in the node.
    pub pid: i32,
    /// A descriptor for it.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit status, 128 + signal when killed.
    pub status: i32,
    /// Milliseconds since the epoch.
    pub time_ms: u64,
}

/// A process to start; see [`ToKeeper::Spawn`].
pub struct Spawn<'a> {
    /// What it is known by.
    pub key: &'a str,
    /// Arguments after the program's name.
    pub args: &'a [&'a str],
    /// Namespaces it begins in.
    pub namespaces: u64,
    /// Its descriptors from 0 on.
    pub fds: Vec<BorrowedFd<'a>>,
    /// The cgroup directory it begins in (v2).
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// What PID 1 kept over our restart.
#[derive(Debug, Default)]
pub struct Kept {
    /// Processes by key: the PID, a pidfd while it runs, the exit when it ended.
    pub processes: HashMap<String, (i32, Option<OwnedFd>, Option<Exit>)>,
    /// Descriptors by key and name.
    pub parked: HashMap<(String, String), OwnedFd>,
}

type Pending<T> = Mutex<HashMap<u64, oneshot::Sender<T>>>;

/// The exit of a process and who waits for it, whichever came first.
enum Waiting {
    For(oneshot::Sender<Exit>),
    Ended(Exit),
}

struct Shared {
    packets: Packets,
    seq: AtomicU64,
    spawns: Pending<Result<Spawned, String>>,
    cgroups: Pending<(Result<cgroup::Outcome, String>, Vec<OwnedFd>)>,
    syncs: Pending<()>,
    exits: Mutex<HashMap<String, Waiting>>,
    listing: Mutex<Option<(Kept, oneshot::Sender<Kept>)>>,
    watched: watch::Sender<bool>,
}

/// The connection to PID 1.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
    events: mpsc::Sender<event::What>,
}

/// How many events may wait to be sent before new ones are dropped.
const EVENTS_MAX: usize = 1024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Takes over the socket and says hello. The returned future serves the
    /// connection; it ends when PID 1 does.
    pub async fn new(
        socket: OwnedFd,
    ) -> Result<(Keeper, impl Future<Output = KeeperError> + Send + 'static), KeeperError> {
        let packets = Packets::new(socket)?;
        let hello = ToKeeper::Hello(Hello::OURS);
        packets.send(&serde_json::to_vec(&hello)?, &[]).await?;
        let Some((bytes, _)) = packets.recv(MAX).await? else { return Err(KeeperError::Gone) };
        match serde_json::from_slice(&bytes)? {
            ToEngine::Hello(theirs) if Hello::OURS.agree(theirs).is_some() => {}
            ToEngine::Hello(theirs) => return Err(KeeperError::Version(theirs.version)),
            _ => return Err(KeeperError::Version(0)),
        }
        let (events, mut queue) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            packets,
            seq: AtomicU64::new(1),
            spawns: Mutex::default(),
            cgroups: Mutex::default(),
            syncs: Mutex::default(),
            exits: Mutex::default(),
            listing: Mutex::default(),
            watched: watch::Sender::new(false),
        });
        let keeper = Keeper { shared: shared.clone(), events };
        let sender = keeper.clone();
        tokio::spawn(async move {
            while let Some(what) = queue.recv().await {
                if let Err(error) = sender.send(&ToKeeper::Event(what), &[]).await {
                    tracing::warn!(%error, "an event was not sent");
                }
            }
        });
        Ok((keeper, serve(shared)))
    }

    async fn send(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) -> Result<(), KeeperError> {
        Ok(self.shared.packets.send(&serde_json::to_vec(message)?, fds).await?)
    }

    /// Starts a process. Its exit comes through the receiver.
    pub async fn spawn(&self, spawn: Spawn<'_>) -> Result<(Spawned, oneshot::Receiver<Exit>), KeeperError> {
        let seq = self.shared.seq.fetch_add(1, Ordering::Relaxed);
        let (answer, spawned) = oneshot::channel();
        lock(&self.shared.spawns).insert(seq, answer);
        // What an earlier process of this key left is not this one's exit.
        lock(&self.shared.exits).remove(spawn.key);
        let exit = self.exit_of(spawn.key);
        let mut fds = spawn.fds;
        let cgroup = spawn.cgroup.map(|group| {
            fds.push(group);
            fds.len() - 1
        });
        let message = ToKeeper::Spawn {
            seq,
            key: spawn.key.to_owned(),
            args: spawn.args.iter().map(|arg| (*arg).to_owned()).collect(),
            namespaces: spawn.namespaces,
            cgroup,
        };
        self.send(&message, &fds).await?;
        match spawned.await.map_err(|_| KeeperError::Gone)? {
            Ok(spawned) => Ok((spawned, exit)),
            Err(error) => {
                lock(&self.shared.exits).remove(spawn.key);
                Err(KeeperError::Spawn(error))
            }
        }
    }

    /// The exit of a process that runs already, or is about to be started.
    pub fn exit_of(&self, key: &str) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        let mut exits = lock(&self.shared.exits);
        match exits.remove(key) {
            Some(Waiting::Ended(exit)) => {
                // The receiver is still here.
                let _ = sender.send(exit);
            }
            _ => {
                exits.insert(key.to_owned(), Waiting::For(sender));
            }
        }
        receiver
    }

    /// Lets PID 1 keep a copy of a descriptor.
    pub async fn park(&self, key: &str, name: &str, fd: BorrowedFd<'_>) -> Result<(), KeeperError> {
        self.send(&ToKeeper::Park { key: key.to_owned(), name: name.to_owned() }, &[fd]).await
    }

    /// Lets PID 1 forget a process whose exit is stored, and what was parked
    /// under its key.
    pub async fn forget(&self, key: &str) -> Result<(), KeeperError> {
        lock(&self.shared.exits).remove(key);
        self.send(&ToKeeper::Unpark { key: key.to_owned(), name: None }, &[]).await?;
        self.send(&ToKeeper::Forget { key: key.to_owned() }, &[]).await
    }

    /// Lets PID 1 forget one descriptor.
    pub async fn unpark(&self, key: &str, name: &str) -> Result<(), KeeperError> {
        self.send(&ToKeeper::Unpark { key: key.to_owned(), name: Some(name.to_owned()) }, &[]).await
    }

    /// Waits until PID 1 has done all that it was asked before.
    pub async fn sync(&self) -> Result<(), KeeperError> {
        let seq = self.shared.seq.fetch_add(1, Ordering::Relaxed);
        let (answer, done) = oneshot::channel();
        lock(&self.shared.syncs).insert(seq, answer);
        self.send(&ToKeeper::Sync { seq }, &[]).await?;
        done.await.map_err(|_| KeeperError::Gone)
    }

    /// All that PID 1 keeps.
    pub async fn list(&self) -> Result<Kept, KeeperError> {
        let (sender, listed) = oneshot::channel();
        *lock(&self.shared.listing) = Some((Kept::default(), sender));
        self.send(&ToKeeper::List, &[]).await?;
        listed.await.map_err(|_| KeeperError::Gone)
    }

    /// Puts an event into the node's stream. Never waits: when too many are
    /// queued, it is dropped.
    pub fn event(&self, what: event::What) {
        if self.events.try_send(what).is_err() {
            tracing::warn!("too many events at once; one was dropped");
        }
    }

    /// Asks host for a change to a container's cgroup (v1).
    pub async fn cgroup(
        &self,
        group: u32,
        action: cgroup::Action,
    ) -> Result<(cgroup::Outcome, Vec<OwnedFd>), KeeperError> {
        let seq = self.shared.seq.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.shared.cgroups).insert(seq, sender);
        self.send(&ToKeeper::Cgroup(cgroup::Request { seq, group, action }), &[]).await?;
        let (result, fds) = answer.await.map_err(|_| KeeperError::Gone)?;
        Ok((result.map_err(KeeperError::Cgroup)?, fds))
    }

    /// Whether somebody watches the node's event stream.
    pub fn watched(&self) -> watch::Receiver<bool> {
        self.shared.watched.subscribe()
    }
}

async fn serve(shared: Arc<Shared>) -> KeeperError {
    loop {
        let (bytes, fds) = match shared.packets.recv(MAX).await {
            Ok(Some(message)) => message,
            Ok(None) => return KeeperError::Gone,
            Err(error) => return error.into(),
        };
        match serde_json::from_slice(&bytes) {
            Ok(message) => shared.take(message, fds),
            Err(error) => return error.into(),
        }
    }
}

impl Shared {
    fn take(&self, message: ToEngine, mut fds: Vec<OwnedFd>) {
        match message {
            ToEngine::Hello(_) => {}
            ToEngine::Spawned { seq, pid } => {
                let result = match fds.pop() {
                    Some(pidfd) => Ok(Spawned { pid, pidfd }),
                    None => Err("the node's PID 1 sent no descriptor for the process".to_owned()),
                };
                answer(&self.spawns, seq, result);
            }
            ToEngine::SpawnFailed { seq, error } => answer(&self.spawns, seq, Err(error)),
            ToEngine::Exited { key, status, time_ms } => {
                let exit = Exit { status, time_ms };
                let mut exits = lock(&self.exits);
                match exits.remove(&key) {
                    Some(Waiting::For(waiting)) => {
                        // Nobody waits any more: the exit is still with PID 1.
                        let _ = waiting.send(exit);
                    }
                    _ => {
                        exits.insert(key, Waiting::Ended(exit));
                    }
                }
            }
            ToEngine::Process { key, pid, exited } => {
                if let Some((kept, _)) = lock(&self.listing).as_mut() {
                    let exit = exited.map(|(status, time_ms)| Exit { status, time_ms });
                    kept.processes.insert(key, (pid, fds.pop(), exit));
                }
            }
            ToEngine::Parked { key, name } => {
                if let (Some((kept, _)), Some(fd)) = (lock(&self.listing).as_mut(), fds.pop()) {
                    kept.parked.insert((key, name), fd);
                }
            }
            ToEngine::Listed => {
                if let Some((kept, done)) = lock(&self.listing).take() {
                    let _ = done.send(kept);
                }
            }
            ToEngine::Synced { seq } => answer(&self.syncs, seq, ()),
            ToEngine::Cgroup(cgroup::Answer { seq, result }) => answer(&self.cgroups, seq, (result, fds)),
            ToEngine::Watched { watched } => {
                self.watched.send_replace(watched);
            }
        }
    }
}

fn answer<T>(pending: &Pending<T>, seq: u64, value: T) {
    if let Some(waiting) = lock(pending).remove(&seq) {
        // The request it belongs to was given up.
        let _ = waiting.send(value);
    }
}
