//! What a start has taken so far.

use std::{os::fd::OwnedFd, sync::Arc};

use tokio::sync::oneshot;

use super::Container;
use crate::{
    engine::{Engine, Shared},
    keeper::Exit,
    networks::Sandbox,
};

/// What a start holds until the container runs: a place in a network, a
/// cgroup, parked descriptors, a process. It is given back by
/// [`Taken::give_back`]; dropped before that (a panic), in a task of its own.
pub(super) struct Taken(Option<Held>);

struct Held {
    engine: Shared,
    key: String,
    sandbox: Option<Sandbox>,
    group: Option<u32>,
    process: Option<(Arc<OwnedFd>, oneshot::Receiver<Exit>)>,
}

impl Taken {
    pub(super) fn new(engine: &Shared, container: &Container) -> Taken {
        let key = container.key();
        Taken(Some(Held { engine: engine.clone(), key, sandbox: None, group: None, process: None }))
    }

    pub(super) fn sandbox(&mut self, sandbox: &Option<Sandbox>) {
        if let Some(held) = &mut self.0 {
            held.sandbox.clone_from(sandbox);
        }
    }

    pub(super) fn group(&mut self, group: Option<u32>) {
        if let Some(held) = &mut self.0 {
            held.group = group;
        }
    }

    pub(super) fn process(&mut self, pidfd: Arc<OwnedFd>, exit: oneshot::Receiver<Exit>) {
        if let Some(held) = &mut self.0 {
            held.process = Some((pidfd, exit));
        }
    }

    /// The container runs: all is its own now. Its exit comes by the receiver.
    pub(super) fn keep(mut self) -> Option<oneshot::Receiver<Exit>> {
        self.0.take()?.process.map(|(_, exit)| exit)
    }

    /// Ends the process and gives everything back.
    pub(super) async fn give_back(mut self) {
        if let Some(held) = self.0.take() {
            held.give_back().await;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            tokio::spawn(held.give_back());
        }
    }
}

impl Held {
    async fn give_back(self) {
        if let Some((pidfd, exit)) = self.process {
            if let Err(error) = super::kill::signal(&pidfd, libc::SIGKILL) {
                tracing::warn!(%error, key = self.key, "ending a failed container's process failed");
            }
            if exit.await.is_err() {
                tracing::warn!(key = self.key, "the end of a failed container's process was not told");
            }
        }
        clean_up(&self.engine, &self.key, self.group, self.sandbox.as_ref()).await;
    }
}

/// Gives back what a run held.
pub(super) async fn clean_up(engine: &Engine, key: &str, group: Option<u32>, sandbox: Option<&Sandbox>) {
    if let Some(sandbox) = sandbox {
        engine.networks.release(engine, sandbox);
    }
    if let Some(number) = group
        && let Err(error) = engine.cgroups.remove(&engine.keeper, number).await
    {
        tracing::warn!(%error, key, "a container's cgroup stays");
    }
    if let Err(error) = engine.keeper.forget(key).await {
        tracing::warn!(%error, key, "PID 1 was not told that a process is done with");
    }
}
