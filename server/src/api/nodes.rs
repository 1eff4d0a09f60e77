//! `/api/sessions/{id}/nodes`: the life of a session's nodes.

use std::time::Duration;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use drydock_agent::Agent;
use drydock_protocol::{
    agent::Exec,
    host::{AddNode, Verb},
};
use serde::{Deserialize, Serialize};

use super::{Json, sessions::SessionView};
use crate::{
    error::AppError,
    learner::Learner,
    sessions::{find_node, within},
    state::AppState,
};

/// Counts containers and images, each once; says nothing if Docker does not answer.
const COUNT: &str = "a=$(docker ps -aq) && b=$(docker images -q) && \
                     for ids in \"$a\" \"$b\"; do sort -u <<<\"$ids\" | grep -c .; done";

/// How long the node may take to count.
const PATIENCE: Duration = Duration::from_secs(5);

/// Two numbers are shorter.
const OUTPUT_MAX: usize = 1024;

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

/// What is in a node that its reset would delete.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Contents {
    containers: u64,
    images: u64,
}

/// `GET /api/sessions/{id}/nodes/{node}/contents`
pub async fn contents(
    State(app): State<AppState>,
    learner: Learner,
    Path((id, node)): Path<(String, String)>,
) -> Result<Answer<Contents>, AppError> {
    let session = app.sessions.get(&learner, &id).await?;
    let node = find_node(&session, &node)?;
    let exec = Exec {
        argv: ["bash", "-c", COUNT].map(str::to_owned).to_vec(),
        timeout_ms: Some(PATIENCE.as_millis() as u64),
        ..Exec::default()
    };
    let count = async { Agent::connect(&node.agent).await?.run(exec, b"", OUTPUT_MAX).await };
    let output = within(PATIENCE, count).await?;
    counted(&String::from_utf8_lossy(&output.stdout))
        .map(Answer)
        .ok_or_else(|| AppError::Conflict(format!("what is in {} could not be counted", node.name)))
}

fn counted(text: &str) -> Option<Contents> {
    let (containers, images) = text.trim().split_once('\n')?;
    Some(Contents { containers: containers.parse().ok()?, images: images.parse().ok()? })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_are_two_counts() {
        assert_eq!(counted("2\n1\n"), Some(Contents { containers: 2, images: 1 }));
        assert_eq!(counted(""), None);
        assert_eq!(counted("2\nmany"), None);
    }
}
