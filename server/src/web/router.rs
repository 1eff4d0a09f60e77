//! Every route, and what all requests go through.

use std::{any::Any, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    response::IntoResponse,
    routing::{MethodRouter, delete, get, post},
};
use tower_http::{
    catch_panic::CatchPanicLayer, compression::CompressionLayer, limit::RequestBodyLimitLayer,
    timeout::RequestBodyTimeoutLayer, trace::TraceLayer,
};

use super::{address, cookies, headers, origin};
use crate::{
    api::{checks, events, files, line, nodes, progress, sessions, terminal},
    assets,
    error::AppError,
    pages, previews,
    state::AppState,
};

/// The longest body of a request, in bytes.
const BODY_MAX: usize = files::FILE_MAX;

/// How long a body may pause on its way.
const BODY_SILENCE: Duration = Duration::from_secs(15);

/// One path of the API.
pub struct ApiRoute {
    /// Its path.
    pub path: &'static str,
    /// Its methods.
    pub methods: &'static [&'static str],
    /// What answers.
    pub handler: MethodRouter<AppState>,
}

fn route(path: &'static str, methods: &'static [&'static str], handler: MethodRouter<AppState>) -> ApiRoute {
    ApiRoute { path, methods, handler }
}

/// The API. Each path with `{id}` answers only to a learner who may use that
/// session; to anyone else as if it were not there.
pub fn api() -> Vec<ApiRoute> {
    vec![
        route("/api/sessions", &["POST"], post(sessions::open)),
        route("/api/sessions/{id}", &["GET", "DELETE"], get(sessions::get).delete(sessions::end)),
        route("/api/sessions/{id}/extend", &["POST"], post(sessions::extend)),
        route("/api/sessions/{id}/events", &["GET"], get(events::stream)),
        route("/api/sessions/{id}/setup", &["POST"], post(checks::setup)),
        route("/api/sessions/{id}/checks", &["POST"], post(checks::checks)),
        route("/api/sessions/{id}/nodes", &["POST"], post(nodes::add)),
        route("/api/sessions/{id}/nodes/{node}", &["DELETE"], delete(nodes::remove)),
        route("/api/sessions/{id}/nodes/{node}/files", &["GET", "PUT"], get(files::get).put(files::put)),
        route("/api/sessions/{id}/nodes/{node}/terminals/{terminal}", &["GET"], get(terminal::attach)),
        route("/api/sessions/{id}/nodes/{node}/contents", &["GET"], get(nodes::contents)),
        route("/api/sessions/{id}/nodes/{node}/{verb}", &["POST"], post(nodes::verb)),
        route("/api/labs/{lab}/line", &["GET"], get(line::wait)),
        route("/api/labs/{lab}/progress", &["GET"], get(progress::get)),
        route("/api/labs/{lab}/steps/{step}/progress", &["DELETE"], delete(progress::forget)),
        route("/api/labs/{lab}/steps/{step}/quiz", &["POST"], post(progress::quiz)),
        route("/api/labs/{lab}/steps/{step}/runs", &["POST"], post(progress::run)),
    ]
}

/// All routes with all layers.
pub fn router(app: AppState) -> Router {
    let mut router = Router::new();
    for route in api() {
        router = router.route(route.path, route.handler);
    }
    router
        .route("/api/{*rest}", axum::routing::any(|| async { AppError::NotFound }))
        .layer(CatchPanicLayer::custom(|panic| caught(panic).into_response()))
        .merge(pages::router().layer(CatchPanicLayer::custom(|panic| pages::error_page(&caught(panic)))))
        .route("/assets/{hash}/{*path}", get(assets::serve))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(pages::not_found)
        // From here on the last layer is the first that a request meets.
        .layer(CompressionLayer::new())
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(RequestBodyLimitLayer::new(BODY_MAX))
        .layer(RequestBodyTimeoutLayer::new(BODY_SILENCE))
        .layer(middleware::from_fn_with_state(app.clone(), cookies::know_learner))
        .layer(middleware::from_fn_with_state(app.clone(), address::know_address))
        .layer(middleware::from_fn_with_state(app.clone(), origin::same_origin))
        .layer(middleware::from_fn_with_state(app.clone(), headers::secure))
        .layer(TraceLayer::new_for_http())
        .layer(middleware::from_fn_with_state(app.clone(), previews::by_host))
        .with_state(app)
}

/// A panic in a handler ends that request only, and says nothing of itself.
fn caught(panic: Box<dyn Any + Send>) -> AppError {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    AppError::internal(words)
}
