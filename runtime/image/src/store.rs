//! The machine's layer store: its form on disk, and reading it.
//!
//! ```text
//! STORE/                     mode 0700, and all below it owned by the id range STORE
//!   index.json               an [`Index`], written aside and renamed
//!   lock                     held by the one import that may write; the host root's alone
//!   blobs/sha256/HEX         manifests, configurations and layers, byte for byte as they came
//!   layers/HEX/              an unpacked layer; HEX is of its diff ID, the digest of its tar
//!   work/                    what an import has not finished; emptied by the next one
//! ```
//!
//! A layer's directory can be a lower directory of an overlay mounted with
//! `userxattr`: what a layer deletes is a character device 0:0 there, and a
//! directory that hides all below it bears `user.overlay.opaque=y`. Owners are
//! ids in STORE's range, so that a file of root in the image belongs to
//! [`ID_BASE`] on the disk: a set-user-ID file of an image is never root's on
//! the host. Nodes get the store read-only, id-mapped to their own range.
//!
//! A layer's directory never changes once it has its name. An image's name may
//! move to another image; the old one's files stay until nobody needs them.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::reference::Reference;
use crate::remove::remove_tree;

/// The first id of the range that owns the store.
pub const ID_BASE: u32 = 900_000;
/// How many ids the range has.
pub const ID_COUNT: u32 = 65_536;
/// The form of the index that this build reads and writes.
pub const INDEX_VERSION: u32 = 1;

/// No index is larger; a larger file is not one of ours.
const INDEX_SIZE: u64 = 64 << 20;
const BLOB_TEXT_SIZE: u64 = 4 << 20;
const LOCK: &str = "lock";

/// A layer store, opened for reading.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

/// What the store has, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// [`INDEX_VERSION`].
    pub version: u32,
    /// The image that nodes' own roots start from; no learner sees it.
    pub node_root: Option<Image>,
    /// Images by [`Reference::key`], such as `library/busybox:latest`.
    pub images: BTreeMap<String, Image>,
}

/// An image whose blobs and layers are all here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The manifest's digest, which a repository digest shows.
    pub manifest: Digest,
    /// The configuration's digest, which is the image's ID.
    pub config_digest: Digest,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// What a container of it runs, and how it was made.
    pub config: ImageConfig,
    /// Bytes of all layers, unpacked.
    pub size: u64,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The blob's digest.
    pub digest: Digest,
    /// The uncompressed tar's digest.
    pub diff_id: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// Bytes of its files, unpacked.
    pub unpacked_size: u64,
    /// The blob's media type.
    pub media_type: String,
}

/// What can go wrong in reading a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file can't be read or deleted.
    #[error("cannot read or delete {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Default for Index {
    fn default() -> Index {
        Index { version: INDEX_VERSION, node_root: None, images: BTreeMap::new() }
    }
}

impl Index {
    /// The image that a reference means: by tag, by digest, or both agreeing.
    pub fn find(&self, reference: &Reference) -> Option<&Image> {
        let Some(digest) = reference.digest() else { return self.images.get(&reference.key()) };
        let plain = reference.to_string();
        let repository = plain.split('@').next().unwrap_or(&plain);
        self.images.iter().find_map(|(key, image)| {
            let known: Reference = key.parse().ok()?;
            let same_repository = known.domain() == reference.domain() && known.path() == reference.path();
            let same_tag = reference.tag().is_none() || known.to_string() == repository;
            (same_repository && same_tag && image.manifest == *digest).then_some(image)
        })
    }

    /// The keys of an image, by its ID.
    pub fn keys_of<'a>(&'a self, config_digest: &'a Digest) -> impl Iterator<Item = &'a str> {
        self.images
            .iter()
            .filter(move |(_, image)| image.config_digest == *config_digest)
            .map(|(key, _)| key.as_str())
    }
}

impl Store {
    /// Opens the store at `path`; the directory must exist.
    pub fn open(path: impl Into<PathBuf>) -> Result<Store, StoreError> {
        let path = path.into();
        let metadata =
            fs::metadata(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
        if !metadata.is_dir() {
            return Err(StoreError::Damaged { path, reason: "it is not a directory".to_owned() });
        }
        Ok(Store { path })
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the store has now. A store without an index is empty.
    pub fn index(&self) -> Result<Index, StoreError> {
        let path = self.path.join("index.json");
        let text = match read_bounded(&path, INDEX_SIZE) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
            Err(source) => return Err(StoreError::Read { path, source }),
        };
        let damaged = |reason: String| StoreError::Damaged { path: path.clone(), reason };
        let index: Index = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if index.version != INDEX_VERSION {
            return Err(damaged(format!(
                "its version is {}, this build reads {INDEX_VERSION}",
                index.version
            )));
        }
        Ok(index)
    }

    /// The directory of an unpacked layer.
    pub fn layer_dir(&self, diff_id: &Digest) -> PathBuf {
        self.path.join("layers").join(diff_id.hex())
    }

    /// The directories of an image's layers, lowest first.
    pub fn layer_dirs(&self, image: &Image) -> Vec<PathBuf> {
        image.layers.iter().map(|layer| self.layer_dir(&layer.diff_id)).collect()
    }

    /// The file of a blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    /// A manifest's or configuration's bytes.
    pub fn blob_text(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob(digest);
        read_bounded(&path, BLOB_TEXT_SIZE).map_err(|source| StoreError::Read { path, source })
    }
}

/// The right to change a store, which only one process has at a time.
///
/// Every node sees the store, and whoever can open a file can lock it, for as
/// long as they like. So the lock is a file of the caller's own (the host's
/// root), with an id that no node has, and not of the range that owns the store.
#[derive(Debug)]
pub struct Lock(
    /// Locked for as long as it is open.
    #[expect(dead_code, reason = "it is held, not used")]
    File,
);

impl Lock {
    /// Waits until nobody else has it.
    pub fn take(store: &Path) -> io::Result<Lock> {
        let file = Lock::open(&store.join(LOCK))?;
        file.lock()?;
        Ok(Lock(file))
    }

