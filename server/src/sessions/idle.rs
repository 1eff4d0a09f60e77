//! Sessions in which nobody types end after a time.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use drydock_agent::Agent;
use drydock_protocol::host::Session;
use futures_util::StreamExt;

use super::{OWNER_CLI, Sessions, running};
use crate::db::EndReason;

/// How often sessions are looked at.
const EVERY: Duration = Duration::from_secs(15);

/// How often learners who did nothing are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(300);

/// How long a node may take to say how long nobody typed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many sessions are asked at once.
const AT_ONCE: usize = 16;

/// When somebody last did something in a session.
#[derive(Default)]
pub(super) struct Activity {
    last: Mutex<HashMap<String, Instant>>,
}

impl Activity {
    pub(super) fn touch(&self, id: &str) {
        self.saw(id, Duration::ZERO);
    }

    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// How long nobody did anything. A session that was not seen yet counts as
    /// seen now: web itself may have just started.
    pub(super) fn idle(&self, id: &str) -> Duration {
        self.lock().entry(id.into()).or_insert_with(Instant::now).elapsed()
    }

    /// Somebody did something so long ago.
    fn saw(&self, id: &str, ago: Duration) {
        let Some(then) = Instant::now().checked_sub(ago) else { return };
        let mut last = self.lock();
        let known = last.entry(id.into()).or_insert(then);
        *known = then.max(*known);
    }

    fn keep(&self, live: &[Session]) {
        let live: BTreeSet<&str> = live.iter().map(|session| session.id.as_str()).collect();
        self.lock().retain(|id, _| live.contains(id.as_str()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends idle sessions and notes the end of those that ended otherwise.
pub(super) async fn run(sessions: &Sessions) {
    let mut roster = sessions.watch();
    // The first list must have come, or all would look gone.
    if roster.changed().await.is_err() {
        return;
    }
    let mut known: Arc<Vec<Session>> = Arc::default();
    let mut sweep = tokio::time::interval(EVERY);
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    loop {
        let live = roster.borrow_and_update().clone();
        note_gone(sessions, &known, &live).await;
        sessions.shared.activity.keep(&live);
        known = live;
        tokio::select! {
            _ = sweep.tick() => end_idle(sessions).await,
            _ = tidy.tick() => forget_lookers(sessions).await,
            changed = roster.changed() => if changed.is_err() { return },
        }
    }
}

async fn forget_lookers(sessions: &Sessions) {
    loop {
        match sessions.shared.db.forget_lookers().await {
            Ok(0) => return,
            Ok(count) => tracing::info!(count, "forgot learners who did nothing"),
            Err(error) => return tracing::error!(%error, "cannot forget learners who did nothing"),
        }
    }
}

/// Ends learners' sessions in which nobody did anything for too long.
pub(super) async fn end_idle(sessions: &Sessions) {
    let live = sessions.shared.roster.now();
    let learners = live.iter().filter(|session| session.owner != OWNER_CLI);
    futures_util::stream::iter(learners)
        .for_each_concurrent(AT_ONCE, |session| end_if_idle(sessions, session))
        .await;
}

async fn end_if_idle(sessions: &Sessions, session: &Session) {
    let activity = &sessions.shared.activity;
    for node in running(session) {
        let status =
            tokio::time::timeout(PATIENCE, async { Agent::connect(&node.agent).await?.status().await });
        match status.await {
            Ok(Ok(status)) => activity.saw(&session.id, Duration::from_millis(status.idle_ms)),
            // A node that does not answer has nobody who types in it.
            Ok(Err(error)) => tracing::debug!(session = session.id, node = node.name, %error, "no status"),
            Err(_) => tracing::debug!(session = session.id, node = node.name, "no status in time"),
        }
    }
    let idle = activity.idle(&session.id);
    if idle < Duration::from_secs(sessions.shared.settings.idle_minutes * 60) {
        return;
    }
    tracing::info!(session = session.id, idle_seconds = idle.as_secs(), "session ends: nobody typed");
    if let Err(error) = sessions.shared.end(&session.id, EndReason::Idle).await {
        tracing::warn!(session = session.id, %error, "cannot end an idle session");
    }
}

/// Sessions that we gave away and that live no more were ended by host.
async fn note_gone(sessions: &Sessions, known: &[Session], live: &[Session]) {
    let open = match sessions.shared.db.sessions_open().await {
        Ok(open) => open,
        Err(error) => return tracing::error!(%error, "cannot read the sessions that were given away"),
    };
    for (id, created) in open.iter().filter(|(id, _)| !live.iter().any(|session| session.id == *id)) {
        // One that was made since the list was read is there, though.
        if !matches!(sessions.shared.host.session(id).await, Err(error) if error.is_not_found()) {
            continue;
        }
        let last = known.iter().find(|session| session.id == *id);
        if let Err(error) = sessions.shared.db.session_ended(id, reason(last, *created)).await {
            tracing::error!(%error, "cannot note a session's end");
        }
    }
}

/// Why a session is gone that nobody here has ended.
pub(super) fn reason(last: Option<&Session>, created: i64) -> EndReason {
    // Host's clock and ours are one; a second covers the rounding.
    let due = |session: &Session| session.deadline <= crate::db::now() as u64 + 1;
    match machine_started() {
        _ if last.is_some_and(due) => EndReason::Time,
        // Some seconds for a clock that was set meanwhile.
        Some(started) if created + 5 < started => EndReason::Restart,
        _ => EndReason::Gone,
    }
}

/// When this machine was started, in seconds since the epoch: proc_stat(5).
fn machine_started() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_from_before_the_machines_start_ended_with_it() {
        let started = machine_started().expect("the kernel tells when it started");
        assert!(started > 0 && started <= crate::db::now());
        assert_eq!(reason(None, started - 100), EndReason::Restart);
        assert_eq!(reason(None, started + 100), EndReason::Gone);
    }
}
