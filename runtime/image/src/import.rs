//! An OCI or `docker save` archive into the store.
//!
//! Both are tars: an OCI layout has `index.json` and `blobs/`, an older
//! `docker save` has `manifest.json` and layers under their own paths; a newer
//! one has both. What can't be trusted is checked: a blob's name against its
//! content, a layer's content against the diff ID in the configuration.
//!
//! This module parses what a stranger wrote. It runs in the throw-away process
//! of [`crate::sandboxed`] and nowhere else.

mod resolve;
mod stage;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::compression::Plain;
use crate::config::media_type;
use crate::digest::{Digest, Hashing};
use crate::layer::{self, LayerError};
use crate::limits::Limits;
use crate::remove::remove_tree;
use crate::store::{Image, Index, Layer, Store, StoreError};

use resolve::Found;
use stage::{Staged, Staging};

/// What an import does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Images under the names that the archive gives them.
    Catalogue,
    /// The one image in the archive is what nodes' roots start from.
    NodeRoot,
}

/// Something to tell who waits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// What is done, such as `unpacking debian:latest`.
    pub what: String,
    /// Bytes of it that are done.
    pub done: u64,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The archive is bad.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A layer is bad.
    #[error("layer {digest}: {source}")]
    Layer {
        /// The layer's blob.
        digest: Digest,
        /// What is wrong.
        source: LayerError,
    },
    /// The archive is no image archive, or not a sound one.
    #[error("{0}")]
    Unsound(String),
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store can't be written.
    #[error("cannot {action} in the image store: {source}")]
    Write {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// An image that was unpacked, and its names in the archive.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Loaded {
    /// Whole names, such as `docker.io/library/busybox:latest`; none where the
    /// archive gave none.
    pub names: Vec<String>,
    /// The image.
    pub image: Image,
}

