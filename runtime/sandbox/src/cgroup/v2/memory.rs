//! Memory and swap, which v2 counts apart.

use std::path::Path;

use super::super::{CgroupError, file};

/// Bounds memory, and memory with swap.
pub(in super::super) fn limit(
    group: &Path,
    memory: Option<u64>,
    with_swap: Option<u64>,
) -> Result<(), CgroupError> {
    let text = |limit: Option<u64>| limit.map_or("max".to_string(), |bytes| bytes.to_string());
    file::write(group, "memory.max", text(memory))?;
    let swap = with_swap.map(|both| both.saturating_sub(memory.unwrap_or(0)));
    file::write_if_there(group, "memory.swap.max", text(swap))
}

/// How often the limit ended a process.
pub(in super::super) fn oom_kills(group: &Path) -> Result<u64, CgroupError> {
    file::keyed(group, "memory.events", "oom_kill")
}
