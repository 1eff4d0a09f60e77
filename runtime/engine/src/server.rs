//! HTTP on unix sockets: accepting, versions, headers; and the list of routes.

use std::{convert::Infallible, io, os::fd::OwnedFd, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequestParts},
    http::{HeaderValue, Method, Request, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use futures_util::FutureExt;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{net::UnixListener, sync::Semaphore};
use tower::ServiceExt;

use crate::{
    body::{in_docker_s_form, patient},
    containers,
    engine::API_LOWEST,
    engine::API_VERSION,
    engine::Shared,
    engine::VERSION,
    error::ApiError,
    exec, images, networks, system, volumes,
};

/// Connections at once, on each socket.
const CONNECTIONS_MAX: usize = 256;
/// A client must have said what it wants in this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest body of a request.
const BODY_MAX: usize = 4 << 20;

/// The API version that a request speaks, put into its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApiVersion(u32, u32);

impl ApiVersion {
    pub(crate) fn pair(self) -> (u32, u32) {
        (self.0, self.1)
    }
}

impl<S: Sync> FromRequestParts<S> for ApiVersion {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<ApiVersion, Infallible> {
        Ok(parts.extensions.get::<ApiVersion>().copied().unwrap_or(ApiVersion(CURRENT.0, CURRENT.1)))
    }
}

/// The version that a request speaks.
pub(crate) fn version_of<B>(request: &Request<B>) -> (u32, u32) {
    request.extensions().get::<ApiVersion>().map_or(CURRENT, |version| (version.0, version.1))
}

const CURRENT: (u32, u32) = (1, 50);
const LOWEST: (u32, u32) = (1, 24);

/// All routes, without the `/vN.NN` that may come before them.
pub(crate) fn routes(engine: Shared) -> Router {
    Router::new()
        .route("/_ping", get(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info::info))
        .route("/events", get(system::events::stream))
        .route("/system/df", get(system::usage::df))
        .route("/auth", post(system::auth))
        .route("/build", post(system::build))
        .route("/containers/json", get(containers::list::list))
        .route("/containers/create", post(containers::create::create))
        .route("/containers/prune", post(containers::remove::prune))
        .route("/containers/{ref}", delete(containers::remove::delete))
        .route("/containers/{ref}/json", get(containers::inspect::inspect))
        .route("/containers/{ref}/start", post(containers::start::start))
        .route("/containers/{ref}/stop", post(containers::kill::stop))
        .route("/containers/{ref}/restart", post(containers::start::restart))
        .route("/containers/{ref}/kill", post(containers::kill::kill))
        .route("/containers/{ref}/pause", post(containers::kill::pause))
        .route("/containers/{ref}/unpause", post(containers::kill::unpause))
        .route("/containers/{ref}/rename", post(containers::create::rename))
        .route("/containers/{ref}/wait", post(containers::wait::wait))
        .route("/containers/{ref}/attach", post(containers::attach::attach))
        .route("/containers/{ref}/resize", post(containers::attach::resize))
        .route("/containers/{ref}/logs", get(containers::logs::logs))
        .route("/containers/{ref}/top", get(containers::top::top))
        .route("/containers/{ref}/export", get(containers::export::export))
        .route("/containers/{ref}/update", post(containers::update::update))
        .route("/containers/{ref}/stats", get(containers::stats::stats))
        .route("/containers/{ref}/changes", get(containers::changes::changes))
        .route(
            "/containers/{ref}/archive",
            get(containers::archive::get).head(containers::archive::head).put(containers::archive::put),
        )
        .route("/containers/{ref}/exec", post(exec::create))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/resize", post(exec::resize))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/images/json", get(images::list::list))
        .route("/images/create", post(images::pull::create))
        .route("/commit", post(images::commit::create))
        .route("/images/load", post(images::load::load))
        .route("/images/prune", post(images::prune::prune))
        .route("/build/prune", post(images::prune::prune_builds))
        .route("/images/{*rest}", get(images::get).post(images::post).delete(images::remove::remove))
        .route("/networks", get(networks::list))
        .route("/networks/create", post(networks::create))
        .route("/networks/prune", post(networks::prune))
        .route("/networks/{ref}", get(networks::inspect).delete(networks::delete))
        .route("/networks/{ref}/connect", post(networks::connect))
        .route("/networks/{ref}/disconnect", post(networks::disconnect))
        .route("/volumes", get(volumes::list))
        .route("/volumes/create", post(volumes::create))
        .route("/volumes/prune", post(volumes::prune))
        .route("/volumes/{name}", get(volumes::inspect).delete(volumes::remove))
        .route("/plugins", get(system::plugins))
        .route("/plugins/{*rest}", get(system::plugin))
        .route("/swarm", get(system::no_swarm))
        .route("/nodes", get(system::no_swarm))
        .route("/services", get(system::no_swarm))
        .route("/tasks", get(system::no_swarm))
        .route("/secrets", get(system::no_swarm))
        .route("/configs", get(system::no_swarm))
        .fallback(missing)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(engine)
}

