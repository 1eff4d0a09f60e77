//! How fast a node may read and write its disk: a rule on its loop device.
//!
//! On v2 one rule of the node's group counts for all in it, and for what the
//! kernel writes back later. On v1 groups don't nest, and what is written back
//! later counts for the root group: so each of the node's groups has the rule,
//! the groups of its containers have no blkio of their own, and the root group
//! has it too, until the device is free again.

use std::{fs, path::Path, sync::Arc};

use drydock_sandbox::{
    cgroup::{
        Device, Group,
        layout::{Kind, Layout},
    },
    loop_device::{self, LoopDevice},
};

use crate::{error::HostError, node::Groups};

/// The loop devices' major number: devices.txt of the kernel.
const LOOP: u32 = 7;

/// Bounds a node's disk to bytes a second, each way. On a machine that can't,
/// doctor says so.
pub(crate) fn set(
    layout: &Arc<Layout>,
    groups: &Groups,
    disk: &LoopDevice,
    rate: u64,
) -> Result<(), HostError> {
    if !layout.limits_devices() {
        return Ok(());
    }
    let device = Device::of(&disk.device).map_err(HostError::file("look at", &disk.path))?;
    if layout.kind() == Kind::V2 {
        return Ok(groups.node.limit_device(device, Some(rate))?);
    }
    for group in [&groups.init, &groups.inner, &Group::new(layout.clone(), "")] {
        group.limit_device(device, Some(rate))?;
    }
    Ok(())
}

/// Takes the rules of loop devices that nobody uses out of the root group, where
/// they would bind whoever gets the device next.
pub(crate) fn forget_unused(layout: &Arc<Layout>) -> Result<(), HostError> {
    if layout.kind() == Kind::V2 || !layout.limits_devices() {
        return Ok(());
    }
    let root = Group::new(layout.clone(), "");
    for device in root.limited_devices()?.into_iter().filter(|device| device.major == LOOP) {
        // Without it there is no such device any more.
        let Ok(link) = fs::read_link(format!("/sys/dev/block/{device}")) else { continue };
        let path = Path::new("/dev").join(link.file_name().unwrap_or_default());
        loop_device::while_free(&path, || Ok::<_, HostError>(root.limit_device(device, None)?))?;
    }
    Ok(())
}
