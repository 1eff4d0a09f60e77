//! PID 1: reads what the node is to be, makes it so, and serves it until it
//! is to end.

use std::{
    cell::Cell,
    fs::File,
    io::Write,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, ensure};
use drydock_protocol::{
    Hello,
    node::{AGENT_FD, CGROUP_FD, DOCKER_FD, READY_FD, SPEC_FD, Spec},
};
use drydock_sandbox::spawn::Executable;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::LocalSet,
};

use crate::{
    agent,
    dial::Dials,
    engine::Engine,
    events::Events,
    keeper::Keeper,
    launch::{Groups, Launcher},
    log::Log,
    memory::Memory,
    pty::Devpts,
    reaper::Reaper,
    relay::Relay,
    session::Proc,
    setup, shutdown,
    terminals::Terminals,
    usage::{self, Usage},
};

/// Time between SIGTERM and SIGKILL when PID 1 itself gets a SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// What serves the node's requests.
pub(crate) struct Node {
    pub reaper: Rc<Reaper>,
    pub launcher: Rc<Launcher>,
    pub proc: Rc<Proc>,
    pub events: Rc<Events>,
    pub terminals: Rc<Terminals>,
    pub keeper: Rc<Keeper>,
    pub relay: Rc<Relay>,
    pub memory: Memory,
    pub usage: Usage,
    pub dials: Dials,
    /// How often an engine was started.
    pub engine_starts: Cell<u64>,
    /// The grace time, once the node is to end.
    ending: watch::Sender<Option<Duration>>,
}

impl Node {
    /// Begins to end the node.
    pub(crate) fn end(&self, grace: Duration) {
        self.ending.send_if_modified(|ending| ending.replace(grace).is_none());
    }
}

/// What host gave us.
struct Inherited {
    spec: Spec,
    agent: OwnedFd,
    docker: OwnedFd,
    ready: OwnedFd,
    cgroups: Vec<OwnedFd>,
}

/// PID 1's whole life.
pub(crate) fn main() -> anyhow::Result<()> {
    let log = Log::install();
    // What we hold is not for the node's users.
    nix::sys::prctl::set_dumpable(false).context("cannot become undumpable")?;
    let inherited = inherit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(inherited, log))
}

fn inherit() -> anyhow::Result<Inherited> {
    let spec = setup::read_spec(&File::from(take(SPEC_FD)?))?;
    ensure!(Hello::OURS.agree(spec.hello).is_some(), "host speaks protocol {:?}", spec.hello);
    let cgroups = (0..spec.cgroups.len()).map(|number| take(CGROUP_FD + number as RawFd));
    Ok(Inherited {
        agent: take(AGENT_FD)?,
        docker: take(DOCKER_FD)?,
        ready: take(READY_FD)?,
        cgroups: cgroups.collect::<anyhow::Result<_>>()?,
        spec,
    })
}

/// An inherited descriptor; each is taken once.
fn take(fd: RawFd) -> anyhow::Result<OwnedFd> {
    // SAFETY: fcntl on a number, which at worst is no descriptor.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    ensure!(set == 0, "descriptor {fd} was not inherited");
    // SAFETY: it is open, host put it there for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

async fn run(inherited: Inherited, log: Log) -> anyhow::Result<()> {
    let Inherited { spec, agent, docker, ready, cgroups } = inherited;
    let mut terminate = signal(SignalKind::terminate())?;
    let executable = Rc::new(Executable::own()?);
    let devpts = Devpts::open().context("cannot open /dev/pts")?;
    let proc = Rc::new(Proc::open().context("cannot open /proc")?);
    setup::node(&spec).await?;
    let inside = setup::docker_socket().context("cannot make the Docker socket")?;
    let groups = Groups::new(&spec.cgroups, &cgroups).context("cannot prepare control groups")?;

    let (reaper, events, relay) = (Rc::new(Reaper::default()), Events::new(), Relay::new());
    let launcher = Rc::new(Launcher {
        executable: executable.clone(),
        groups,
        features: spec.features,
        gateway: spec.gateway,
        reaper: reaper.clone(),
    });
    let keeper = Keeper::new(executable.clone(), reaper.clone(), events.clone(), relay.clone());
    let node = Rc::new(Node {
        terminals: Terminals::new(launcher.clone(), events.clone(), devpts, proc.clone()),
        reaper: reaper.clone(),
        launcher,
        proc,
        events: events.clone(),
        keeper: keeper.clone(),
        relay,
        memory: Memory::open(spec.limits.memory_mb << 20),
        usage: Usage::open(),
        dials: Dials::new(spec.address),
        engine_starts: Cell::new(0),
        ending: watch::Sender::new(None),
    });
    let engine = Engine {
        executable,
        reaper: reaper.clone(),
        events,
        keeper,
        log,
        spec: serde_json::to_string(&spec)?,
        sockets: [docker, inside],
        cgroups,
    };
    let listener = UnixListener::from(agent);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;

    // From here on nothing may end PID 1 but the end of the node.
    let reaping = reaper.clone();
    tokio::task::spawn_local(async move {
        if let Err(error) = reaping.run().await {
            tracing::error!("cannot hear of children that end: {error}");
        }
    });
    tokio::task::spawn_local(agent::serve(node.clone(), listener));
    tokio::task::spawn_local(usage::tell(node.clone()));
    if let Err(error) = File::from(ready).write_all(b"1") {
        tracing::warn!("cannot tell host that the node is ready: {error}");
    }
    tracing::info!(session = spec.session, node = spec.name, "ready");
    let mut ending = node.ending.subscribe();
    let grace = tokio::select! {
        () = engine.run(|| node.engine_starts.set(node.engine_starts.get() + 1)) => GRACE,
        _ = terminate.recv() => GRACE,
        // The sender is in `node`, which is here.
        Ok(grace) = ending.wait_for(Option::is_some) => grace.unwrap_or(GRACE),
    };
    shutdown::end_all(&reaper, grace).await;
    Ok(())
}
