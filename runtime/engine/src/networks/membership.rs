//! `POST /networks/{ref}/connect` and `…/disconnect`

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;

use super::{
    Driver, Network,
    bridge::{self, Plug},
    create::check_attachment,
    hosts::{hosts, resolv_conf},
    links, own_networks,
    place::{Attachment, Endpoint, Sandbox},
    sandbox::{keeping, wire},
    tell, tell_ports,
};
use crate::{
    containers::{Container, config::from_body, directory, record::Record},
    engine::Shared,
    error::{ApiError, failed},
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConnectBody {
    container: String,
    endpoint_config: Attachment,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DisconnectBody {
    container: String,
}

/// `POST /networks/{ref}/connect`
pub(crate) async fn connect(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let body: ConnectBody =
        from_body(&body).map_err(|error| ApiError::Invalid(format!("invalid JSON: {error}")))?;
    let network = engine.networks.find(&reference)?;
    let container = engine.containers.find(&body.container)?;
    let _busy = container.busy.lock().await;
    let record = container.record();
    may_change(&network, &record)?;
    if record.host_config.network_mode == "none" || network.driver == Driver::Null {
        let text = "container cannot be connected to multiple networks with one of the networks in private (none) mode";
        return Err(ApiError::Forbidden(text.to_owned()));
    }
    if record.networks.contains_key(&network.name) {
        return Err(ApiError::Forbidden(format!(
            "endpoint with name {} already exists in network {}",
            record.name, network.name
        )));
    }
    let attachment = body.endpoint_config;
    check_attachment(&network, &attachment)?;
    let Some(sandbox) = record.sandbox.clone().filter(|_| record.state.status.is_up()) else {
        container.change(|record| record.networks.insert(network.name, attachment))?;
        return Ok(StatusCode::OK);
    };
    join(&engine, &container, record, sandbox, &network, attachment).await?;
    Ok(StatusCode::OK)
}

/// A network that a running container is joining. Dropped before it is done,
/// everything is as before.
struct Joining<'a> {
    engine: &'a Shared,
    container: &'a Arc<Container>,
    network: &'a Network,
    endpoint: Endpoint,
    done: bool,
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let alone = Sandbox {
            endpoints: [(self.network.name.clone(), self.endpoint.clone())].into(),
            ..Sandbox::default()
        };
        bridge::remove_links(&alone);
        self.engine.networks.free_address(&self.endpoint);
        let undone = self.container.change(|record| {
            record.networks.remove(&self.network.name);
            record.sandbox.as_mut().map(|sandbox| sandbox.endpoints.remove(&self.network.name));
        });
        if let Err(error) = undone {
            tracing::warn!(%error, container = self.container.id, "a network it did not join is still noted");
        }
    }
}

async fn join(
    engine: &Shared,
    container: &Arc<Container>,
    record: Record,
    before: Sandbox,
    network: &Network,
    attachment: Attachment,
) -> Result<(), ApiError> {
    engine.networks.prepare(engine).await?;
    let interface = before.free_interface();
    let endpoint = engine.networks.endpoint(network, &record, &attachment, interface)?;
    let mut joining = Joining { engine, container, network, endpoint, done: false };
    let mut sandbox = before.clone();
    sandbox.endpoints.insert(network.name.clone(), joining.endpoint.clone());
    // On disk first, so that an engine that ends now leaves nothing unknown.
    container.change(|record| {
        record.networks.insert(network.name.clone(), attachment);
        record.sandbox = Some(sandbox.clone());
    })?;
    let needs_names = network.is_user_defined() && !engine.networks.serves_names(&container.id);
    let plug = Plug {
        endpoints: vec![wire(network, &joining.endpoint)?],
        gateway: sandbox.way_out().and_then(|endpoint| endpoint.gateway),
        is_new: false,
        dns: needs_names,
    };
    if let Some(sockets) = bridge::plug(process(container)?, plug).await? {
        engine.networks.serve_names(engine, &record, sockets).await?;
    }
    joining.done = true;
    let now = container.record();
    move_ports(engine, container, &now, &before, &mut sandbox).await?;
    write_names(engine, &now, &sandbox)?;
    tell(engine, network, "connect", Some(&container.id));
    Ok(())
}

