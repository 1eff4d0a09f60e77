//! How fast a block device is read and written.

use std::path::Path;

use super::super::{CgroupError, Device, file};

/// Bounds bytes a second, each way; `None` takes the bound away.
pub(in super::super) fn limit(group: &Path, device: Device, rate: Option<u64>) -> Result<(), CgroupError> {
    let rate = rate.map_or("max".to_string(), |rate| rate.to_string());
    file::write(group, "io.max", format!("{device} rbps={rate} wbps={rate}"))
}
