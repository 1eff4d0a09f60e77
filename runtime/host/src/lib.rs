//! `drydock host`: the privileged daemon that makes sessions and their nodes.
//!
//! It parses nothing that a learner wrote. Web and the CLI ask it over a small
//! typed API ([`drydock_protocol::host`]); terminals don't pass through it.
//!
//! | module | what |
//! | --- | --- |
//! | [`instance`] | an instance's name and paths |
//! | [`config`] | what host is told when it starts |
//! | [`admission`] | whether there is room for one more node |
//! | [`doctor`] | what this machine has and lacks |
//! | [`stage`] | the process that becomes a node's PID 1 |
//! | `api`, `sessions`, `life` | the API; sessions; a node's verbs |
//! | `node`, `network`, `program` | starting a node; a session's network; the node's program |
//! | `disk_rate` | how fast a node's disk is |
//! | `modules` | kernel modules that nodes need |
//! | `gateway`, `cgroups` | sockets lent to web; cgroup requests of nodes |
//! | `record`, `lease`, `process`, `adopt` | what outlives host, and taking it up again |

pub mod admission;
mod adopt;
mod api;
mod cgroups;
pub mod config;
mod disk_rate;
pub mod doctor;
mod error;
mod gateway;
mod host;
mod ids;
pub mod instance;
mod lease;
mod life;
mod log;
mod modules;
mod network;
mod node;
mod process;
mod program;
mod record;
mod sessions;
pub mod stage;

use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use drydock_image::store::{self, Store};
use drydock_sandbox::{
    cgroup::{Group, Limits, layout::Layout},
    spawn::Executable,
};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::resource::{Resource, getrlimit, setrlimit},
};
use tokio::net::UnixListener;

pub use config::Config;
pub use error::HostError;
use host::{Host, Parts};
use instance::Instance;

/// How long requests that are under way may take once host stops.
const FINISH_WITHIN: std::time::Duration = std::time::Duration::from_secs(8);

/// How long a state directory may still be another host's.
const TAKEN_FOR: std::time::Duration = std::time::Duration::from_secs(3);

/// Runs host until `shutdown` is done. Sessions go on without it, and the next
/// start takes them up.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), HostError> {
    modules::load();
    if let Some(words) = doctor::complaint(&doctor::features(&config.state_dir)) {
        return Err(HostError::Machine(words));
    }
    raise_open_files()?;
    let instance = Instance::of(&config.state_dir);
    make_directories(&instance)?;
    let _taken = take(&instance)?;
    let socket_group = group_of(&config.web_user)?;
    let stage_program = match &config.stage_binary {
        Some(path) => Executable::at(path)?,
        None => Executable::own()?,
    };
    let node_program = program::install(&config.node_binary, &instance.bin_dir())?;
    let layout = Layout::detect()?;
    let host =
        Arc::new(Host::new(Parts { config, instance, layout, stage_program, node_program, socket_group })?);
    {
        // Another instance may be removing what all of them share.
        let _leases = host.leases()?;
        Group::new(host.layout.clone(), host.instance.group()).create()?;
    }
    keep_reserve(&host)?;
    adopt::adopt(&host).await?;
    prune_store(&host).await?;

    let api = listen(&host.instance.host_socket, socket_group)?;
    let lending = listen(&host.instance.gateway_socket, socket_group)?;
    tracing::info!("host of instance {} is ready", host.instance.name);
    let (asked, told) = (host.clone(), host.clone());
    let lend = host.gateway.clone().serve(
        lending,
        move |session| asked.session(session).is_ok(),
        move || open_missing_sockets(&told),
    );
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let api = tokio::spawn(api::serve(api, host.clone(), stopping));
    let tasks = [tokio::spawn(lend), tokio::spawn(sessions::watch_deadlines(host.clone()))];
    shutdown.await;
    stop.send_replace(true);
    if tokio::time::timeout(FINISH_WITHIN, api).await.is_err() {
        tracing::warn!("requests are still under way; the next start removes what they leave half made");
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    tidy(&host)
}

