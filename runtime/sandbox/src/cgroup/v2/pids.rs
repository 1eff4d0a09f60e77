//! The number of processes and threads.

use std::path::Path;

use super::super::{CgroupError, file};

/// Bounds it.
pub(in super::super) fn limit(group: &Path, pids: Option<u64>) -> Result<(), CgroupError> {
    file::write(group, "pids.max", pids.map_or("max".to_string(), |pids| pids.to_string()))
}
