//! Processors and memory nodes, which a new group must have before it can hold
//! a process.

use std::path::Path;

use super::super::{CgroupError, file};

/// Gives a new group all that its parent has.
pub(in super::super) fn inherit(group: &Path) -> Result<(), CgroupError> {
    let Some(parent) = group.parent() else { return Ok(()) };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let value = file::read(parent, name)?;
        file::write(group, name, value.trim_end())?;
    }
    Ok(())
}
