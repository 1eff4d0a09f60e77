//! A root's tar and a configuration into an OCI archive.
//!
//! The catalogue's first images are made so, from roots that Debian's tools
//! made. The same input gives the same archive: times come from the caller,
//! and the gzip carries none.

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
    /// What `docker history` says of its one layer.
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
    /// There is no such time.
    #[error("no time: {0} seconds")]
    Time(i64),
}

/// Packs the uncompressed tar `root` as the one layer of an image made at
/// `created`, in seconds since 1970, into `out`.
pub fn pack(root: impl Read, recipe: &Recipe, created: i64, out: impl Write) -> Result<(), PackError> {
    let names: Vec<Reference> = recipe.names.iter().map(|name| parse(name)).collect::<Result<_, _>>()?;
    let time = jiff::Timestamp::from_second(created).map_err(|_| PackError::Time(created))?.to_string();
    let (mut layer_file, layer, diff_id) = compress(root)?;
    let config = config(recipe, diff_id, time);
    let (config_text, config) = describe(&config, media_type::CONFIG)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST.to_owned(),
        config: config.clone(),
        layers: vec![layer.clone()],
    };
    let (manifest_text, manifest) = describe(&manifest, media_type::MANIFEST)?;
    let mut index =
        ImageIndex { schema_version: 2, media_type: media_type::INDEX.to_owned(), manifests: Vec::new() };
    for name in &names {
        let mut entry = manifest.clone();
        entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
        let tag = name.tag().unwrap_or_default().to_owned();
        entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
        index.manifests.push(entry);
    }
    if names.is_empty() {
        index.manifests.push(manifest.clone());
    }

    let mut archive = Archive { builder: Builder::new(out), time: created.max(0) as u64 };
    archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.file("index.json", &serde_json::to_vec(&index)?)?;
    archive.file(&blob(&manifest), &manifest_text)?;
    archive.file(&blob(&config), &config_text)?;
    archive.add(&blob(&layer), layer.size, &mut layer_file)?;
    archive.builder.into_inner()?.flush()?;
    Ok(())
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
