//! Images: `/images/…`. The learner has a list of images and their names; a
//! layer is in the machine's store, or on the node's disk where it was loaded
//! or made here.

pub(crate) mod change;
pub(crate) mod commit;
mod helper;
mod import;
pub(crate) mod inspect;
pub(crate) mod layers;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod remove;
mod save;
pub(crate) mod stage;
pub(crate) mod usage;

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
    clock,
    engine::{Engine, Shared, below_root},
    error::{ApiError, failed},
    state_file,
};

/// The most names that the list has.
const NAMES_MAX: usize = 1000;
/// The most images, and how long their descriptions may be together, in bytes:
/// the list is held in memory.
const IMAGES_MAX: usize = 1000;
const LIST_MAX: usize = 16 << 20;

/// The list, as kept on disk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Held {
    /// Images by id.
    images: BTreeMap<String, Image>,
    /// Image ids by name, such as `library/busybox:latest`, and where an image
    /// was pulled, `library/busybox@sha256:…`.
    names: BTreeMap<String, String>,
    /// The image that an image was made from here, by id.
    parents: BTreeMap<String, String>,
    /// When an image got its last name here, by id.
    tagged: BTreeMap<String, String>,
}

/// What the learner has.
pub(crate) struct Images {
    path: PathBuf,
    held: Mutex<Held>,
    /// Held while an image is added: its layers are on the disk before the list
    /// names it, and must not be swept away.
    writing: tokio::sync::Mutex<()>,
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
        layers::prepare()?;
        let path = below_root(&["images.json"]);
        let held = state_file::read(&path)?.unwrap_or_default();
        Ok(Images { path, held: Mutex::new(held), writing: tokio::sync::Mutex::default() })
    }

    fn locked(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Held) -> T) -> Result<T, ApiError> {
        let mut held = self.locked();
        let result = change(&mut held);
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

    /// Takes an image into the list; its layers are on the disk.
    fn keep(&self, engine: &Engine, image: &Image, parent: Option<String>) -> Result<(), ApiError> {
        layers::place(engine, image)?;
        let id = image.config_digest.to_string();
        {
            let held = self.locked();
            if held.images.contains_key(&id) {
                return Ok(());
            }
            let length = |image: &Image| serde_json::to_vec(image).map_or(0, |text| text.len());
            let all: usize = held.images.values().chain([image]).map(length).sum();
            if held.images.len() >= IMAGES_MAX || all > LIST_MAX {
                return Err(ApiError::Conflict(format!(
                    "this node has {} images already: remove some with docker rmi",
                    held.images.len()
                )));
            }
        }
        self.change(|held| {
            held.images.insert(id.clone(), image.clone());
            held.parents.extend(parent.map(|parent| (id, parent)));
        })
    }

    /// Gives an image in the list a name, which another may have had.
    fn name(&self, key: String, id: &str) -> Result<(), ApiError> {
        if self.locked().names.len() >= NAMES_MAX {
            return Err(ApiError::Conflict(format!(
                "this node has {NAMES_MAX} image names already: remove some"
            )));
        }
        self.change(|held| {
            held.names.insert(key, id.to_owned());
        })
    }

    /// [`name`](Images::name) where a learner asked for just that: Docker keeps
    /// the time.
    fn tag(&self, key: String, id: &str) -> Result<(), ApiError> {
        self.name(key, id)?;
        self.change(|held| {
            held.tagged.insert(id.to_owned(), clock::now());
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
        let key = match reference.digest() {
            Some(digest) => canonical(reference, digest),
            None => reference.key(),
        };
        self.images.get(self.names.get(&key)?)
    }

    /// An image's names, as the list has them.
    fn keys_of(&self, id: &str) -> impl Iterator<Item = &String> {
        self.names.iter().filter(move |(_, held)| *held == id).map(|(key, _)| key)
    }

    /// An image's names with tags, as Docker shows them.
    fn names_of(&self, id: &str) -> Vec<String> {
        self.keys_of(id).filter(|key| is_tag(key)).map(|key| familiar(key)).collect()
    }

    /// An image's names with digests, as Docker shows them.
    fn digests_of(&self, id: &str) -> Vec<String> {
        self.keys_of(id).filter(|key| !is_tag(key)).map(|key| familiar(key)).collect()
    }

    /// Whether other images were made from this one.
    fn has_children(&self, id: &str) -> bool {
        self.parents.values().any(|parent| parent == id)
    }
}

/// Whether a name of the list ends in a tag, not in a digest.
fn is_tag(key: &str) -> bool {
    !key.contains('@')
}

/// The name of the list for a repository and a digest.
fn canonical(reference: &Reference, digest: &Digest) -> String {
    format!("{}@{digest}", repository(&reference.key()))
}

/// A name of the list, as Docker shows it.
fn familiar(key: &str) -> String {
    key.parse::<Reference>().map_or_else(|_| key.to_owned(), |reference| reference.familiar())
}

/// A name without tag and digest.
pub(crate) fn repository(name: &str) -> &str {
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

/// Tells what happened to an image; `name` is what Docker says with it.
fn announce(engine: &Engine, action: &str, id: &str, name: &str) {
    let labels = engine.images.locked().images.get(id).map(|image| image.config.config.labels.clone());
    let mut attributes: BTreeMap<String, String> = labels.unwrap_or_default();
    attributes.insert("name".to_owned(), name.to_owned());
    engine.events.tell("image", action, id, attributes);
    engine.keeper.event(What::Image { name: name.to_owned(), action: action.to_owned() });
}

/// `GET /images/{name…}/json`, `…/history` and `…/get`: names may have slashes.
pub(crate) async fn get(
    State(engine): State<Shared>,
    Path(rest): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    if let Some(name) = rest.strip_suffix("/json") {
        return Ok(inspect::inspect(&engine, name)?.into_response());
    }
    if let Some(name) = rest.strip_suffix("/history") {
        return Ok(inspect::history(&engine, name)?.into_response());
    }
    if let Some(name) = rest.strip_suffix("/get") {
        return save::save(&engine, &[name.to_owned()]).await;
    }
    if rest == "get" {
        let names = query.into_iter().filter(|(key, _)| key == "names").map(|(_, name)| name);
        return save::save(&engine, &names.collect::<Vec<_>>()).await;
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
    if reference.digest().is_some() {
        return Err(ApiError::Invalid("refusing to create a tag with a digest reference".to_owned()));
    }
    let id = local.id.to_string();
    engine.images.tag(reference.key(), &id)?;
    announce(&engine, "tag", &id, &reference.familiar());
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
