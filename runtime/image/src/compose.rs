//! A new image from an older one and one more layer: `docker import`, `docker
//! commit`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use flate2::{Compression, GzBuilder, write::GzEncoder};

use crate::archive::ArchiveError;
use crate::compression::Plain;
use crate::config::{Descriptor, ImageConfig, Manifest, media_type};
use crate::digest::{Digest, Hashing};
use crate::import::{ImportError, Importer, unsound, write};
use crate::layer::{self, LayerError};
use crate::limits::Limits;
use crate::store::{Image, Layer};

/// What the new image is beside its new layer.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Base {
    /// Its configuration, with the diff IDs of the layers below the new one.
    pub config: ImageConfig,
    /// These layers, lowest first.
    pub layers: Vec<Layer>,
}

/// Adds the tar in `reader`, compressed or not, as a layer on `base`, and writes
/// the image's configuration and manifest. The caller has the store's
/// [`Lock`](crate::store::Lock).
pub fn compose(store: &Path, reader: impl Read, base: Base, limits: Limits) -> Result<Image, ImportError> {
    if base.layers.len() >= limits.layers {
        return Err(unsound(format!("max depth exceeded: an image has at most {} layers", limits.layers)));
    }
    let importer = Importer::open(store, limits)?;
    let composed = compose_with(&importer, reader, base);
    // What failed leaves nothing, either: the store may be on a small disk.
    importer.empty_work()?;
    composed
}

fn compose_with(importer: &Importer, reader: impl Read, base: Base) -> Result<Image, ImportError> {
    let layer = add_layer(importer, reader)?;
    let Base { mut config, mut layers } = base;
    config.rootfs.diff_ids.push(layer.diff_id.clone());
    layers.push(layer);
    let (config_digest, config_size) = describe(importer, &config)?;
    let descriptor = |media_type: &str, digest: &Digest, size| Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.clone(),
        size,
        annotations: Default::default(),
        platform: None,
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST.to_owned(),
        config: descriptor(media_type::CONFIG, &config_digest, config_size),
        layers: layers.iter().map(|layer| descriptor(&layer.media_type, &layer.digest, layer.size)).collect(),
    };
    let (manifest, _) = describe(importer, &manifest)?;
    let size = layers.iter().map(|layer| layer.unpacked_size).sum();
    Ok(Image { manifest, config_digest, layers, config, size })
}

/// Unpacks the tar, and keeps it compressed, in one pass.
fn add_layer(importer: &Importer, reader: impl Read) -> Result<Layer, ImportError> {
    let unread = |error: io::Error| ImportError::Archive(ArchiveError::Read(error));
    let aside = importer.work().join("blob");
    let blob = File::create(&aside).map_err(write("make a blob"))?;
    let encoder = GzBuilder::new().mtime(0).write(Hashing::new(blob), Compression::fast());
    let plain = Plain::new(reader, importer.limits).map_err(unread)?;
    let mut copied = Copied { from: Hashing::new(plain), to: encoder };
    let root = importer.new_layer()?;
    let unpacked =
        layer::unpack(root.as_fd(), &mut copied, importer.limits).map_err(|error| match error {
            LayerError::Archive(error) => ImportError::Archive(error),
            other => unsound(other.to_string()),
        })?;
    let Copied { from, to } = copied;
    let (diff_id, _, _) = from.finish();
    let (digest, size, _) = to.finish().map_err(write("write a blob"))?.finish();
    importer.name_layer(&diff_id)?;
    fs::rename(&aside, importer.store.blob(&digest)).map_err(write("keep a blob"))?;
    let media_type = media_type::LAYER_GZIP.to_owned();
    Ok(Layer { digest, diff_id, size, unpacked_size: unpacked.bytes, media_type })
}

fn describe(importer: &Importer, value: &impl serde::Serialize) -> Result<(Digest, u64), ImportError> {
    let text =
        serde_json::to_vec(value).map_err(|error| unsound(format!("cannot write a description: {error}")))?;
    let digest = Digest::of(&text);
    importer.write_blob(&digest, &text)?;
    Ok((digest, text.len() as u64))
}

/// What is read is written elsewhere too.
struct Copied<R, W: Write> {
    from: R,
    to: GzEncoder<W>,
}

impl<R: Read, W: Write> Read for Copied<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.to.write_all(&buffer[..count])?;
        Ok(count)
    }
}
