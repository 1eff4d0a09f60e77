//! `DELETE /images/{name}`

use std::collections::HashSet;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use drydock_image::{digest::Digest, store::Image};
use serde::{Deserialize, Serialize};

use super::{Held, announce, canonical, familiar, is_tag, layers::sweep, parse, repository};
use crate::{
    engine::{Engine, Shared},
    error::ApiError,
    filters::is_true,
};

/// One thing that went.
#[derive(Debug, Clone, Serialize)]
pub(crate) enum Gone {
    Untagged(String),
    Deleted(String),
}

/// How much is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) force: bool,
    /// Images without a name that this one was made from go too.
    pub(super) parents: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RemoveQuery {
    force: String,
    noprune: String,
}

/// `DELETE /images/{name…}`
pub(crate) async fn remove(
    State(engine): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Result<Json<Vec<Gone>>, ApiError> {
    let how = How { force: is_true(&query.force), parents: !is_true(&query.noprune) };
    let gone = remove_one(&engine, &name, how)?;
    sweep(&engine).await;
    Ok(Json(gone))
}

/// Takes a name, or an image by its id, out of the list.
pub(super) fn remove_one(engine: &Engine, text: &str, how: How) -> Result<Vec<Gone>, ApiError> {
    let id = engine.images.find(text)?.id.to_string();
    let mut gone = Vec::new();
    let is_id = id.starts_with(text) || id.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(text));
    if is_id {
        if engine.images.locked().is_single(&id) {
            refuse(engine, &id, how.force, Names::AreGone)?;
            untag_all(engine, &id, &mut gone)?;
        }
        delete(engine, &id, how, &mut gone)?;
        return Ok(gone);
    }
    if !how.force
        && engine.images.locked().is_single(&id)
        && let Some(container) = user(engine, &id, |_| true)
    {
        return Err(ApiError::Conflict(format!(
            "conflict: unable to remove repository reference \"{text}\" (must force) - container {container} is using \
             its referenced image {}",
            short(&id)
        )));
    }
    untag_one(engine, text, &id, &mut gone)?;
    if engine.images.locked().keys_of(&id).next().is_none() {
        match delete(engine, &id, how, &mut gone) {
            // The name is gone, and that is what was asked for; the image goes
            // once no container uses it.
            Err(_) if user(engine, &id, |_| true).is_some() || is_parent(engine, &id) => {}
            other => other?,
        }
    }
    Ok(gone)
}

fn is_parent(engine: &Engine, id: &str) -> bool {
    engine.images.locked().has_children(id)
}

impl Held {
    /// Whether an image has one name with a tag at most, and all its names are
    /// of one repository; not where it has none.
    fn is_single(&self, id: &str) -> bool {
        let keys: Vec<&String> = self.keys_of(id).collect();
        let repositories: HashSet<&str> = keys.iter().map(|key| repository(key)).collect();
        repositories.len() == 1 && keys.iter().filter(|key| is_tag(key)).count() <= 1
    }
}

/// Takes away one name; a repository's last tag takes its digests with it.
fn untag_one(engine: &Engine, text: &str, id: &str, gone: &mut Vec<Gone>) -> Result<(), ApiError> {
    let reference = parse(text)?;
    let key = match reference.digest() {
        Some(digest) => canonical(&reference, digest),
        None => reference.key(),
    };
    let held = engine.images.locked();
    let mut going = vec![key.clone()];
    let others: Vec<&String> =
        held.keys_of(id).filter(|other| **other != key && repository(other) == repository(&key)).collect();
    if is_tag(&key) && !others.iter().any(|other| is_tag(other)) {
        going.extend(others.into_iter().cloned());
    }
    drop(held);
    untag(engine, id, &going, gone)
}

fn untag_all(engine: &Engine, id: &str, gone: &mut Vec<Gone>) -> Result<(), ApiError> {
    let going: Vec<String> = engine.images.locked().keys_of(id).cloned().collect();
    untag(engine, id, &going, gone)
}

fn untag(engine: &Engine, id: &str, going: &[String], gone: &mut Vec<Gone>) -> Result<(), ApiError> {
    engine.images.change(|held| held.names.retain(|key, _| !going.contains(key)))?;
    for key in going {
        gone.push(Gone::Untagged(familiar(key)));
        announce(engine, "untag", id, id);
    }
    Ok(())
}

/// Whether an image's names stand against its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Count,
    AreGone,
}

