//! The pages: what a browser shows. Each reads well with scripts off; the WASM
//! module in `web/page` brings its terminals and buttons to life.

mod blocks;
mod catalogue;
mod frame;
mod lab;
mod message;
mod session;
mod steps;
mod theme;
mod whole;

use axum::{
    Router,
    routing::{get, post},
};

pub use frame::{Frame, Theme};
pub(crate) use frame::{THEME_COOKIE, icon};
pub use message::{error_page, not_found};

use crate::state::AppState;

/// The pages' routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(catalogue::show))
        .route("/labs/{lab}", get(lab::go_on))
        .route("/labs/{lab}/print", get(whole::show))
        .route("/labs/{lab}/{step}", get(lab::show))
        .route("/sessions/{id}", get(session::show))
        .route("/theme", post(theme::choose))
}
