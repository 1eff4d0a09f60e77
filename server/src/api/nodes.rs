//! `/api/sessions/{id}/nodes`: the life of a session's nodes.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use drydock_protocol::host::{AddNode, Verb};
use serde::Deserialize;

use super::{Json, sessions::SessionView};
use crate::{error::AppError, learner::Learner, state::AppState};

/// The body of `POST /api/sessions/{id}/nodes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {
    #[serde(default)]
    name: Option<String>,
}

/// `POST /api/sessions/{id}/nodes`
pub async fn add(
    State(app): State<AppState>,
    learner: Learner,
    Path(id): Path<String>,
    Json(body): Json<Add>,
) -> Result<Answer<SessionView>, AppError> {
    let session = app.sessions.add_node(&learner, &id, &AddNode { name: body.name }).await?;
    Ok(Answer(SessionView::new(&app, &session)))
}

/// `DELETE /api/sessions/{id}/nodes/{node}`
pub async fn remove(
    State(app): State<AppState>,
    learner: Learner,
    Path((id, node)): Path<(String, String)>,
) -> Result<Answer<SessionView>, AppError> {
    let session = app.sessions.remove_node(&learner, &id, &node).await?;
    Ok(Answer(SessionView::new(&app, &session)))
}

/// `POST /api/sessions/{id}/nodes/{node}/{verb}`
pub async fn verb(
    State(app): State<AppState>,
    learner: Learner,
    Path((id, node, verb)): Path<(String, String, String)>,
) -> Result<Answer<SessionView>, AppError> {
    let verb: Verb = verb.parse().map_err(|()| AppError::NotFound)?;
    let session = app.sessions.verb(&learner, &id, &node, verb).await?;
    Ok(Answer(SessionView::new(&app, &session)))
}
