//! Freezing. A frozen process takes no signal, SIGKILL included.

use std::path::Path;

use super::super::{CgroupError, file};

/// Freezes or thaws.
pub(in super::super) fn set(group: &Path, frozen: bool) -> Result<(), CgroupError> {
    file::write(group, "freezer.state", if frozen { "FROZEN" } else { "THAWED" })
}
