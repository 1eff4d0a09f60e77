//! `GET /containers/{ref}/changes`: what `docker diff` shows.

use axum::{
    Json,
    extract::{Path, State},
};

use super::helper;
use crate::{
    container::{
        changes::Change,
        config::{Changes, Stage},
    },
    engine::Shared,
    error::{ApiError, failed},
};

/// The list may be this long, in bytes.
const LIST_MAX: usize = 32 << 20;

/// `GET /containers/{ref}/changes`
pub(crate) async fn changes(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
) -> Result<Json<Option<Vec<Change>>>, ApiError> {
    let container = engine.containers.find(&reference)?;
    let root = helper::root(&container);
    let stage = |cgroup_tasks| Stage::Changes(Changes { cgroup_tasks, root });
    let mut helper = helper::at_root(&engine, "changes", stage).await?;
    helper.close_stdin();
    let text = helper.all(LIST_MAX).await.map_err(failed("reading what changed failed"))?;
    if text.is_empty() {
        return Err(helper::failure(helper.message().await?));
    }
    let found: Vec<Change> = serde_json::from_slice(&text).map_err(failed("reading what changed failed"))?;
    Ok(Json(Some(found).filter(|found| !found.is_empty())))
}
