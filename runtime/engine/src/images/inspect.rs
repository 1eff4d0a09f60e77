//! `GET /images/{name}/json` and `GET /images/{name}/history`

use std::collections::BTreeMap;

use axum::Json;
use drydock_image::config::RunConfig;
use serde::Serialize;

use super::{layers, list::created};
use crate::{clock, containers::inspect::GraphDriver, engine::Engine, error::ApiError};

/// An image, as `docker image inspect` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspect {
    id: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    parent: String,
    comment: String,
    created: String,
    docker_version: &'static str,
    author: String,
    config: RunConfig,
    architecture: String,
    os: String,
    size: u64,
    graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    metadata: Metadata,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(rename = "Type")]
    kind: &'static str,
    layers: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    last_tag_time: String,
}

pub(super) fn inspect(engine: &Engine, name: &str) -> Result<Json<Inspect>, ApiError> {
    let local = engine.images.find(name)?;
    let image = &local.image;
    let held = engine.images.locked();
    let id = local.id.to_string();
    let directory = |layer: &drydock_image::store::Layer| layers::shown(layer.diff_id.hex());
    let mut layers = image.layers.iter().rev();
    let mut data = BTreeMap::new();
    if let Some(top) = layers.next() {
        let upper = directory(top);
        let beside = |name: &str| upper.strip_suffix("diff").map(|start| format!("{start}{name}"));
        data.extend(beside("merged").map(|path| ("MergedDir", path)));
        data.extend(beside("work").map(|path| ("WorkDir", path)));
        data.insert("UpperDir", upper);
    }
    let lower: Vec<String> = layers.map(directory).collect();
    if !lower.is_empty() {
        data.insert("LowerDir", lower.join(":"));
    }
    let config = &image.config;
    Ok(Json(Inspect {
        repo_tags: held.names_of(&id),
        repo_digests: held.digests_of(&id),
        parent: held.parents.get(&id).cloned().unwrap_or_default(),
        comment: config.history.last().map(|step| step.comment.clone()).unwrap_or_default(),
        created: config.created.clone().unwrap_or_else(|| clock::NEVER.to_owned()),
        docker_version: "",
        author: config.author.clone().unwrap_or_default(),
        config: config.config.clone(),
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        size: image.size,
        graph_driver: GraphDriver { data, name: "overlay2" },
        root_fs: RootFs {
            kind: "layers",
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: Metadata {
            last_tag_time: held.tagged.get(&id).cloned().unwrap_or_else(|| clock::NEVER.to_owned()),
        },
        id,
    }))
}

/// One step in an image's making.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Step {
    comment: String,
    created: i64,
    created_by: String,
    id: String,
    size: u64,
    tags: Option<Vec<String>>,
}

pub(super) fn history(engine: &Engine, name: &str) -> Result<Json<Vec<Step>>, ApiError> {
    let local = engine.images.find(name)?;
    let image = &local.image;
    let mut sizes = image.layers.iter().map(|layer| layer.unpacked_size);
    let mut steps: Vec<Step> = image
        .config
        .history
        .iter()
        .map(|step| Step {
            comment: step.comment.clone(),
            created: step.created.as_deref().map_or_else(|| created(image), clock::seconds),
            created_by: step.created_by.clone(),
            id: "<missing>".to_owned(),
            size: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
            tags: None,
        })
        .collect();
    steps.reverse();
    // What it was made from here is known by its id.
    let held = engine.images.locked();
    let mut next = Some(local.id.to_string());
    for step in &mut steps {
        let Some(id) = next.filter(|id| held.images.contains_key(id)) else { break };
        step.tags = Some(held.names_of(&id)).filter(|names| !names.is_empty());
        next = held.parents.get(&id).cloned();
        step.id = id;
    }
    Ok(Json(steps))
}
