//! What outlives the engine: its children, their exit statuses, and the
//! descriptors it parked. See [`drydock_protocol::keeper`].

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
};

use drydock_protocol::{
    Hello,
    cgroup::Answer,
    event::What,
    keeper::{FDS_MAX, MAX, ToEngine, ToKeeper},
};
use drydock_sandbox::{
    fdpass::Packets,
    spawn::{Command, Executable, SpawnError},
};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::{clock, events::Events, reaper::Reaper, relay::Relay};

/// The most processes that are kept, ended ones included.
const PROCESSES_MAX: usize = 8192;
/// The most descriptors that are parked.
const PARKED_MAX: usize = 16_384;
/// The longest key or name, in bytes.
const KEY_MAX: usize = 256;
/// Messages that may wait for the engine to read them.
const OUTGOING_MAX: usize = 65_536;

/// Why the engine can't be served any longer.
#[derive(Debug, Error)]
pub(crate) enum KeeperError {
    #[error("the engine's socket failed: {0}")]
    Socket(#[from] std::io::Error),
    #[error("the engine sent what is no message: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the engine speaks protocol {0:?}")]
    Version(Hello),
    #[error("the engine sent {got} descriptors where {expected} belong")]
    Descriptors { got: usize, expected: usize },
    #[error("the engine does not read what it is told")]
    Deaf,
}

/// A child of the engine's.
struct Process {
    pid: i32,
    pidfd: Rc<OwnedFd>,
    /// Exit status and time.
    exited: Option<(i32, u64)>,
    /// Tells it from an earlier one of the same key.
    number: u64,
}

type Message = (ToEngine, Vec<Rc<OwnedFd>>);

/// All that is kept.
pub(crate) struct Keeper {
    executable: Rc<Executable>,
    reaper: Rc<Reaper>,
    events: Rc<Events>,
    relay: Rc<Relay>,
    processes: RefCell<BTreeMap<String, Process>>,
    parked: RefCell<BTreeMap<(String, String), Rc<OwnedFd>>>,
    /// To the engine that runs now.
    engine: RefCell<Option<mpsc::Sender<Message>>>,
    /// Whether it has said hello.
    up: Cell<bool>,
    spawned: Cell<u64>,
}

/// While it lives, an engine is served; when it is dropped (the engine's end
/// may be heard of elsewhere first) there is none, unless a newer one is.
struct Serving<'a> {
    keeper: &'a Keeper,
    engine: mpsc::Sender<Message>,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut engine = self.keeper.engine.borrow_mut();
        if engine.as_ref().is_some_and(|engine| engine.same_channel(&self.engine)) {
            *engine = None;
            self.keeper.up.set(false);
        }
    }
}

impl Keeper {
    pub(crate) fn new(
        executable: Rc<Executable>,
        reaper: Rc<Reaper>,
        events: Rc<Events>,
        relay: Rc<Relay>,
    ) -> Rc<Keeper> {
        Rc::new(Keeper {
            executable,
            reaper,
            events,
            relay,
            processes: RefCell::default(),
            parked: RefCell::default(),
            engine: RefCell::default(),
            up: Cell::new(false),
            spawned: Cell::new(0),
        })
    }

    /// Whether an engine is up.
    pub(crate) fn is_up(&self) -> bool {
        self.up.get()
    }

    /// Serves one engine until its socket closes or it misbehaves.
    pub(crate) async fn serve(self: &Rc<Keeper>, packets: Packets) -> Result<(), KeeperError> {
        let (engine, outgoing) = mpsc::channel(OUTGOING_MAX);
        let _serving = Serving { keeper: self, engine: engine.clone() };
        *self.engine.borrow_mut() = Some(engine);
        self.up.set(false);
        tokio::select! {
            result = self.receive(&packets) => result,
            result = send(&packets, outgoing) => result,
            () = self.tell_watched() => Ok(()),
        }
    }

