//! `drydock host`

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{Context, privileges};
use crate::config::Layer;

#[derive(Debug, clap::Args)]
pub(super) struct HostArgs {
    #[command(flatten)]
    pub(super) settings: Layer,
    /// End when the process that started this one does: its PID
    #[arg(long, hide = true, value_name = "PID")]
    with_parent: Option<i32>,
}

pub(super) fn run(context: &Context, args: &HostArgs) -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("host makes namespaces, mounts and network links, so it must run as root");
    }
    if let Some(parent) = args.with_parent {
        privileges::end_with_parent(parent)?;
    }
    super::log_to_stderr();
    super::make_state_dir(&context.state_dir)?;
    let settings = context.config.settings()?;
    let mut config = drydock_host::Config::new(&context.state_dir, &settings.node_binary);
    config.web_user = settings.web_user;
    config.limits = settings.limits;
    config.rates = settings.rates;
    config.sessions_max = settings.sessions_max;
    config.nodes_max = settings.nodes_max;
    config.policy = settings.policy;
    config.session_seconds_max = config.session_seconds_max.max(settings.session_minutes.saturating_mul(60));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = super::stop_signal().await?;
        Ok::<_, anyhow::Error>(drydock_host::run(config, shutdown).await?)
    })?;
    Ok(ExitCode::SUCCESS)
}
