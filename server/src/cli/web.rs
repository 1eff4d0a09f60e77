//! `drydock web`

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio_rustls::rustls::ServerConfig;

use super::{Context, privileges};
use crate::{
    config::{Layer, Settings},
    egress::Egress,
    gateway,
    state::AppState,
    web::{router::router, serve::serve, tls},
};

/// How long pages may take to answer when their terminals are closed.
const GOODBYE: Duration = Duration::from_secs(2);

/// The file in web's directory that says where the running server is.
pub(super) const URL_FILE: &str = "url";

#[derive(Debug, clap::Args)]
pub(super) struct WebArgs {
    #[command(flatten)]
    pub(super) settings: Layer,
    /// Take the listening socket from stdin
    #[arg(long, hide = true)]
    inherit_listener: bool,
    /// End when the process that started this one does: its PID
    #[arg(long, hide = true, value_name = "PID")]
    with_parent: Option<i32>,
}

/// What root prepares for the unprivileged server.
struct Prepared {
    settings: Settings,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

pub(super) fn run(context: &Context, args: &WebArgs) -> Result<ExitCode> {
    super::log_to_stderr();
    let Prepared { settings, listener, tls } = prepare(context, args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let shutdown = super::stop_signal().await?;
        let gateway_socket = context.instance.gateway_socket.clone();
        let app = AppState::open(&context.web_dir(), context.host.clone(), settings, listener.local_addr()?)?;
        app.previews.use_tls(tls.clone());
        let sessions = app.sessions.clone();
        let egress = Egress::new(app.settings.egress_allow.clone(), app.settings.egress_mb);
        // For whoever started us; nobody may be there to read it.
        drop(writeln!(io::stdout(), "serving"));
        let (stopping, proxies) = (app.stopping.clone(), app.settings.trusted_proxies.clone());
        let shutdown = async move {
            shutdown.await;
            stopping.send_replace(true);
        };
        let served = async {
            serve(listener, tls, router(app), proxies, shutdown).await;
            if tokio::time::timeout(GOODBYE, sessions.all_seats_back()).await.is_err() {
                tracing::info!("some pages did not answer the goodbye");
            }
        };
        tokio::select! {
            () = served => {}
            () = sessions.run() => {}
            () = gateway::run(gateway_socket, sessions.clone(), egress) => {}
        }
        anyhow::Ok(())
    })?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Everything that may need root, then root is given up.
fn prepare(context: &Context, args: &WebArgs) -> Result<Prepared> {
    let settings = context.config.settings()?;
    if settings.url.starts_with("https:") && settings.tls.is_none() && settings.trusted_proxies.is_empty() {
        tracing::warn!(
            "url is https and this server has no certificate, so a proxy stands before it: name it in \
             trusted_proxies, or all learners share the limits of one address"
        );
    }
    if settings.url.starts_with("http:") && !settings.listen.ip().is_loopback() {
        tracing::warn!(
            "plain HTTP beyond this machine: everyone on the way can read and change what learners do, and \
             browsers withhold the clipboard from pages"
        );
    }
    let listener = if args.inherit_listener { from_stdin()? } else { bind(settings.listen)? };
    // The key is root's to read.
    let tls = settings.tls.as_ref().map(tls::load).transpose()?;
    raise_descriptor_limit()?;
    // Paths to the labs are relative from here on: their folder may lie where
    // only root can go, such as below /root.
    std::env::set_current_dir(&settings.labs)
        .with_context(|| format!("cannot open the labs in {}", settings.labs.display()))?;
    let web_dir = context.web_dir();
    if nix::unistd::geteuid().is_root() {
        let user = privileges::user(&settings.web_user)?;
        super::make_state_dir(&context.state_dir)?;
        privileges::make_dir(&web_dir, &user)?;
        privileges::drop_to(&user)?;
    } else {
        std::fs::create_dir_all(&web_dir).with_context(|| format!("cannot make {}", web_dir.display()))?;
    }
    if let Some(parent) = args.with_parent {
        privileges::end_with_parent(parent)?;
    }
    let url_file = web_dir.join(URL_FILE);
    std::fs::write(&url_file, format!("{}\n", settings.url))
        .with_context(|| format!("cannot write {}", url_file.display()))?;
    Ok(Prepared { settings: Settings { labs: ".".into(), ..settings }, listener, tls })
}

/// Listens, or says in one line why that can't be.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address} is in use by another program; stop it, or choose another port with --listen {}:PORT",
            address.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("only root may listen on {address}; choose a port from 1024 on with --listen")
        }
        _ => anyhow::Error::new(error).context(format!("cannot listen on {address}")),
    })
}

fn from_stdin() -> Result<TcpListener> {
    let fd: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let listener = TcpListener::from(fd);
    if listener.local_addr().is_err() {
        bail!("--inherit-listener: stdin is not a listening socket");
    }
    Ok(listener)
}

/// Each learner costs several descriptors; the usual soft limit is 1024.
fn raise_descriptor_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
