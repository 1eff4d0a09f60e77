//! `GET /images/json`

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};

use super::repository;
use crate::{
    clock,
    engine::{Engine, Shared},
    error::ApiError,
    filters::{Filters, glob, is_true},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListQuery {
    filters: String,
    /// With images that others were made from and that have no name.
    all: String,
    /// In the place of a filter, from clients before 1.25.
    filter: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    pub(crate) containers: i64,
    created: i64,
    pub(crate) id: String,
    labels: Option<BTreeMap<String, String>>,
    parent_id: String,
    repo_digests: Vec<String>,
    repo_tags: Vec<String>,
    pub(crate) shared_size: i64,
    size: u64,
    virtual_size: u64,
}

/// `GET /images/json`
pub(crate) async fn list(
    State(engine): State<Shared>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<Summary>>, ApiError> {
    Ok(Json(summaries(&engine, &query)?))
}

/// The images that a query asks for, the newest first.
pub(crate) fn summaries(engine: &Engine, query: &ListQuery) -> Result<Vec<Summary>, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    filters.only(&["before", "dangling", "label", "reference", "since", "until"])?;
    let dangling = filters.flag("dangling")?;
    let created_of = |key: &str| -> Result<Option<i64>, ApiError> {
        let name = filters.values(key).next();
        name.map(|name| Ok(created(&engine.images.find(name)?.image))).transpose()
    };
    let (before, since) = (created_of("before")?, created_of("since")?);
    let until = filters.until()?;
    let held = engine.images.locked();
    let mut list: Vec<Summary> = held
        .images
        .iter()
        .filter(|(id, image)| {
            let created = created(image);
            let is_named = held.keys_of(id).next().is_some();
            let is_step = !is_named && held.has_children(id);
            (is_true(&query.all) || !is_step)
                && dangling.is_none_or(|wanted| (!is_named && !is_step) == wanted)
                && until.is_none_or(|until| created <= until)
                && before.is_none_or(|before| created < before)
                && since.is_none_or(|since| created > since)
                && filters.labels(&image.config.config.labels)
        })
        .filter_map(|(id, image)| {
            let mut names = held.names_of(id);
            if filters.has("reference") || !query.filter.is_empty() {
                let wanted: Vec<&str> = filters
                    .values("reference")
                    .chain(Some(query.filter.as_str()).filter(|one| !one.is_empty()))
                    .collect();
                names.retain(|name| wanted.iter().any(|pattern| fits(pattern, name)));
                if names.is_empty() {
                    return None;
                }
            }
            let labels = image.config.config.labels.clone();
            Some(Summary {
                containers: -1,
                created: created(image),
                id: id.clone(),
                labels: Some(labels).filter(|labels| !labels.is_empty()),
                parent_id: held.parents.get(id).cloned().unwrap_or_default(),
                repo_digests: held.digests_of(id),
                repo_tags: names,
                shared_size: -1,
                size: image.size,
                virtual_size: image.size,
            })
        })
        .collect();
    list.sort_by_key(|image| std::cmp::Reverse(image.created));
    Ok(list)
}

pub(super) fn created(image: &drydock_image::store::Image) -> i64 {
    image.config.created.as_deref().map_or(0, clock::seconds)
}

/// A pattern is for the whole name, or for all tags of a repository.
fn fits(pattern: &str, name: &str) -> bool {
    glob(pattern, name) || glob(pattern, repository(name))
}
