//! Layers on the node's disk, laid out as Docker does it:
//!
//! ```text
//! /var/lib/docker/
//!   image/                       the node's own store: blobs and layers that were loaded or made here
//!   overlay2/HEX/diff            a link to the layer, there or in the machine's store
//!   overlay2/HEX/link            the layer's short name; containers' directories have none
//!   overlay2/l/SHORT             a link to overlay2/HEX/diff: overlay options must fit a page
//!   overlay2/init/diff           lies on every image: what Docker puts into each container
//! ```

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use drydock_image::store::{Image, Store};

use crate::{
    engine::{Engine, ROOT, Shared, below_root},
    error::{ApiError, failed},
};

/// The directory of short names.
pub(crate) fn links() -> String {
    format!("{ROOT}/overlay2/l")
}

/// The short name of a layer, from the hex digits of its diff ID.
pub(crate) fn link(hex: &str) -> String {
    hex.get(..26).unwrap_or(hex).to_ascii_uppercase()
}

/// Where Docker shows a layer to be.
pub(crate) fn shown(hex: &str) -> String {
    format!("{ROOT}/overlay2/{hex}/diff")
}

/// The node's own store.
pub(super) fn local() -> PathBuf {
    below_root(&["image"])
}

/// The short name of the layer that lies on every image. Docker too puts empty
/// files in the place of an image's own.
pub(crate) const INIT: &str = "INIT";

pub(super) fn prepare() -> io::Result<()> {
    fs::create_dir_all(links())?;
    fs::create_dir_all(local())?;
    prepare_init()
}

/// Places for the mounts that every container gets, and the file by which
/// programs know that they are in one. They are of no container's own making,
/// and so must not lie in its own layer.
fn prepare_init() -> io::Result<()> {
    let init = below_root(&["overlay2", "init", "diff"]);
    for directory in ["dev/pts", "dev/shm", "etc", "proc", "sys"] {
        fs::create_dir_all(init.join(directory))?;
    }
    for file in [".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"] {
        let mut options = fs::File::options();
        options.create(true).append(true).mode(0o755).open(init.join(file))?;
    }
    for (target, path) in [
        (Path::new("/proc/mounts"), init.join("etc/mtab")),
        (Path::new("../init/diff"), Path::new(&links()).join(INIT)),
    ] {
        match symlink(target, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

/// Gives an image's layers their names below `overlay2`.
pub(super) fn place(engine: &Engine, image: &Image) -> Result<(), ApiError> {
    let local = Store::open(local()).map_err(failed("opening the node's images failed"))?;
    for layer in &image.layers {
        let hex = layer.diff_id.hex();
        let target = [&engine.store, &local]
            .map(|store| store.layer_dir(&layer.diff_id))
            .into_iter()
            .find(|path| path.is_dir())
            .ok_or_else(|| ApiError::Failed(format!("the layer {} is gone", layer.diff_id)))?;
        name(hex, &target).map_err(failed(format!("naming the layer {} failed", layer.diff_id)))?;
    }
    Ok(())
}

fn name(hex: &str, target: &Path) -> io::Result<()> {
    let directory = below_root(&["overlay2", hex]);
    if directory.join("link").exists() {
        return Ok(());
    }
    // The rest of a try that was broken off.
    remove_tree(&directory)?;
    fs::create_dir(&directory)?;
    symlink(target, directory.join("diff"))?;
    let short = Path::new(&links()).join(link(hex));
    match symlink(format!("../{hex}/diff"), &short) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    fs::write(directory.join("link"), link(hex))
}

/// Removes layers and blobs that nothing needs any more. While something is
/// added, nothing is removed: the next sweep does it.
pub(super) async fn sweep(engine: &Shared) {
    let Ok(_writing) = engine.images.writing.try_lock() else { return };
    sweep_held(engine).await;
}

/// [`sweep`] for who holds `writing`.
pub(super) async fn sweep_held(engine: &Shared) {
    let (mut layers, mut blobs) = (HashSet::new(), HashSet::new());
    for image in engine.images.locked().images.values() {
        blobs.extend([&image.manifest, &image.config_digest].map(|digest| digest.hex().to_owned()));
        blobs.extend(image.layers.iter().map(|layer| layer.digest.hex().to_owned()));
        layers.extend(image.layers.iter().map(|layer| layer.diff_id.hex().to_owned()));
    }
    for container in engine.containers.all() {
        layers.extend(container.locked().layers.iter().cloned());
    }
    // Big trees take their time, and others are served meanwhile.
    let removed = tokio::task::spawn_blocking(move || remove_unused(&layers, &blobs)).await;
    match removed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a layer stays"),
        Err(error) => tracing::warn!(%error, "removing layers broke off"),
    }
}

fn remove_unused(layers: &HashSet<String>, blobs: &HashSet<String>) -> io::Result<()> {
    for hex in names_in(&below_root(&["overlay2"]))? {
        let directory = below_root(&["overlay2", &hex]);
        if !layers.contains(&hex) && directory.join("link").exists() {
            match fs::remove_file(Path::new(&links()).join(link(&hex))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => remove_tree(&directory)?,
            }
        }
    }
    for hex in names_in(&local().join("layers"))?.iter().filter(|hex| !layers.contains(*hex)) {
        remove_tree(&local().join("layers").join(hex))?;
    }
    for hex in names_in(&local().join("blobs/sha256"))?.iter().filter(|hex| !blobs.contains(*hex)) {
        fs::remove_file(local().join("blobs/sha256").join(hex))?;
    }
    Ok(())
}

fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(io::Result::transpose).collect()
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
