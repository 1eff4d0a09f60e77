//! What a node has before the learner arrives: the lab's files in `/lab`.

use std::time::Duration;

use drydock_agent::Agent;
use drydock_lab::Lab;
use drydock_protocol::host::Session;

use super::{Shared, running, within};
use crate::error::AppError;

/// How long one file may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest file that is copied, in bytes.
const FILE_MAX: u64 = 16 << 20;

impl Shared {
    /// Gives one node, or all, what the session's lab has for them.
    pub(super) async fn prepare(&self, session: &Session, only: Option<&str>) -> Result<(), AppError> {
        match self.labs.get(&session.purpose).await {
            Some(lab) => copy_files(&lab, session, only).await,
            None => Ok(()),
        }
    }
}

/// Copies a lab's files to one node of a session, or to all.
pub async fn copy_files(lab: &Lab, session: &Session, only: Option<&str>) -> Result<(), AppError> {
    for file in &lab.files {
        let length = tokio::fs::metadata(&file.source).await.map_err(AppError::internal)?.len();
        if length > FILE_MAX {
            let words = format!("lab file {} is over {FILE_MAX} bytes", file.source.display());
            return Err(AppError::internal(words));
        }
        let bytes = tokio::fs::read(&file.source).await.map_err(AppError::internal)?;
        let mode = if file.executable { 0o755 } else { 0o644 };
        for node in running(session).filter(|node| only.is_none_or(|only| node.name == only)) {
            within(PATIENCE, async {
                Agent::connect(&node.agent).await?.put(&file.target, mode, &bytes).await
            })
            .await?;
        }
    }
    Ok(())
}

/// Whether the catalogue has this image, a missing tag meaning `latest`.
pub(super) fn in_catalogue(catalogue: &[String], image: &str) -> bool {
    let tagged = |name: &str| if name.contains(':') { name.to_owned() } else { format!("{name}:latest") };
    catalogue.iter().any(|known| tagged(known) == tagged(image))
}
