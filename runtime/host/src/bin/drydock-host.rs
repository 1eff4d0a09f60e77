//! Host alone, for this crate's tests and for trying it out:
//! `drydock-host STATE_DIR NODE_BINARY [WEB_USER]`. `drydock host` is the real
//! thing, with settings.

use std::path::PathBuf;

use drydock_host::{Config, stage};

fn main() -> anyhow::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == stage::ARGUMENT) {
        stage::main();
    }
    let [state_dir, node_binary, rest @ ..] = args.as_slice() else {
        anyhow::bail!("usage: drydock-host STATE_DIR NODE_BINARY [WEB_USER]");
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut config = Config::new(PathBuf::from(state_dir), PathBuf::from(node_binary));
    config.web_user = rest.first().cloned().unwrap_or_else(|| "nobody".into());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let shutdown = async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        };
        Ok(drydock_host::run(config, shutdown).await?)
    })
}
