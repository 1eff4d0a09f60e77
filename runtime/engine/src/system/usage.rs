//! How much disk things take, and `GET /system/df`.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{engine::Shared, error::ApiError};

/// A tree with more entries is measured only so far, for it is walked while
/// others wait.
const ENTRIES_MAX: usize = 100_000;

/// Bytes of all files below a directory; what can't be read counts nothing.
pub(crate) fn size_of(path: &Path) -> u64 {
    let mut waiting = vec![path.to_owned()];
    let (mut size, mut entries) = (0, 0);
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
            } else if metadata.is_file() {
                size += metadata.size();
            }
        }
    }
    size
}

/// `GET /system/df`
pub(crate) async fn df(State(engine): State<Shared>) -> Result<Json<Value>, ApiError> {
    use axum::extract::Query;
    let images = crate::images::list::list(State(engine.clone()), Query(Default::default())).await?.0;
    let containers = crate::containers::list::list(
        State(engine.clone()),
        Query(crate::containers::list::ListQuery::everything()),
    )
    .await?
    .0;
    let volumes = crate::volumes::usage(&engine)?;
    let layers: u64 = images.iter().map(|image| image.size()).sum();
    Ok(Json(json!({
        "LayersSize": layers, "Images": images, "Containers": containers, "Volumes": volumes, "BuildCache": [],
        "BuilderSize": 0,
    })))
}
