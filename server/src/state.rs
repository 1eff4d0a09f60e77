//! What every handler can reach.

use std::sync::Arc;

use crate::{
    config::Settings, db::Db, host::HostClient, labs::Labs, learner::CookieKey, sessions::Sessions,
    web::origin::Origins,
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
    /// The key that signs cookies.
    pub cookies: CookieKey,
    /// Where requests may come from.
    pub origins: Arc<Origins>,
}