/// The body is read first, or the client may never look at the answer.
async fn missing(_body: Bytes) -> ApiError {
    ApiError::NotFound("page not found".to_owned())
}

/// Serves a listening socket for as long as the engine lives.
pub(crate) async fn serve(socket: OwnedFd, routes: Router) -> io::Result<()> {
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the client is gone: others are served on.
                tracing::warn!(%error, "a client was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let routes = routes.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(routes.clone(), request));
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).half_close(true);
            let served = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection broke");
            }
            drop(place);
        });
    }
}

/// Answers one request. A panic in it ends it, and nothing else.
async fn answer(routes: Router, request: Request<hyper::body::Incoming>) -> Result<Response, Infallible> {
    let request = request.map(|body| patient(Body::new(body)));
    let only_looks = matches!(*request.method(), Method::GET | Method::HEAD);
    let called = AssertUnwindSafe(async move {
        match strip_version(request) {
            Ok(request) => {
                let answered = routes.oneshot(request).await.unwrap_or_else(|never| match never {});
                in_docker_s_form(answered).await
            }
            Err(error) => error.into_response(),
        }
    })
    .catch_unwind();
    // What changes something goes on to its end when the client goes away.
    let answered =
        if only_looks { called.await.ok() } else { tokio::spawn(called).await.ok().and_then(Result::ok) };
    let mut response = answered.unwrap_or_else(|| {
        let message = json!({ "message": "the engine failed in this request; the failure is in its log" });
        (StatusCode::INTERNAL_SERVER_ERROR, Json(message)).into_response()
    });
    let headers = response.headers_mut();
    for (name, value) in [("api-version", API_VERSION), ("docker-experimental", "false"), ("ostype", "linux")]
    {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(server) = HeaderValue::from_str(&format!("Docker/{VERSION} (linux)")) {
        headers.insert(header::SERVER, server);
    }
    Ok(response)
}

/// Takes `/vN.NN` off the path and remembers it.
fn strip_version(mut request: Request<Body>) -> Result<Request<Body>, ApiError> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let Some((text, version, rest)) = split_version(&path) else { return Ok(request) };
    if version > CURRENT {
        return Err(ApiError::Invalid(format!(
            "client version {text} is too new. Maximum supported API version is {API_VERSION}"
        )));
    }
    if version < LOWEST {
        return Err(ApiError::Invalid(format!(
            "client version {text} is too old. Minimum supported API version is {API_LOWEST}, please upgrade your client \
             to a newer version"
        )));
    }
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    *request.uri_mut() = rest
        .parse::<Uri>()
        .map_err(|error| ApiError::Invalid(format!("the request's path can't be read: {error}")))?;
    request.extensions_mut().insert(ApiVersion(version.0, version.1));
    Ok(request)
}

/// `/v1.41/info` into its version and `/info`.
fn split_version(path: &str) -> Option<(&str, (u32, u32), &str)> {
    let rest = path.strip_prefix("/v")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (text, rest) = rest.split_at(end);
    let (major, minor) = text.split_once('.')?;
    Some((text, (major.parse().ok()?, minor.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_taken_off_the_path() {
        assert_eq!(split_version("/v1.41/info?x=1"), Some(("1.41", (1, 41), "/info?x=1")));
        assert_eq!(split_version("/version"), None);
        assert_eq!(split_version("/info"), None);
        let request = |path: &str| Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(version_of(&strip_version(request("/v1.24/_ping")).unwrap()), (1, 24));
        for (path, words) in [("/v1.51/info", "too new"), ("/v1.23/info", "too old")] {
            assert!(strip_version(request(path)).unwrap_err().to_string().contains(words));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_path_has_a_version_or_none(path in "/(v[0-9.]{0,24})?[/a-z%?&=.]{0,24}") {
            let request = Request::builder().uri(path.as_str()).body(Body::empty());
            if let Ok(request) = request {
                let _ = strip_version(request);
            }
        }
    }
}
