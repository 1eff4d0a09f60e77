//! Networks: `/networks/…`.
//!
//! | file | what |
//! | --- | --- |
//! | `known` | a network, as it is kept on disk |
//! | `subnet`, `pool` | addresses and who has them |
//! | `create`, `list`, `remove`, `membership` | the API |
//! | `mode`, `place`, `sandbox` | a container's place in networks, from its start to its end |
//! | `settings` | what `docker inspect` shows of it |
//! | `bridge`, `rules` | links and packet filter rules of the node |
//! | `ports` | published ports |
//! | `dns`, `hosts`, `links` | names |

mod bridge;
mod create;
mod dns;
mod hosts;
mod known;
mod links;
mod list;
mod membership;
mod mode;
mod place;
mod pool;
mod ports;
mod remove;
mod rules;
mod sandbox;
mod settings;
mod subnet;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OnceCell;

use crate::{
    engine::{Engine, below_root},
    error::{ApiError, failed},
    state_file,
};
pub(crate) use create::{attachments, create};
pub(crate) use hosts::{hosts, resolv_conf};
use known::{Driver, Network};
pub(crate) use links::{Link, of as links_of, shown as shown_links};
pub(crate) use list::{inspect, list};
pub(crate) use membership::{connect, disconnect};
use mode::own_networks;
pub(crate) use mode::{check as check_mode, join_target, joined, warnings};
pub(crate) use place::{Attachment, Sandbox};
pub(crate) use remove::{delete, prune};
pub(crate) use settings::{EndpointSettings, NetworkSettings, PortSummary, endpoints, port_list, settings};
use subnet::Subnet;

/// The default bridge's own address.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
const DEFAULT_SUBNET: Subnet = Subnet::new(Ipv4Addr::new(172, 17, 0, 0), 16);
/// The most networks a node may have.
const NETWORKS_MAX: usize = 128;

/// All networks, who has which address and port, and what serves them.
pub(crate) struct Networks {
    known: Mutex<Vec<Network>>,
    /// By the network's id: addresses and the containers that have them.
    taken: Mutex<HashMap<String, BTreeMap<Ipv4Addr, String>>>,
    ports: ports::Ports,
    rules: Arc<rules::Rules>,
    /// The embedded DNS servers by container.
    servers: Mutex<HashMap<String, dns::Server>>,
    /// The kernel has what is known.
    ready: OnceCell<()>,
    /// Held while a network is made or removed.
    changing: tokio::sync::Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn state_path() -> PathBuf {
    below_root(&["network", "networks.json"])
}

impl Networks {
    /// Reads what is known, or begins anew.
    pub(crate) fn load() -> io::Result<Networks> {
        fs::create_dir_all(below_root(&["network"]))?;
        let known = match state_file::read(&state_path())? {
            Some(known) => known,
            None => {
                let known = Network::predefined().to_vec();
                state_file::write(&state_path(), &known)?;
                known
            }
        };
        Ok(Networks {
            known: Mutex::new(known),
            taken: Mutex::default(),
            ports: ports::Ports::default(),
            rules: Arc::default(),
            servers: Mutex::default(),
            ready: OnceCell::new(),
            changing: tokio::sync::Mutex::default(),
        })
    }

    fn all(&self) -> Vec<Network> {
        lock(&self.known).clone()
    }

    /// Changes what is known, on disk too.
    fn change(&self, change: impl FnOnce(&mut Vec<Network>)) -> Result<(), ApiError> {
        let mut known = lock(&self.known);
        let mut changed = known.clone();
        change(&mut changed);
        state_file::write(&state_path(), &changed).map_err(failed("storing networks failed"))?;
        *known = changed;
        Ok(())
    }

    /// The network that a name, an id or the begin of one means.
    fn find(&self, reference: &str) -> Result<Network, ApiError> {
        let missing = || ApiError::NotFound(format!("network {reference} not found"));
        let known = lock(&self.known);
        if let Some(network) = known
            .iter()
            .find(|one| one.name == reference)
            .or_else(|| known.iter().find(|one| one.id == reference))
        {
            return Ok(network.clone());
        }
        if reference.is_empty() {
            return Err(missing());
        }
        let mut found = known.iter().filter(|one| one.id.starts_with(reference));
        match (found.next(), found.next()) {
            (Some(network), None) => Ok(network.clone()),
            (Some(_), Some(_)) => Err(ApiError::Invalid(format!(
                "network {reference} is ambiguous ({} matches found based on ID prefix)",
                2 + found.count()
            ))),
            (None, _) => Err(missing()),
        }
    }

    /// Makes in the kernel what is known, once, and removes what isn't.
    pub(crate) async fn prepare(&self, engine: &Engine) -> Result<(), ApiError> {
        self.ready.get_or_try_init(|| self.restore(engine)).await.map(drop)
    }

    async fn restore(&self, engine: &Engine) -> Result<(), ApiError> {
        let networks = self.all();
        let mut owned: Vec<String> = networks.iter().filter_map(Network::bridge).collect();
        let mut forwards = Vec::new();
        for container in engine.containers.all() {
            let record = container.locked();
            let Some(sandbox) = &record.sandbox else { continue };
            owned.extend(sandbox.endpoints.values().map(|endpoint| endpoint.link.clone()));
            forwards.extend(sandbox.forwards());
        }
        let rules = self.rules.clone();
        let work = move || {
            bridge::forward()?;
            bridge::sweep(&owned)?;
            networks.iter().try_for_each(bridge::make)?;
            let bridges = networks.iter().filter_map(Network::rules).collect();
            rules.replace(bridges, forwards).map_err(failed("setting the packet filter's rules failed"))
        };
        tokio::task::spawn_blocking(work).await.map_err(failed("making networks failed"))??;
        tell_ports(engine);
        Ok(())
    }
}

/// Tells an event of a network.
fn tell(engine: &Engine, network: &Network, action: &str, container: Option<&str>) {
    let mut attributes = network.attributes();
    if let Some(container) = container {
        attributes.insert("container".to_owned(), container.to_owned());
    }
    engine.events.tell("network", action, &network.id, attributes);
}

/// Tells the node's stream which ports lead into containers now.
fn tell_ports(engine: &Engine) {
    let mut all = Vec::new();
    for container in engine.containers.all() {
        let record = container.locked();
        for port in record.sandbox.iter().flat_map(|sandbox| &sandbox.ports) {
            all.push(drydock_protocol::event::Port {
                host_ip: port.host_ip,
                host_port: port.host_port,
                protocol: port.protocol.to_string(),
                container_port: port.port,
                container: record.id.clone(),
                name: record.name.clone(),
            });
        }
    }
    all.sort_by(|one, other| (one.host_port, &one.protocol).cmp(&(other.host_port, &other.protocol)));
    engine.keeper.event(drydock_protocol::event::What::Ports { ports: all });
}
