//! A network, as it is kept on disk.

use std::{collections::BTreeMap, net::Ipv4Addr};

use drydock_sandbox::nft::bridges::Bridge;
use serde::{Deserialize, Serialize};

use super::pool::Pool;
use crate::{clock, random};

/// Options of the bridge driver, by their names.
pub(super) const NAME: &str = "com.docker.network.bridge.name";
pub(super) const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
pub(super) const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
pub(super) const MTU: &str = "com.docker.network.driver.mtu";

/// The bridge of the default network.
pub(super) const DEFAULT_BRIDGE: &str = "docker0";

/// A network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: String,
    pub(crate) driver: Driver,
    pub(crate) internal: bool,
    pub(crate) attachable: bool,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) ipam: Ipam,
    /// Its addresses; `host` and `none` have none.
    pub(crate) pool: Option<Pool>,
}

/// What stands behind a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Driver {
    Bridge,
    Host,
    Null,
}

impl Driver {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Host => "host",
            Driver::Null => "null",
        }
    }
}

/// Address management, as it was asked for and is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Ipam {
    pub(crate) driver: String,
    pub(crate) options: Option<BTreeMap<String, String>>,
    pub(crate) config: Option<Vec<IpamConfig>>,
}

/// A subnet, as it was asked for and is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct IpamConfig {
    pub(crate) subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    pub(crate) ip_range: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) gateway: String,
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) auxiliary_addresses: BTreeMap<String, String>,
}

impl Network {
    /// The three that there always are.
    pub(super) fn predefined() -> [Network; 3] {
        let created = clock::now();
        let plain = |name: &str, driver| Network {
            id: random::id(),
            name: name.to_owned(),
            created: created.clone(),
            driver,
            internal: false,
            attachable: false,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            ipam: Ipam { driver: "default".to_owned(), ..Ipam::default() },
            pool: None,
        };
        let mut bridge = plain("bridge", Driver::Bridge);
        let pool = Pool::new(super::DEFAULT_SUBNET);
        bridge.ipam.config = Some(vec![IpamConfig {
            subnet: pool.subnet.to_string(),
            gateway: pool.gateway.to_string(),
            ..IpamConfig::default()
        }]);
        bridge.pool = Some(pool);
        bridge.options = [
            ("com.docker.network.bridge.default_bridge", "true"),
            ("com.docker.network.bridge.enable_icc", "true"),
            (MASQUERADE, "true"),
            (HOST_BINDING, "0.0.0.0"),
            (NAME, DEFAULT_BRIDGE),
            (MTU, "1500"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        [plain("none", Driver::Null), plain("host", Driver::Host), bridge]
    }

    /// One of the three.
    pub(crate) fn is_predefined(&self) -> bool {
        matches!(self.name.as_str(), "bridge" | "host" | "none")
    }

    /// A bridge that somebody made, with names for its containers.
    pub(crate) fn is_user_defined(&self) -> bool {
        self.driver == Driver::Bridge && !self.is_predefined()
    }

    /// The name of its bridge.
    pub(crate) fn bridge(&self) -> Option<String> {
        if self.driver != Driver::Bridge {
            return None;
        }
        Some(self.options.get(NAME).cloned().unwrap_or_else(|| format!("br-{}", &self.id[..12])))
    }

    /// The node's address where ports are published, unless a container says.
    pub(crate) fn host_binding(&self) -> Ipv4Addr {
        let asked = self.options.get(HOST_BINDING).and_then(|text| text.parse().ok());
        asked.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// The longest packet, where it isn't the usual.
    pub(crate) fn mtu(&self) -> Option<u32> {
        self.options.get(MTU).and_then(|text| text.parse().ok()).filter(|mtu| *mtu != 1500)
    }

    /// What the packet filter knows of it.
    pub(crate) fn rules(&self) -> Option<Bridge> {
        let pool = self.pool.as_ref()?;
        Some(Bridge {
            name: self.bridge()?,
            network: (pool.subnet.address, pool.subnet.prefix),
            internal: self.internal,
            masquerade: self.options.get(MASQUERADE).is_none_or(|text| crate::filters::is_true(text)),
        })
    }

    /// The attributes of its events.
    pub(crate) fn attributes(&self) -> BTreeMap<String, String> {
        [("name", self.name.as_str()), ("type", self.driver.word())]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }
}
