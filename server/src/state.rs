//! What every handler can reach.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, Result};
use tokio::sync::watch;

use crate::{
    config::Settings, db::Db, host::HostClient, labs::Labs, learner::CookieKey, previews::Previews,
    sessions::Sessions, web::origin::Origins,
};

/// The web app's parts. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The settings that hold.
    pub settings: Arc<Settings>,
    /// Learners and progress.
    pub db: Db,
    /// The privileged side.
    pub host: HostClient,
    /// The guides.
    pub labs: Labs,
    /// Learners' sessions.
    pub sessions: Sessions,
    /// What nodes serve, for browsers.
    pub previews: Previews,
    /// The key that signs cookies.
    pub cookies: CookieKey,
    /// Where requests may come from.
    pub origins: Arc<Origins>,
    /// Whether the server stops: long-lived connections say goodbye.
    pub stopping: watch::Sender<bool>,
}

impl AppState {
    /// Opens database and key in `web_dir` and puts the parts together, for a
    /// server that listens on `bound`.
    pub fn open(web_dir: &Path, host: HostClient, settings: Settings, bound: SocketAddr) -> Result<AppState> {
        let settings = Arc::new(settings);
        let db = Db::open(&web_dir.join("drydock.sqlite"))
            .with_context(|| format!("cannot open the database in {}", web_dir.display()))?;
        let key_file = web_dir.join("cookie.key");
        let cookies =
            CookieKey::open(&key_file).with_context(|| format!("cannot open {}", key_file.display()))?;
        let labs = Labs::new(&settings.labs);
        let sessions = Sessions::new(settings.clone(), host.clone(), db.clone(), labs.clone());
        let previews = Previews::new(&settings, cookies.clone(), sessions.watch());
        let origins = Arc::new(Origins::new(&settings, bound));
        let stopping = watch::Sender::new(false);
        Ok(AppState { settings, db, host, labs, sessions, previews, cookies, origins, stopping })
    }
}

/// Waits until the server stops.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // Without a sender there is no server any more either.
    drop(stopping.wait_for(|stopping| *stopping).await);
}
