//! A container's place in networks, from its start to its end.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
};

use super::{
    Driver, Network, Networks,
    bridge::{self, Plug, Wire},
    dns, hosts, lock, own_networks,
    place::{Attachment, Endpoint, Sandbox},
    pool::Denied,
    ports::{self, Refused},
    tell, tell_ports,
};
use crate::{
    containers::record::Record,
    engine::{Engine, Shared},
    error::{ApiError, failed},
    keeper::KeeperError,
    random,
};

/// Descriptors that PID 1 kept over our restart, by key and name.
type Parked = HashMap<(String, String), OwnedFd>;

/// Words before whatever goes wrong.
pub(super) const CONTEXT: &str = "failed to set up container networking: ";

impl Networks {
    /// A place for a container that is about to start; none where it has no
    /// network namespace of its own.
    pub(crate) async fn reserve(
        &self,
        engine: &Engine,
        record: &Record,
    ) -> Result<Option<Sandbox>, ApiError> {
        if !own_networks(record.network()) {
            return Ok(None);
        }
        let mut sandbox = Sandbox { id: random::id(), container: record.id.clone(), ..Sandbox::default() };
        let filled = self.fill(engine, record, &mut sandbox).await;
        match filled {
            Ok(()) => Ok(Some(sandbox)),
            Err(error) => {
                self.free(&record.id);
                Err(error.context(CONTEXT))
            }
        }
    }

    async fn fill(&self, engine: &Engine, record: &Record, sandbox: &mut Sandbox) -> Result<(), ApiError> {
        for name in in_order(record) {
            let network = self.find(name)?;
            if network.driver == Driver::Bridge {
                let attachment = record.networks.get(name).cloned().unwrap_or_default();
                let endpoint = self.endpoint(&network, record, &attachment, sandbox.free_interface())?;
                sandbox.endpoints.insert(network.name, endpoint);
            }
        }
        self.publish(engine, record, sandbox).await
    }

    /// A place in one network.
    pub(super) fn endpoint(
        &self,
        network: &Network,
        record: &Record,
        attachment: &Attachment,
        interface: String,
    ) -> Result<Endpoint, ApiError> {
        let pool = network
            .pool
            .as_ref()
            .ok_or_else(|| ApiError::Failed(format!("network {} has no addresses", network.name)))?;
        let asked = attachment.ipam_config.as_ref().map(|asked| asked.ipv4_address.as_str());
        let wanted =
            asked.filter(|text| !text.is_empty()).map(str::parse).transpose().map_err(|_| {
                ApiError::Invalid(format!("invalid IPv4 address: {}", asked.unwrap_or_default()))
            })?;
        let mut all = lock(&self.taken);
        let taken = all.entry(network.id.clone()).or_default();
        let address = pool.choose(taken, wanted).map_err(|denied| denied_words(denied, network, wanted))?;
        taken.insert(address, record.id.clone());
        let is_first = in_order(record).first() == Some(&network.name.as_str());
        let mac = match (attachment.mac_address.as_str(), record.config.mac_address.as_str()) {
            ("", given) if is_first && !given.is_empty() => given.to_owned(),
            // By the address, so that whoever knew an earlier holder of it need
            // not ask anew, which for a busy neighbour takes half a minute.
            ("", _) => drydock_sandbox::link::Mac::of(address).to_string(),
            (given, _) => given.to_owned(),
        };
        let id = random::id();
        Ok(Endpoint {
            link: format!("veth{}", &id[..7]),
            id,
            network: network.id.clone(),
            address,
            prefix: pool.subnet.prefix,
            gateway: (!network.internal).then_some(pool.gateway),
            priority: attachment.gw_priority,
            mac,
            interface,
        })
    }

    /// Gets the node's ports that the container wants, if it can be reached.
    pub(super) async fn publish(
        &self,
        engine: &Engine,
        record: &Record,
        sandbox: &mut Sandbox,
    ) -> Result<(), ApiError> {
        let Some(endpoint) = sandbox.way_out().cloned() else { return Ok(()) };
        let default = self.find(&endpoint.network)?.host_binding();
        let key = format!("container/{}", record.id);
        for wanted in ports::wanted(record, default)? {
            let words = |refused: Refused| {
                ApiError::Failed(format!(
                    "driver failed programming external connectivity on endpoint {} ({}): {}",
                    record.name,
                    endpoint.id,
                    refused.words(endpoint.address)
                ))
            };
            let taken = match self.ports.take(&wanted, &record.id) {
                // PID 1 may be about to close what an ended container had.
                Err(refused) if refused.may_pass() => {
                    engine.keeper.sync().await.map_err(keeping)?;
                    self.ports.take(&wanted, &record.id)
                }
                other => other,
            };
            let (published, socket) = taken.map_err(words)?;
            engine.keeper.park(&key, &published.parked_as(), socket.as_fd()).await.map_err(keeping)?;
            sandbox.ports.push(published);
        }
        Ok(())
    }

    /// Sets up a new network namespace: loopback, and its place.
    pub(crate) async fn connect(
        &self,
        engine: &Shared,
        record: &Record,
        sandbox: &Sandbox,
        netns: OwnedFd,
    ) -> Result<(), ApiError> {
        self.prepare(engine).await?;
        let mut plug = Plug {
            endpoints: Vec::new(),
            gateway: sandbox.way_out().and_then(|endpoint| endpoint.gateway),
            is_new: true,
            dns: false,
        };
        let mut networks = Vec::new();
        for (name, endpoint) in &sandbox.endpoints {
            let network = self.find(name)?;
            plug.dns |= network.is_user_defined();
            plug.endpoints.push(wire(&network, endpoint)?);
            networks.push(network);
        }
        // `eth0` is made first and so gets the lowest number.
        plug.endpoints.sort_by(|one, other| one.endpoint.interface.cmp(&other.endpoint.interface));
        if let Some(sockets) = bridge::plug(netns, plug).await? {
            self.serve_names(engine, record, sockets).await?;
        }
        self.rules.open(&sandbox.forwards()).map_err(failed("opening published ports failed"))?;
        for network in &networks {
            tell(engine, network, "connect", Some(&record.id));
        }
        if !sandbox.ports.is_empty() {
            tell_ports(engine);
        }
        Ok(())
    }

