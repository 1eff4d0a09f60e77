//! A container's network mode: networks of its own, the node's, or another
//! container's.

use std::sync::Arc;

use super::{links, ports};
use crate::{
    containers::{
        Container,
        config::{Config, HostConfig},
        record::Record,
    },
    engine::Engine,
    error::ApiError,
};

/// Words before a failure to share another container's network.
const JOINING: &str = "joining network namespace of container: ";

/// Whether a container of this mode has a network namespace of its own.
pub(super) fn own_networks(mode: &str) -> bool {
    mode != "host" && joined(mode).is_none()
}

/// The container whose network namespace is shared.
pub(crate) fn joined(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:")
}

/// The container whose network namespace a container is about to share.
pub(crate) fn join_target(engine: &Engine, record: &Record) -> Result<Option<Arc<Container>>, ApiError> {
    let Some(reference) = joined(record.network()) else { return Ok(None) };
    let target = engine.containers.find(reference).map_err(|error| error.context(JOINING))?;
    if target.id == record.id {
        return Err(ApiError::Failed("cannot join own network namespace".to_owned()));
    }
    let (name, status) = {
        let other = target.locked();
        (other.name.clone(), other.state.status)
    };
    if !status.is_up() {
        return Err(ApiError::Conflict(format!(
            "cannot join network namespace of a non running container: container {name} is {}",
            status.word()
        )));
    }
    Ok(Some(target))
}

/// Refuses what doesn't go with a new container's network mode, and puts ids
/// in the place of names.
pub(crate) fn check(engine: &Engine, config: &mut Config, host: &mut HostConfig) -> Result<(), ApiError> {
    ports::check(host)?;
    let links = host.links.clone().unwrap_or_default();
    let conflict = |text: &str| Err(ApiError::Invalid(format!("conflicting options: {text}")));
    let Some(reference) = joined(&host.network_mode).map(str::to_owned) else {
        if host.network_mode == "host" && !links.is_empty() {
            return conflict(
                "host type networking can't be used with links. This would result in undefined behavior",
            );
        }
        return links::check(engine, &links);
    };
    let options = [
        (
            !links.is_empty(),
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (!config.hostname.is_empty(), "hostname and the network mode"),
        (!host.dns.is_empty(), "dns and the network mode"),
        (
            host.extra_hosts.as_ref().is_some_and(|all| !all.is_empty()),
            "custom host-to-IP mapping and the network mode",
        ),
        (!config.mac_address.is_empty(), "mac-address and the network mode"),
        (
            !host.port_bindings.is_empty() || host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (!config.exposed_ports.is_empty(), "port exposing and the container type network mode"),
    ];
    if let Some((_, text)) = options.into_iter().find(|(is, _)| *is) {
        return conflict(text);
    }
    // A 404 would make the client pull the image.
    let target =
        engine.containers.find(&reference).map_err(|error| ApiError::Invalid(format!("{JOINING}{error}")))?;
    host.network_mode = format!("container:{}", target.id);
    config.hostname.clone_from(&target.locked().config.hostname);
    Ok(())
}

/// What a new container's client is told besides.
pub(crate) fn warnings(host: &HostConfig) -> Vec<String> {
    if host.network_mode == "host" && !host.port_bindings.is_empty() {
        return vec!["Published ports are discarded when using host network mode".to_owned()];
    }
    Vec::new()
}
