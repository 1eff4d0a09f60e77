//! `POST /containers/{ref}/update`: limits and restart policy of a container,
//! running or not.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};

use super::{
    config::{HostConfig, RestartPolicy, from_body},
    group, limits, tell,
};
use crate::{engine::Shared, error::ApiError};

/// What may be changed; nothing and zero leave it as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct UpdateBody {
    cpu_shares: i64,
    memory: i64,
    memory_swap: i64,
    memory_reservation: i64,
    nano_cpus: i64,
    cpu_period: i64,
    cpu_quota: i64,
    cpuset_cpus: String,
    cpuset_mems: String,
    blkio_weight: u16,
    pids_limit: Option<i64>,
    restart_policy: RestartPolicy,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Updated {
    warnings: Option<Vec<String>>,
}

/// `POST /containers/{ref}/update`
pub(crate) async fn update(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    body: Bytes,
) -> Result<Json<Updated>, ApiError> {
    let body: UpdateBody =
        from_body(&body).map_err(|error| ApiError::Invalid(format!("invalid JSON: {error}")))?;
    let container = engine.containers.find(&reference)?;
    let _busy = container.busy.lock().await;
    let record = container.record();
    if container.life.borrow().removed {
        return Err(ApiError::NotFound(format!("No such container: {reference}")));
    }
    let mut host = record.host_config.clone();
    let words = |error: ApiError| error.context(&format!("Cannot update container {}: ", container.id));
    apply(&body, &mut host).map_err(words)?;
    limits::normalise(&engine, &mut host).map_err(words)?;
    let mut changed = record.clone();
    changed.host_config = host;
    if record.state.status.is_up() && limits::limits(&changed) != limits::limits(&record) {
        let number = group::own(&engine, &container).await?;
        engine.cgroups.limit(&engine.keeper, number, &limits::limits(&changed)).await.map_err(words)?;
    }
    container.change(|record| record.host_config = changed.host_config)?;
    tell(&engine, &container.record(), "update", None);
    Ok(Json(Updated { warnings: None }))
}

fn apply(body: &UpdateBody, host: &mut HostConfig) -> Result<(), ApiError> {
    let refuse = |text: &str| Err(ApiError::Conflict(text.to_owned()));
    if body.nano_cpus != 0 && (host.cpu_quota != 0 || host.cpu_period != 0) {
        return refuse(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota or Period has already been set",
        );
    }
    if (body.cpu_quota != 0 || body.cpu_period != 0) && host.nano_cpus != 0 {
        return refuse(
            "Conflicting options: CPU Quota or Period cannot be updated as NanoCPUs has already been set",
        );
    }
    if body.memory > 0 && body.memory_swap == 0 && host.memory_swap > 0 && body.memory > host.memory_swap {
        return refuse(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        );
    }
    let set = |to: &mut i64, value: i64| {
        if value != 0 {
            *to = value;
        }
    };
    set(&mut host.cpu_shares, body.cpu_shares);
    set(&mut host.memory, body.memory);
    set(&mut host.memory_swap, body.memory_swap);
    set(&mut host.memory_reservation, body.memory_reservation);
    set(&mut host.nano_cpus, body.nano_cpus);
    set(&mut host.cpu_period, body.cpu_period);
    set(&mut host.cpu_quota, body.cpu_quota);
    if !body.cpuset_cpus.is_empty() {
        host.cpuset_cpus.clone_from(&body.cpuset_cpus);
    }
    if !body.cpuset_mems.is_empty() {
        host.cpuset_mems.clone_from(&body.cpuset_mems);
    }
    if body.blkio_weight != 0 {
        host.blkio_weight = body.blkio_weight;
    }
    if let Some(pids) = body.pids_limit {
        host.pids_limit = Some(pids).filter(|pids| *pids > 0);
    }
    if !body.restart_policy.name.is_empty() {
        if host.auto_remove && body.restart_policy.name != "no" {
            return refuse(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            );
        }
        host.restart_policy = body.restart_policy.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_stays() {
        let mut host = HostConfig { memory: 100 << 20, memory_swap: 200 << 20, ..HostConfig::default() };
        let body: UpdateBody =
            from_body(br#"{"CpuShares":512,"Memory":0,"RestartPolicy":{"Name":""}}"#).unwrap();
        apply(&body, &mut host).unwrap();
        assert_eq!((host.memory, host.cpu_shares), (100 << 20, 512));
        let more = UpdateBody { memory: 300 << 20, ..UpdateBody::default() };
        assert!(matches!(apply(&more, &mut host), Err(ApiError::Conflict(_))));
    }
}
