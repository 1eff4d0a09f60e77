//! `--link`: the default bridge's way to give a container another's name.
//!
//! The address comes into `hosts` and into variables. In networks with names of
//! their own a link is one more name, which the embedded DNS server knows.

use std::{net::Ipv4Addr, sync::Arc};

use super::ports::parse_port;
use crate::{
    containers::{Container, record::Record},
    engine::Engine,
    error::ApiError,
};

/// Another container, under a name that this one has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    alias: String,
    name: String,
    hostname: String,
    address: Ipv4Addr,
    /// What the other exposes: `80/tcp`.
    ports: Vec<String>,
    env: Vec<String>,
}

/// `srv:backend` into its two names; a name alone is both.
fn split(link: &str) -> (&str, &str) {
    let (target, alias) = link.split_once(':').unwrap_or((link, link));
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    (target.trim_start_matches('/'), alias.trim_start_matches('/'))
}

fn target(engine: &Engine, name: &str) -> Result<Arc<Container>, ApiError> {
    // A 404 would make the client pull the image.
    let missing = |error| ApiError::Invalid(format!("could not get container for {name}: {error}"));
    engine.containers.find(name).map_err(missing)
}

/// Refuses links to what isn't there.
pub(crate) fn check(engine: &Engine, links: &[String]) -> Result<(), ApiError> {
    for link in links {
        let (name, _) = split(link);
        if name.is_empty() {
            return Err(ApiError::Invalid(format!("bad format for links: {link}")));
        }
        target(engine, name)?;
    }
    Ok(())
}

/// Links as `docker inspect` shows them: `/srv:/web/backend`.
pub(crate) fn shown(engine: &Engine, record: &Record) -> Option<Vec<String>> {
    let links = record.host_config.links.as_ref()?;
    let show = |link: &String| {
        let (name, alias) = split(link);
        let name = engine.containers.find(name).map_or(name.to_owned(), |found| found.locked().name.clone());
        format!("/{name}:/{}/{alias}", record.name)
    };
    Some(links.iter().map(show).collect())
}

/// A container's links on the default bridge.
pub(crate) fn of(engine: &Engine, record: &Record) -> Result<Vec<Link>, ApiError> {
    if record.network() != "bridge" {
        return Ok(Vec::new());
    }
    let links = record.host_config.links.iter().flatten();
    links.map(|link| resolve(engine, record, link)).collect()
}

fn resolve(engine: &Engine, record: &Record, link: &str) -> Result<Link, ApiError> {
    let (name, alias) = split(link);
    let other = target(engine, name)?.record();
    let endpoint = other.sandbox.as_ref().and_then(|sandbox| sandbox.endpoints.get("bridge"));
    let Some(endpoint) = endpoint.filter(|_| other.state.status.is_up()) else {
        return Err(ApiError::Conflict(format!(
            "Cannot link to a non running container: /{} AS /{}/{alias}",
            other.name, record.name
        )));
    };
    Ok(Link {
        alias: alias.to_owned(),
        hostname: other.config.hostname.clone(),
        address: endpoint.address,
        ports: other.config.exposed_ports.keys().cloned().collect(),
        env: other.config.env.clone(),
        name: other.name,
    })
}

impl Link {
    /// Its line in `/etc/hosts`.
    pub(super) fn hosts_line(&self) -> String {
        let mut names = vec![self.alias.as_str()];
        for name in [self.hostname.as_str(), self.name.as_str()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        format!("{}\t{}\n", self.address, names.join(" "))
    }

    /// Its variables in the environment of a container of this name.
    pub(crate) fn variables(&self, of: &str) -> Vec<String> {
        let prefix = self.alias.to_uppercase().replace('-', "_");
        let mut variables = vec![];
        let mut ports: Vec<_> = self.ports.iter().filter_map(|port| parse_port(port).ok()).collect();
        ports.sort_by_key(|(port, protocol)| (*protocol, *port));
        if let Some((port, protocol)) = ports.first() {
            variables.push(format!("{prefix}_PORT={protocol}://{}:{port}", self.address));
        }
        for (port, protocol) in &ports {
            let upper = protocol.to_string().to_uppercase();
            let name = format!("{prefix}_PORT_{port}_{upper}");
            variables.push(format!("{name}={protocol}://{}:{port}", self.address));
            variables.push(format!("{name}_ADDR={}", self.address));
            variables.push(format!("{name}_PORT={port}"));
            variables.push(format!("{name}_PROTO={protocol}"));
        }
        variables.push(format!("{prefix}_NAME=/{of}/{}", self.alias));
        let own = self.env.iter().filter(|entry| !entry.starts_with("HOME=") && !entry.starts_with("PATH="));
        variables.extend(own.map(|entry| format!("{prefix}_ENV_{entry}")));
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_a_line_and_variables() {
        let link = Link {
            alias: "back-end".to_owned(),
            name: "srv".to_owned(),
            hostname: "dee106c7c266".to_owned(),
            address: Ipv4Addr::new(172, 17, 0, 2),
            ports: vec!["80/tcp".to_owned()],
            env: vec!["PATH=/bin".to_owned(), "MODE=dev".to_owned()],
        };
        assert_eq!(link.hosts_line(), "172.17.0.2\tback-end dee106c7c266 srv\n");
        let variables = link.variables("web");
        assert_eq!(
            variables,
            [
                "BACK_END_PORT=tcp://172.17.0.2:80",
                "BACK_END_PORT_80_TCP=tcp://172.17.0.2:80",
                "BACK_END_PORT_80_TCP_ADDR=172.17.0.2",
                "BACK_END_PORT_80_TCP_PORT=80",
                "BACK_END_PORT_80_TCP_PROTO=tcp",
                "BACK_END_NAME=/web/back-end",
                "BACK_END_ENV_MODE=dev",
            ]
        );
        assert_eq!(split("/srv:/web/backend"), ("srv", "backend"));
        assert_eq!(split("srv"), ("srv", "srv"));
    }
}
