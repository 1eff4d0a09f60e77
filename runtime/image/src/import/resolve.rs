//! Which images an archive has.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::config::{Descriptor, ImageConfig, ImageIndex, Manifest, media_type};
use crate::digest::Digest;
use crate::limits::Limits;
use crate::reference::Reference;

use super::stage::{Staged, Staging};
use super::{ImportError, unsound};

/// The name of an image in an OCI index, whole or only the tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, as containerd and Docker write it.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Indexes in indexes.
const NESTING: usize = 4;

/// An image that the archive has.
pub(super) struct Found {
    pub(super) names: BTreeSet<Reference>,
    pub(super) manifest_digest: Digest,
    pub(super) manifest: Vec<u8>,
    pub(super) config_digest: Digest,
    pub(super) config_text: Vec<u8>,
    pub(super) config: ImageConfig,
    /// The layers' blobs, lowest first; as many as the configuration has.
    pub(super) layers: Vec<Staged>,
}

/// An entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// All images of an archive.
pub(super) fn images(staging: &Staging, limits: Limits) -> Result<Vec<Found>, ImportError> {
    let saved: Vec<SavedImage> = match staging.get("manifest.json") {
        Some(file) => parse(&staging.text(file)?, "manifest.json")?,
        None => Vec::new(),
    };
    let mut found = match (staging.get("index.json"), saved.is_empty()) {
        (Some(index), _) => from_layout(staging, index)?,
        (None, false) => saved.iter().map(|image| from_saved(staging, image)).collect::<Result<_, _>>()?,
        (None, true) => {
            return Err(unsound("this is no image archive: it has neither index.json nor manifest.json"));
        }
    };
    let is_layout = staging.get("index.json").is_some();
    for image in &mut found {
        if is_layout {
            add_saved_names(image, &saved)?;
        }
        check(image, limits)?;
    }
    match found.len() {
        0 => Err(unsound("the archive has no image for linux/amd64")),
        count if count > limits.images => {
            Err(unsound(format!("the archive has {count} images, more than {}", limits.images)))
        }
        _ => Ok(found),
    }
}

fn from_layout(staging: &Staging, index: &Staged) -> Result<Vec<Found>, ImportError> {
    let index: ImageIndex = parse(&staging.text(index)?, "index.json")?;
    let mut found: Vec<Found> = Vec::new();
    for descriptor in &index.manifests {
        let Some(manifest) = manifest_of(staging, descriptor, NESTING)? else { continue };
        let names = names_of(descriptor)?;
        // Two names of one image are two entries of the index.
        match found.iter_mut().find(|image| image.manifest_digest == manifest.digest) {
            Some(image) => image.names.extend(names),
            None => found.push(from_manifest(staging, manifest, names)?),
        }
    }
    Ok(found)
}

