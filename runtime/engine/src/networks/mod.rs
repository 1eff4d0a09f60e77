//! Networks: `/networks/…`. There are Docker's three: `bridge`, `host`, `none`.

mod bridge;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::Ipv4Addr,
    os::fd::BorrowedFd,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};

use crate::{
    clock,
    containers::record::{Endpoint, Record},
    engine::{Engine, Shared, below_root},
    error::ApiError,
    filters::Filters,
    random, state_file,
};

pub(crate) use bridge::GATEWAY;

/// The networks, as kept on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    created: String,
    bridge: String,
    host: String,
    none: String,
}

/// All networks, and who has which address.
pub(crate) struct Networks {
    known: Known,
    bridge: bridge::Bridge,
    taken: Mutex<HashMap<Ipv4Addr, String>>,
}

impl Networks {
    /// Reads what is known, or begins anew.
    pub(crate) fn load() -> io::Result<Networks> {
        let path = below_root(&["networks.json"]);
        let known = match state_file::read(&path)? {
            Some(known) => known,
            None => {
                let known = Known {
                    created: clock::now(),
                    bridge: random::id(),
                    host: random::id(),
                    none: random::id(),
                };
                state_file::write(&path, &known)?;
                known
            }
        };
        Ok(Networks { known, bridge: bridge::Bridge::default(), taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, String>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the bridge, ahead of the first container.
    pub(crate) async fn prepare(&self) -> Result<(), ApiError> {
        self.bridge.get().await.map(drop)
    }

    /// Refuses a network that is not there.
    pub(crate) fn check(&self, name: &str) -> Result<(), ApiError> {
        if matches!(name, "bridge" | "host" | "none") || name.strip_prefix("container:").is_some() {
            if name.starts_with("container:") {
                return Err(ApiError::NotImplemented(
                    "sharing another container's network is not supported by this engine yet".to_owned(),
                ));
            }
            return Ok(());
        }
        Err(ApiError::NotFound(format!("network {name} not found")))
    }

    /// A place on the bridge for a container that wants one.
    pub(crate) fn reserve(&self, record: &Record) -> Result<Option<Endpoint>, ApiError> {
        if record.network() != "bridge" {
            return Ok(None);
        }
        let mut taken = self.taken();
        let address = bridge::addresses().find(|address| !taken.contains_key(address)).ok_or_else(|| {
            ApiError::Failed("failed to set up container networking: no available IPv4 addresses".to_owned())
        })?;
        taken.insert(address, record.id.clone());
        let mac = match record.config.mac_address.as_str() {
            "" => bridge::mac_text(random::mac()),
            given => given.to_owned(),
        };
        Ok(Some(Endpoint {
            id: random::id(),
            address,
            mac,
            link: format!("veth{}", &record.id[..7]),
            sandbox: random::id(),
        }))
    }

    /// A place that a container has had over our restart.
    pub(crate) fn keep(&self, container: &str, endpoint: &Endpoint) {
        self.taken().insert(endpoint.address, container.to_owned());
    }

    /// Sets up a container's network namespace: loopback, and its place.
    pub(crate) async fn connect(
        &self,
        endpoint: Option<&Endpoint>,
        network: BorrowedFd<'_>,
    ) -> Result<(), ApiError> {
        self.bridge.connect(endpoint, network).await
    }

    /// Takes a place back. Its link goes with the namespace; this is for one
    /// that stayed.
    pub(crate) async fn release(&self, endpoint: &Endpoint) {
        self.bridge.disconnect(&endpoint.link).await;
        self.taken().remove(&endpoint.address);
    }

    /// Takes back whatever a container has.
    pub(crate) fn free(&self, container: &str) {
        self.taken().retain(|_, holder| holder != container);
    }

    fn id(&self, name: &str) -> &str {
        match name {
            "bridge" => &self.known.bridge,
            "host" => &self.known.host,
            _ => &self.known.none,
        }
    }
}

/// A container's place in a network, as the API shows it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EndpointSettings {
    #[serde(rename = "IPAMConfig")]
    ipam_config: Option<()>,
    links: Option<()>,
    aliases: Option<Vec<String>>,
    mac_address: String,
    driver_opts: Option<()>,
    gw_priority: i32,
    #[serde(rename = "NetworkID")]
    network_id: String,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    gateway: String,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    ipv6_gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    global_ipv6_prefix_len: u8,
    #[serde(rename = "DNSNames")]
    dns_names: Option<Vec<String>>,
}

/// A container's networks by name.
pub(crate) fn endpoints(engine: &Engine, record: &Record) -> BTreeMap<String, EndpointSettings> {
    let name = record.network();
    let mut settings =
        EndpointSettings { network_id: engine.networks.id(name).to_owned(), ..EndpointSettings::default() };
    if record.state.started_at == clock::NEVER {
        settings.network_id.clear();
    }
    if let Some(endpoint) = &record.endpoint {
        endpoint.mac.clone_into(&mut settings.mac_address);
        endpoint.id.clone_into(&mut settings.endpoint_id);
        settings.gateway = GATEWAY.to_string();
        settings.ip_address = endpoint.address.to_string();
        settings.ip_prefix_len = bridge::PREFIX;
    }
    BTreeMap::from([(name.to_owned(), settings)])
}

/// A container's network, as `docker inspect` shows it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkSettings {
    bridge: &'static str,
    #[serde(rename = "SandboxID")]
    sandbox_id: String,
    sandbox_key: String,
    ports: BTreeMap<String, Option<()>>,
    hairpin_mode: bool,
    #[serde(rename = "LinkLocalIPv6Address")]
    link_local_ipv6_address: &'static str,
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    link_local_ipv6_prefix_len: u8,
    #[serde(rename = "SecondaryIPAddresses")]
    secondary_ip_addresses: Option<()>,
    #[serde(rename = "SecondaryIPv6Addresses")]
    secondary_ipv6_addresses: Option<()>,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    global_ipv6_address: &'static str,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    global_ipv6_prefix_len: u8,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    ipv6_gateway: &'static str,
    mac_address: String,
    networks: BTreeMap<String, EndpointSettings>,
}

/// What `docker inspect` shows of a container's network.
pub(crate) fn settings(engine: &Engine, record: &Record) -> NetworkSettings {
    let mut settings = NetworkSettings { networks: endpoints(engine, record), ..NetworkSettings::default() };
    if record.state.status.is_up() {
        let exposed = record.config.exposed_ports.keys().map(|port| (port.clone(), None));
        settings.ports = exposed.collect();
    }
    if let Some(endpoint) = &record.endpoint {
        endpoint.sandbox.clone_into(&mut settings.sandbox_id);
        settings.sandbox_key = format!("/var/run/docker/netns/{}", &endpoint.sandbox[..12]);
        endpoint.id.clone_into(&mut settings.endpoint_id);
        settings.gateway = GATEWAY.to_string();
        settings.ip_address = endpoint.address.to_string();
        settings.ip_prefix_len = bridge::PREFIX;
        endpoint.mac.clone_into(&mut settings.mac_address);
    }
    settings
}

/// A network, as `docker network inspect` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Network {
    name: &'static str,
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
    options: BTreeMap<&'static str, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    driver: &'static str,
    options: Option<()>,
    config: Option<Vec<IpamConfig>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct IpamConfig {
    subnet: String,
    gateway: String,
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

const ALL: [(&str, &str); 3] = [("none", "null"), ("host", "host"), ("bridge", "bridge")];

fn describe(engine: &Engine, (name, driver): (&'static str, &'static str), members: bool) -> Network {
    let is_bridge = name == "bridge";
    let options = if is_bridge { bridge::options() } else { BTreeMap::new() };
    let config = is_bridge
        .then(|| vec![IpamConfig { subnet: bridge::SUBNET.to_owned(), gateway: GATEWAY.to_string() }]);
    Network {
        name,
        id: engine.networks.id(name).to_owned(),
        created: engine.networks.known.created.clone(),
        scope: "local",
        driver,
        enable_ipv4: true,
        enable_ipv6: false,
        ipam: Ipam { driver: "default", options: None, config },
        internal: false,
        attachable: false,
        ingress: false,
        config_from: ConfigFrom { network: "" },
        config_only: false,
        containers: if members { self::members(engine, name) } else { BTreeMap::new() },
        options,
        labels: BTreeMap::new(),
    }
}

fn members(engine: &Engine, network: &str) -> BTreeMap<String, Member> {
    let records = engine.containers.all().into_iter().map(|container| container.record());
    records
        .filter(|record| record.network() == network && record.state.status.is_up())
        .map(|record| {
            let endpoint = record.endpoint.as_ref();
            let member = Member {
                name: record.name.clone(),
                endpoint_id: endpoint.map(|endpoint| endpoint.id.clone()).unwrap_or_default(),
                mac_address: endpoint.map(|endpoint| endpoint.mac.clone()).unwrap_or_default(),
                ipv4_address: endpoint
                    .map(|endpoint| format!("{}/{}", endpoint.address, bridge::PREFIX))
                    .unwrap_or_default(),
                ipv6_address: "",
            };
            (record.id, member)
        })
        .collect()
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
) -> Result<Json<Vec<Network>>, ApiError> {
    let filters = Filters::parse(&query.filters)?;
    filters.only(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let chosen = ALL.into_iter().filter(|(name, driver)| {
        filters.allows("name", |wanted| name.contains(wanted))
            && filters.allows("driver", |wanted| *driver == wanted)
            && filters.allows("id", |wanted| engine.networks.id(name).starts_with(wanted))
            && filters.allows("scope", |wanted| wanted == "local")
            && filters.allows("type", |wanted| wanted == "builtin")
            && !filters.has("label")
    });
    Ok(Json(chosen.map(|network| describe(&engine, network, false)).collect()))
}

/// `GET /networks/{ref}`
pub(crate) async fn inspect(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
) -> Result<Json<Network>, ApiError> {
    let found = ALL.into_iter().find(|(name, _)| *name == reference).or_else(|| {
        ALL.into_iter()
            .find(|(name, _)| !reference.is_empty() && engine.networks.id(name).starts_with(&reference))
    });
    let network = found.ok_or_else(|| ApiError::NotFound(format!("network {reference} not found")))?;
    Ok(Json(describe(&engine, network, true)))
}

/// `POST /networks/create` and other changes: a later part of the engine.
///
/// The body is read, or the client would find its connection closed before it
/// has sent everything, and never look at the answer.
pub(crate) async fn unsupported(_body: Bytes) -> ApiError {
    ApiError::NotImplemented("networks of your own are not supported by this engine yet".to_owned())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pruned {
    networks_deleted: Option<Vec<String>>,
}

/// `POST /networks/prune`: the three that there are stay.
pub(crate) async fn prune() -> Json<Pruned> {
    Json(Pruned { networks_deleted: None })
}