    async fn receive(self: &Rc<Keeper>, packets: &Packets) -> Result<(), KeeperError> {
        while let Some((bytes, fds)) = packets.recv(MAX).await? {
            if fds.len() > FDS_MAX {
                return Err(KeeperError::Descriptors { got: fds.len(), expected: FDS_MAX });
            }
            self.take(serde_json::from_slice(&bytes)?, fds)?;
        }
        Ok(())
    }

    /// Tells the engine whenever the first watcher comes or the last one goes.
    async fn tell_watched(&self) {
        let mut watchers = self.events.watchers();
        let mut told = None;
        loop {
            let watched = *watchers.borrow_and_update() > 0;
            if self.up.get() && told != Some(watched) {
                told = Some(watched);
                // A full queue ends the engine in `tell`.
                let _ = self.tell(ToEngine::Watched { watched }, Vec::new());
            }
            // The sender is ours, so it can't be gone.
            let _ = watchers.changed().await;
        }
    }

    /// Puts a message into the engine's queue, if there is an engine.
    fn tell(&self, message: ToEngine, fds: Vec<Rc<OwnedFd>>) -> Result<(), KeeperError> {
        match self.engine.borrow().as_ref().map(|engine| engine.try_send((message, fds))) {
            Some(Err(mpsc::error::TrySendError::Full(_))) => Err(KeeperError::Deaf),
            _ => Ok(()),
        }
    }

    fn take(self: &Rc<Keeper>, message: ToKeeper, fds: Vec<OwnedFd>) -> Result<(), KeeperError> {
        match message {
            ToKeeper::Hello(theirs) => self.hello(theirs),
            ToKeeper::Spawn { seq, key, args, namespaces, cgroup } => {
                let answer = match self.spawn(&key, &args, namespaces, cgroup, &fds) {
                    Ok((pid, pidfd)) => (ToEngine::Spawned { seq, pid }, vec![pidfd]),
                    Err(error) => (ToEngine::SpawnFailed { seq, error }, Vec::new()),
                };
                self.tell(answer.0, answer.1)
            }
            ToKeeper::Park { key, name } => self.park(key, name, fds),
            ToKeeper::Unpark { key, name } => {
                self.unpark(key, name);
                Ok(())
            }
            ToKeeper::Forget { key } => {
                self.processes.borrow_mut().remove(&key);
                Ok(())
            }
            ToKeeper::Sync { seq } => self.tell(ToEngine::Synced { seq }, Vec::new()),
            ToKeeper::List => self.list(),
            ToKeeper::Event(what) => {
                self.events.push(what);
                Ok(())
            }
            ToKeeper::Cgroup(request) => {
                self.ask_host(request);
                Ok(())
            }
        }
    }

    fn hello(&self, theirs: Hello) -> Result<(), KeeperError> {
        Hello::OURS.agree(theirs).ok_or(KeeperError::Version(theirs))?;
        if !self.up.replace(true) {
            self.events.push(What::EngineStarted);
        }
        self.tell(ToEngine::Hello(Hello::OURS), Vec::new())?;
        self.tell(ToEngine::Watched { watched: *self.events.watchers().borrow() > 0 }, Vec::new())
    }

    fn spawn(
        self: &Rc<Keeper>,
        key: &str,
        args: &[String],
        namespaces: u64,
        cgroup: Option<usize>,
        fds: &[OwnedFd],
    ) -> Result<(i32, Rc<OwnedFd>), String> {
        if key.len() > KEY_MAX {
            return Err(format!("a process's key is longer than {KEY_MAX} bytes"));
        }
        let mut processes = self.processes.borrow_mut();
        if processes.get(key).is_some_and(|process| process.exited.is_none()) {
            return Err(format!("{key} is running"));
        }
        if processes.len() >= PROCESSES_MAX {
            return Err(format!("this node keeps {PROCESSES_MAX} processes already"));
        }
        let child =
            start(&self.executable, args, namespaces, cgroup, fds).map_err(|error| error.to_string())?;
        let status = self.reaper.watch(child.pid);
        let (pid, pidfd, number) = (child.pid, Rc::new(child.pidfd), self.spawned.get() + 1);
        self.spawned.set(number);
        processes.insert(key.to_owned(), Process { pid, pidfd: pidfd.clone(), exited: None, number });
        let (keeper, key) = (self.clone(), key.to_owned());
        tokio::task::spawn_local(async move {
            if let Ok(status) = status.await {
                keeper.exited(&key, number, status);
            }
        });
        Ok((pid, pidfd))
    }

