//! `HEAD`, `GET` and `PUT /containers/{ref}/archive`: `docker cp`.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Query, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use serde::Deserialize;

use super::{
    Container,
    helper::{self, Helper},
};
use crate::{
    container::{
        FromStage,
        config::FilesTask,
        files::{PathStat, Refusal},
    },
    engine::Shared,
    error::{ApiError, failed},
    filters::is_true,
};

const STAT: &str = "x-docker-container-path-stat";
/// No path is longer.
const PATH_MAX: usize = 4096;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ArchiveQuery {
    path: String,
    #[serde(rename = "noOverwriteDirNonDir")]
    keep_kind: String,
}

fn checked(query: &ArchiveQuery) -> Result<String, ApiError> {
    if query.path.is_empty() {
        return Err(ApiError::Invalid("missing parameter in request: path".to_owned()));
    }
    if query.path.len() > PATH_MAX {
        return Err(ApiError::Invalid("the path is too long".to_owned()));
    }
    Ok(query.path.clone())
}

/// `HEAD /containers/{ref}/archive`
pub(crate) async fn head(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<ArchiveQuery>,
) -> Result<Response, ApiError> {
    let path = checked(&query)?;
    let container = engine.containers.find(&reference)?;
    let helper = helper::at_path(&engine, &container, FilesTask::Stat { path: path.clone() }).await?;
    let stat = stat(&helper, &path, &reference).await?;
    Ok(([(STAT, stat)], StatusCode::OK).into_response())
}

/// `GET /containers/{ref}/archive`
pub(crate) async fn get(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<ArchiveQuery>,
) -> Result<Response, ApiError> {
    let path = checked(&query)?;
    let container = engine.containers.find(&reference)?;
    let mut helper = helper::at_path(&engine, &container, FilesTask::Get { path: path.clone() }).await?;
    helper.close_stdin();
    let stat = stat(&helper, &path, &reference).await?;
    let first = helper.piece().await.map_err(failed("reading the files failed"))?;
    if first.is_empty() {
        return Err(helper::failure(helper.message().await?));
    }
    let headers = [("content-type", "application/x-tar".to_owned()), (STAT, stat)];
    Ok((headers, helper.into_body(first)).into_response())
}

/// What the helper says of the path, as the header has it.
async fn stat(helper: &Helper, path: &str, reference: &str) -> Result<String, ApiError> {
    let stat: PathStat = match helper.message().await? {
        Some(FromStage::Stat(stat)) => stat,
        Some(FromStage::Refused(Refusal::Missing | Refusal::NotDirectory)) => {
            return Err(ApiError::NotFound(format!(
                "Could not find the file {path} in container {reference}"
            )));
        }
        other => return Err(helper::failure(other)),
    };
    let text = serde_json::to_vec(&stat).map_err(failed("writing what the path is failed"))?;
    Ok(STANDARD.encode(text))
}

/// `PUT /containers/{ref}/archive`
pub(crate) async fn put(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<ArchiveQuery>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let path = checked(&query)?;
    let container = engine.containers.find(&reference)?;
    refuse_readonly(&container, &path)?;
    let task = FilesTask::Put { path: path.clone(), keep_kind: is_true(&query.keep_kind) };
    let mut helper = helper::at_path(&engine, &container, task).await?;
    let broken = pour(request.into_body(), &mut helper).await;
    helper.close_stdin();
    match helper.message().await? {
        None => broken,
        Some(FromStage::Refused(refusal)) => Err(match refusal {
            Refusal::Missing => {
                ApiError::NotFound(format!("Could not find the file {path} in container {reference}"))
            }
            Refusal::NotDirectory => ApiError::Invalid("extraction point is not a directory".to_owned()),
            Refusal::ReadOnly => ApiError::Forbidden(READ_ONLY.to_owned()),
            Refusal::Unfit(words) => ApiError::Invalid(words),
        }),
        other => Err(helper::failure(other)),
    }?;
    Ok(StatusCode::OK)
}

const READ_ONLY: &str = "container rootfs is marked read-only";

/// A read-only root takes files only below a volume that can be written.
fn refuse_readonly(container: &Arc<Container>, path: &str) -> Result<(), ApiError> {
    let record = container.locked();
    let path = std::path::Path::new(path);
    let over = record.mounts.iter().filter(|point| path.starts_with(&point.destination));
    let point = over.max_by_key(|point| point.destination.len());
    match point {
        Some(point) if !point.rw => Err(ApiError::Forbidden("mounted volume is marked read-only".to_owned())),
        None if record.host_config.readonly_rootfs => Err(ApiError::Forbidden(READ_ONLY.to_owned())),
        _ => Ok(()),
    }
}

/// Moves the body into the helper. All of it is read, or the client may never
/// look at the answer.
async fn pour(body: Body, helper: &mut Helper) -> Result<(), ApiError> {
    let mut pieces = body.into_data_stream();
    let mut takes = true;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(failed("reading the request failed"))?;
        takes = takes && helper.give(&piece).await;
    }
    Ok(())
}
