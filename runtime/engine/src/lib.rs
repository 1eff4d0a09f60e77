//! The engine of a node: Docker's API, and what stands behind it.
//!
//! It runs inside the node, as a child of PID 1 that is started again when it
//! dies, with no more rights than the learner has. Containers are PID 1's
//! children; their pipes and terminals are parked there (see [`keeper`]), so
//! that a new engine finds them running.
//!
//! | module | what |
//! | --- | --- |
//! | `server` | HTTP and the list of routes |
//! | `containers`, `exec`, `images`, `networks`, `volumes`, `system` | a folder for each resource of the API |
//! | [`container`] | the stages that become a container's processes |
//! | [`keeper`] | the connection to PID 1 |
//! | `log` | what containers printed |
//! | `cgroups` | where containers' processes live |
//! | `init` | the first process of containers run with `--init`, as a file |

#![recursion_limit = "256"]

mod body;
mod cgroups;
mod clock;
pub mod container;
mod containers;
mod engine;
mod error;
mod exec;
mod filters;
mod hijack;
mod images;
mod init;
pub mod keeper;
mod log;
mod networks;
mod proc;
mod random;
mod server;
mod state_file;
mod system;
mod volumes;

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
    process::ExitCode,
    sync::Arc,
};

use drydock_image::store::Store;
use drydock_protocol::{
    keeper::{INSIDE_FD, KEEPER_FD, OUTSIDE_FD, SPEC_ENV},
    node::Spec,
};
use thiserror::Error;

use engine::{Engine, ROOT, STORE, below_root};
pub use error::ApiError;
use keeper::{Keeper, KeeperError};

/// Why the engine could not run, or ended.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The environment doesn't say what the node is.
    #[error("{SPEC_ENV} is not a node's description: {0}")]
    Spec(String),
    /// Something of the node's disk could not be read or made.
    #[error("{what}: {source}")]
    Disk {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The catalogue could not be opened.
    #[error(transparent)]
    Store(#[from] drydock_image::store::StoreError),
    /// PID 1 is gone or not to be understood.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// What PID 1 kept could not be taken up.
    #[error(transparent)]
    Adopt(#[from] ApiError),
}

fn disk(what: &str) -> impl FnOnce(io::Error) -> EngineError {
    let what = what.to_owned();
    move |source| EngineError::Disk { what, source }
}

/// `drydock-node engine`: runs until PID 1 closes the keeper socket.
pub fn run() -> ExitCode {
    // SAFETY: prctl with numbers only. Nobody in the node may look into us.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().event_interval(8).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("engine: starting the runtime failed: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn inherited(number: i32) -> Result<OwnedFd, EngineError> {
    // SAFETY: PID 1 gave us this descriptor by its number, and each number is
    // taken over once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)
        .map_err(|error| disk("taking over a descriptor failed")(error.into()))?;
    Ok(fd)
}

async fn serve() -> Result<(), EngineError> {
    let text = std::env::var(SPEC_ENV).map_err(|error| EngineError::Spec(error.to_string()))?;
    let spec: Spec = serde_json::from_str(&text).map_err(|error| EngineError::Spec(error.to_string()))?;
    let (socket, outside, inside) = (inherited(KEEPER_FD)?, inherited(OUTSIDE_FD)?, inherited(INSIDE_FD)?);
    let (keeper, connection) = Keeper::new(socket).await?;
    let connection = tokio::spawn(connection);
    let engine = Arc::new(load(spec, keeper)?);
    let kept = engine.keeper.list().await?;
    containers::restore::adopt(&engine, kept).await?;
    let routes = server::routes(engine.clone());
    tokio::spawn(system::watch::processes(engine.keeper.clone()));
    for socket in [outside, inside] {
        let routes = routes.clone();
        tokio::spawn(async move {
            if let Err(error) = server::serve(socket, routes).await {
                tracing::error!(%error, "a socket can't be served");
            }
        });
    }
    if let Err(error) = engine.networks.prepare(&engine).await {
        tracing::error!(%error, "containers will have no bridge");
    }
    match connection.await {
        // The node is being shut down.
        Ok(KeeperError::Gone) => Ok(()),
        Ok(error) => Err(error.into()),
        Err(_) => Err(KeeperError::Gone.into()),
    }
}

fn load(spec: Spec, keeper: Keeper) -> Result<Engine, EngineError> {
    std::fs::create_dir_all(ROOT).map_err(disk("making /var/lib/docker failed"))?;
    for part in ["overlay2", "containers"] {
        std::fs::create_dir_all(below_root(&[part]))
            .map_err(disk("making a directory of /var/lib/docker failed"))?;
    }
    init::install().map_err(disk("writing docker-init failed"))?;
    let cgroups = cgroups::Cgroups::inherited(&spec).map_err(disk("taking over cgroups failed"))?;
    Ok(Engine {
        id: identity().map_err(disk("reading the engine's id failed"))?,
        cgroups,
        store: Store::open(STORE)?,
        images: images::Images::load().map_err(disk("reading the list of images failed"))?,
        networks: networks::Networks::load().map_err(disk("reading networks failed"))?,
        volumes: volumes::Volumes::load().map_err(disk("reading volumes failed"))?,
        containers: containers::restore::load().map_err(disk("reading containers failed"))?,
        execs: exec::Execs::default(),
        events: system::events::Events::new(),
        spec,
        keeper,
    })
}

/// The engine's own id, made once for a node's disk.
fn identity() -> io::Result<String> {
    let path = below_root(&["engine-id.json"]);
    if let Some(id) = state_file::read(&path)? {
        return Ok(id);
    }
    let id = random::uuid();
    state_file::write(&path, &id)?;
    Ok(id)
}
