//! How much disk things take, and `GET /system/df`.

use std::{collections::HashSet, fs, os::unix::fs::MetadataExt, path::Path};

use axum::{
    Json,
    extract::{Query, State},
};
use serde_json::{Value, json};

use crate::{engine::Shared, error::ApiError};

/// A tree with more entries is measured only so far, for it is walked while
/// others wait.
const ENTRIES_MAX: usize = 100_000;

/// Bytes of all files and links below a directory, each file counted once
/// whatever names it has, as Docker counts; what can't be read counts nothing.
pub(crate) fn size_of(path: &Path) -> u64 {
    let mut waiting = vec![path.to_owned()];
    let (mut size, mut entries, mut seen) = (0, 0, HashSet::new());
    while let Some(directory) = waiting.pop() {
        let Ok(list) = fs::read_dir(directory) else { continue };
        for entry in list.flatten() {
            entries += 1;
            if entries > ENTRIES_MAX {
                return size;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else if metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())) {
                size += metadata.size();
            }
        }
    }
    size
}

/// `GET /system/df`, or some parts of it: `?type=image&type=volume`.
pub(crate) async fn df(
    State(engine): State<Shared>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ApiError> {
    let types: Vec<&str> =
        query.iter().filter(|(key, _)| key == "type").map(|(_, kind)| kind.as_str()).collect();
    const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];
    if let Some(unknown) = types.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(ApiError::Invalid(format!("unknown object type: {unknown}")));
    }
    let is_wanted = |kind: &str| types.is_empty() || types.contains(&kind);
    let mut answer =
        json!({ "LayersSize": 0, "Images": null, "Containers": null, "Volumes": null, "BuildCache": null });
    if is_wanted("image") {
        let (images, layers) = crate::images::usage::usage(&engine)?;
        (answer["LayersSize"], answer["Images"]) = (json!(layers), json!(images));
    }
    if is_wanted("container") {
        let query = Query(crate::containers::list::ListQuery::everything());
        answer["Containers"] = json!(crate::containers::list::list(State(engine.clone()), query).await?.0);
    }
    if is_wanted("volume") {
        answer["Volumes"] = json!(crate::volumes::usage(&engine)?);
    }
    if is_wanted("build-cache") {
        answer["BuildCache"] = json!([]);
    }
    Ok(Json(answer))
}
