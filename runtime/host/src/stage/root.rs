//! The node's root: an overlay of the root image's layers and the node's disk.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
};

use drydock_sandbox::mount::{self, Attributes};
use nix::mount::MsFlags;

use super::{StageError, StageSpec, borrowed};

/// Detached mounts that find their places in the new root.
pub(super) struct Kept {
    /// The layer store, with the node's ids, read-only.
    pub(super) store: OwnedFd,
    /// The directory of the node's disk that is for the engine.
    pub(super) docker: OwnedFd,
}

/// Builds the root and makes it this mount namespace's. The host's mounts are
/// gone then.
///
/// Everything is mounted by relative paths in a small filesystem of the stage's
/// own, so that `/proc/mounts` in the node names no path of the host.
pub(super) fn build(spec: &StageSpec) -> Result<Kept, StageError> {
    mount::make_private()?;
    let layers: Vec<_> =
        spec.layers.iter().map(|layer| id_mapped(layer, spec.fds.id_map)).collect::<Result<_, _>>()?;
    let store = id_mapped(&spec.store, spec.fds.id_map)?;

    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount::filesystem("tmpfs", "stage", &spec.staging, plain, "mode=0700,size=64k")?;
    std::env::set_current_dir(&spec.staging).map_err(StageError::call("enter the staging directory"))?;
    for name in ["disk", "root"] {
        make_directory(Path::new(name), 0)?;
    }
    let mut lower = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let name = format!("l{number}");
        make_directory(Path::new(&name), 0)?;
        mount::attach(layer.as_fd(), Path::new(&name))?;
        lower.push(name);
    }
    let docker = disk(spec)?;
    lower.reverse();
    let options = format!(
        "lowerdir={},upperdir=disk/root/upper,workdir=disk/root/work,userxattr,volatile",
        lower.join(":")
    );
    mount::filesystem("overlay", "overlay", "root", MsFlags::MS_NODEV, &options)?;
    mount::pivot_root(Path::new("root"))?;
    Ok(Kept { store, docker })
}

/// A read-only copy of a directory's mount, where an id of the store's range
/// belongs to the same id of the node's range.
fn id_mapped(path: &Path, id_map: i32) -> Result<OwnedFd, StageError> {
    let tree = mount::copy(path)?;
    let attributes = Attributes {
        read_only: true,
        nosuid: true,
        nodev: true,
        noexec: false,
        id_map: Some(borrowed(id_map)),
    };
    mount::set_attributes(tree.as_fd(), attributes)?;
    Ok(tree)
}

/// Mounts the disk, furnishes it at its first start, and gives the engine's
/// directory.
fn disk(spec: &StageSpec) -> Result<OwnedFd, StageError> {
    let device = spec.disk.to_string_lossy();
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    mount::filesystem("ext4", &device, "disk", flags, "discard")?;
    for name in ["disk/root", "disk/root/upper", "disk/root/work", "disk/docker"] {
        make_directory(Path::new(name), spec.base)?;
    }
    forget_volatile(Path::new("disk/root/work/work/incompat"))?;
    Ok(mount::copy(Path::new("disk/docker"))?)
}

/// A volatile overlay leaves a mark that keeps it from being mounted again,
/// since after a crash of the machine its files may be half written. A stopped
/// node was synced, and host checks a disk that lived through a crash.
fn forget_volatile(mark: &Path) -> Result<(), StageError> {
    match fs::remove_dir_all(mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StageError::Path { path: mark.display().to_string(), source: error })
        }
        _ => Ok(()),
    }
}

/// Makes a directory of `owner`, mode 0755; one that is there is fine.
fn make_directory(path: &Path, owner: u32) -> Result<(), StageError> {
    let failed = |source| StageError::Path { path: PathBuf::from(path).display().to_string(), source };
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => chown(path, Some(owner), Some(owner)).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
