//! How fast a block device is read and written: blkio-controller.rst of the
//! kernel.
//!
//! Groups are not nested here: a rule counts for the group's own processes, and
//! the root group's rule for what the kernel writes back later by itself.

use std::path::Path;

use super::super::{CgroupError, Device, file};

const READ: &str = "blkio.throttle.read_bps_device";
const WRITE: &str = "blkio.throttle.write_bps_device";

/// Bounds bytes a second, each way; `None` takes the bound away.
pub(in super::super) fn limit(group: &Path, device: Device, rate: Option<u64>) -> Result<(), CgroupError> {
    // For the kernel, none is no bound.
    let rule = format!("{device} {}", rate.unwrap_or(0));
    file::write(group, READ, &rule)?;
    file::write(group, WRITE, rule)
}

/// The devices that have a bound here.
pub(in super::super) fn limited(group: &Path) -> Result<Vec<Device>, CgroupError> {
    let rules = [file::read(group, READ)?, file::read(group, WRITE)?].concat();
    let mut devices: Vec<Device> =
        rules.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    devices.sort_unstable();
    devices.dedup();
    Ok(devices)
}
