//! What `docker inspect` and `docker ps` show of a container's networks.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    dns, own_networks,
    place::{AskedAddress, Attachment, Published, Sandbox},
    ports::parse_port,
};
use crate::{clock, containers::record::Record, engine::Engine};

/// A container's place in a network, as the API shows it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EndpointSettings {
    #[serde(rename = "IPAMConfig")]
    ipam_config: Option<AskedAddress>,
    links: Option<Vec<String>>,
    aliases: Option<Vec<String>>,
    mac_address: String,
    driver_opts: Option<BTreeMap<String, String>>,
    gw_priority: i64,
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
    let show = |(name, attachment)| (String::clone(name), endpoint(engine, record, name, attachment));
    record.networks.iter().map(show).collect()
}

fn endpoint(engine: &Engine, record: &Record, name: &str, attachment: &Attachment) -> EndpointSettings {
    let mut settings = EndpointSettings {
        ipam_config: attachment.ipam_config.clone(),
        links: attachment.links.clone(),
        aliases: attachment.aliases.clone(),
        mac_address: attachment.mac_address.clone(),
        driver_opts: attachment.driver_opts.clone(),
        gw_priority: attachment.gw_priority,
        ..EndpointSettings::default()
    };
    if record.state.started_at != clock::NEVER
        && let Ok(network) = engine.networks.find(name)
    {
        if network.is_user_defined() {
            settings.dns_names = Some(dns::names(record, attachment));
        }
        settings.network_id = network.id;
    }
    if let Some(endpoint) = record.sandbox.as_ref().and_then(|sandbox| sandbox.endpoints.get(name)) {
        endpoint.mac.clone_into(&mut settings.mac_address);
        endpoint.id.clone_into(&mut settings.endpoint_id);
        settings.gateway = endpoint.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        settings.ip_address = endpoint.address.to_string();
        settings.ip_prefix_len = endpoint.prefix;
    }
    settings
}

/// A port of the node, as `docker inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Binding {
    host_ip: String,
    host_port: String,
}

/// A container's network, as `docker inspect` shows it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkSettings {
    bridge: &'static str,
    #[serde(rename = "SandboxID")]
    sandbox_id: String,
    sandbox_key: String,
    ports: BTreeMap<String, Option<Vec<Binding>>>,
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
    let Some(sandbox) = record.sandbox.as_ref().filter(|_| record.state.status.is_up()) else {
        return settings;
    };
    settings.ports = bindings(record, sandbox);
    sandbox.id.clone_into(&mut settings.sandbox_id);
    settings.sandbox_key = format!("/var/run/docker/netns/{}", &sandbox.id[..12]);
    // Only the default bridge has these.
    if let Some(endpoint) = sandbox.endpoints.get("bridge") {
        endpoint.id.clone_into(&mut settings.endpoint_id);
        settings.gateway = endpoint.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        settings.ip_address = endpoint.address.to_string();
        settings.ip_prefix_len = endpoint.prefix;
        endpoint.mac.clone_into(&mut settings.mac_address);
    }
    settings
}

fn bindings(record: &Record, sandbox: &Sandbox) -> BTreeMap<String, Option<Vec<Binding>>> {
    let exposed = record.config.exposed_ports.keys().map(|port| (port.clone(), None));
    let mut all: BTreeMap<String, Option<Vec<Binding>>> = exposed.collect();
    for Published { port, protocol, host_ip, host_port } in &sandbox.ports {
        all.entry(format!("{port}/{protocol}"))
            .or_default()
            .get_or_insert_default()
            .push(Binding { host_ip: host_ip.to_string(), host_port: host_port.to_string() });
    }
    all
}

/// A port, as `docker ps` shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PortSummary {
    #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
    ip: String,
    pub(crate) private_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_port: Option<u16>,
    #[serde(rename = "Type")]
    pub(crate) protocol: String,
}

/// The ports of a container that runs: published ones, and those that it only
/// exposes.
pub(crate) fn port_list(record: &Record) -> Vec<PortSummary> {
    if !record.state.status.is_up() || !own_networks(record.network()) {
        return Vec::new();
    }
    let published = record.sandbox.iter().flat_map(|sandbox| &sandbox.ports);
    let mut list: Vec<PortSummary> = published
        .map(|port| PortSummary {
            ip: port.host_ip.to_string(),
            private_port: port.port,
            public_port: Some(port.host_port),
            protocol: port.protocol.to_string(),
        })
        .collect();
    for (port, protocol) in record.config.exposed_ports.keys().filter_map(|text| parse_port(text).ok()) {
        let protocol = protocol.to_string();
        if !list.iter().any(|known| known.private_port == port && known.protocol == protocol) {
            list.push(PortSummary { ip: String::new(), private_port: port, public_port: None, protocol });
        }
    }
    list
}