/// Deletes an image that nothing needs, and what it was made from.
fn delete(engine: &Engine, id: &str, how: How, gone: &mut Vec<Gone>) -> Result<(), ApiError> {
    refuse(engine, id, how.force, Names::Count)?;
    untag_all(engine, id, gone)?;
    let mut next = Some(id.to_owned());
    while let Some(id) = next.take() {
        let parent = delete_now(engine, &id, gone)?;
        // Only what nobody would miss: it has no name, and nobody uses it.
        next = parent.filter(|parent| {
            how.parents
                && engine.images.by_id(parent).is_some()
                && engine.images.locked().keys_of(parent).next().is_none()
                && refuse(engine, parent, false, Names::Count).is_ok()
        });
    }
    Ok(())
}

fn delete_now(engine: &Engine, id: &str, gone: &mut Vec<Gone>) -> Result<Option<String>, ApiError> {
    announce(engine, "delete", id, id);
    let (image, parent) = engine.images.change(|held| {
        held.tagged.remove(id);
        (held.images.remove(id), held.parents.remove(id))
    })?;
    gone.push(Gone::Deleted(id.to_owned()));
    if let Some(image) = image {
        let kept = chains_in_use(engine);
        let chains = chains(image.layers.iter().map(|layer| &layer.diff_id));
        let going = chains.into_iter().rev().take_while(|chain| !kept.contains(chain));
        gone.extend(going.map(|chain| Gone::Deleted(chain.to_string())));
    }
    Ok(parent)
}

/// Chains of layers that images or containers have.
fn chains_in_use(engine: &Engine) -> HashSet<Digest> {
    let held = engine.images.locked();
    let mut kept: HashSet<Digest> = held.images.values().flat_map(chains_of).collect();
    for container in engine.containers.all() {
        let layers: Vec<Digest> =
            container.locked().layers.iter().filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect();
        kept.extend(chains(layers.iter()));
    }
    kept
}

/// The chains that an image's layers make, lowest first.
pub(crate) fn chains_of(image: &Image) -> Vec<Digest> {
    chains(image.layers.iter().map(|layer| &layer.diff_id))
}

/// The digest of each layer on all below it, as the OCI image specification
/// has it.
fn chains<'a>(diff_ids: impl Iterator<Item = &'a Digest>) -> Vec<Digest> {
    let mut all: Vec<Digest> = Vec::new();
    for diff_id in diff_ids {
        all.push(match all.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    all
}

/// Refuses what stands against deleting an image; some of it can be forced.
fn refuse(engine: &Engine, id: &str, force: bool, names: Names) -> Result<(), ApiError> {
    let conflict = |forced: &str, why: String| {
        Err(ApiError::Conflict(format!("conflict: unable to delete {} ({forced}) - {why}", short(id))))
    };
    if engine.images.locked().has_children(id) {
        return conflict("cannot be forced", "image has dependent child images".to_owned());
    }
    if let Some(container) = user(engine, id, |is_up| is_up) {
        return conflict("cannot be forced", format!("image is being used by running container {container}"));
    }
    if force {
        return Ok(());
    }
    if names == Names::Count && engine.images.locked().keys_of(id).next().is_some() {
        return conflict("must be forced", "image is referenced in multiple repositories".to_owned());
    }
    if let Some(container) = user(engine, id, |is_up| !is_up) {
        return conflict("must be forced", format!("image is being used by stopped container {container}"));
    }
    Ok(())
}

/// A container of the image, in this state.
fn user(engine: &Engine, id: &str, is_meant: impl Fn(bool) -> bool) -> Option<String> {
    engine.containers.all().into_iter().find_map(|container| {
        let record = container.locked();
        let found = record.image == id && is_meant(record.state.status.is_up());
        found.then(|| record.id[..12].to_owned())
    })
}

/// The twelve digits that Docker shows of an id.
fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_a_layer_and_all_below_it() {
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let made = chains([&one, &two].into_iter());
        assert_eq!(made[0], one);
        assert_eq!(made[1], Digest::of(format!("{one} {two}").as_bytes()));
    }

    #[test]
    fn an_image_is_single_by_its_tags_and_repositories() {
        let single = |keys: &[&str]| {
            let names = keys.iter().map(|key| ((*key).to_owned(), "id".to_owned())).collect();
            Held { names, ..Held::default() }.is_single("id")
        };
        assert!(single(&["library/a:1"]));
        assert!(single(&["library/a:1", "library/a@sha256:00"]));
        assert!(!single(&["library/a:1", "library/a:2"]));
        assert!(!single(&["library/a:1", "library/b@sha256:00"]));
        assert!(!single(&[]));
    }
}
