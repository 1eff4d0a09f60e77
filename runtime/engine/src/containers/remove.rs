//! `DELETE /containers/{ref}` and `POST /containers/prune`

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{
    Container, directory,
    kill::{StopQuery, stop_now},
    record::Status,
    remove_tree, tell,
};
use crate::{
    clock,
    engine::Shared,
    error::{ApiError, failed},
    filters::{Filters, PruneQuery, is_true},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RemoveQuery {
    force: String,
    v: String,
}

/// `DELETE /containers/{ref}`
pub(crate) async fn delete(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Result<StatusCode, ApiError> {
    let container = engine.containers.find(&reference)?;
    let _busy = container.busy.lock().await;
    let status = container.locked().state.status;
    if status.is_active() {
        if !is_true(&query.force) {
            let name = container.locked().name.clone();
            let state = status.word();
            return Err(ApiError::Conflict(format!(
                "cannot remove container \"{name}\": container is {state}: stop the container before removing or force \
                 remove"
            )));
        }
        let at_once: StopQuery = StopQuery::at_once();
        stop_now(&engine, &container, &at_once).await?;
    }
    remove(&engine, &container, is_true(&query.v)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a container that doesn't run; one that is gone already is fine.
pub(super) async fn remove(
    engine: &Shared,
    container: &Arc<Container>,
    volumes: bool,
) -> Result<(), ApiError> {
    {
        let mut record = container.locked();
        if record.state.status == Status::Removing || container.life.borrow().removed {
            return Ok(());
        }
        record.state.status = Status::Removing;
    }
    // Noted for an engine after us, as far as the disk has room.
    if let Err(error) = container.change(|_| ()) {
        tracing::warn!(%error, container = container.id, "that a container is being removed is not noted");
    }
    finish(engine, container, volumes)
}

/// Takes away all that a container has.
pub(super) fn finish(engine: &Shared, container: &Container, volumes: bool) -> Result<(), ApiError> {
    let record = container.record();
    remove_tree(std::path::Path::new(&record.overlay()))
        .map_err(failed("removing the container's files failed"))?;
    remove_tree(&directory(&container.id)).map_err(failed("removing the container's state failed"))?;
    engine.containers.remove(&container.id);
    if volumes {
        for point in record.mounts.iter().filter(|point| point.kind == "volume") {
            engine.volumes.remove_anonymous(engine, &point.name);
        }
    }
    tell(engine, &record, "destroy", None);
    container.life.send_modify(|life| life.removed = true);
    Ok(())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pruned {
    containers_deleted: Option<Vec<String>>,
    space_reclaimed: u64,
}

/// `POST /containers/prune`
pub(crate) async fn prune(
    State(engine): State<Shared>,
    Query(query): Query<PruneQuery>,
) -> Result<Json<Pruned>, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    filters.only(&["label", "label!", "until"])?;
    let until = filters.until()?;
    let (mut gone, mut space) = (Vec::new(), 0);
    for container in engine.containers.all() {
        let _busy = container.busy.lock().await;
        let record = container.record();
        let old = until.is_none_or(|until| clock::seconds(&record.created) <= until);
        if record.state.status.is_active() || !old || !filters.prune_labels(&record.config.labels) {
            continue;
        }
        space +=
            crate::system::usage::size_of(std::path::Path::new(&record.overlay()).join("diff").as_path());
        remove(&engine, &container, false).await?;
        gone.push(container.id.clone());
    }
    let reclaimed = BTreeMap::from([("reclaimed".to_owned(), u64::to_string(&space))]);
    engine.events.tell("container", "prune", "", reclaimed);
    Ok(Json(Pruned {
        containers_deleted: Some(gone).filter(|gone| !gone.is_empty()),
        space_reclaimed: space,
    }))
}
