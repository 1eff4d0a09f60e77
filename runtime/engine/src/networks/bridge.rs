//! The default bridge: `docker0` in the node, a veth pair for each container,
//! and masquerading for what leaves it.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    os::fd::BorrowedFd,
    path::Path,
};

use drydock_sandbox::{
    link::{self, End, Handle, Mac},
    nft,
};
use tokio::sync::OnceCell;

use crate::{
    containers::record::Endpoint,
    error::{ApiError, failed},
};

/// The bridge's own address.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
pub(super) const SUBNET: &str = "172.17.0.0/16";
pub(super) const PREFIX: u8 = 16;
const NAME: &str = "docker0";

/// The bridge, made when first needed.
#[derive(Default)]
pub(super) struct Bridge(OnceCell<Made>);

pub(super) struct Made {
    handle: Handle,
    index: u32,
}

/// Addresses for containers, in order.
pub(super) fn addresses() -> impl Iterator<Item = Ipv4Addr> {
    let gateway = u32::from(GATEWAY);
    (gateway + 1..gateway + 0xfffe).map(Ipv4Addr::from)
}

pub(super) fn mac_text(mac: [u8; 6]) -> String {
    Mac(mac).to_string()
}

/// The bridge's options, as Docker shows them.
pub(super) fn options() -> BTreeMap<&'static str, String> {
    BTreeMap::from(
        [
            ("com.docker.network.bridge.default_bridge", "true"),
            ("com.docker.network.bridge.enable_icc", "true"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
            ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
            ("com.docker.network.bridge.name", NAME),
            ("com.docker.network.driver.mtu", "1500"),
        ]
        .map(|(key, value)| (key, value.to_owned())),
    )
}

impl Bridge {
    pub(super) async fn get(&self) -> Result<&Made, ApiError> {
        self.0.get_or_try_init(make).await
    }

    /// Sets up a namespace: loopback, and with an endpoint `eth0`.
    pub(super) async fn connect(
        &self,
        endpoint: Option<&Endpoint>,
        network: BorrowedFd<'_>,
    ) -> Result<(), ApiError> {
        let inside = link::connect_in(network).map_err(failed("entering the network namespace failed"))?;
        // Loopback is always the first link.
        link::up(&inside, 1).await.map_err(failed("setting up loopback failed"))?;
        let Some(endpoint) = endpoint else { return Ok(()) };
        let made = self.get().await?;
        let words = || failed(format!("connecting {} failed", endpoint.link));
        let mac: Mac = endpoint.mac.parse().map_err(failed("invalid MAC address"))?;
        let near = End { name: &endpoint.link, mac: None, netns: None };
        let far = End { name: "eth0", mac: Some(mac), netns: Some(network) };
        link::add_veth(&made.handle, &near, &far).await.map_err(words())?;
        let near = link::index(&made.handle, &endpoint.link).await.map_err(words())?;
        link::plug(&made.handle, near, made.index).await.map_err(words())?;
        let eth0 = link::index(&inside, "eth0").await.map_err(words())?;
        link::add_address(&inside, eth0, IpAddr::V4(endpoint.address), PREFIX).await.map_err(words())?;
        link::up(&inside, eth0).await.map_err(words())?;
        link::add_default_route(&inside, GATEWAY).await.map_err(words())
    }

    /// Removes a container's link, if it is still there.
    pub(super) async fn disconnect(&self, name: &str) {
        let Some(made) = self.0.get() else { return };
        if let Ok(index) = link::index(&made.handle, name).await {
            // It may go by itself between the question and this.
            if let Err(error) = link::remove(&made.handle, index).await {
                tracing::debug!(%error, name, "a link was gone already");
            }
        }
    }
}

async fn make() -> Result<Made, ApiError> {
    let words = || failed("making the bridge docker0 failed");
    let handle = link::connect().map_err(words())?;
    let index = match link::index(&handle, NAME).await {
        // From before our restart.
        Ok(index) => index,
        Err(link::LinkError::Missing(_)) => new_bridge(&handle).await?,
        Err(link::LinkError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => {
            new_bridge(&handle).await?
        }
        Err(error) => return Err(words()(error)),
    };
    forward()?;
    nft::masquerade(NAME, (Ipv4Addr::new(172, 17, 0, 0), PREFIX))
        .map_err(failed("masquerading docker0 failed"))?;
    Ok(Made { handle, index })
}

async fn new_bridge(handle: &Handle) -> Result<u32, ApiError> {
    let words = || failed("making the bridge docker0 failed");
    let index = link::add_bridge(handle, NAME, Some(Mac::of(GATEWAY))).await.map_err(words())?;
    link::add_address(handle, index, IpAddr::V4(GATEWAY), PREFIX).await.map_err(words())?;
    link::up(handle, index).await.map_err(words())?;
    Ok(index)
}

/// Lets the node pass packets on between its links.
fn forward() -> Result<(), ApiError> {
    set("net/ipv4/ip_forward", "1")?;
    // Where br_netfilter is there, bridged frames would go through NAT.
    if setting("net/bridge/bridge-nf-call-iptables").is_some() {
        set("net/bridge/bridge-nf-call-iptables", "0")?;
    }
    Ok(())
}

/// `/proc/sys` may be masked in the node; the node's clean one is not.
fn setting(name: &str) -> Option<(std::path::PathBuf, String)> {
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
