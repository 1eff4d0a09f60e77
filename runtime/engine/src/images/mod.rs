//! Images: `/images/…`. What the learner has pulled is a list of names; the
//! layers are in the machine's store.

pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod pull;
pub(crate) mod remove;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use drydock_image::{config::ImageConfig, digest::Digest, reference::Reference, store::Image};
use drydock_protocol::event::What;
use serde::{Deserialize, Serialize};

use crate::{
    engine::{Engine, Shared, below_root},
    error::{ApiError, failed},
    state_file,
};

/// The most names that the list has.
const NAMES_MAX: usize = 1000;

/// The list, as kept on disk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Held {
    /// Images by id.
    images: BTreeMap<String, Image>,
    /// Image ids by name, such as `library/busybox:latest`.
    names: BTreeMap<String, String>,
}

/// What the learner has.
pub(crate) struct Images {
    path: PathBuf,
    held: Mutex<Held>,
}

/// An image that the learner has.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(crate) id: Digest,
    image: Image,
}

impl Local {
    fn new(image: &Image) -> Local {
        Local { id: image.config_digest.clone(), image: image.clone() }
    }

    pub(crate) fn config(&self) -> &ImageConfig {
        &self.image.config
    }

    pub(crate) fn size(&self) -> u64 {
        self.image.size
    }

    /// Names of its layers in the store, lowest first.
    pub(crate) fn layers(&self) -> Vec<String> {
        self.image.layers.iter().map(|layer| layer.diff_id.hex().to_owned()).collect()
    }
}

impl Images {
    pub(crate) fn load() -> io::Result<Images> {
        let path = below_root(&["images.json"]);
        let held = state_file::read(&path)?.unwrap_or_default();
        Ok(Images { path, held: Mutex::new(held) })
    }

    fn locked(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Held) -> T) -> Result<T, ApiError> {
        let mut held = self.locked();
        let result = change(&mut held);
        // An image goes with its last name.
        let Held { images, names } = &mut *held;
        images.retain(|id, _| names.values().any(|held| held == id));
        state_file::write(&self.path, &*held).map_err(failed("storing the list of images failed"))?;
        Ok(result)
    }

    /// The image that a name, an id or the begin of one means.
    pub(crate) fn find(&self, text: &str) -> Result<Local, ApiError> {
        let held = self.locked();
        if let Some(image) = held.by_id(text)? {
            return Ok(Local::new(image));
        }
        let reference = parse(text)?;
        let missing = || ApiError::NotFound(format!("No such image: {}", with_tag(text, &reference)));
        held.by_name(&reference).map(Local::new).ok_or_else(missing)
    }

    /// The image of an id.
    pub(crate) fn by_id(&self, id: &str) -> Option<Local> {
        self.locked().images.get(id).map(Local::new)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.locked().images.len()
    }

    /// Gives an image a name, which another may have had.
    fn tag(&self, reference: &Reference, image: &Image) -> Result<(), ApiError> {
        let id = image.config_digest.to_string();
        let key = reference.key();
        if self.locked().names.len() >= NAMES_MAX {
            return Err(ApiError::Conflict(format!(
                "this node has {NAMES_MAX} image names already: remove some"
            )));
        }
        self.change(|held| {
            held.images.insert(id.clone(), image.clone());
            held.names.insert(key, id);
        })
    }
}

impl Held {
    /// By a full id, or by the begin of one that is no name.
    fn by_id(&self, text: &str) -> Result<Option<&Image>, ApiError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let is_name = parse(text).is_ok_and(|reference| self.by_name(&reference).is_some());
        if is_name {
            return Ok(None);
        }
        let mut found = self.images.values().filter(|image| image.config_digest.hex().starts_with(hex));
        match (found.next(), found.next()) {
            (Some(image), None) => Ok(Some(image)),
            (Some(_), Some(_)) => Err(ApiError::Invalid(format!("ambiguous reference: {text}"))),
            (None, _) => Ok(None),
        }
    }

    fn by_name(&self, reference: &Reference) -> Option<&Image> {
        if let Some(digest) = reference.digest() {
            let named = self.names.iter().filter(|(key, _)| repository(key) == repository(&reference.key()));
            return named.filter_map(|(_, id)| self.images.get(id)).find(|image| image.manifest == *digest);
        }
        self.images.get(self.names.get(&reference.key())?)
    }

    /// An image's names, as Docker shows them.
    fn names_of(&self, id: &str) -> Vec<String> {
        self.names.iter().filter(|(_, held)| *held == id).map(|(key, _)| familiar(key)).collect()
    }

    fn digests_of(&self, image: &Image) -> Vec<String> {
        let id = image.config_digest.to_string();
        let mut digests: Vec<String> = self
            .names
            .iter()
            .filter(|(_, held)| **held == id)
            .map(|(key, _)| format!("{}@{}", repository(&familiar(key)), image.manifest))
            .collect();
        digests.sort();
        digests.dedup();
        digests
    }
}

