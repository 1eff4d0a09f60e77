//! A layer's tar and a configuration into an OCI archive.
//!
//! The catalogue's first images are made so, from roots that Debian's tools
//! made, or on top of another such archive. The same input gives the same
//! archive: times come from the caller, and the gzip carries none.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use serde::Deserialize;
use tar::{Builder, EntryType, Header};

use crate::config::{Descriptor, History, ImageConfig, ImageIndex, Manifest, RootFs, RunConfig, media_type};
use crate::digest::{Digest, Hashing};
use crate::reference::{InvalidReference, Reference};

/// What an image is, beside its root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its names.
    pub names: Vec<String>,
    /// What `docker history` says of its own layer.
    pub created_by: String,
    /// What a container of it runs.
    pub config: RunConfig,
}

/// Why an image could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file can't be read or written.
    #[error("cannot pack the image: {0}")]
    File(#[from] io::Error),
    /// A description can't be written.
    #[error("cannot write a description: {0}")]
    Json(#[from] serde_json::Error),
    /// A name is not one.
    #[error("{0:?}: {1}")]
    Name(String, InvalidReference),
    /// The archive to build on is not one that was packed here.
    #[error("the base is no image archive: {0}")]
    Base(&'static str),
    /// There is no such time.
    #[error("no time: {0} seconds")]
    Time(i64),
}

/// An archive that was packed here, to build on.
pub struct Base {
    file: File,
    config: ImageConfig,
    layers: Vec<Descriptor>,
}

impl Base {
    /// Reads what the archive is made of.
    pub fn open(mut file: File) -> Result<Base, PackError> {
        let mut texts = HashMap::new();
        for entry in tar::Archive::new(&mut file).entries()? {
            let mut entry = entry?;
            if entry.size() <= TEXT_MAX {
                let path = entry.path()?.to_string_lossy().into_owned();
                let mut text = Vec::new();
                entry.read_to_end(&mut text)?;
                texts.insert(path, text);
            }
        }
        let index: ImageIndex = read(&texts, "index.json")?;
        let manifest = index.manifests.first().ok_or(PackError::Base("its index names no manifest"))?;
        let manifest: Manifest = read(&texts, &blob(manifest))?;
        Ok(Base { file, config: read(&texts, &blob(&manifest.config))?, layers: manifest.layers })
    }

    /// Copies the layers as they are, so that they stay the same layers.
    fn copy_layers<W: Write>(&mut self, to: &mut Archive<W>) -> Result<(), PackError> {
        let wanted: Vec<String> = self.layers.iter().map(blob).collect();
        self.file.rewind()?;
        for entry in tar::Archive::new(&mut self.file).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            if wanted.contains(&path) {
                to.add(&path, entry.size(), &mut entry)?;
            }
        }
        Ok(())
    }
}

/// The longest description that a base may hold, in bytes.
const TEXT_MAX: u64 = 64 * 1024;

fn read<T: serde::de::DeserializeOwned>(
    texts: &HashMap<String, Vec<u8>>,
    path: &str,
) -> Result<T, PackError> {
    let text = texts.get(path).ok_or(PackError::Base("a description is missing"))?;
    Ok(serde_json::from_slice(text)?)
}

/// Packs the uncompressed tar `root` as an image made at `created`, in seconds
/// since 1970, into `out`: as its one layer, or as one more on top of `base`.
pub fn pack(
    base: Option<Base>,
    root: impl Read,
    recipe: &Recipe,
    created: i64,
    out: impl Write,
) -> Result<(), PackError> {
    let names: Vec<Reference> = recipe.names.iter().map(|name| parse(name)).collect::<Result<_, _>>()?;
    let time = jiff::Timestamp::from_second(created).map_err(|_| PackError::Time(created))?.to_string();
    let (mut layer_file, layer, diff_id) = compress(root)?;
    let mut config = config(recipe, diff_id, time);
    let mut layers = vec![layer.clone()];
    if let Some(base) = &base {
        layers.splice(..0, base.layers.iter().cloned());
        config.rootfs.diff_ids.splice(..0, base.config.rootfs.diff_ids.iter().cloned());
        config.history.splice(..0, base.config.history.iter().cloned());
    }
    let (config_text, config) = describe(&config, media_type::CONFIG)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST.to_owned(),
        config: config.clone(),
        layers,
    };
    let (manifest_text, manifest) = describe(&manifest, media_type::MANIFEST)?;
    let index = index(&names, &manifest);

    let mut archive = Archive { builder: Builder::new(out), time: created.max(0) as u64 };
    archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.file("index.json", &serde_json::to_vec(&index)?)?;
    archive.file(&blob(&manifest), &manifest_text)?;
    archive.file(&blob(&config), &config_text)?;
    if let Some(mut base) = base {
        base.copy_layers(&mut archive)?;
    }
    archive.add(&blob(&layer), layer.size, &mut layer_file)?;
    archive.builder.into_inner()?.flush()?;
    Ok(())
}

