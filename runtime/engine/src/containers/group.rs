//! A group of its own for a container that runs without one (v1): its processes
//! are moved into it, so that they can be frozen or limited.

use std::{collections::HashSet, fs, sync::Arc};

use super::Container;
use crate::{
    engine::Shared,
    error::{ApiError, failed},
    proc,
};

/// Processes are looked for again until all are in; one that makes new ones
/// faster than that is left as it is.
const ROUNDS_MAX: usize = 50;

/// The number of the container's own group, made now if it has none. Its `busy`
/// lock is held by the caller.
pub(super) async fn own(engine: &Shared, container: &Arc<Container>) -> Result<u32, ApiError> {
    let record = container.running()?;
    if let Some(number) = record.group {
        return Ok(number);
    }
    let group = engine.cgroups.make_own(&engine.keeper).await?;
    let number = group.number.ok_or_else(|| ApiError::Failed("making a cgroup failed".to_owned()))?;
    let moved = move_in(record.state.pid, |thread| group.enter(thread));
    let kept = match moved {
        Ok(()) => container.change(|record| record.group = Some(number)),
        Err(error) => Err(error),
    };
    match kept {
        Ok(()) => Ok(number),
        Err(error) => {
            // Those that are in it already keep it in use; it goes with the node.
            if let Err(more) = engine.cgroups.remove(&engine.keeper, number).await {
                tracing::warn!(error = %more, container = container.id, "a cgroup stays");
            }
            Err(error)
        }
    }
}

/// Moves all threads of a container's processes.
fn move_in(first: i32, enter: impl Fn(i32) -> std::io::Result<()>) -> Result<(), ApiError> {
    let mut inside = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let mut new = false;
        for pid in proc::members(first).map_err(failed("reading /proc failed"))? {
            for thread in threads(pid) {
                if !inside.insert(thread) {
                    continue;
                }
                new = true;
                match enter(thread) {
                    // It has ended.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    other => other.map_err(failed("moving a process into a cgroup failed"))?,
                }
            }
        }
        if !new {
            return Ok(());
        }
    }
    Err(ApiError::Failed(
        "the container makes processes faster than they can be moved into a cgroup".to_owned(),
    ))
}

fn threads(pid: i32) -> Vec<i32> {
    let Ok(list) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    list.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}
