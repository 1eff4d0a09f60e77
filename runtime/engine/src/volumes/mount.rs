//! Volumes with something mounted on them: `--opt type=tmpfs --opt device=tmpfs
//! --opt o=size=1m`. It is mounted while a container runs that has the volume.

use std::{io, path::Path};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use super::{Volume, data, users};
use crate::{
    containers::record::{MountPoint, Record},
    engine::Engine,
    error::ApiError,
};

/// Before a container starts: mounts what its volumes ask for.
pub(crate) fn prepare(engine: &Engine, record: &Record) -> Result<(), ApiError> {
    for point in volumes_of(record) {
        let Some(volume) = engine.volumes.find(&point.name)? else { continue };
        if volume.options.is_some() && !is_mounted(&data(&point.name))? {
            mount_one(&volume)?;
        }
        tell(engine, record, point, "mount");
    }
    Ok(())
}

/// After a container's end: unmounts what no other that runs needs.
pub(crate) fn end(engine: &Engine, record: &Record) {
    for point in volumes_of(record) {
        tell(engine, record, point, "unmount");
        let is_needed = users(engine, &point.name).iter().any(|id| {
            *id != record.id
                && engine.containers.find(id).is_ok_and(|other| other.locked().state.status.is_up())
        });
        if is_needed {
            continue;
        }
        if let Err(error) = release(&point.name) {
            tracing::warn!(%error, volume = point.name, "a volume stays mounted");
        }
    }
}

fn volumes_of(record: &Record) -> impl Iterator<Item = &MountPoint> {
    record.mounts.iter().filter(|point| point.kind == "volume")
}

/// Takes down what is mounted on a volume.
pub(super) fn release(name: &str) -> io::Result<()> {
    let path = data(name);
    while is_mounted(&path).map_err(io::Error::other)? {
        umount2(&path, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

/// Whether the directory is a mount of its own.
fn is_mounted(path: &Path) -> Result<bool, ApiError> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(crate::error::failed("reading the node's mounts failed"))?;
    let path = path.display().to_string();
    Ok(mounts.lines().any(|line| line.split(' ').nth(4) == Some(&path)))
}

fn mount_one(volume: &Volume) -> Result<(), ApiError> {
    let option = |key: &str| {
        volume.options.as_ref().and_then(|options| options.get(key)).map(String::as_str).unwrap_or_default()
    };
    let (kind, device, at) = (option("type"), option("device"), data(&volume.name));
    let (flags, rest) = flags(option("o"));
    let is_bind = flags.contains(MsFlags::MS_BIND);
    let kind_of = (!is_bind && !kind.is_empty()).then_some(kind);
    let text = (!rest.is_empty()).then(|| rest.join(","));
    mount(Some(device), &at, kind_of, flags, text.as_deref()).map_err(|error| {
        ApiError::Failed(format!(
            "error while mounting volume '{at}': failed to mount local volume: mount {device}:{at}, data: {data}: {error}",
            at = at.display(),
            data = option("o"),
            error = words(error)
        ))
    })
}

/// The options of `mount(8)` that are flags, and the rest.
fn flags(text: &str) -> (MsFlags, Vec<&str>) {
    let (mut flags, mut rest) = (MsFlags::empty(), Vec::new());
    for option in text.split(',').filter(|option| !option.is_empty()) {
        match option {
            "bind" => flags |= MsFlags::MS_BIND,
            "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            "ro" => flags |= MsFlags::MS_RDONLY,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "rw" | "suid" | "dev" | "exec" | "defaults" => {}
            other => rest.push(other),
        }
    }
    (flags, rest)
}

/// As Go names an error of the kernel.
fn words(error: Errno) -> String {
    error.desc().to_lowercase()
}

fn tell(engine: &Engine, record: &Record, point: &MountPoint, action: &str) {
    let mut attributes = std::collections::BTreeMap::from([
        ("container".to_owned(), record.id.clone()),
        ("driver".to_owned(), point.driver.clone()),
    ]);
    if action == "mount" {
        attributes.insert("destination".to_owned(), point.destination.clone());
        attributes.insert("propagation".to_owned(), point.propagation.clone());
        attributes.insert("read/write".to_owned(), point.rw.to_string());
    }
    engine.events.tell("volume", action, &point.name, attributes);
}
