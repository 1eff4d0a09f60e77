//! `POST /networks/create`, and how a new container is to be attached.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use drydock_sandbox::link::Mac;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Driver, NETWORKS_MAX, Network, Networks, bridge,
    known::{Ipam, IpamConfig, MTU, NAME},
    lock, own_networks,
    place::Attachment,
    pool::{Pool, free_subnet},
    subnet::Subnet,
    tell,
};
use crate::{
    clock,
    containers::config::{HostConfig, from_body},
    engine::{Engine, Shared},
    error::{ApiError, failed},
    random,
};

/// The longest name of a network.
const NAME_MAX: usize = 255;
/// The longest name of a link.
const LINK_MAX: usize = 15;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateBody {
    name: String,
    driver: String,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
    internal: bool,
    attachable: bool,
    ingress: bool,
    config_only: bool,
    config_from: Option<Value>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Created {
    id: String,
    warning: &'static str,
}

/// `POST /networks/create`
pub(crate) async fn create(
    State(engine): State<Shared>,
    body: Bytes,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let body: CreateBody =
        from_body(&body).map_err(|error| ApiError::Invalid(format!("invalid JSON: {error}")))?;
    check(&body)?;
    engine.networks.prepare(&engine).await?;
    let _changing = engine.networks.changing.lock().await;
    let network = engine.networks.new_network(&engine, body)?;
    let id = network.id.clone();
    // On disk first: what an engine that ends now has made is then known.
    engine.networks.change(|known| known.push(network.clone()))?;
    let rules = engine.networks.rules.clone();
    let made = network.clone();
    let work = move || {
        bridge::make(&made)?;
        let added = made.rules().map_or(Ok(()), |bridge| rules.add_bridge(bridge));
        added.map_err(failed("setting the packet filter's rules failed"))
    };
    let done = tokio::task::spawn_blocking(work).await.map_err(failed("making the network failed"));
    if let Err(error) = done.and_then(|done| done) {
        engine.networks.remove_made(&network).await?;
        return Err(error);
    }
    tell(&engine, &network, "create", None);
    Ok((StatusCode::CREATED, Json(Created { id, warning: "" })))
}

/// Refuses what this engine doesn't do, and what makes no sense.
fn check(body: &CreateBody) -> Result<(), ApiError> {
    let invalid = |text: String| Err(ApiError::Invalid(text));
    if matches!(body.name.as_str(), "bridge" | "host" | "none") {
        let text = format!("operation is not permitted on predefined {} network", body.name);
        return Err(ApiError::Forbidden(text));
    }
    if body.name.trim().is_empty() {
        return invalid("invalid name: name is empty".to_owned());
    }
    if body.name.len() > NAME_MAX || body.name.chars().any(char::is_control) {
        return invalid(format!("invalid name: longer than {NAME_MAX} bytes, or with control characters"));
    }
    match body.driver.as_str() {
        "" | "bridge" | "default" => {}
        "host" | "null" => {
            let text = format!("only one instance of \"{}\" network is allowed", body.driver);
            return Err(ApiError::Forbidden(text));
        }
        "overlay" => return Err(ApiError::Forbidden(crate::system::NO_SWARM.to_owned())),
        other => return Err(ApiError::NotFound(format!("plugin \"{other}\" not found"))),
    }
    if body.enable_ipv6 || body.enable_ipv4 == Some(false) {
        return Err(ApiError::NotImplemented(
            "this engine has no IPv6: create the network without --ipv6".to_owned(),
        ));
    }
    if body.ingress {
        return Err(ApiError::Forbidden(crate::system::NO_SWARM.to_owned()));
    }
    if body.config_only || body.config_from.is_some() {
        let text = "networks that are made from another's configuration are not supported by this engine";
        return Err(ApiError::NotImplemented(text.to_owned()));
    }
    match body.ipam.driver.as_str() {
        "" | "default" => {}
        other => return Err(ApiError::NotFound(format!("plugin \"{other}\" not found"))),
    }
    if let Some(name) = body.options.get(NAME)
        && (name.is_empty() || name.len() > LINK_MAX || name.contains(['/', ' ']))
    {
        return invalid(format!("invalid bridge name: \"{name}\""));
    }
    if let Some(mtu) = body.options.get(MTU)
        && !mtu.parse::<u32>().is_ok_and(|mtu| (68..=65_535).contains(&mtu))
    {
        return invalid(format!("invalid MTU: \"{mtu}\""));
    }
    check_ipam(&body.ipam)
}

/// Refuses subnets, ranges and addresses that don't fit, all in one answer.
fn check_ipam(ipam: &Ipam) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let configs = ipam.config.iter().flatten();
    for config in configs.filter(|config| !is_ipv6(&config.subnet)) {
        let Ok(subnet) = config.subnet.parse::<Subnet>() else {
            errors.push(format!("invalid subnet {}: invalid CIDR block notation", config.subnet));
            continue;
        };
        if subnet != subnet.masked() {
            errors.push(format!("invalid subnet {subnet}: it should be {}", subnet.masked()));
        }
        check_range(&config.ip_range, subnet, &mut errors);
        if let Some(why) = address_fault(&config.gateway, subnet) {
            errors.push(format!("invalid gateway {}: {why}", config.gateway));
        }
        for (name, address) in &config.auxiliary_addresses {
            if let Some(why) = address_fault(address, subnet) {
                errors.push(format!("invalid auxiliary address {name}: {why}"));
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::Invalid(format!("invalid network config:\n{}", errors.join("\n"))))
}

fn is_ipv6(text: &str) -> bool {
    let address = text.split('/').next().unwrap_or_default();
    matches!(address.parse(), Ok(IpAddr::V6(_)))
}

fn check_range(text: &str, subnet: Subnet, errors: &mut Vec<String>) {
    if text.is_empty() {
        return;
    }
    let Ok(range) = text.parse::<Subnet>() else {
        let why =
            if is_ipv6(text) { "parent subnet is an IPv4 block" } else { "invalid CIDR block notation" };
        errors.push(format!("invalid ip-range {text}: {why}"));
        return;
    };
    if range.prefix < subnet.prefix {
        errors.push(format!("invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"));
    }
    if range != range.masked() {
        errors.push(format!("invalid ip-range {range}: it should be {}", range.masked()));
    }
    if !subnet.overlaps(range) {
        errors.push(format!("invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"));
    }
}

fn address_fault(text: &str, subnet: Subnet) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    match text.parse() {
        Err(_) => Some("invalid address".to_owned()),
        Ok(IpAddr::V6(_)) => Some("parent subnet is an IPv4 block".to_owned()),
        Ok(IpAddr::V4(address)) if !subnet.contains(address) => {
            Some(format!("parent subnet {subnet} doesn't contain this address"))
        }
        Ok(IpAddr::V4(_)) => None,
    }
}

impl Networks {
    fn new_network(&self, engine: &Engine, body: CreateBody) -> Result<Network, ApiError> {
        let known = lock(&self.known);
        if known.iter().any(|other| other.name == body.name) {
            return Err(ApiError::Conflict(format!("network with name {} already exists", body.name)));
        }
        if known.len() >= NETWORKS_MAX {
            return Err(ApiError::Forbidden(format!(
                "this node has {NETWORKS_MAX} networks already: remove some"
            )));
        }
        let used: Vec<Subnet> =
            known.iter().filter_map(|other| other.pool.as_ref()).map(|pool| pool.subnet).collect();
        let mut ipam = body.ipam;
        if ipam.driver.is_empty() {
            "default".clone_into(&mut ipam.driver);
        }
        let pool = new_pool(&mut ipam, used, engine.spec.address)?;
        let network = Network {
            id: random::id(),
            name: body.name,
            created: clock::now(),
            driver: Driver::Bridge,
            internal: body.internal,
            attachable: body.attachable,
            options: body.options,
            labels: body.labels,
            ipam,
            pool: Some(pool),
        };
        let bridge = network.bridge();
        if known.iter().any(|other| other.bridge() == bridge) || bridge.as_deref() == Some("eth0") {
            let text = format!("bridge name {} is in use by another network", bridge.unwrap_or_default());
            return Err(ApiError::Forbidden(text));
        }
        Ok(network)
    }
}

/// The addresses of a new network: what was asked for, or a free subnet, which
/// then is shown as if it had been asked for.
fn new_pool(ipam: &mut Ipam, mut used: Vec<Subnet>, node: Ipv4Addr) -> Result<Pool, ApiError> {
    let asked = ipam.config.iter().flatten().find(|config| !is_ipv6(&config.subnet)).cloned();
    let Some(config) = asked else {
        // The node's own network is none of ours.
        used.push(Subnet::new(node, 24));
        let none =
            || ApiError::Forbidden("all predefined address pools have been fully subnetted".to_owned());
        let pool = Pool::new(free_subnet(&used).ok_or_else(none)?);
        ipam.config = Some(vec![IpamConfig {
            subnet: pool.subnet.to_string(),
            gateway: pool.gateway.to_string(),
            ..IpamConfig::default()
        }]);
        return Ok(pool);
    };
    let subnet: Subnet =
        config.subnet.parse().map_err(|_| ApiError::Invalid(format!("invalid subnet {}", config.subnet)))?;
    if subnet.prefix > 30 {
        let text = format!("invalid subnet {subnet}: there is no room for a gateway and a container");
        return Err(ApiError::Invalid(text));
    }
    if used.iter().any(|other| other.overlaps(subnet)) {
        let text = "invalid pool request: Pool overlaps with other one on this address space";
        return Err(ApiError::Forbidden(text.to_owned()));
    }
    let mut pool = Pool::new(subnet);
    pool.configured = true;
    pool.range = config.ip_range.parse().ok();
    if let Ok(gateway) = config.gateway.parse() {
        pool.gateway = gateway;
    }
    let reserved = config.auxiliary_addresses.values().filter_map(|address| address.parse().ok());
    pool.reserved = reserved.collect::<BTreeSet<_>>();
    Ok(pool)
}

/// How a new container is to be attached, by the network's name.
pub(crate) fn attachments(
    engine: &Engine,
    host: &HostConfig,
    asked: BTreeMap<String, Attachment>,
) -> Result<BTreeMap<String, Attachment>, ApiError> {
    let mode = host.network_mode.as_str();
    if !own_networks(mode) && mode != "host" {
        return Ok(BTreeMap::new());
    }
    // A name or an id is as good as the other; what isn't there is refused at
    // the start.
    let name_of = |reference: &str| match reference {
        "default" | "" => "bridge".to_owned(),
        other => engine.networks.find(other).map_or_else(|_| other.to_owned(), |found| found.name),
    };
    let mut attachments = BTreeMap::from([(name_of(mode), Attachment::default())]);
    for (reference, attachment) in asked {
        let name = name_of(&reference);
        if let Ok(network) = engine.networks.find(&name) {
            check_attachment(&network, &attachment)?;
        }
        attachments.insert(name, attachment);
    }
    if mode == "host" || mode == "none" {
        attachments.retain(|name, _| name == mode);
    }
    Ok(attachments)
}

/// Refuses what a network can't give.
pub(super) fn check_attachment(network: &Network, attachment: &Attachment) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let address = attachment.ipam_config.as_ref().map(|asked| asked.ipv4_address.as_str());
    if let Some(text) = address.filter(|text| !text.is_empty()) {
        let pool = network.pool.as_ref();
        let parsed = text.parse::<Ipv4Addr>().ok();
        if parsed.is_none() {
            errors.push(format!("invalid IPv4 address: {text}"));
        } else if !network.is_user_defined() {
            errors.push("user specified IP address is supported on user defined networks only".to_owned());
        } else if pool.is_some_and(|pool| !pool.configured) {
            let text = "user specified IP address is supported only when connecting to networks with user configured \
                        subnets";
            errors.push(text.to_owned());
        } else if !pool.is_some_and(|pool| parsed.is_some_and(|address| pool.subnet.contains(address))) {
            errors.push(format!("no configured subnet or ip-range contain the IP address {text}"));
        }
    }
    if !network.is_user_defined() && attachment.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
        errors.push("network-scoped aliases are only supported for user-defined networks".to_owned());
    }
    let mac = attachment.mac_address.as_str();
    if !mac.is_empty() && mac.parse::<Mac>().is_err() {
        errors.push(format!("invalid MAC address: {mac}"));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::Invalid(format!(
        "invalid config for network {}: invalid endpoint settings:\n{}",
        network.name,
        errors.join("\n")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipam(config: IpamConfig) -> Ipam {
        Ipam { config: Some(vec![config]), ..Ipam::default() }
    }

    fn config(subnet: &str, ip_range: &str, gateway: &str) -> IpamConfig {
        IpamConfig {
            subnet: subnet.to_owned(),
            ip_range: ip_range.to_owned(),
            gateway: gateway.to_owned(),
            ..IpamConfig::default()
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let words = |config| match check_ipam(&ipam(config)) {
            Err(error) => error.to_string().replace("invalid network config:\n", ""),
            Ok(()) => "fine".to_owned(),
        };
        assert_eq!(words(config("172.31.0.0/16", "172.31.5.0/24", "172.31.0.1")), "fine");
        assert_eq!(
            words(config("999.0.0.0/8", "", "")),
            "invalid subnet 999.0.0.0/8: invalid CIDR block notation"
        );
        assert_eq!(words(config("10.0.0.1/8", "", "")), "invalid subnet 10.0.0.1/8: it should be 10.0.0.0/8");
        assert_eq!(
            words(config("10.1.0.0/16", "10.0.0.0/8", "11.0.0.1")),
            "invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.1.0.0/16\n\
             invalid gateway 11.0.0.1: parent subnet 10.1.0.0/16 doesn't contain this address"
        );
        assert_eq!(
            words(config("10.1.0.0/16", "10.2.0.0/24", "")),
            "invalid ip-range 10.2.0.0/24: parent subnet 10.1.0.0/16 doesn't contain ip-range"
        );
        assert_eq!(words(config("10.1.0.0/16", "", "x")), "invalid gateway x: invalid address");
    }

    #[test]
    fn a_network_of_its_own_is_not_the_node_s() {
        let used: Vec<Subnet> = vec!["172.16.0.0/12".parse().unwrap()];
        let mut asked = Ipam::default();
        let pool = new_pool(&mut asked, used, Ipv4Addr::new(192, 168, 0, 11)).unwrap();
        assert_eq!(pool.subnet.to_string(), "192.168.16.0/20");
        assert_eq!(asked.config.unwrap()[0].gateway, "192.168.16.1");
        let mut asked = ipam(config("172.20.0.0/16", "172.20.9.0/24", "172.20.9.254"));
        let pool = new_pool(&mut asked, Vec::new(), Ipv4Addr::LOCALHOST).unwrap();
        assert_eq!((pool.gateway, pool.configured), (Ipv4Addr::new(172, 20, 9, 254), true));
        let overlapping = new_pool(&mut asked, vec!["172.20.0.0/24".parse().unwrap()], Ipv4Addr::LOCALHOST);
        assert!(matches!(overlapping, Err(ApiError::Forbidden(_))));
    }
}