    /// Starts the container's DNS server on these sockets, which PID 1 keeps.
    pub(super) async fn serve_names(
        &self,
        engine: &Shared,
        record: &Record,
        sockets: dns::Sockets,
    ) -> Result<(), ApiError> {
        let key = format!("container/{}", record.id);
        for (name, socket) in dns::PARKED.into_iter().zip([&sockets.udp, &sockets.tcp]) {
            engine.keeper.park(&key, name, socket.as_fd()).await.map_err(keeping)?;
        }
        let server = dns::serve(engine, &record.id, sockets, hosts::own_server(record))
            .map_err(failed("starting the embedded DNS server failed"))?;
        lock(&self.servers).insert(record.id.clone(), server);
        Ok(())
    }

    /// Whether the container is in a network with names.
    pub(crate) fn has_names(&self, record: &Record) -> bool {
        record.networks.keys().any(|name| self.find(name).is_ok_and(|network| network.is_user_defined()))
    }

    /// Whether the container is in the network of this name or id.
    pub(crate) fn has(&self, record: &Record, network: &str) -> bool {
        self.find(network).is_ok_and(|network| record.networks.contains_key(&network.name))
    }

    /// Whether the container has a DNS server of its own already.
    pub(super) fn serves_names(&self, container: &str) -> bool {
        lock(&self.servers).contains_key(container)
    }

    /// Takes back the place of a container that ended.
    pub(crate) fn release(&self, engine: &Engine, sandbox: &Sandbox) {
        lock(&self.servers).remove(&sandbox.container);
        if let Err(error) = self.rules.close(&sandbox.forwards()) {
            tracing::warn!(%error, container = sandbox.container, "published ports stay open");
        }
        bridge::remove_links(sandbox);
        self.free(&sandbox.container);
        for network in sandbox.endpoints.keys().filter_map(|name| self.find(name).ok()) {
            tell(engine, &network, "disconnect", Some(&sandbox.container));
        }
        if !sandbox.ports.is_empty() {
            tell_ports(engine);
        }
    }

    /// Takes back addresses and ports of a container.
    pub(crate) fn free(&self, container: &str) {
        for taken in lock(&self.taken).values_mut() {
            taken.retain(|_, holder| holder != container);
        }
        self.ports.free(container);
    }

    /// Takes back one address.
    pub(super) fn free_address(&self, endpoint: &Endpoint) {
        if let Some(taken) = lock(&self.taken).get_mut(&endpoint.network) {
            taken.remove(&endpoint.address);
        }
    }

    /// Takes up a place that a container has had over our restart.
    pub(crate) fn keep(&self, engine: &Shared, record: &Record, parked: &mut Parked) -> Result<(), ApiError> {
        let Some(sandbox) = &record.sandbox else { return Ok(()) };
        for endpoint in sandbox.endpoints.values() {
            let mut all = lock(&self.taken);
            all.entry(endpoint.network.clone()).or_default().insert(endpoint.address, record.id.clone());
        }
        self.ports.keep(&sandbox.ports, &record.id);
        let key = format!("container/{}", record.id);
        let [udp, tcp] = dns::PARKED.map(|name| parked.remove(&(key.clone(), name.to_owned())));
        if let (Some(udp), Some(tcp)) = (udp, tcp) {
            let sockets = dns::Sockets { udp, tcp };
            let server = dns::serve(engine, &record.id, sockets, hosts::own_server(record))
                .map_err(failed("starting the embedded DNS server failed"))?;
            lock(&self.servers).insert(record.id.clone(), server);
        }
        Ok(())
    }
}

/// The names of a container's networks; the one of its network mode first.
pub(super) fn in_order(record: &Record) -> Vec<&str> {
    let mode = record.network();
    let mut names: Vec<&str> = record.networks.keys().map(String::as_str).collect();
    names.sort_by_key(|name| (*name != mode, *name));
    names
}

/// What is to be made for an endpoint.
pub(super) fn wire(network: &Network, endpoint: &Endpoint) -> Result<Wire, ApiError> {
    let bridge = network
        .bridge()
        .ok_or_else(|| ApiError::Failed(format!("network {} has no bridge", network.name)))?;
    Ok(Wire { endpoint: endpoint.clone(), bridge, mtu: network.mtu() })
}

fn denied_words(denied: Denied, network: &Network, wanted: Option<Ipv4Addr>) -> ApiError {
    match denied {
        Denied::Full => ApiError::Failed(format!(
            "no available IPv4 addresses on this network's address pools: {} ({})",
            network.name, network.id
        )),
        Denied::Taken => ApiError::Forbidden("Address already in use".to_owned()),
        Denied::Outside => ApiError::Invalid(format!(
            "no configured subnet or ip-range contain the IP address {}",
            wanted.map(|address| address.to_string()).unwrap_or_default()
        )),
    }
}

pub(super) fn keeping(error: KeeperError) -> ApiError {
    failed("keeping the container's sockets failed")(error)
}
