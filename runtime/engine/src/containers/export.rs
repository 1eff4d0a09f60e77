//! `GET /containers/{ref}/export`

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};

use super::helper;
use crate::{
    container::config::{Export, Stage},
    engine::Shared,
    error::{ApiError, failed},
};

/// `GET /containers/{ref}/export`: a helper writes the tar.
pub(crate) async fn export(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
) -> Result<Response, ApiError> {
    let container = engine.containers.find(&reference)?;
    let root = helper::root(&container);
    let stage = |cgroup_tasks| Stage::Export(Export { cgroup_tasks, root });
    let helper = helper::at_root(&engine, "export", stage).await?;
    let first = helper.piece().await.map_err(failed("reading the tar failed"))?;
    if first.is_empty() {
        let failure = helper::failure(helper.message().await?);
        return Err(failure.context("exporting failed: "));
    }
    Ok(([("content-type", "application/octet-stream")], helper.into_body(first)).into_response())
}
