//! `POST /containers/{ref}/kill`, `…/stop`, `…/pause`, `…/unpause`

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;

use super::{Container, record::Status, tell, tell_kill};
use crate::{
    engine::{Engine, Shared},
    error::{ApiError, failed},
};

/// Between the stop signal and SIGKILL, when nothing else is asked for.
const GRACE: i64 = 10;
/// A killed process is gone in no time, unless the kernel holds it.
const KILLED: Duration = Duration::from_secs(10);

/// Sends a signal to the process of a descriptor.
pub(crate) fn signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open, the signal a number, and no siginfo is
    // given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(()),
        // It has just ended by itself.
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}

fn send(container: &Container, number: i32) -> Result<(), ApiError> {
    let pidfd = container.live().pidfd.clone();
    match pidfd.map(|pidfd| signal(&pidfd, number)) {
        None => Ok(()),
        Some(result) => result.map_err(failed("sending a signal failed")),
    }
}

/// The number of a signal: a number, `TERM`, `SIGTERM`, in any case.
pub(crate) fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if let Ok(signal) = name.parse::<nix::sys::signal::Signal>() {
        return Some(signal as i32);
    }
    let rest = name.strip_prefix("SIGRT")?;
    let (base, sign, offset) = match (rest.strip_prefix("MIN"), rest.strip_prefix("MAX")) {
        (Some(more), _) => (34, 1, more),
        (_, Some(less)) => (64, -1, less),
        _ => return None,
    };
    let offset: i32 = if offset.is_empty() { 0 } else { offset[1..].parse().ok()? };
    Some(base + sign * offset).filter(|number| (34..=64).contains(number))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct KillQuery {
    signal: String,
}

/// `POST /containers/{ref}/kill`
pub(crate) async fn kill(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<KillQuery>,
) -> Result<StatusCode, ApiError> {
    kill_now(&engine, &reference, &query)
        .await
        .map_err(|error| error.context(&format!("cannot kill container: {reference}: ")))
        .map_err(|error| match error {
            // Docker leaves the name out where nothing has it.
            ApiError::NotFound(_) => ApiError::NotFound(format!(
                "cannot kill container: {reference}: No such container: {reference}"
            )),
            other => other,
        })?;
    Ok(StatusCode::NO_CONTENT)
}

async fn kill_now(engine: &Engine, reference: &str, query: &KillQuery) -> Result<(), ApiError> {
    let number = match query.signal.as_str() {
        "" => libc::SIGKILL,
        given => parse_signal(given).ok_or_else(|| ApiError::Invalid(format!("invalid signal: {given}")))?,
    };
    let container = engine.containers.find(reference)?;
    let record = container
        .running()
        .map_err(|_| ApiError::Conflict(format!("container {} is not running", container.id)))?;
    if number == libc::SIGKILL || number == stop_signal(&record) {
        container.change(|record| record.stopped = true)?;
    }
    if record.state.status == Status::Paused && number == libc::SIGKILL {
        thaw(engine, &container).await?;
    }
    let mut ended = container.life.subscribe();
    let exits = ended.borrow().exits;
    send(&container, number)?;
    tell_kill(engine, &record, number);
    if number == libc::SIGKILL {
        // As with Docker, it is gone when the answer comes.
        let gone = ended.wait_for(|life| life.exits > exits || life.removed);
        let _ = tokio::time::timeout(KILLED, gone).await;
    }
    Ok(())
}