/// `POST /networks/{ref}/disconnect`
pub(crate) async fn disconnect(
    State(engine): State<Shared>,
    Path(reference): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let body: DisconnectBody =
        from_body(&body).map_err(|error| ApiError::Invalid(format!("invalid JSON: {error}")))?;
    let network = engine.networks.find(&reference)?;
    let container = engine.containers.find(&body.container)?;
    let _busy = container.busy.lock().await;
    let record = container.record();
    may_change(&network, &record)?;
    if !record.networks.contains_key(&network.name) {
        return Err(ApiError::Failed(format!(
            "container {} is not connected to network {}",
            record.id, network.name
        )));
    }
    let before = record.sandbox.clone().filter(|_| record.state.status.is_up());
    let mut after = before.clone();
    let endpoint = after.as_mut().and_then(|sandbox| sandbox.endpoints.remove(&network.name));
    let (Some(before), Some(mut after), Some(endpoint)) = (before, after, endpoint) else {
        container.change(|record| record.networks.remove(&network.name))?;
        return Ok(StatusCode::OK);
    };
    let gateway = after.way_out().and_then(|endpoint| endpoint.gateway);
    bridge::unplug(process(&container)?, endpoint.clone(), gateway).await?;
    engine.networks.free_address(&endpoint);
    container.change(|record| {
        record.networks.remove(&network.name);
        record.sandbox = Some(after.clone());
    })?;
    let now = container.record();
    move_ports(&engine, &container, &now, &before, &mut after).await?;
    write_names(&engine, &now, &after)?;
    tell(&engine, &network, "disconnect", Some(&container.id));
    Ok(StatusCode::OK)
}

fn may_change(network: &Network, record: &Record) -> Result<(), ApiError> {
    let refuse = |text: &str| Err(ApiError::Forbidden(text.to_owned()));
    if network.driver == Driver::Host || record.network() == "host" {
        return refuse("container cannot be disconnected from host network or connected to host network");
    }
    if !own_networks(record.network()) {
        return refuse(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        );
    }
    Ok(())
}

/// A descriptor of the container's process.
fn process(container: &Container) -> Result<OwnedFd, ApiError> {
    let pidfd = container.live().pidfd.clone();
    let gone = || ApiError::Conflict(format!("container {} is not running", container.id));
    pidfd.ok_or_else(gone)?.as_fd().try_clone_to_owned().map_err(failed("copying a descriptor failed"))
}

/// Published ports lead to where the container is reached now: to another of
/// its addresses, or no longer at all.
async fn move_ports(
    engine: &Shared,
    container: &Arc<Container>,
    record: &Record,
    before: &Sandbox,
    after: &mut Sandbox,
) -> Result<(), ApiError> {
    let address = |sandbox: &Sandbox| sandbox.way_out().map(|endpoint| endpoint.address);
    if address(before) == address(after) {
        return Ok(());
    }
    let rules = &engine.networks.rules;
    rules.close(&before.forwards()).map_err(failed("closing published ports failed"))?;
    if after.way_out().is_none() {
        for port in after.ports.drain(..) {
            engine.keeper.unpark(&container.key(), &port.parked_as()).await.map_err(keeping)?;
        }
        engine.networks.ports.free(&container.id);
    } else if after.ports.is_empty() {
        engine.networks.publish(engine, record, after).await?;
    }
    container.change(|record| record.sandbox = Some(after.clone()))?;
    rules.open(&after.forwards()).map_err(failed("opening published ports failed"))?;
    if !before.ports.is_empty() || !after.ports.is_empty() {
        tell_ports(engine);
    }
    Ok(())
}

/// Writes `hosts` and `resolv.conf` anew, in place: the container has the files
/// themselves.
fn write_names(engine: &Shared, record: &Record, sandbox: &Sandbox) -> Result<(), ApiError> {
    let links = links::of(engine, record).unwrap_or_default();
    let embedded = engine.networks.serves_names(&record.id);
    let texts = [
        ("hosts", hosts(record, Some(sandbox), &links)),
        ("resolv.conf", resolv_conf(engine, record, embedded)),
    ];
    for (name, text) in texts {
        let path = directory(&record.id).join(name);
        fs::write(path, text).map_err(failed(format!("writing the container's {name} failed")))?;
    }
    Ok(())
}
