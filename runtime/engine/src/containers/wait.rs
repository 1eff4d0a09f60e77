//! `POST /containers/{ref}/wait`

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::{engine::Shared, error::ApiError};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WaitQuery {
    condition: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Waited {
    status_code: i32,
}

/// `POST /containers/{ref}/wait`: the headers come at once, for the CLI starts
/// the container when it has them; the body comes with the end.
pub(crate) async fn wait(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Result<Response, ApiError> {
    let container = engine.containers.find(&reference)?;
    let mut life = container.life.subscribe();
    let exits = life.borrow().exits;
    let condition = query.condition;
    if !matches!(condition.as_str(), "" | "not-running" | "next-exit" | "removed") {
        return Err(ApiError::Invalid(format!("invalid condition: \"{condition}\"")));
    }
    let result = async move {
        let ended = life
            .wait_for(|life| match condition.as_str() {
                "next-exit" => life.exits > exits || life.removed,
                "removed" => life.removed,
                _ => !life.up,
            })
            .await;
        // The container's own end of the channel is kept by the handler.
        let status_code = ended.map_or(0, |life| life.exit_code);
        let body = serde_json::to_vec(&Waited { status_code }).unwrap_or_default();
        drop(container);
        Ok::<_, Infallible>(Bytes::from(body))
    };
    let body = Body::from_stream(futures_util::stream::once(result));
    Ok(([("content-type", "application/json")], body).into_response())
}
