//! Version 1: one directory a hierarchy, one file a controller here.

pub(super) mod blkio;
pub(super) mod cpu;
pub(super) mod cpuset;
pub(super) mod freezer;
pub(super) mod memory;
pub(super) mod pids;
