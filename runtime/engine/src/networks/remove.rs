//! `DELETE /networks/{ref}` and `POST /networks/prune`

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Serialize;

use super::{Network, Networks, bridge, list::active, lock, tell};
use crate::{
    clock,
    engine::Shared,
    error::{ApiError, failed},
    filters::{Filters, PruneQuery},
};

/// `DELETE /networks/{ref}`
pub(crate) async fn delete(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
) -> Result<StatusCode, ApiError> {
    let _changing = engine.networks.changing.lock().await;
    let network = engine.networks.find(&reference)?;
    if network.is_predefined() {
        let text = format!("{} is a pre-defined network and cannot be removed", network.name);
        return Err(ApiError::Forbidden(text));
    }
    remove(&engine, &network).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(engine: &Shared, network: &Network) -> Result<(), ApiError> {
    let active = active(engine, network);
    if !active.is_empty() {
        let list: Vec<String> =
            active.iter().map(|(name, id)| format!("name:\"{name}\" id:\"{}\"", &id[..12])).collect();
        return Err(ApiError::Forbidden(format!(
            "error while removing network: network {} has active endpoints ({})",
            network.name,
            list.join(", ")
        )));
    }
    engine.networks.prepare(engine).await?;
    engine.networks.remove_made(network).await?;
    tell(engine, network, "destroy", None);
    Ok(())
}

impl Networks {
    /// Removes a network from the kernel and from disk.
    pub(super) async fn remove_made(&self, network: &Network) -> Result<(), ApiError> {
        if let Some(bridge) = network.bridge() {
            let rules = self.rules.clone();
            let work = move || {
                bridge::remove(&bridge)?;
                rules.remove_bridge(&bridge).map_err(failed("setting the packet filter's rules failed"))
            };
            tokio::task::spawn_blocking(work).await.map_err(failed("removing the network failed"))??;
        }
        lock(&self.taken).remove(&network.id);
        self.change(|known| known.retain(|other| other.id != network.id))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pruned {
    networks_deleted: Option<Vec<String>>,
}

/// `POST /networks/prune`
pub(crate) async fn prune(
    State(engine): State<Shared>,
    Query(query): Query<PruneQuery>,
) -> Result<Json<Pruned>, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    filters.only(&["label", "label!", "until"])?;
    let until = filters.until()?;
    let _changing = engine.networks.changing.lock().await;
    let mut gone = Vec::new();
    for network in engine.networks.all() {
        let old = until.is_none_or(|until| clock::seconds(&network.created) < until);
        let chosen = !network.is_predefined() && old && filters.prune_labels(&network.labels);
        if chosen && active(&engine, &network).is_empty() {
            remove(&engine, &network).await?;
            gone.push(network.name);
        }
    }
    Ok(Json(Pruned { networks_deleted: Some(gone).filter(|gone| !gone.is_empty()) }))
}
