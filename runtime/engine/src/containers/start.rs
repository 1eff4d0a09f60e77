//! `POST /containers/{ref}/start`, `…/restart`

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
};

use super::{
    Container,
    kill::{StopQuery, stop_now},
    record::Status,
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
    let status = container.locked().state.status;
    if status == Status::Paused {
        return Err(ApiError::Conflict("cannot start a paused container, try unpause instead".to_owned()));
    }
    if status.is_active() {
        return Err(ApiError::NotModified);
    }
    by_hand(&container)?;
    begin(&engine, &container).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restarts are counted from a start that somebody asked for.
fn by_hand(container: &Container) -> Result<(), ApiError> {
    container.change(|record| {
        record.restart_count = 0;
        record.streak = 0;
    })
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
    if container.locked().state.status.is_active() {
        stop_now(&engine, &container, &query).await?;
    }
    by_hand(&container)?;
    begin(&engine, &container).await?;
    tell(&engine, &container.record(), "restart", None);
    Ok(StatusCode::NO_CONTENT)
}

/// Starts a container that is [`Status::Restarting`] again, after a pause.
pub(super) fn again(engine: Shared, container: Arc<Container>) {
    let exits = container.life.borrow().exits;
    let streak = container.locked().streak;
    tokio::spawn(async move {
        tokio::time::sleep((PAUSE * 2u32.saturating_pow(streak.min(12))).min(PAUSE_MAX)).await;
        let _busy = container.busy.lock().await;
        // Somebody may have stopped or removed it, or a later pause has begun.
        let life = *container.life.borrow();
        let restarting = container.locked().state.status == Status::Restarting;
        if !restarting || life.removed || life.exits != exits {
            return;
        }
        if let Err(error) = once_more(&engine, &container).await {
            tracing::warn!(%error, container = container.id, "starting a container again failed");
        }
    });
}

async fn once_more(engine: &Shared, container: &Arc<Container>) -> Result<(), ApiError> {
    container.change(|record| {
        record.restart_count += 1;
        record.streak += 1;
    })?;
    begin(engine, container).await
}

/// After a start of the node: what a policy wants up is started.
pub(super) fn by_policy(engine: &Shared, container: &Arc<Container>) -> Result<(), ApiError> {
    let record = container.record();
    let wanted = match record.host_config.restart_policy.name.as_str() {
        "always" => record.state.started_at != crate::clock::NEVER,
        _ => false,
    };
    if wanted && record.state.status == Status::Exited {
        container.change(|record| record.state.status = Status::Restarting)?;
        again(engine.clone(), container.clone());
    }
    Ok(())
}
