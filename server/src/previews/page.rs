//! Pages that stand in for a node's own.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};

#[derive(Template)]
#[template(path = "preview.html")]
struct Page<'a> {
    title: &'a str,
    text: &'a str,
    /// The page looks again by itself.
    again: bool,
}

/// No session has this address, or not any more.
pub(super) fn gone() -> Response {
    let text = "The session that this address belongs to has ended, or the address has a typing error.";
    answer(StatusCode::NOT_FOUND, &Page { title: "There is nothing here", text, again: false })
}

/// The node is there but does not run.
pub(super) fn not_running(node: &str) -> Response {
    let title = format!("{node} is not running");
    let text = "Start it in the lab, and then what it serves. This page looks again by itself.";
    answer(StatusCode::BAD_GATEWAY, &Page { title: &title, text, again: true })
}

/// Nothing listens on the port.
pub(super) fn nobody(node: &str, port: u16) -> Response {
    let title = format!("Nobody serves port {port} on {node}");
    let text = "Start a server there, or publish a container’s port with docker run -p. This page looks again by itself.";
    answer(StatusCode::BAD_GATEWAY, &Page { title: &title, text, again: true })
}

/// Something listens on the port, and what it says is no HTTP.
pub(super) fn no_http(node: &str, port: u16) -> Response {
    let title = format!("Port {port} on {node} does not speak HTTP");
    let text = "Something serves this port, but its answer is none for a browser. Use it from a terminal.";
    answer(StatusCode::BAD_GATEWAY, &Page { title: &title, text, again: false })
}

/// The program takes too long.
pub(super) fn slow(node: &str, port: u16) -> Response {
    let title = format!("Port {port} on {node} does not answer");
    let text = "Something serves this port and took the request, but no answer came in time.";
    answer(StatusCode::GATEWAY_TIMEOUT, &Page { title: &title, text, again: false })
}

/// The session has too many requests under way.
pub(super) fn busy() -> Response {
    let text = "This session has too many requests to its ports under way.";
    answer(StatusCode::SERVICE_UNAVAILABLE, &Page { title: "Too many requests", text, again: true })
}

fn answer(status: StatusCode, page: &Page<'_>) -> Response {
    let mut response = match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a preview's page could not be made");
            (status, page.title.to_owned()).into_response()
        }
    };
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
