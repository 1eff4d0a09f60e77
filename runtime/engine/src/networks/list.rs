//! `GET /networks` and `GET /networks/{ref}`

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};

use super::{Network, known::Ipam};
use crate::{engine::Engine, engine::Shared, error::ApiError, filters::Filters};

/// A network, as `docker network inspect` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Shown {
    name: String,
    id: String,
    created: String,
    scope: &'static str,
    driver: &'static str,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
    internal: bool,
    attachable: bool,
    ingress: bool,
    config_from: ConfigFrom,
    config_only: bool,
    containers: BTreeMap<String, Member>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigFrom {
    network: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    name: String,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    mac_address: String,
    #[serde(rename = "IPv4Address")]
    ipv4_address: String,
    #[serde(rename = "IPv6Address")]
    ipv6_address: &'static str,
}

fn show(network: Network, containers: BTreeMap<String, Member>) -> Shown {
    Shown {
        name: network.name,
        id: network.id,
        created: network.created,
        scope: "local",
        driver: network.driver.word(),
        enable_ipv4: true,
        enable_ipv6: false,
        ipam: network.ipam,
        internal: network.internal,
        attachable: network.attachable,
        ingress: false,
        config_from: ConfigFrom { network: "" },
        config_only: false,
        containers,
        options: network.options,
        labels: network.labels,
    }
}

/// The containers that have a place in a network now: name and endpoint's id.
pub(super) fn active(engine: &Engine, network: &Network) -> Vec<(String, String)> {
    let members = members(engine, network).into_values();
    members.map(|member| (member.name, member.endpoint_id)).collect()
}

fn members(engine: &Engine, network: &Network) -> BTreeMap<String, Member> {
    let mut members = BTreeMap::new();
    for container in engine.containers.all() {
        let record = container.locked();
        if let Some(endpoint) =
            record.sandbox.as_ref().and_then(|sandbox| sandbox.endpoints.get(&network.name))
        {
            let member = Member {
                name: record.name.clone(),
                endpoint_id: endpoint.id.clone(),
                mac_address: endpoint.mac.clone(),
                ipv4_address: format!("{}/{}", endpoint.address, endpoint.prefix),
                ipv6_address: "",
            };
            members.insert(record.id.clone(), member);
        } else if network.pool.is_none()
            && record.state.status.is_up()
            && record.networks.contains_key(&network.name)
        {
            let member = Member {
                name: record.name.clone(),
                endpoint_id: record.id.clone(),
                mac_address: String::new(),
                ipv4_address: String::new(),
                ipv6_address: "",
            };
            members.insert(record.id.clone(), member);
        }
    }
    members
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NetworksQuery {
    filters: String,
}

/// `GET /networks`
pub(crate) async fn list(
    State(engine): State<Shared>,
    Query(query): Query<NetworksQuery>,
) -> Result<Json<Vec<Shown>>, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    filters.only(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    if let Some(kind) = filters.values("type").find(|kind| !matches!(*kind, "builtin" | "custom")) {
        return Err(ApiError::Invalid(format!("invalid filter: 'type'='{kind}'")));
    }
    let dangling = filters.flag("dangling")?;
    let fits = |network: &Network| {
        let kind = if network.is_predefined() { "builtin" } else { "custom" };
        filters.allows("name", |wanted| network.name.contains(wanted))
            && filters.allows("driver", |wanted| network.driver.word() == wanted)
            && filters.allows("id", |wanted| network.id.starts_with(wanted))
            && filters.allows("scope", |wanted| wanted == "local")
            && filters.allows("type", |wanted| wanted == kind)
            && filters.labels(&network.labels)
            && dangling.is_none_or(|dangling| {
                !network.is_predefined() && active(&engine, network).is_empty() == dangling
            })
    };
    let chosen = engine.networks.all().into_iter().filter(fits);
    Ok(Json(chosen.map(|network| show(network, BTreeMap::new())).collect()))
}

/// `GET /networks/{ref}`
pub(crate) async fn inspect(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
) -> Result<Json<Shown>, ApiError> {
    let network = engine.networks.find(&reference)?;
    let members = members(&engine, &network);
    Ok(Json(show(network, members)))
}
