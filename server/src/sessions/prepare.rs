//! What a node has before the learner arrives: the lab's files in `/lab`.

use std::time::Duration;

use drydock_agent::Agent;
use drydock_lab::Lab;
use drydock_protocol::{
    gateway::{NO_PROXY, PROXY_PORT},
    host::Session,
};
use serde_json::json;

use super::{Shared, running, within};
use crate::{error::AppError, gateway::GATEWAY};

/// How long one file may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest file that is copied, in bytes.
const FILE_MAX: u64 = 16 << 20;

/// Where distributions keep their certificates: Debian's place, which is the
/// nodes' too, and Fedora's.
const TRUST_STORES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

impl Shared {
    /// Gives one node, or all, what the session's lab has for them.
    pub(super) async fn prepare(&self, session: &Session, only: Option<&str>) -> Result<(), AppError> {
        match self.labs.get(&session.purpose).await {
            Some(lab) => copy_files(&lab, session, only).await,
            None => furnish(session, only).await,
        }
    }
}

/// Copies a lab's files to one node of a session, or to all.
pub async fn copy_files(lab: &Lab, session: &Session, only: Option<&str>) -> Result<(), AppError> {
    furnish(session, only).await?;
    for file in &lab.files {
        let length = tokio::fs::metadata(&file.source).await.map_err(AppError::internal)?.len();
        if length > FILE_MAX {
            let words = format!("lab file {} is over {FILE_MAX} bytes", file.source.display());
            return Err(AppError::internal(words));
        }
        let bytes = tokio::fs::read(&file.source).await.map_err(AppError::internal)?;
        let mode = if file.executable { 0o755 } else { 0o644 };
        put(session, only, &file.target, mode, &bytes).await?;
    }
    Ok(())
}

/// Gives nodes with a way out what their programs need for it: the proxy in the
/// Docker client's settings, for containers, and this machine's trust store.
pub async fn furnish(session: &Session, only: Option<&str>) -> Result<(), AppError> {
    if !session.features.egress {
        return Ok(());
    }
    let proxy = format!("http://{GATEWAY}:{PROXY_PORT}");
    let settings = json!({
        "proxies": { "default": { "httpProxy": proxy, "httpsProxy": proxy, "noProxy": NO_PROXY } }
    });
    put(session, only, "/root/.docker/config.json", 0o600, format!("{settings:#}\n").as_bytes()).await?;
    for path in TRUST_STORES {
        match tokio::fs::read(path).await {
            Ok(store) => return put(session, only, TRUST_STORES[0], 0o644, &store).await,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(AppError::internal(format!("{path}: {error}"))),
        }
    }
    tracing::warn!("this machine has no trust store that is known here; nodes keep their own");
    Ok(())
}

/// Writes a file in one node of a session, or in all that run.
async fn put(
    session: &Session,
    only: Option<&str>,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> Result<(), AppError> {
    for node in running(session).filter(|node| only.is_none_or(|only| node.name == only)) {
        within(PATIENCE, async { Agent::connect(&node.agent).await?.put(path, mode, bytes).await }).await?;
    }
    Ok(())
}

/// Whether the catalogue has this image, a missing tag meaning `latest`.
pub(super) fn in_catalogue(catalogue: &[String], image: &str) -> bool {
    let tagged = |name: &str| if name.contains(':') { name.to_owned() } else { format!("{name}:latest") };
    catalogue.iter().any(|known| tagged(known) == tagged(image))
}
