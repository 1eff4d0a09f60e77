//! `DELETE /images/{name}` and `POST /images/prune`

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};

use super::{Images, familiar, parse, repository, tell};
use crate::{
    engine::{Engine, Shared},
    error::ApiError,
    filters::{Filters, is_true},
};

/// One thing that went.
#[derive(Debug, Serialize)]
pub(crate) enum Gone {
    Untagged(String),
    Deleted(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RemoveQuery {
    force: String,
}

/// `DELETE /images/{name…}`
pub(crate) async fn remove(
    State(engine): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Result<Json<Vec<Gone>>, ApiError> {
    let local = engine.images.find(&name)?;
    let id = local.id.to_string();
    let names = engine.images.names_of(&id);
    let force = is_true(&query.force);
    let by_name = parse(&name).ok().map(|reference| reference.key()).filter(|key| names.contains(key));
    let going = match by_name {
        Some(key) => vec![key],
        // By its id: all its names, which must be in one repository.
        None if names.iter().all(|one| repository(one) == repository(&names[0])) || force => names.clone(),
        None => {
            return Err(ApiError::Conflict(format!(
                "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                local.id.short()
            )));
        }
    };
    if going.len() == names.len() {
        refuse_in_use(&engine, &name, &id, local.id.short(), force)?;
    }
    Ok(Json(untag(&engine, &going, &id, names.len())?))
}

fn refuse_in_use(engine: &Engine, name: &str, id: &str, short: &str, force: bool) -> Result<(), ApiError> {
    let users = engine.containers.all().into_iter().map(|container| container.record());
    for user in users.filter(|record| record.image == id) {
        let container = &user.id[..12];
        if user.state.status.is_up() {
            let by = if name.starts_with(short) { "cannot be forced" } else { "must be forced" };
            if by == "must be forced" && force {
                continue;
            }
            return Err(ApiError::Conflict(format!(
                "conflict: unable to delete {name} ({by}) - image is being used by running container {container}"
            )));
        }
        if !force {
            return Err(ApiError::Conflict(format!(
                "conflict: unable to remove repository reference \"{name}\" (must force) - container {container} is \
                 using its referenced image {short}"
            )));
        }
    }
    Ok(())
}

fn untag(engine: &Engine, going: &[String], id: &str, all: usize) -> Result<Vec<Gone>, ApiError> {
    let image = engine.images.by_id(id);
    let mut gone: Vec<Gone> = going.iter().map(|key| Gone::Untagged(familiar(key))).collect();
    engine.images.change(|held| held.names.retain(|key, _| !going.contains(key)))?;
    for key in going {
        tell(engine, "untag", &familiar(key));
    }
    if going.len() == all
        && let Some(image) = image
    {
        let digest = &image.image.manifest;
        gone.push(Gone::Untagged(format!("{}@{digest}", repository(&familiar(&going[0])))));
        gone.push(Gone::Deleted(id.to_owned()));
        gone.extend(image.image.layers.iter().rev().map(|layer| Gone::Deleted(layer.diff_id.to_string())));
        tell(engine, "delete", id);
    }
    Ok(gone)
}

impl Images {
    /// The names of an image, as the list has them.
    fn names_of(&self, id: &str) -> Vec<String> {
        self.locked().names.iter().filter(|(_, held)| *held == id).map(|(key, _)| key.clone()).collect()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pruned {
    images_deleted: Option<Vec<Gone>>,
    space_reclaimed: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PruneQuery {
    filters: String,
}

/// `POST /images/prune`: images without a name there are none; with
/// `dangling=false` all that no container uses.
pub(crate) async fn prune(
    State(engine): State<Shared>,
    Query(query): Query<PruneQuery>,
) -> Result<Json<Pruned>, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    let mut pruned = Pruned { images_deleted: None, space_reclaimed: 0 };
    if filters.flag("dangling")? != Some(false) {
        return Ok(Json(pruned));
    }
    let used: Vec<String> =
        engine.containers.all().into_iter().map(|container| container.locked().image.clone()).collect();
    let ids: Vec<String> = engine.images.locked().images.keys().cloned().collect();
    for id in ids.into_iter().filter(|id| !used.contains(id)) {
        let names = engine.images.names_of(&id);
        let gone = untag(&engine, &names, &id, names.len())?;
        pruned.images_deleted.get_or_insert_default().extend(gone);
    }
    Ok(Json(pruned))
}
