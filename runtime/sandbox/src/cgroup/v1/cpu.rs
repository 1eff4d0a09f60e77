//! CPU time and weight: sched-bwc.rst and sched-design-CFS.rst of the kernel.

use std::path::Path;

use super::super::{CgroupError, file};

const PERIOD_US: u64 = 100_000;

/// Bounds CPU time to thousandths of a core.
pub(in super::super) fn limit(group: &Path, cpu_milli: Option<u64>) -> Result<(), CgroupError> {
    file::write(group, "cpu.cfs_period_us", PERIOD_US)?;
    match cpu_milli {
        Some(milli) => file::write(group, "cpu.cfs_quota_us", milli.saturating_mul(PERIOD_US / 1000)),
        None => file::write(group, "cpu.cfs_quota_us", -1),
    }
}

/// Sets the weight, 2 to 262144.
pub(in super::super) fn shares(group: &Path, shares: u64) -> Result<(), CgroupError> {
    file::write(group, "cpu.shares", shares)
}
