//! Version 2: one directory a group, controllers enabled from the root down.

pub(super) mod cpu;
pub(super) mod io;
pub(super) mod memory;
pub(super) mod pids;

use std::path::Path;

use super::{CgroupError, file};

/// What a node needs; a hierarchy beside v1 has none of them.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "io"];
/// How deep and how many groups may be made in a delegated one.
const DEPTH_MAX: u32 = 8;
const DESCENDANTS_MAX: u32 = 256;

/// Enables our controllers, as far as the group has them, for its children.
pub(super) fn enable_for_children(group: &Path) -> Result<(), CgroupError> {
    let there = file::read(group, "cgroup.controllers")?;
    let enabled = file::read(group, "cgroup.subtree_control")?;
    let wanted: Vec<_> = there
        .split_whitespace()
        .filter(|name| CONTROLLERS.contains(name) && !enabled.split_whitespace().any(|on| on == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if wanted.is_empty() { Ok(()) } else { file::write(group, "cgroup.subtree_control", wanted.join(" ")) }
}

/// Lets `owner` make and fill groups below `inner`, and move processes there
/// out of `node` (whose children are `inner` and the one they begin in).
pub(super) fn delegate(node: &Path, inner: &Path, owner: u32) -> Result<(), CgroupError> {
    file::write(inner, "cgroup.max.depth", DEPTH_MAX)?;
    file::write(inner, "cgroup.max.descendants", DESCENDANTS_MAX)?;
    let files = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"].map(|name| inner.join(name));
    for path in files.iter().map(|path| path.as_path()).chain([inner, &node.join("cgroup.procs")]) {
        std::os::unix::fs::chown(path, Some(owner), Some(owner)).map_err(|source| CgroupError::File {
            what: "give away",
            path: path.to_path_buf(),
            source,
        })?;
    }
    Ok(())
}

/// Ends all processes at once.
pub(super) fn kill(group: &Path) -> Result<(), CgroupError> {
    file::write(group, "cgroup.kill", 1)
}

/// Freezes or thaws.
pub(super) fn freeze(group: &Path, frozen: bool) -> Result<(), CgroupError> {
    file::write(group, "cgroup.freeze", u8::from(frozen))
}
