//! How fast a node may read and write its disk: a rule on its loop device.
//!
//! On v2 one rule of the node's group counts for all in it, and for what the
//! kernel writes back later. On v1 groups don't nest, and what is written back
//! later counts for the root group: so each of the node's groups has the rule,
//! the groups of its containers have no blkio of their own, and the root group
//! has it too, until the device is free again.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

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
/// Faster than any disk. By its rule the device is known later.
const UNBOUND: u64 = 1 << 40;

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
    if layout.kind() != Kind::V2 {
        bound_unwritten(&disk.path, true)?;
    }
    for group in bound(layout, groups) {
        group.limit_device(device, Some(rate))?;
    }
    Ok(())
}

/// Takes the bound off the disk of a node that ends: the kernel then writes
/// what the node has not written yet, and nobody should wait for that.
pub(crate) fn lift(layout: &Arc<Layout>, groups: &Groups, label: &str) -> Result<(), HostError> {
    if !layout.limits_devices() {
        return Ok(());
    }
    for used in loop_device::list()?.into_iter().filter(|used| used.label == label) {
        let file = File::open(&used.path).map_err(HostError::file("open", &used.path))?;
        let device = Device::of(&file).map_err(HostError::file("look at", &used.path))?;
        for group in bound(layout, groups) {
            group.limit_device(device, Some(UNBOUND))?;
        }
    }
    Ok(())
}

/// The groups that have a rule each.
fn bound(layout: &Arc<Layout>, groups: &Groups) -> Vec<Group> {
    match layout.kind() {
        Kind::V2 => vec![groups.node.clone()],
        _ => vec![groups.init.clone(), groups.inner.clone(), Group::new(layout.clone(), "")],
    }
}

/// Bounds what may be unwritten to a hundredth of what may be on the whole
/// machine, or takes that bound away: sysfs-class-bdi of the kernel.
fn bound_unwritten(device: &Path, bounded: bool) -> Result<(), HostError> {
    let name = device.file_name().unwrap_or_default();
    let directory = Path::new("/sys/block").join(name).join("bdi");
    let values = if bounded { ["1", "1"] } else { ["0", "100"] };
    for (file, value) in ["strict_limit", "max_ratio"].iter().zip(values) {
        let path: PathBuf = directory.join(file);
        // Linux before 6.2 has no strict limit.
        if path.exists() {
            fs::write(&path, value).map_err(HostError::file("write", path))?;
        }
    }
    Ok(())
}

/// Takes the rules of loop devices that nobody uses out of the root group, and
/// other bounds off them: they would bind whoever gets the device next.
pub(crate) fn forget_unused(layout: &Arc<Layout>) -> Result<(), HostError> {
    if layout.kind() == Kind::V2 || !layout.limits_devices() {
        return Ok(());
    }
    let root = Group::new(layout.clone(), "");
    for device in root.limited_devices()?.into_iter().filter(|device| device.major == LOOP) {
        // Without it there is no such device any more.
        let Ok(link) = fs::read_link(format!("/sys/dev/block/{device}")) else { continue };
        let path = Path::new("/dev").join(link.file_name().unwrap_or_default());
        loop_device::while_free(&path, || {
            bound_unwritten(&path, false)?;
            Ok::<_, HostError>(root.limit_device(device, None)?)
        })?;
    }
    Ok(())
}
