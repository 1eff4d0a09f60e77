//! `POST /containers/{ref}/start`, `…/restart`

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
};

use super::{
    Container,
    kill::{StopQuery, stop_now},
    run, tell,
};
use crate::{engine::Shared, error::ApiError};

/// The first pause before a container is started again; it doubles each time.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// `POST /containers/{ref}/start`
pub(crate) async fn start(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
) -> Result<StatusCode, ApiError> {
    let container = engine.containers.find(&reference)?;
    let _busy = container.busy.lock().await;
    if container.locked().state.status.is_up() {
        return Err(ApiError::NotModified);
    }
    begin(&engine, &container).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts a container; one that can't be and goes by itself is removed.
async fn begin(engine: &Shared, container: &Arc<Container>) -> Result<(), ApiError> {
    let result = run::start(engine, container).await;
    if let Err(error) = &result
        && container.locked().host_config.auto_remove
        && let Err(more) = super::remove::remove(engine, container, true).await
    {
        return Err(ApiError::Failed(format!("{error}; and removing the container failed: {more}")));
    }
    result
}

/// `POST /containers/{ref}/restart`
pub(crate) async fn restart(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    Query(query): Query<StopQuery>,
) -> Result<StatusCode, ApiError> {
    let container = engine.containers.find(&reference)?;
    let _busy = container.busy.lock().await;
    // Its own end must neither remove it nor start it.
    if container.locked().state.status.is_up() {
        stop_now(&engine, &container, &query).await?;
    }
    begin(&engine, &container).await?;
    tell(&engine, &container.record(), "restart", None);
    Ok(StatusCode::NO_CONTENT)
}

/// Starts a container again by its policy, after a pause.
pub(super) fn again(engine: Shared, container: Arc<Container>, times: u32) {
    tokio::spawn(async move {
        tokio::time::sleep((PAUSE * 2u32.saturating_pow(times.min(12))).min(PAUSE_MAX)).await;
        let _busy = container.busy.lock().await;
        let still_wanted = {
            let record = container.locked();
            !record.stopped && !record.state.status.is_up() && !container.life.borrow().removed
        };
        if !still_wanted {
            return;
        }
        if let Err(error) = container.change(|record| record.restart_count += 1) {
            tracing::warn!(%error, container = container.id, "a container is not started again");
            return;
        }
        if let Err(error) = begin(&engine, &container).await {
            tracing::warn!(%error, container = container.id, "starting a container again failed");
        }
    });
}
