//! Keeping an engine running: `drydock-node engine` is started, watched, and
//! started again when it ends.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use drydock_protocol::{event::What, keeper::SPEC_ENV};
use drydock_sandbox::{
    fdpass::{self, Packets},
    spawn::{Command, Executable, SpawnError},
};
use rustix::process::{Signal, pidfd_send_signal};
use thiserror::Error;

use crate::{descriptor::Descriptor, events::Events, keeper::Keeper, launch, log::Log, reaper::Reaper};

/// The first pause before an engine is started again; it doubles each time.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// An engine that ran this long was well: the pause begins anew.
const WELL: Duration = Duration::from_secs(30);

/// An engine could not be started.
#[derive(Debug, Error)]
enum EngineError {
    #[error("cannot make its descriptors: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// What an engine is started with.
pub(crate) struct Engine {
    pub executable: Rc<Executable>,
    pub reaper: Rc<Reaper>,
    pub events: Rc<Events>,
    pub keeper: Rc<Keeper>,
    pub log: Log,
    /// The node's spec in JSON.
    pub spec: String,
    /// The Docker API's listening sockets: for clients outside, and inside.
    pub sockets: [OwnedFd; 2],
    /// The cgroup descriptors as they were inherited.
    pub cgroups: Vec<OwnedFd>,
}

impl Engine {
    /// Runs engines, one after another, for as long as it is polled.
    pub(crate) async fn run(&self, mut started: impl FnMut()) {
        let mut pause = PAUSE;
        loop {
            let since = Instant::now();
            started();
            match self.run_one().await {
                Ok(status) => {
                    tracing::warn!(status, "the engine ended");
                    self.events.push(What::EngineEnded { status });
                }
                Err(error) => tracing::error!("cannot start the engine: {error}"),
            }
            if since.elapsed() >= WELL {
                pause = PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Runs one to its end; returns its exit status.
    async fn run_one(&self) -> Result<i32, EngineError> {
        let (ours, theirs) = fdpass::packet_pair()?;
        let (log, log_theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(io::Error::from)?;
        let (packets, log) = (Packets::new(ours)?, Descriptor::new(log)?);
        let null = std::fs::File::open("/dev/null")?;
        let stdio = [null.as_fd(), log_theirs.as_fd(), log_theirs.as_fd()];
        let mut command = Command::new(&self.executable, ["drydock-node", "engine"])?
            .fds(stdio)
            .fd(theirs.as_fd())
            .fds(self.sockets.iter().map(AsFd::as_fd))
            .fds(self.cgroups.iter().map(AsFd::as_fd))
            .env(SPEC_ENV, &self.spec)?;
        for (name, value) in launch::environment(false) {
            command = command.env(&name, &value)?;
        }
        let child = command.spawn()?;
        let mut status = self.reaper.watch(child.pid);
        drop((theirs, log_theirs));
        tokio::task::spawn_local(copy_log(log, self.log.clone()));
        tokio::select! {
            result = self.keeper.serve(packets) => {
                if let Err(error) = result {
                    tracing::error!("{error}; ending the engine");
                }
                // Without its socket it is of no use. It may have ended already.
                let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
                Ok(status.await.unwrap_or(-1))
            }
            status = &mut status => Ok(status.unwrap_or(-1)),
        }
    }
}

/// The engine's stderr goes into PID 1's log, whose size is bounded.
async fn copy_log(from: Descriptor, mut log: Log) {
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        // There is no other place to say that the log fails.
        let _ = io::Write::write_all(&mut log, &buffer[..count]);
    }
}