    /// Takes it, unless somebody else has it.
    pub fn try_take(store: &Path) -> io::Result<Option<Lock>> {
        let file = Lock::open(&store.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn open(path: &Path) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map(File::from);
        let file = open()?;
        let found = file.metadata()?;
        if found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0 {
            return Ok(file);
        }
        // An earlier version's, which a node may have open.
        fs::remove_file(path)?;
        Ok(open()?)
    }
}

/// Deletes the layers and blobs that no image of the index needs; gives how
/// many there were.
///
/// An overlay must not lose a lower directory: call this only while no node
/// exists. While an import is at work, nothing is deleted.
pub fn prune(store: &Store) -> Result<usize, StoreError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| StoreError::Read { path, source }
    };
    let lock = Lock::try_take(&store.path).map_err(failed(&store.path.join(LOCK)))?;
    let Some(_lock) = lock else { return Ok(0) };
    let index = store.index()?;
    let images = || index.images.values().chain(&index.node_root);
    let layers: HashSet<&str> =
        images().flat_map(|image| &image.layers).map(|layer| layer.diff_id.hex()).collect();
    let blobs: HashSet<&str> = images()
        .flat_map(|image| {
            image.layers.iter().map(|layer| &layer.digest).chain([&image.manifest, &image.config_digest])
        })
        .map(Digest::hex)
        .collect();
    let mut count = 0;
    for (name, needed) in [("layers", layers), ("blobs/sha256", blobs)] {
        let path = store.path.join(name);
        let directory = match File::open(&path) {
            // Nothing was imported yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            directory => directory.map_err(failed(&path))?,
        };
        for entry in fs::read_dir(&path).map_err(failed(&path))? {
            let entry = entry.map_err(failed(&path))?.file_name();
            if !entry.to_str().is_some_and(|entry| needed.contains(entry)) {
                remove_tree(directory.as_fd(), &entry)
                    .map_err(|error| failed(&path.join(&entry))(error.into()))?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Reads a whole file that must not be larger than `limit`.
fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str) -> Image {
        Image {
            manifest: Digest::of(name.as_bytes()),
            config_digest: Digest::of(b"config"),
            layers: Vec::new(),
            config: ImageConfig::default(),
            size: 0,
        }
    }

    #[test]
    fn images_are_found_by_tag_and_by_digest() {
        let mut index = Index::default();
        index.images.insert("library/busybox:latest".to_owned(), image("one"));
        index.images.insert("library/busybox:1".to_owned(), image("two"));
        let find = |text: &str| index.find(&text.parse().unwrap()).cloned();
        assert_eq!(find("busybox"), Some(image("one")));
        assert_eq!(find("busybox:2"), None);
        assert_eq!(find(&format!("busybox@{}", Digest::of(b"two"))), Some(image("two")));
        assert_eq!(find(&format!("busybox:latest@{}", Digest::of(b"two"))), None);
        assert_eq!(find(&format!("debian@{}", Digest::of(b"two"))), None);
        assert_eq!(index.keys_of(&Digest::of(b"config")).count(), 2);
    }

    #[test]
    fn a_store_is_changed_by_one_at_a_time_and_no_file_of_others_counts() {
        let directory = tempfile::tempdir().unwrap();
        // One that everybody may open, and that somebody has locked.
        fs::write(directory.path().join(LOCK), "").unwrap();
        let theirs = File::open(directory.path().join(LOCK)).unwrap();
        theirs.lock().unwrap();
        let ours = Lock::try_take(directory.path()).unwrap().expect("theirs does not count");
        assert!(Lock::try_take(directory.path()).unwrap().is_none());
        drop(ours);
        Lock::take(directory.path()).unwrap();
        let mode = fs::metadata(directory.path().join(LOCK)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_store_without_an_index_is_empty_and_a_damaged_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.index().unwrap(), Index::default());
        fs::write(directory.path().join("index.json"), "{\"version\":9,\"node_root\":null,\"images\":{}}")
            .unwrap();
        let error = store.index().unwrap_err().to_string();
        assert!(error.contains("its version is 9"), "{error}");
    }
}
