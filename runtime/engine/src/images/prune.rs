//! `POST /images/prune` and `POST /build/prune`

use std::collections::{BTreeMap, HashMap};

use axum::{
    Json,
    extract::{Query, State},
};
use drydock_image::digest::Digest;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    is_tag,
    layers::sweep,
    list::created,
    remove::{Gone, How, chains_of, remove_one},
};
use crate::{
    engine::Shared,
    error::ApiError,
    filters::{Filters, PruneQuery},
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pruned {
    images_deleted: Option<Vec<Gone>>,
    space_reclaimed: u64,
}

/// `POST /images/prune`: images without a name; with `dangling=false` all that
/// no container uses.
pub(crate) async fn prune(
    State(engine): State<Shared>,
    Query(query): Query<PruneQuery>,
) -> Result<Json<Pruned>, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    filters.only(&["dangling", "label", "label!", "until"])?;
    let only_unnamed = filters.flag("dangling")?.unwrap_or(true);
    let until = filters.until()?;
    let (sizes, asked) = {
        let held = engine.images.locked();
        let sizes = layer_sizes(held.images.values());
        let meant = held.images.iter().filter(|(id, image)| {
            let is_step = held.keys_of(id).next().is_none() && held.has_children(id);
            !is_step
                && filters.prune_labels(&image.config.config.labels)
                && until.is_none_or(|until| created(image) <= until)
        });
        let mut asked = Vec::new();
        for (id, _) in meant {
            let keys: Vec<String> = held.keys_of(id).cloned().collect();
            match keys.is_empty() {
                true => asked.push(id.clone()),
                false if !only_unnamed || !keys.iter().any(|key| is_tag(key)) => asked.extend(keys),
                false => {}
            }
        }
        (sizes, asked)
    };
    let mut gone = Vec::new();
    for one in asked {
        // What a container uses stays, and so does a name that went meanwhile.
        match remove_one(&engine, &one, How { force: false, parents: true }) {
            Ok(removed) => gone.extend(removed),
            Err(ApiError::Conflict(_) | ApiError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    sweep(&engine).await;
    let space_reclaimed = gone.iter().filter_map(|one| match one {
        Gone::Deleted(digest) => sizes.get(digest),
        Gone::Untagged(_) => None,
    });
    let space_reclaimed = space_reclaimed.sum();
    let reclaimed = BTreeMap::from([("reclaimed".to_owned(), u64::to_string(&space_reclaimed))]);
    engine.events.tell("image", "prune", "", reclaimed);
    Ok(Json(Pruned { images_deleted: Some(gone).filter(|gone| !gone.is_empty()), space_reclaimed }))
}

/// Sizes of layers by the digests of their chains.
pub(crate) fn layer_sizes<'a>(
    images: impl Iterator<Item = &'a drydock_image::store::Image>,
) -> HashMap<String, u64> {
    let sizes = images.flat_map(|image| {
        let chains: Vec<Digest> = chains_of(image);
        let sizes: Vec<u64> = image.layers.iter().map(|layer| layer.unpacked_size).collect();
        chains.into_iter().map(|chain| chain.to_string()).zip(sizes)
    });
    sizes.collect()
}

/// `POST /build/prune`: the classic builder keeps no cache but its images.
pub(crate) async fn prune_builds(Query(query): Query<PruneQuery>) -> Result<Json<Value>, ApiError> {
    Filters::parse(&query.filters)?;
    Ok(Json(json!({ "CachesDeleted": null, "SpaceReclaimed": 0 })))
}
