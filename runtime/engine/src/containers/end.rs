//! The end of a container's run: its output is complete, its place is given
//! back, everybody is told, and its restart policy decides.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use drydock_protocol::event::What;
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    Container,
    record::{Record, Status},
    taken::clean_up,
    tell,
};
use crate::{
    clock,
    engine::Shared,
    error::ApiError,
    keeper::Exit,
    log::{self, Stream},
};

/// After its end a container's output is complete at once; if not, somebody
/// else holds the pipe, and is not waited for longer.
const DRAIN: Duration = Duration::from_secs(2);

/// Moves a running container's output into its log, and ends the run when its
/// process does.
pub(super) fn attend(
    engine: Shared,
    container: Arc<Container>,
    outputs: Vec<(Stream, OwnedFd)>,
    exit: oneshot::Receiver<Exit>,
) {
    super::health::watch(&engine, &container);
    let terminal = container.locked().config.tty;
    let pumps: Vec<JoinHandle<()>> = outputs
        .into_iter()
        .map(|(stream, fd)| {
            let (log, id) = (container.log.clone(), container.id.clone());
            tokio::spawn(async move {
                if let Err(error) = log::pump(fd, stream, terminal, log).await {
                    tracing::warn!(%error, container = id, stream = stream.name(), "reading output failed");
                }
            })
        })
        .collect();
    tokio::spawn(async move {
        let Ok(exit) = exit.await else {
            tracing::warn!(container = container.id, "PID 1 didn't tell the container's end");
            return;
        };
        let drained = async {
            for pump in pumps {
                // A pump that panicked has no more output.
                let _ = pump.await;
            }
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!(container = container.id, "output was still held open after the end");
        }
        if let Err(error) = end(&engine, &container, exit).await {
            tracing::error!(%error, container = container.id, "ending the container's run failed");
        }
    });
}

/// Writes down how a run ended and lets everybody know.
pub(super) async fn end(engine: &Shared, container: &Arc<Container>, exit: Exit) -> Result<(), ApiError> {
    let record = container.record();
    let oom_killed = match record.group {
        Some(number) => {
            engine.cgroups.oom_kills(&engine.keeper, number).await.unwrap_or_else(|error| {
                tracing::warn!(%error, container = container.id, "whether memory ran out is not known");
                0
            }) > 0
        }
        None => false,
    };
    *container.live() = super::Live::default();
    let again = wants_again(&record, exit.status);
    container.change(|record| {
        let state = &mut record.state;
        state.status = if again { Status::Restarting } else { Status::Exited };
        state.pid = 0;
        state.exit_code = exit.status;
        state.oom_killed = oom_killed;
        state.finished_at = clock::from_ms(exit.time_ms);
        if lived_long(&state.started_at, exit.time_ms) {
            record.streak = 0;
        }
        record.sandbox = None;
        record.group = None;
    })?;
    container.log.complete();
    clean_up(engine, &container.key(), record.group, record.sandbox.as_ref()).await;
    if oom_killed {
        tell(engine, &record, "oom", None);
        // Without a limit of its own it was the node's that it met.
        if record.host_config.memory <= 0 {
            let program = record.argv().into_iter().next();
            let name = program.and_then(|path| path.rsplit('/').next().map(str::to_owned));
            engine.keeper.event(What::OutOfMemory { name });
        }
    }
    crate::volumes::mount::end(engine, &record);
    tell(engine, &container.record(), "die", Some(exit.status));
    container.life.send_modify(|life| {
        life.up = false;
        life.exits += 1;
        life.exit_code = exit.status;
    });
    after(engine, container).await
}

/// What happens to a container that ended: it is removed, or started again.
async fn after(engine: &Shared, container: &Arc<Container>) -> Result<(), ApiError> {
    let (auto_remove, status) = {
        let record = container.locked();
        (record.host_config.auto_remove, record.state.status)
    };
    if auto_remove {
        return super::remove::remove(engine, container, true).await;
    }
    if status == Status::Restarting {
        super::start::again(engine.clone(), container.clone());
    }
    Ok(())
}

/// Whether a container's policy wants it back after this end.
fn wants_again(record: &Record, exit_code: i32) -> bool {
    let policy = &record.host_config.restart_policy;
    match policy.name.as_str() {
        "always" | "unless-stopped" => !record.stopped,
        "on-failure" => {
            let limit = policy.maximum_retry_count;
            !record.stopped && exit_code != 0 && (limit == 0 || i64::from(record.restart_count) < limit)
        }
        _ => false,
    }
}

/// A run of this long is a good one: the next pause is the shortest again.
const GOOD_RUN: i64 = 10;

fn lived_long(started_at: &str, ended_ms: u64) -> bool {
    let started = clock::seconds(started_at);
    i64::try_from(ended_ms / 1000).is_ok_and(|ended| ended - started >= GOOD_RUN)
}
