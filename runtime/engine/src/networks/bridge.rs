//! Bridges in the kernel: a link in the node for each network, and a veth pair
//! for each container in it.

use std::{
    fs,
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use drydock_sandbox::{
    link::{LinkError, Mac},
    namespaces,
    veth::{Far, Links},
};
use tokio::sync::oneshot;

use super::{
    dns::Sockets,
    known::Network,
    place::{Endpoint, Sandbox},
};
use crate::error::{ApiError, failed};

/// What a new network namespace gets, or an old one in addition.
pub(super) struct Plug {
    pub(super) endpoints: Vec<Wire>,
    /// The way out, once all is there.
    pub(super) gateway: Option<Ipv4Addr>,
    /// Loopback is to be set up: the namespace is new.
    pub(super) is_new: bool,
    /// Make sockets for the embedded DNS server.
    pub(super) dns: bool,
}

/// An endpoint and the bridge it goes into.
pub(super) struct Wire {
    pub(super) endpoint: Endpoint,
    pub(super) bridge: String,
    pub(super) mtu: Option<u32>,
}

/// Makes a network's bridge, if it isn't there, and sets it up for ports.
pub(super) fn make(network: &Network) -> Result<(), ApiError> {
    let (Some(name), Some(pool)) = (network.bridge(), &network.pool) else { return Ok(()) };
    let words = || failed(format!("making the bridge {name} failed"));
    let mut links = Links::open().map_err(words())?;
    match links.index(&name) {
        Ok(_) => return Ok(()),
        Err(LinkError::Missing(_)) => {}
        Err(error) => return Err(words()(error)),
    }
    let address = (pool.gateway, pool.subnet.prefix);
    links.add_bridge(&name, Mac::of(pool.gateway), network.mtu(), address).map_err(words())?;
    // `curl localhost:8080` in the node leaves by the bridge as 127.0.0.1.
    set(&format!("net/ipv4/conf/{name}/route_localnet"), "1")
}

/// Removes a link of the node, if it is there.
pub(super) fn remove(name: &str) -> Result<(), ApiError> {
    let words = || failed(format!("removing the link {name} failed"));
    Links::open().and_then(|mut links| links.remove(name)).map_err(words())
}

/// Removes links of ours that nobody owns: what an earlier engine was making,
/// or had not yet removed, when it ended.
pub(super) fn sweep(owned: &[String]) -> Result<(), ApiError> {
    let words = || failed("looking for links that are left over failed");
    let mut links = Links::open().map_err(words())?;
    let names = links.names().map_err(words())?;
    for name in names.iter().filter(|name| is_ours(name) && !owned.contains(name)) {
        links.remove(name).map_err(failed(format!("removing the link {name} failed")))?;
    }
    Ok(())
}

/// `veth` and seven digits, or `br-` and twelve: names that we give.
fn is_ours(name: &str) -> bool {
    let hex = |rest: &str, count| {
        rest.len() == count && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    name.strip_prefix("veth").is_some_and(|rest| hex(rest, 7))
        || name.strip_prefix("br-").is_some_and(|rest| hex(rest, 12))
}

/// Lets the node pass packets on between its links.
pub(super) fn forward() -> Result<(), ApiError> {
    set("net/ipv4/ip_forward", "1")?;
    // Where br_netfilter is there, bridged frames would go through NAT.
    if setting("net/bridge/bridge-nf-call-iptables").is_some() {
        set("net/bridge/bridge-nf-call-iptables", "0")?;
    }
    Ok(())
}

/// Connects a network namespace, given by a descriptor of it or by a pidfd of
/// a process in it. The sockets that come back are for [`Plug::dns`].
pub(super) async fn plug(netns: OwnedFd, plug: Plug) -> Result<Option<Sockets>, ApiError> {
    let (sender, done) = oneshot::channel();
    // A thread of its own: it changes its namespace.
    let work = move || {
        // The start that waited for it was given up.
        let _ = sender.send(plug_now(&netns, &plug));
    };
    std::thread::Builder::new()
        .name("network".to_owned())
        .spawn(work)
        .map_err(failed("starting a thread failed"))?;
    done.await.map_err(failed("connecting the network namespace failed"))?
}

fn plug_now(netns: &OwnedFd, plug: &Plug) -> Result<Option<Sockets>, ApiError> {
    let mut near = Links::open().map_err(failed("talking to the kernel's links failed"))?;
    let entering = |error: std::io::Error| failed("entering the network namespace failed")(error);
    nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).map_err(|error| entering(error.into()))?;
    // A pidfd leads there too, but isn't one that a link can be sent to.
    let inside = if plug.is_new { netns.try_clone() } else { own_namespace() }.map_err(entering)?;
    for Wire { endpoint, bridge, mtu } in &plug.endpoints {
        let words = || failed(format!("connecting {} to {bridge} failed", endpoint.interface));
        let mac: Mac = endpoint.mac.parse().map_err(failed("invalid MAC address"))?;
        let bridge = near.index(bridge).map_err(words())?;
        let far = Far { name: &endpoint.interface, mac, netns: inside.as_fd() };
        near.add_pair(&endpoint.link, bridge, *mtu, far).map_err(words())?;
    }
    let mut links = Links::open().map_err(failed("talking to the kernel's links failed"))?;
    if plug.is_new {
        links.loopback_up().map_err(failed("setting up loopback failed"))?;
    }
    for Wire { endpoint, bridge, .. } in &plug.endpoints {
        let configured = configure(&mut links, endpoint).and_then(|()| {
            near.settle(&endpoint.link)?;
            near.settle(bridge)?;
            links.settle(&endpoint.interface)
        });
        configured.map_err(failed(format!("setting up {} failed", endpoint.interface)))?;
    }
    route(&mut links, plug.gateway)?;
    if !plug.dns {
        return Ok(None);
    }
    Sockets::make().map(Some).map_err(failed("making the embedded DNS server's sockets failed"))
}

fn configure(links: &mut Links, endpoint: &Endpoint) -> Result<(), LinkError> {
    let index = links.index(&endpoint.interface)?;
    links.add_address(index, endpoint.address, endpoint.prefix)?;
    links.up(index)
}

fn route(links: &mut Links, gateway: Option<Ipv4Addr>) -> Result<(), ApiError> {
    let routed = match gateway {
        Some(gateway) => links.set_default_route(gateway),
        None => links.remove_default_route(),
    };
    routed.map_err(failed("setting the default route failed"))
}

/// Takes an endpoint's link away from a running container, and sets its way
/// out anew.
pub(super) async fn unplug(
    netns: OwnedFd,
    endpoint: Endpoint,
    gateway: Option<Ipv4Addr>,
) -> Result<(), ApiError> {
    tokio::task::spawn_blocking(move || {
        remove(&endpoint.link)?;
        let rerouted = namespaces::in_network_namespace(netns.as_fd(), || {
            Links::open()
                .map_err(|error| ApiError::Failed(error.to_string()))
                .and_then(|mut links| route(&mut links, gateway))
                .map_err(std::io::Error::other)
        });
        rerouted.map_err(failed("setting the default route failed"))
    })
    .await
    .map_err(failed("disconnecting failed"))?
}

/// Removes the node's ends of a sandbox's links, which takes the others along.
/// Nobody waits for it: the kernel takes its time, and a link that stays is
/// removed by the next engine.
pub(super) fn remove_links(sandbox: &Sandbox) {
    let names: Vec<String> = sandbox.endpoints.values().map(|endpoint| endpoint.link.clone()).collect();
    if names.is_empty() {
        return;
    }
    tokio::task::spawn_blocking(move || {
        for name in names {
            if let Err(error) = remove(&name) {
                tracing::warn!(%error, "a link stays");
            }
        }
    });
}

/// The calling thread's network namespace. `/proc` may be masked in the node;
/// its clean one is not.
fn own_namespace() -> std::io::Result<OwnedFd> {
    let clean = fs::File::open("/.drydock/proc/thread-self/ns/net");
    clean.or_else(|_| fs::File::open("/proc/thread-self/ns/net")).map(OwnedFd::from)
}

fn setting(name: &str) -> Option<(PathBuf, String)> {
    ["/.drydock/proc/sys", "/proc/sys"].into_iter().find_map(|base| {
        let path = Path::new(base).join(name);
        let value = fs::read_to_string(&path).ok()?;
        Some((path, value))
    })
}

fn set(name: &str, value: &str) -> Result<(), ApiError> {
    let (path, held) = setting(name)
        .ok_or_else(|| ApiError::Failed(format!("setting {name} failed: there is no such setting")))?;
    if held.trim() == value {
        return Ok(());
    }
    fs::write(path, value).map_err(failed(format!("setting {name} failed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_give_are_swept() {
        assert!(is_ours("veth0123abc") && is_ours("br-0123456789ab"));
        for other in ["veth0", "vethABCDEF0", "veth0123abcd", "br-lan", "docker0", "eth0", "br-0123456789abc"]
        {
            assert!(!is_ours(other), "{other}");
        }
    }
}
