//! What all requests share.

use std::{path::PathBuf, sync::Arc};

use drydock_image::store::Store;
use drydock_protocol::node::Spec;

use crate::{
    cgroups::Cgroups, containers::Registry, exec::Execs, images::Images, keeper::Keeper, networks::Networks,
    system::events::Events, volumes::Volumes,
};

/// The version of Docker whose behaviour and API this engine has.
pub(crate) const VERSION: &str = "28.2.2";
/// The newest API version.
pub(crate) const API_VERSION: &str = "1.50";
/// The oldest API version.
pub(crate) const API_LOWEST: &str = "1.24";

/// Where the engine keeps what it makes.
pub(crate) const ROOT: &str = "/var/lib/docker";
/// The machine's layer store, read-only.
pub(crate) const STORE: &str = "/var/lib/drydock/store";

/// The engine.
pub(crate) struct Engine {
    /// The engine's own identifier, for `docker info`.
    pub(crate) id: String,
    pub(crate) spec: Spec,
    pub(crate) keeper: Keeper,
    pub(crate) cgroups: Cgroups,
    pub(crate) store: Store,
    pub(crate) images: Images,
    pub(crate) networks: Networks,
    pub(crate) volumes: Volumes,
    pub(crate) containers: Registry,
    pub(crate) execs: Execs,
    pub(crate) events: Events,
}

/// The engine, as every handler has it.
pub(crate) type Shared = Arc<Engine>;

/// A path below [`ROOT`].
pub(crate) fn below_root(parts: &[&str]) -> PathBuf {
    let mut path = PathBuf::from(ROOT);
    path.extend(parts);
    path
}