    fn exited(&self, key: &str, number: u64, status: i32) {
        let time_ms = clock::epoch_ms();
        let mut processes = self.processes.borrow_mut();
        // The engine may have let go of it while it ran.
        let Some(process) = processes.get_mut(key).filter(|process| process.number == number) else { return };
        process.exited = Some((status, time_ms));
        drop(processes);
        // If the engine is deaf it is about to be ended; the status is kept.
        let _ = self.tell(ToEngine::Exited { key: key.to_owned(), status, time_ms }, Vec::new());
    }

    fn park(&self, key: String, name: String, mut fds: Vec<OwnedFd>) -> Result<(), KeeperError> {
        let (Some(fd), true) = (fds.pop(), fds.is_empty()) else {
            return Err(KeeperError::Descriptors { got: fds.len(), expected: 1 });
        };
        let mut parked = self.parked.borrow_mut();
        if key.len() > KEY_MAX || name.len() > KEY_MAX || parked.len() >= PARKED_MAX {
            tracing::warn!("cannot park {name} of {key}: {} descriptors are parked", parked.len());
            return Ok(());
        }
        parked.insert((key, name), Rc::new(fd));
        Ok(())
    }

    fn unpark(&self, key: String, name: Option<String>) {
        let mut parked = self.parked.borrow_mut();
        match name {
            Some(name) => drop(parked.remove(&(key, name))),
            None => parked.retain(|(kept, _), _| *kept != key),
        }
    }

    fn list(&self) -> Result<(), KeeperError> {
        for (key, process) in &*self.processes.borrow() {
            let fds = if process.exited.is_none() { vec![process.pidfd.clone()] } else { Vec::new() };
            let message = ToEngine::Process { key: key.clone(), pid: process.pid, exited: process.exited };
            self.tell(message, fds)?;
        }
        for ((key, name), fd) in &*self.parked.borrow() {
            self.tell(ToEngine::Parked { key: key.clone(), name: name.clone() }, vec![fd.clone()])?;
        }
        self.tell(ToEngine::Listed, Vec::new())
    }

    fn ask_host(&self, request: drydock_protocol::cgroup::Request) {
        let seq = request.seq;
        // This engine's queue: a later engine has never asked this.
        let Some(engine) = self.engine.borrow().clone() else { return };
        let reply = move |result, fds: Vec<OwnedFd>| {
            let answer = ToEngine::Cgroup(Answer { seq, result });
            // It may have ended, or be deaf and about to be.
            let _ = engine.try_send((answer, fds.into_iter().map(Rc::new).collect()));
        };
        self.relay.ask(request, Box::new(reply));
    }
}

async fn send(packets: &Packets, mut outgoing: mpsc::Receiver<Message>) -> Result<(), KeeperError> {
    while let Some((message, fds)) = outgoing.recv().await {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        packets.send(&serde_json::to_vec(&message)?, &fds).await?;
    }
    Ok(())
}

fn start(
    executable: &Executable,
    args: &[String],
    namespaces: u64,
    cgroup: Option<usize>,
    fds: &[OwnedFd],
) -> Result<drydock_sandbox::spawn::Child, SpawnError> {
    let argv = ["drydock-node"].into_iter().chain(args.iter().map(String::as_str));
    let passed = fds.iter().enumerate().filter(|(index, _)| Some(*index) != cgroup);
    let mut command =
        Command::new(executable, argv)?.fds(passed.map(|(_, fd)| fd.as_fd())).namespaces(namespaces)?;
    if let Some(group) = cgroup.and_then(|index| fds.get(index)) {
        command = command.cgroup(group.as_fd());
    }
    command.spawn()
}

#[cfg(test)]
mod tests;