fn stop_signal(record: &super::record::Record) -> i32 {
    parse_signal(&record.config.stop_signal).unwrap_or(libc::SIGTERM)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StopQuery {
    t: Option<i64>,
    signal: String,
}

impl StopQuery {
    /// Without asking the program first.
    pub(super) fn at_once() -> StopQuery {
        StopQuery { t: Some(0), signal: "SIGKILL".to_owned() }
    }
}

/// `POST /containers/{ref}/stop`
pub(crate) async fn stop(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<StopQuery>,
) -> Result<StatusCode, ApiError> {
    let container = engine.containers.find(&reference)?;
    let _busy = container.busy.lock().await;
    if !container.locked().state.status.is_active() {
        return Err(ApiError::NotModified);
    }
    stop_now(&engine, &container, &query).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks a container to stop and ends it when it doesn't.
pub(super) async fn stop_now(
    engine: &Shared,
    container: &Arc<Container>,
    query: &StopQuery,
) -> Result<(), ApiError> {
    let record = container.record();
    if record.state.status == Status::Restarting {
        return stay_ended(engine, container);
    }
    let number = match query.signal.as_str() {
        "" => stop_signal(&record),
        given => parse_signal(given).ok_or_else(|| ApiError::Invalid(format!("invalid signal: {given}")))?,
    };
    container.change(|record| record.stopped = true)?;
    let mut ended = container.life.subscribe();
    let exits = ended.borrow().exits;
    if record.state.status == Status::Paused {
        thaw(engine, container).await?;
    }
    send(container, number)?;
    tell_kill(engine, &record, number);
    let grace = query.t.or(record.config.stop_timeout).unwrap_or(GRACE);
    let is_gone = |life: &super::Life| life.exits > exits || life.removed;
    let in_time = match u64::try_from(grace) {
        Ok(seconds) => {
            tokio::time::timeout(Duration::from_secs(seconds), ended.wait_for(is_gone)).await.is_ok()
        }
        // A negative time means for ever.
        Err(_) => ended.wait_for(is_gone).await.is_ok(),
    };
    if !in_time {
        send(container, libc::SIGKILL)?;
        tell_kill(engine, &record, libc::SIGKILL);
        if tokio::time::timeout(KILLED, ended.wait_for(is_gone)).await.is_err() {
            return Err(ApiError::Failed(format!(
                "cannot stop container: {}: tried to kill container, but did not receive an exit event",
                record.name
            )));
        }
    }
    tell(engine, &container.record(), "stop", None);
    Ok(())
}

/// A container that waits to be started again is not.
fn stay_ended(engine: &Shared, container: &Container) -> Result<(), ApiError> {
    container.change(|record| {
        record.stopped = true;
        record.state.status = Status::Exited;
    })?;
    tell(engine, &container.record(), "stop", None);
    Ok(())
}

async fn thaw(engine: &Engine, container: &Container) -> Result<(), ApiError> {
    let Some(number) = container.locked().group else { return Ok(()) };
    engine.cgroups.freeze(&engine.keeper, number, false).await?;
    container.change(|record| record.state.status = Status::Running)
}

/// `POST /containers/{ref}/pause`
pub(crate) async fn pause(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
) -> Result<StatusCode, ApiError> {
    let container = engine.containers.find(&reference)?;
    let _busy = container.busy.lock().await;
    let record = container.running()?;
    if record.state.status == Status::Paused {
        return Err(ApiError::Conflict(format!("Container {} is already paused", container.id)));
    }
    let number = super::group::own(&engine, &container).await?;
    engine.cgroups.freeze(&engine.keeper, number, true).await?;
    container.change(|record| record.state.status = Status::Paused)?;
    tell(&engine, &container.record(), "pause", None);
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /containers/{ref}/unpause`
pub(crate) async fn unpause(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
) -> Result<StatusCode, ApiError> {
    let container = engine.containers.find(&reference)?;
    let _busy = container.busy.lock().await;
    if container.locked().state.status != Status::Paused {
        return Err(ApiError::Conflict(format!("Container {} is not paused", container.id)));
    }
    thaw(&engine, &container).await?;
    tell(&engine, &container.record(), "unpause", None);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::parse_signal;

    #[test]
    fn signals_are_numbers_and_names() {
        for (text, number) in [
            ("9", Some(9)),
            ("TERM", Some(15)),
            ("sigint", Some(2)),
            ("SIGRTMIN+3", Some(37)),
            ("NOSUCH", None),
            ("0", None),
        ] {
            assert_eq!(parse_signal(text), number, "{text}");
        }
    }
}