/// The manifest that a descriptor means on this machine, through lists of
/// manifests for several machines.
fn manifest_of<'a>(
    staging: &'a Staging,
    descriptor: &Descriptor,
    nesting: usize,
) -> Result<Option<&'a Staged>, ImportError> {
    // Images for other machines are listed even where the archive lacks them.
    if descriptor
        .platform
        .as_ref()
        .is_some_and(|platform| platform.os != "linux" || platform.architecture != "amd64")
    {
        return Ok(None);
    }
    let blob = staging.blob(&descriptor.digest)?;
    let is_list = descriptor.media_type == media_type::INDEX
        || descriptor.media_type.ends_with(".manifest.list.v2+json");
    if !is_list {
        return Ok(Some(blob));
    }
    if nesting == 0 {
        return Err(unsound("the archive's indexes are nested too deeply"));
    }
    let index: ImageIndex = parse(&staging.text(blob)?, descriptor.digest.as_str())?;
    for inner in &index.manifests {
        if let Some(manifest) = manifest_of(staging, inner, nesting - 1)? {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

fn from_manifest(staging: &Staging, blob: &Staged, names: BTreeSet<Reference>) -> Result<Found, ImportError> {
    let text = staging.text(blob)?;
    let manifest: Manifest = parse(&text, blob.digest.as_str())?;
    let config_text = staging.text(staging.blob(&manifest.config.digest)?)?;
    let layers = manifest.layers.iter().map(|layer| staging.blob(&layer.digest).cloned());
    Ok(Found {
        names,
        manifest_digest: blob.digest.clone(),
        manifest: text,
        config_digest: manifest.config.digest.clone(),
        config: parse(&config_text, manifest.config.digest.as_str())?,
        config_text,
        layers: layers.collect::<Result<_, _>>()?,
    })
}

/// An image of an older `docker save` has no manifest; it gets the one that a
/// push of its layers as they are would make.
fn from_saved(staging: &Staging, saved: &SavedImage) -> Result<Found, ImportError> {
    let file = |path: &str| {
        staging
            .get(path)
            .ok_or_else(|| unsound(format!("the archive lacks {path:?}, which manifest.json names")))
    };
    let config = file(&saved.config)?;
    let layers: Vec<Staged> =
        saved.layers.iter().map(|path| file(path).cloned()).collect::<Result<_, _>>()?;
    let descriptor = |media_type: &str, staged: &Staged| Descriptor {
        media_type: media_type.to_owned(),
        digest: staged.digest.clone(),
        size: staged.size,
        annotations: Default::default(),
        platform: None,
    };
    let mut layer_descriptors = Vec::new();
    for layer in &layers {
        let media_type =
            layer.media_type(&staging.file(layer)).map_err(super::write("read a staged layer"))?;
        layer_descriptors.push(descriptor(&media_type, layer));
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST.to_owned(),
        config: descriptor(media_type::CONFIG, config),
        layers: layer_descriptors,
    };
    let manifest = serde_json::to_vec(&manifest)
        .map_err(|error| unsound(format!("cannot write a manifest: {error}")))?;
    let config_text = staging.text(config)?;
    Ok(Found {
        names: saved.repo_tags.iter().flatten().map(|name| reference(name)).collect::<Result<_, _>>()?,
        manifest_digest: Digest::of(&manifest),
        manifest,
        config_digest: config.digest.clone(),
        config: parse(&config_text, &saved.config)?,
        config_text,
        layers,
    })
}

fn names_of(descriptor: &Descriptor) -> Result<BTreeSet<Reference>, ImportError> {
    if let Some(name) = descriptor.annotations.get(IMAGE_NAME) {
        return Ok(BTreeSet::from([reference(name)?]));
    }
    // A bare tag, such as `latest`, says nothing about the repository.
    match descriptor.annotations.get(REF_NAME) {
        Some(name) if name.contains(['/', ':']) => Ok(BTreeSet::from([reference(name)?])),
        _ => Ok(BTreeSet::new()),
    }
}

/// `manifest.json` of a layout names images by their configuration.
fn add_saved_names(image: &mut Found, saved: &[SavedImage]) -> Result<(), ImportError> {
    let is_ours = |saved: &&SavedImage| {
        let name = saved.config.rsplit('/').next().unwrap_or_default();
        name.strip_suffix(".json").unwrap_or(name) == image.config_digest.hex()
    };
    for name in saved.iter().filter(is_ours).flat_map(|saved| saved.repo_tags.iter().flatten()) {
        image.names.insert(reference(name)?);
    }
    Ok(())
}

fn check(image: &Found, limits: Limits) -> Result<(), ImportError> {
    let digest = image.config_digest.short();
    let diff_ids = image.config.rootfs.diff_ids.len();
    if diff_ids != image.layers.len() {
        return Err(unsound(format!(
            "image {digest} has {} layers and {diff_ids} diff IDs",
            image.layers.len()
        )));
    }
    if diff_ids == 0 || diff_ids > limits.layers {
        return Err(unsound(format!(
            "image {digest} has {diff_ids} layers; 1 to {} are possible",
            limits.layers
        )));
    }
    if image.config.os != "linux" || image.config.architecture != "amd64" {
        let (os, architecture) = (&image.config.os, &image.config.architecture);
        return Err(unsound(format!(
            "image {digest} is for {os}/{architecture}; this machine is linux/amd64"
        )));
    }
    Ok(())
}

fn reference(name: &str) -> Result<Reference, ImportError> {
    name.parse().map_err(|error| unsound(format!("the archive names an image {name:?}: {error}")))
}

fn parse<T: for<'de> Deserialize<'de>>(text: &[u8], what: &str) -> Result<T, ImportError> {
    serde_json::from_slice(text)
        .map_err(|error| unsound(format!("cannot read {what} of the archive: {error}")))
}
