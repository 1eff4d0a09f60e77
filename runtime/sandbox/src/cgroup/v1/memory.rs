//! Memory, and memory with swap.

use std::path::Path;

use super::super::{CgroupError, file};

const LIMIT: &str = "memory.limit_in_bytes";
const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";

/// Bounds memory, and memory with swap where the kernel counts swap.
pub(in super::super) fn limit(
    group: &Path,
    memory: Option<u64>,
    with_swap: Option<u64>,
) -> Result<(), CgroupError> {
    let text = |limit: Option<u64>| limit.map_or("-1".to_string(), |bytes| bytes.to_string());
    // The kernel never lets the first be over the second: open, set, close.
    file::write_if_there(group, WITH_SWAP, -1)?;
    file::write(group, LIMIT, text(memory))?;
    file::write_if_there(group, WITH_SWAP, text(with_swap))
}

/// How often the limit ended a process.
pub(in super::super) fn oom_kills(group: &Path) -> Result<u64, CgroupError> {
    file::keyed(group, "memory.oom_control", "oom_kill")
}
