//! `/api/sessions/{id}/nodes/{node}/files`: files of a node.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use drydock_agent::{Agent, AgentError};
use serde::Deserialize;

use crate::{
    error::AppError,
    learner::Learner,
    sessions::{find_node, within},
    state::AppState,
};

/// The longest file that goes through the page, in bytes.
pub const FILE_MAX: usize = 1 << 20;

/// How long a node may take for a file.
const PATIENCE: Duration = Duration::from_secs(30);

/// The query of both requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    path: String,
}

/// `PUT /api/sessions/{id}/nodes/{node}/files?path=`: the body becomes the file.
pub async fn put(
    State(app): State<AppState>,
    learner: Learner,
    Path((id, node)): Path<(String, String)>,
    Query(which): Query<Which>,
    body: Bytes,
) -> Result<StatusCode, AppError> {
    let session = app.sessions.get(&learner, &id).await?;
    let node = find_node(&session, &node)?;
    check_path(&which.path)?;
    within(PATIENCE, async { Agent::connect(&node.agent).await?.put(&which.path, 0o644, &body).await })
        .await?;
    app.sessions.touch(&id);
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/sessions/{id}/nodes/{node}/files?path=`: the file, or no content
/// when nothing is there, which is no fault.
pub async fn get(
    State(app): State<AppState>,
    learner: Learner,
    Path((id, node)): Path<(String, String)>,
    Query(which): Query<Which>,
) -> Result<Response, AppError> {
    let session = app.sessions.get(&learner, &id).await?;
    let node = find_node(&session, &node)?;
    check_path(&which.path)?;
    let get = async {
        match Agent::connect(&node.agent).await?.get(&which.path, FILE_MAX as u64).await {
            Err(AgentError::NoSuchFile) => Ok(None),
            got => got.map(Some),
        }
    };
    let Some(bytes) = within(PATIENCE, get).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    // Never shown by the browser as a page of ours, whatever it holds.
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream"), (header::CONTENT_DISPOSITION, "attachment")];
    Ok((headers, bytes).into_response())
}

fn check_path(path: &str) -> Result<(), AppError> {
    if path.starts_with('/') && path.len() <= 4096 && !path.contains('\0') {
        Ok(())
    } else {
        Err(AppError::Bad(format!("{path:?} is not an absolute path")))
    }
}
