//! Images as an archive: an OCI layout that is a `docker save` archive too, so
//! that any version of `docker load` reads it. Blobs go in as they came, and
//! digests stay what they were.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::config::{Descriptor, ImageIndex, media_type};
use crate::digest::Digest;
use crate::reference::Reference;
use crate::store::{Image, Store};

/// An image to save.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Item {
    /// Whole names, such as `docker.io/library/busybox:latest`.
    pub names: Vec<String>,
    /// The image.
    pub image: Image,
}

/// Why images could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The archive can't be written.
    #[error("cannot write the archive: {0}")]
    Write(#[from] io::Error),
    /// A description can't be written.
    #[error("cannot write a description: {0}")]
    Json(#[from] serde_json::Error),
    /// A blob of an image is not in any store.
    #[error("the blob {0} of the image is gone")]
    Missing(Digest),
    /// A name is not one.
    #[error("{0:?} is no image name")]
    Name(String),
}

/// Writes the images to `out`; each blob is looked for in all stores.
pub fn save(stores: &[Store], items: &[Item], out: impl Write) -> Result<(), SaveError> {
    let mut blobs = BTreeMap::new();
    let digests = items.iter().flat_map(|item| {
        let layers = item.image.layers.iter().map(|layer| &layer.digest);
        [&item.image.manifest, &item.image.config_digest].into_iter().chain(layers)
    });
    for digest in digests {
        if !blobs.contains_key(digest.hex()) {
            blobs.insert(digest.hex().to_owned(), find(stores, digest)?);
        }
    }
    let mut tar = Builder::new(out);
    for directory in ["blobs/", "blobs/sha256/"] {
        let mut header = header(EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, directory, io::empty())?;
    }
    for (hex, path) in &blobs {
        let file = open(path)?;
        let size = file.metadata()?.len();
        let mut header = header(EntryType::Regular, 0o644, size);
        // The header stands: a file that shrinks meanwhile is filled up.
        let whole = file.chain(io::repeat(0)).take(size);
        tar.append_data(&mut header, format!("blobs/sha256/{hex}"), whole)?;
    }
    for (name, text) in [
        ("index.json", serde_json::to_vec(&index(items, &blobs)?)?),
        ("manifest.json", serde_json::to_vec(&manifest(items)?)?),
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("repositories", serde_json::to_vec(&repositories(items)?)?),
    ] {
        let mut header = header(EntryType::Regular, 0o644, text.len() as u64);
        tar.append_data(&mut header, name, text.as_slice())?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

fn find(stores: &[Store], digest: &Digest) -> Result<PathBuf, SaveError> {
    let mut paths = stores.iter().map(|store| store.blob(digest));
    paths.find(|path| path.is_file()).ok_or_else(|| SaveError::Missing(digest.clone()))
}

/// Opens a blob; what has become a pipe or a link is none.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn names(item: &Item) -> Result<Vec<Reference>, SaveError> {
    item.names.iter().map(|name| name.parse().map_err(|_| SaveError::Name(name.clone()))).collect()
}

fn index(items: &[Item], blobs: &BTreeMap<String, PathBuf>) -> Result<ImageIndex, SaveError> {
    let mut manifests = Vec::new();
    for item in items {
        let digest = &item.image.manifest;
        let size = blobs.get(digest.hex()).map(|path| open(path)?.metadata().map(|metadata| metadata.len()));
        let plain = Descriptor {
            media_type: media_type::MANIFEST.to_owned(),
            digest: digest.clone(),
            size: size.transpose()?.unwrap_or_default(),
            annotations: BTreeMap::new(),
            platform: None,
        };
        let names = names(item)?;
        for name in &names {
            let mut entry = plain.clone();
            entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
            let tag = name.tag().unwrap_or_default().to_owned();
            entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
            manifests.push(entry);
        }
        if names.is_empty() {
            manifests.push(plain);
        }
    }
    Ok(ImageIndex { schema_version: 2, media_type: media_type::INDEX.to_owned(), manifests })
}

/// `manifest.json`, by which older versions load.
fn manifest(items: &[Item]) -> Result<serde_json::Value, SaveError> {
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let entries = items.iter().map(|item| {
        let tags: Vec<String> = names(item)?.iter().map(Reference::familiar).collect();
        let layers: Vec<String> = item.image.layers.iter().map(|layer| path(&layer.digest)).collect();
        let tags = Some(tags).filter(|tags| !tags.is_empty());
        Ok(json!({ "Config": path(&item.image.config_digest), "RepoTags": tags, "Layers": layers }))
    });
    entries.collect::<Result<Vec<_>, SaveError>>().map(Into::into)
}

/// `repositories`, by which the oldest did: tags and their top layers.
fn repositories(items: &[Item]) -> Result<serde_json::Value, SaveError> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for item in items {
        let top = item.image.layers.last().map(|layer| layer.digest.hex().to_owned()).unwrap_or_default();
        for name in names(item)?.into_iter().collect::<BTreeSet<_>>() {
            let tag = name.tag().unwrap_or_default().to_owned();
            all.entry(name.familiar_name()).or_default().insert(tag, top.clone());
        }
    }
    Ok(json!(all))
}