/// A name of the list, as Docker shows it.
fn familiar(key: &str) -> String {
    key.parse::<Reference>().map_or_else(|_| key.to_owned(), |reference| reference.familiar())
}

/// A name without tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        // A port, not a tag.
        Some((_, after)) if after.contains('/') => name,
        Some((before, _)) => before,
        None => name,
    }
}

/// Reads a name, with Docker's words where it is none.
fn parse(text: &str) -> Result<Reference, ApiError> {
    text.parse()
        .map_err(|error: drydock_image::reference::InvalidReference| ApiError::Invalid(error.to_string()))
}

/// The name as it was given, with a tag.
fn with_tag(text: &str, reference: &Reference) -> String {
    let plain =
        text.strip_prefix("docker.io/library/").or_else(|| text.strip_prefix("docker.io/")).unwrap_or(text);
    if reference.digest().is_some() || reference.has_explicit_tag() {
        return plain.to_owned();
    }
    format!("{plain}:{}", drydock_image::reference::DEFAULT_TAG)
}

fn tell(engine: &Engine, action: &str, name: &str) {
    engine.events.tell("image", action, name, BTreeMap::from([("name".to_owned(), name.to_owned())]));
    engine.keeper.event(What::Image { name: name.to_owned(), action: action.to_owned() });
}

/// `GET /images/{name…}/json` and `…/history`: names may have slashes.
pub(crate) async fn get(
    State(engine): State<Shared>,
    Path(rest): Path<String>,
) -> Result<Response, ApiError> {
    if let Some(name) = rest.strip_suffix("/json") {
        return Ok(inspect::inspect(&engine, name)?.into_response());
    }
    if let Some(name) = rest.strip_suffix("/history") {
        return Ok(inspect::history(&engine, name)?.into_response());
    }
    if rest == "get" || rest.ends_with("/get") {
        return Err(ApiError::NotImplemented("saving images is not supported by this engine yet".to_owned()));
    }
    if rest == "search" {
        return Err(ApiError::NotImplemented("there is no Docker Hub here to search".to_owned()));
    }
    Err(ApiError::NotFound("page not found".to_owned()))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TagQuery {
    repo: String,
    tag: String,
}

/// `POST /images/{name…}/tag`
pub(crate) async fn post(
    State(engine): State<Shared>,
    Path(rest): Path<String>,
    Query(query): Query<TagQuery>,
) -> Result<StatusCode, ApiError> {
    if rest == "load" {
        return Err(ApiError::NotImplemented(
            "loading images is not supported by this engine yet".to_owned(),
        ));
    }
    if rest.ends_with("/push") {
        return Err(ApiError::NotImplemented(
            "pushing images is not supported by this engine yet".to_owned(),
        ));
    }
    let Some(name) = rest.strip_suffix("/tag") else {
        return Err(ApiError::NotFound("page not found".to_owned()));
    };
    let local = engine.images.find(name)?;
    let text = if query.tag.is_empty() { query.repo } else { format!("{}:{}", query.repo, query.tag) };
    let reference = parse(&text)?;
    engine.images.tag(&reference, &local.image)?;
    tell(&engine, "tag", &reference.familiar());
    Ok(StatusCode::CREATED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_end_before_tag_and_digest() {
        for (name, expected) in [
            ("busybox:latest", "busybox"),
            ("localhost:5000/a:1", "localhost:5000/a"),
            ("localhost:5000/a", "localhost:5000/a"),
            ("a@sha256:00", "a"),
        ] {
            assert_eq!(repository(name), expected);
        }
    }

    #[test]
    fn missing_images_are_named_as_docker_names_them() {
        let named = |text: &str| with_tag(text, &text.parse().unwrap());
        assert_eq!(named("nosuch"), "nosuch:latest");
        assert_eq!(named("nosuch:1"), "nosuch:1");
        assert_eq!(named("docker.io/library/nosuch"), "nosuch:latest");
    }
}
