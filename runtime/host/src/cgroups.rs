//! Cgroup requests of a node's engine, where groups can't be delegated (v1).
//!
//! See [`drydock_protocol::cgroup`]. All values are clamped and a request names
//! a group by number only, below the node's own `inner`.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use drydock_agent::{Agent, AgentError};
use drydock_protocol::cgroup::{Action, Answer, Limits, Outcome, Request};
use drydock_sandbox::cgroup::{CgroupError, Group, Limits as GroupLimits};

/// The most groups a node may have.
const GROUPS_MAX: usize = 512;
const GROUP_NUMBER_MAX: u32 = 9_999_999;
/// The kernel refuses a smaller CPU quota.
const CPU_MILLI_MIN: u64 = 10;
const CPU_MILLI_MAX: u64 = 1_000_000;
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
const PIDS_MAX: u64 = 1 << 22;
/// Below this a container can't even start; Docker's own minimum.
const MEMORY_MIN: u64 = 6 << 20;
const MEMORY_MAX: u64 = 1 << 50;
const RETRY: Duration = Duration::from_millis(500);
/// How many requests a node may make in [`SPAN`]; what is more waits.
const REQUESTS_MAX: u32 = 200;
const SPAN: Duration = Duration::from_secs(2);

/// Answers the requests of one node until the task is ended with it.
pub(crate) async fn serve(agent_socket: PathBuf, inner: Group) {
    loop {
        match connection(&agent_socket, &inner).await {
            // The node ends, and with it this task.
            Ok(()) | Err(AgentError::Closed) => {}
            Err(error) => tracing::warn!("control group requests of {}: {error}", inner.path().display()),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn connection(agent_socket: &PathBuf, inner: &Group) -> Result<(), AgentError> {
    let mut requests = Agent::connect(agent_socket).await?.cgroups().await?;
    let mut pace = Pace { began: Instant::now(), count: 0 };
    while let Some(request) = requests.next().await? {
        tokio::time::sleep(pace.wait(Instant::now())).await;
        let inner = inner.clone();
        let seq = request.seq;
        let handled = tokio::task::spawn_blocking(move || handle(&inner, &request)).await;
        let (result, tasks) = match handled {
            Ok(Ok((outcome, tasks))) => (Ok(outcome), tasks),
            Ok(Err(words)) => (Err(words), Vec::new()),
            Err(panic) => (Err(format!("host failed: {panic}")), Vec::new()),
        };
        let fds: Vec<_> = tasks.iter().map(|fd| fd.as_fd()).collect();
        requests.answer(&Answer { seq, result }, &fds).await?;
    }
    Ok(())
}

/// Keeps a node from having host do nothing but its requests.
struct Pace {
    began: Instant,
    count: u32,
}

impl Pace {
    /// How long a request that came now has to wait.
    fn wait(&mut self, now: Instant) -> Duration {
        let mut wait = Duration::ZERO;
        if self.count == REQUESTS_MAX {
            wait = (self.began + SPAN).saturating_duration_since(now);
        }
        if now + wait >= self.began + SPAN {
            *self = Pace { began: now + wait, count: 0 };
        }
        self.count += 1;
        wait
    }
}

fn handle(inner: &Group, request: &Request) -> Result<(Outcome, Vec<OwnedFd>), String> {
    let words = |error: CgroupError| error.to_string();
    if request.group > GROUP_NUMBER_MAX {
        return Err(format!("group numbers end at {GROUP_NUMBER_MAX}"));
    }
    let group = inner.child(&format!("c-{}", request.group));
    match &request.action {
        Action::Make(limits) => make(inner, &group, limits),
        Action::Limit(limits) => {
            group.limit(&clamp(limits)).map(|()| (Outcome::Done, Vec::new())).map_err(words)
        }
        Action::Freeze => group.freeze(true).map(|()| (Outcome::Done, Vec::new())).map_err(words),
        Action::Thaw => group.freeze(false).map(|()| (Outcome::Done, Vec::new())).map_err(words),
        Action::OomKills => {
            group.oom_kills().map(|kills| (Outcome::OomKills(kills), Vec::new())).map_err(words)
        }
        Action::Remove => group.remove().map(|()| (Outcome::Done, Vec::new())).map_err(words),
    }
}

fn make(inner: &Group, group: &Group, limits: &Limits) -> Result<(Outcome, Vec<OwnedFd>), String> {
    let words = |error: CgroupError| error.to_string();
    let there = inner.children().map_err(words)?;
    let is_new = !there.iter().any(|name| inner.child(name).path() == group.path());
    if is_new && there.len() >= GROUPS_MAX {
        return Err(format!("a node may have {GROUPS_MAX} control groups"));
    }
    // One that is there is opened again, and keeps the limits that aren't given.
    let made = group.create().and_then(|()| group.tighten(&clamp(limits))).and_then(|()| group.tasks());
    match made {
        Ok(tasks) => {
            let (hierarchies, tasks) = tasks.into_iter().unzip();
            Ok((Outcome::Made { hierarchies }, tasks))
        }
        Err(error) if !is_new => Err(error.to_string()),
        Err(error) => {
            let words = error.to_string();
            match group.remove() {
                Ok(()) => Err(words),
                Err(left) => Err(format!("{words}; and then: {left}")),
            }
        }
    }
}

/// What is over the node's own limits does no harm: a group's limit never
/// loosens its parent's.
fn clamp(limits: &Limits) -> GroupLimits {
    let memory = limits.memory.map(|bytes| bytes.clamp(MEMORY_MIN, MEMORY_MAX));
    GroupLimits {
        memory,
        memory_swap: limits.memory_swap.map(|bytes| bytes.clamp(memory.unwrap_or(MEMORY_MIN), MEMORY_MAX)),
        pids: limits.pids.map(|pids| pids.clamp(1, PIDS_MAX)),
        cpu_milli: limits.cpu_milli.map(|milli| milli.clamp(CPU_MILLI_MIN, CPU_MILLI_MAX)),
        cpu_shares: limits.cpu_shares.map(|shares| shares.clamp(*SHARES.start(), *SHARES.end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_beyond_the_most_wait_for_the_next_span() {
        let began = Instant::now();
        let mut pace = Pace { began, count: 0 };
        let later = began + SPAN / 4;
        assert!((0..REQUESTS_MAX).all(|_| pace.wait(later) == Duration::ZERO));
        assert_eq!(pace.wait(later), SPAN - SPAN / 4);
        // That one was the first of the next span.
        let next = began + SPAN;
        assert!((1..REQUESTS_MAX).all(|_| pace.wait(next) == Duration::ZERO));
        assert_eq!(pace.wait(next), SPAN);
        assert_eq!(pace.wait(next + SPAN * 5), Duration::ZERO);
    }

    #[test]
    fn values_from_a_node_are_clamped() {
        let wild = Limits {
            memory: Some(1),
            memory_swap: Some(0),
            pids: Some(u64::MAX),
            cpu_milli: Some(0),
            cpu_shares: Some(u64::MAX),
        };
        let tame = GroupLimits {
            memory: Some(MEMORY_MIN),
            memory_swap: Some(MEMORY_MIN),
            pids: Some(PIDS_MAX),
            cpu_milli: Some(CPU_MILLI_MIN),
            cpu_shares: Some(262_144),
        };
        assert_eq!(clamp(&wild), tame);
        assert_eq!(clamp(&Limits::default()), GroupLimits::default());
    }
}
