//! CPU time and weight.

use std::path::Path;

use super::super::{CgroupError, file};

const PERIOD_US: u64 = 100_000;

/// Bounds CPU time to thousandths of a core.
pub(in super::super) fn limit(group: &Path, cpu_milli: Option<u64>) -> Result<(), CgroupError> {
    let quota =
        cpu_milli.map_or("max".to_string(), |milli| milli.saturating_mul(PERIOD_US / 1000).to_string());
    file::write(group, "cpu.max", format!("{quota} {PERIOD_US}"))
}

/// Sets the weight from v1's shares, as runc and systemd convert them.
pub(in super::super) fn shares(group: &Path, shares: u64) -> Result<(), CgroupError> {
    let shares = shares.clamp(2, 262_144);
    file::write(group, "cpu.weight", 1 + (shares - 2) * 9999 / 262_142)
}