/// Unpacks the images of `archive` into the store at `store` and leaves its
/// index alone: whoever has the store keeps a list of their own. The caller has
/// the store's [`Lock`](crate::store::Lock).
pub fn load(
    store: &Path,
    archive: impl Read,
    limits: Limits,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Loaded>, ImportError> {
    let importer = Importer::open(store, limits)?;
    let loaded = load_with(&importer, archive, progress);
    // What failed leaves nothing, either: the store may be on a small disk.
    importer.empty_work()?;
    loaded
}

fn load_with(
    importer: &Importer,
    archive: impl Read,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Loaded>, ImportError> {
    let staging = stage::read(archive, &importer.work(), importer.limits, progress)?;
    let mut loaded = Vec::new();
    for found in resolve::images(&staging, importer.limits)? {
        let names = found.names.iter().map(ToString::to_string).collect();
        loaded.push(Loaded { names, image: importer.keep(&staging, &found, progress)? });
    }
    Ok(loaded)
}

/// Brings the images of `archive` into the store at `store`; gives the names
/// that they have there. The caller, or whoever started it, has the store's
/// [`Lock`](crate::store::Lock).
pub fn import(
    store: &Path,
    archive: impl Read,
    purpose: Purpose,
    limits: Limits,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<String>, ImportError> {
    let importer = Importer::open(store, limits)?;
    let staging = stage::read(archive, &importer.work(), limits, progress)?;
    let found = resolve::images(&staging, limits)?;
    if purpose == Purpose::NodeRoot && found.len() != 1 {
        return Err(unsound(format!("a node's root is one image, and the archive has {}", found.len())));
    }
    let mut index = importer.store.index()?;
    let mut names = Vec::new();
    for found in found {
        let image = importer.keep(&staging, &found, progress)?;
        match purpose {
            Purpose::NodeRoot => {
                names.push("the node's root".to_owned());
                index.node_root = Some(image);
            }
            Purpose::Catalogue if found.names.is_empty() => {
                return Err(unsound(format!(
                    "image {} has no name in the archive",
                    image.config_digest.short()
                )));
            }
            Purpose::Catalogue => {
                names.extend(found.names.iter().map(|name| name.familiar()));
                index.images.extend(found.names.iter().map(|name| (name.key(), image.clone())));
            }
        }
    }
    importer.write_index(&index)?;
    importer.empty_work()?;
    Ok(names)
}

/// A store that this process alone may write.
pub(crate) struct Importer {
    pub(crate) store: Store,
    pub(crate) limits: Limits,
}

impl Importer {
    pub(crate) fn open(path: &Path, limits: Limits) -> Result<Importer, ImportError> {
        let store = Store::open(path)?;
        let importer = Importer { store, limits };
        importer.empty_work()?;
        for directory in ["work", "blobs/sha256", "layers"] {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(path.join(directory));
            made.map_err(write("make directories"))?;
        }
        Ok(importer)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.store.path().join("work")
    }

    /// Removes what an import has not finished.
    pub(crate) fn empty_work(&self) -> Result<(), ImportError> {
        let store = File::open(self.store.path()).map_err(write("look"))?;
        let removed = remove_tree(store.as_fd(), OsStr::new("work"));
        removed.map_err(|error| write("clean up")(error.into()))
    }

    /// Checks and unpacks an image's layers and keeps its blobs.
    fn keep(
        &self,
        staging: &Staging,
        found: &Found,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Image, ImportError> {
        let name = found.names.first().map_or_else(|| "the image".to_owned(), |name| name.familiar());
        let mut layers = Vec::new();
        for (number, (blob, diff_id)) in found.layers.iter().zip(&found.config.rootfs.diff_ids).enumerate() {
            let what = format!("unpacking {name}, layer {} of {}", number + 1, found.layers.len());
            layers.push(self.layer(staging, blob, diff_id, &mut |done| {
                progress(Progress { what: what.clone(), done })
            })?);
        }
        for (digest, bytes) in
            [(&found.manifest_digest, &found.manifest), (&found.config_digest, &found.config_text)]
        {
            self.write_blob(digest, bytes)?;
        }
        Ok(Image {
            manifest: found.manifest_digest.clone(),
            config_digest: found.config_digest.clone(),
            size: layers.iter().map(|layer| layer.unpacked_size).sum(),
            layers,
            config: found.config.clone(),
        })
    }

    fn layer(
        &self,
        staging: &Staging,
        blob: &Staged,
        diff_id: &Digest,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Layer, ImportError> {
        let failed = |source: LayerError| ImportError::Layer { digest: blob.digest.clone(), source };
        let unread = |error: io::Error| failed(LayerError::Archive(error.into()));
        let root = self.new_layer()?;
        let file = File::open(staging.file(blob)).map_err(write("read a staged layer"))?;
        let plain = Plain::new(file, self.limits).map_err(unread)?;
        let mut hashing = Hashing::new(Watched { inner: plain, done: 0, told: 0, progress });
        let unpacked = layer::unpack(root.as_fd(), &mut hashing, self.limits).map_err(failed)?;
        let (digest, _, _) = hashing.finish();
        if digest != *diff_id {
            return Err(unsound(format!(
                "layer {} is {digest}, and the image's configuration says {diff_id}",
                blob.digest
            )));
        }
        self.name_layer(diff_id)?;
        let kept = self.store.blob(&blob.digest);
        if !kept.exists() {
            // A link: two images of one archive may share the layer.
            fs::hard_link(staging.file(blob), &kept).map_err(write("keep a layer's blob"))?;
        }
        Ok(Layer {
            digest: blob.digest.clone(),
            diff_id: diff_id.clone(),
            size: blob.size,
            unpacked_size: unpacked.bytes,
            media_type: blob.media_type(&staging.file(blob)).map_err(write("read a staged layer"))?,
        })
    }

    /// The directory that a layer is unpacked into.
    pub(crate) fn new_layer(&self) -> Result<File, ImportError> {
        let work = self.work().join("layer");
        let made = DirBuilder::new().mode(0o755).create(&work);
        made.map_err(write("make a layer's directory"))?;
        File::open(&work).map_err(write("open a layer's directory"))
    }

    /// Gives the layer that was unpacked its name, unless it is there already.
    pub(crate) fn name_layer(&self, diff_id: &Digest) -> Result<(), ImportError> {
        let target = self.store.layer_dir(diff_id);
        if target.exists() {
            let parent = File::open(self.work()).map_err(write("look"))?;
            return remove_tree(parent.as_fd(), OsStr::new("layer"))
                .map_err(|error| write("clean up")(error.into()));
        }
        fs::rename(self.work().join("layer"), &target).map_err(write("name a layer"))
    }

    pub(crate) fn write_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ImportError> {
        self.write_aside(&self.store.blob(digest), bytes).map_err(write("keep a blob"))
    }

    /// The index names only what is on the disk for good.
    fn write_index(&self, index: &Index) -> Result<(), ImportError> {
        let store = File::open(self.store.path()).map_err(write("look"))?;
        rustix::fs::syncfs(&store).map_err(|error| write("write layers")(error.into()))?;
        let text =
            serde_json::to_vec_pretty(index).map_err(|error| write("write the index")(error.into()))?;
        self.write_aside(&self.store.path().join("index.json"), &text).map_err(write("write the index"))
    }

    /// Writes a file whole or not at all.
    fn write_aside(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let aside = self.work().join("aside");
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    }
}

/// Tells now and then how much was read.
struct Watched<'a, R> {
    inner: R,
    done: u64,
    told: u64,
    progress: &'a mut dyn FnMut(u64),
}

/// Bytes between two reports.
const REPORT_EVERY: u64 = 8 << 20;

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        if self.done - self.told >= REPORT_EVERY {
            self.told = self.done;
            (self.progress)(self.done);
        }
        Ok(count)
    }
}

impl Staged {
    /// The media type of a layer's blob, by its first bytes.
    fn media_type(&self, path: &Path) -> io::Result<String> {
        let mut start = [0; 4];
        let count = File::open(path)?.read(&mut start)?;
        Ok(match &start[..count] {
            [0x1f, 0x8b, ..] => media_type::LAYER_GZIP.to_owned(),
            [0x28, 0xb5, 0x2f, 0xfd] => format!("{}+zstd", media_type::LAYER),
            _ => media_type::LAYER.to_owned(),
        })
    }
}

pub(crate) fn unsound(reason: impl Into<String>) -> ImportError {
    ImportError::Unsound(reason.into())
}

pub(crate) fn write(action: &'static str) -> impl FnOnce(io::Error) -> ImportError {
    move |source| ImportError::Write { action, source }
}