/// An index with the manifest under each name, or once without one.
fn index(names: &[Reference], manifest: &Descriptor) -> ImageIndex {
    let mut index =
        ImageIndex { schema_version: 2, media_type: media_type::INDEX.to_owned(), manifests: Vec::new() };
    for name in names {
        let mut entry = manifest.clone();
        entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
        let tag = name.tag().unwrap_or_default().to_owned();
        entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
        index.manifests.push(entry);
    }
    if names.is_empty() {
        index.manifests.push(manifest.clone());
    }
    index
}

fn parse(name: &str) -> Result<Reference, PackError> {
    name.parse().map_err(|error| PackError::Name(name.to_owned(), error))
}

/// The layer as gzip in a temporary file, its descriptor and its diff ID.
fn compress(root: impl Read) -> Result<(File, Descriptor, Digest), PackError> {
    let mut root = Hashing::new(root);
    // It has no name, and goes when it is closed.
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let file =
        rustix::fs::open(std::env::temp_dir(), flags, rustix::fs::Mode::RUSR).map_err(io::Error::from)?;
    let mut encoder: GzEncoder<Hashing<File>> =
        GzBuilder::new().mtime(0).write(Hashing::new(File::from(file)), Compression::default());
    io::copy(&mut root, &mut encoder)?;
    let (digest, size, mut file) = encoder.finish()?.finish();
    file.rewind()?;
    let descriptor = Descriptor {
        media_type: media_type::LAYER_GZIP.to_owned(),
        digest,
        size,
        annotations: Default::default(),
        platform: None,
    };
    let (diff_id, _, _) = root.finish();
    Ok((file, descriptor, diff_id))
}

fn config(recipe: &Recipe, diff_id: Digest, created: String) -> ImageConfig {
    ImageConfig {
        created: Some(created.clone()),
        author: None,
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        config: recipe.config.clone(),
        rootfs: RootFs { diff_ids: vec![diff_id], ..RootFs::default() },
        history: vec![History {
            created: Some(created),
            created_by: recipe.created_by.clone(),
            comment: String::new(),
            empty_layer: false,
        }],
    }
}

fn describe(value: &impl serde::Serialize, media_type: &str) -> Result<(Vec<u8>, Descriptor), PackError> {
    let text = serde_json::to_vec(value)?;
    let descriptor = Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(&text),
        size: text.len() as u64,
        annotations: Default::default(),
        platform: None,
    };
    Ok((text, descriptor))
}

fn blob(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.hex())
}

/// A tar whose entries all have one time and no owner.
struct Archive<W: Write> {
    builder: Builder<W>,
    time: u64,
}

impl<W: Write> Archive<W> {
    fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.add(path, bytes.len() as u64, &mut &*bytes)
    }

    fn add(&mut self, path: &str, size: u64, content: &mut impl Read) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.time);
        self.builder.append_data(&mut header, path, content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(name: &str, created_by: &str) -> Recipe {
        serde_json::from_value(serde_json::json!({
            "names": [name], "created_by": created_by, "config": {"Cmd": [name]}
        }))
        .unwrap()
    }

    fn packed(base: Option<Base>, layer: &[u8], recipe: &Recipe) -> Base {
        let mut file = tempfile::tempfile().unwrap();
        pack(base, layer, recipe, 1_700_000_000, &file).unwrap();
        file.rewind().unwrap();
        Base::open(file).unwrap()
    }

    #[test]
    fn an_image_on_top_of_another_has_its_layers_unchanged() {
        let below = packed(None, b"one", &recipe("below", "first"));
        let first = below.layers.clone();
        let above = packed(Some(below), b"two", &recipe("above", "second"));
        assert_eq!(above.layers.len(), 2);
        assert_eq!(above.layers[0].digest, first[0].digest);
        let written: Vec<_> = above.config.history.iter().map(|entry| entry.created_by.as_str()).collect();
        assert_eq!(written, ["first", "second"]);
        assert_eq!(above.config.rootfs.diff_ids, [Digest::of(b"one"), Digest::of(b"two")]);
        assert_eq!(above.config.config.cmd, Some(vec!["above".to_owned()]));
        let alone = packed(None, b"two", &recipe("alone", "second"));
        assert_eq!(above.layers[1].digest, alone.layers[0].digest);
    }

    #[test]
    fn what_is_no_archive_is_no_base() {
        let mut file = tempfile::tempfile().unwrap();
        let mut builder = Builder::new(&file);
        let mut header = Header::new_ustar();
        header.set_size(2);
        header.set_entry_type(EntryType::Regular);
        builder.append_data(&mut header, "index.json", &b"{}"[..]).unwrap();
        builder.finish().unwrap();
        drop(builder);
        file.rewind().unwrap();
        assert!(Base::open(file).is_err());
    }
}
