//! The end of the node: all its processes are told, then killed.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{signal::unix::SignalKind, time::Instant};

use crate::reaper::Reaper;

/// The longest grace time.
const GRACE_MAX: Duration = Duration::from_secs(60);
/// How long killed processes may take to be gone.
const KILLED: Duration = Duration::from_secs(2);

/// Sends all processes SIGTERM (and shells SIGHUP, which is what they heed),
/// waits until they have ended or `grace` is over, sends SIGKILL, and writes
/// all to disk. When PID 1 then exits, the kernel ends what is left.
pub(crate) async fn end_all(reaper: &Reaper, grace: Duration) {
    tracing::info!("ending all processes");
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCONT] {
        tell_all(signal);
    }
    if !gone(reaper, grace.min(GRACE_MAX)).await {
        tell_all(Signal::SIGKILL);
        if !gone(reaper, KILLED).await {
            tracing::warn!("some processes don't end");
        }
    }
    nix::unistd::sync();
}

/// To all processes of the PID namespace but ourselves.
fn tell_all(signal: Signal) {
    // It fails when there are none.
    let _ = kill(Pid::from_raw(-1), signal);
}

/// Waits until there are no more children; orphans become ours, so then there
/// is no process left.
async fn gone(reaper: &Reaper, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    let Ok(mut children) = tokio::signal::unix::signal(SignalKind::child()) else { return false };
    while reaper.reap() {
        if tokio::time::timeout_at(end, children.recv()).await.is_err() {
            return !reaper.reap();
        }
    }
    true
}
