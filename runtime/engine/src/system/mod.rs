//! The engine itself: `/_ping`, `/version`, `/info`, `/events`, `/system/df`.

pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod usage;
pub(crate) mod watch;

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, header},
    response::IntoResponse,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    engine::{API_LOWEST, API_VERSION, VERSION},
    error::ApiError,
};

/// `GET` and `HEAD /_ping`
pub(crate) async fn ping() -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("api-version", API_VERSION),
        // The classic builder.
        ("builder-version", "1"),
        ("swarm", "inactive"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    (headers, "OK")
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version {
    platform: Platform,
    components: Vec<Component>,
    version: &'static str,
    api_version: &'static str,
    #[serde(rename = "MinAPIVersion")]
    min_api_version: &'static str,
    git_commit: &'static str,
    go_version: &'static str,
    os: &'static str,
    arch: &'static str,
    kernel_version: String,
    build_time: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Platform {
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    name: &'static str,
    version: &'static str,
    details: Value,
}

/// What this engine is, in place of a Go version.
const BUILT_WITH: &str = "none (Rust)";
const OUR_VERSION: &str = env!("CARGO_PKG_VERSION");

/// `GET /version`
pub(crate) async fn version() -> Json<Version> {
    let kernel = info::kernel();
    let details = json!({
        "ApiVersion": API_VERSION, "Arch": "amd64", "BuildTime": "", "Experimental": "false",
        "GitCommit": OUR_VERSION, "GoVersion": BUILT_WITH, "KernelVersion": kernel, "MinAPIVersion": API_LOWEST,
        "Os": "linux",
    });
    Json(Version {
        platform: Platform { name: format!("Drydock {OUR_VERSION}") },
        components: vec![Component { name: "Engine", version: VERSION, details }],
        version: VERSION,
        api_version: API_VERSION,
        min_api_version: API_LOWEST,
        git_commit: OUR_VERSION,
        go_version: BUILT_WITH,
        os: "linux",
        arch: "amd64",
        kernel_version: kernel,
        build_time: "",
    })
}

/// What Docker says to what only a swarm's manager does.
pub(crate) const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
    connect this node to swarm and try again.";

/// Where the CLI asks about a swarm: there is none.
pub(crate) async fn no_swarm() -> ApiError {
    ApiError::Unavailable(NO_SWARM.to_owned())
}

/// `GET /plugins`
pub(crate) async fn plugins() -> Json<[(); 0]> {
    Json([])
}

/// `GET /plugins/{name}/json`
pub(crate) async fn plugin(axum::extract::Path(rest): axum::extract::Path<String>) -> ApiError {
    let name = rest.strip_suffix("/json").unwrap_or(&rest);
    ApiError::NotFound(format!("plugin \"{name}\" not found"))
}

/// `POST /auth`: there is nothing to log in to.
pub(crate) async fn auth() -> ApiError {
    ApiError::NotImplemented("there is no registry to log in to from this node yet".to_owned())
}

/// `POST /build`
pub(crate) async fn build() -> ApiError {
    ApiError::NotImplemented("building images is not supported by this engine yet".to_owned())
}