/// All nodes together leave the machine its memory reserve: promises to them are
/// more than it has, and the kernel should then look for a victim among them.
fn keep_reserve(host: &Host) -> Result<(), HostError> {
    let machine = host.machine()?;
    let memory = machine.memory_mb.saturating_sub(machine.memory_reserve_mb(&host.config.policy)) << 20;
    let group = Group::new(host.layout.clone(), host.instance.group());
    if let Err(error) = group.tighten(&Limits { memory: Some(memory), ..Limits::default() }) {
        // They use more already: from before the setting was changed.
        tracing::warn!("the nodes are not held to {} MiB together: {error}", memory >> 20);
    }
    Ok(())
}

/// Deletes what no image of the store needs any more, while no node can need it.
async fn prune_store(host: &Host) -> Result<(), HostError> {
    let path = host.instance.store_dir();
    if !host.sessions().is_empty() || !path.exists() {
        return Ok(());
    }
    let deleted = node::blocking(move || Ok(store::prune(&Store::open(path)?)?)).await?;
    if deleted > 0 {
        tracing::info!("{deleted} layers and blobs that no image needs are deleted");
    }
    Ok(())
}

/// Without sessions, nothing of the instance is left but its state directory.
fn tidy(host: &Host) -> Result<(), HostError> {
    if !host.sessions().is_empty() {
        return Ok(());
    }
    sessions::remove_directory(&host.instance.run_dir)?;
    disk_rate::forget_unused(&host.layout)?;
    let leases = host.leases()?;
    Group::new(host.layout.clone(), host.instance.group()).remove()?;
    Group::new(host.layout.clone(), instance::GROUP).remove_if_empty()?;
    leases.tidy()
}

/// A node takes some ten descriptors; the usual limit would end at a hundred.
fn raise_open_files() -> Result<(), HostError> {
    let failed = |errno: nix::Error| HostError::call("raise the limit of open files")(errno.into());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(failed)
}

/// After a restart of host, web may hold what host could not open; once web has
/// given that back, what is still missing is nobody's.
fn open_missing_sockets(host: &Host) {
    for session in host.sessions() {
        if session.network.get().is_none() || session.record().ended {
            continue;
        }
        if let Err(error) = sessions::open_sockets(host, &session) {
            tracing::error!("cannot open gateway sockets of {}: {error}", session.id);
        }
    }
}

fn make_directories(instance: &Instance) -> Result<(), HostError> {
    let public = [&instance.state_dir, &instance.run_dir, &instance.sockets_dir(), &instance.bin_dir()];
    for path in public {
        make_directory(path, 0o711)?;
    }
    let private =
        [instance.sessions_dir(), instance.disks_dir(), instance.nets_dir(), node::staging(instance)];
    private.iter().try_for_each(|path| make_directory(path, 0o700))
}

fn make_directory(path: &Path, mode: u32) -> Result<(), HostError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(HostError::file("make", path))
}

/// Makes sure that no other host runs with this state directory. One that was
/// just killed may be a moment from its end.
fn take(instance: &Instance) -> Result<Flock<File>, HostError> {
    let path = instance.sessions_dir().with_file_name("host.lock");
    let mut file = File::create(&path).map_err(HostError::file("make", &path))?;
    let until = std::time::Instant::now() + TAKEN_FOR;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, nix::Error::EWOULDBLOCK)) if std::time::Instant::now() > until => {
                return Err(HostError::Taken(instance.state_dir.clone()));
            }
            Err((file, nix::Error::EWOULDBLOCK)) => file,
            Err((_, errno)) => return Err(HostError::file("lock", path)(errno.into())),
        };
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn group_of(user: &str) -> Result<u32, HostError> {
    let found = nix::unistd::User::from_name(user)
        .map_err(|errno| HostError::call("look up web's user")(errno.into()))?;
    found.map(|user| user.gid.as_raw()).ok_or_else(|| {
        HostError::Machine(format!(
            "there is no user \"{user}\" for the web server: `adduser --system --group {user}`, or set web_user"
        ))
    })
}

fn listen(path: &Path, group: u32) -> Result<UnixListener, HostError> {
    let listener = node::listen(path, group)?;
    listener.set_nonblocking(true).map_err(HostError::file("prepare", path))?;
    UnixListener::from_std(listener).map_err(HostError::file("listen on", path))
}
