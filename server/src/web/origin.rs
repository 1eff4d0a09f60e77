//! Where requests may come from: an exact list of origins.
//!
//! The list follows from the settings `url` and `listen`. A request's Host must
//! be on it, so that no other site's name can be pointed at this server (DNS
//! rebinding). What changes something must come from a page of ours.

use std::net::SocketAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{config::Settings, error::AppError, state::AppState};

/// The origins that are this server.
#[derive(Debug, Clone)]
pub struct Origins {
    allowed: Vec<String>,
    url: String,
}

impl Origins {
    /// The list for a server that listens on `bound`.
    pub fn new(settings: &Settings, bound: SocketAddr) -> Origins {
        let mut allowed = vec![settings.url.clone()];
        if bound.ip().is_loopback() || bound.ip().is_unspecified() {
            let (scheme, default_port) = if settings.tls.is_some() { ("https", 443) } else { ("http", 80) };
            for host in ["localhost", "127.0.0.1", "[::1]"] {
                let port =
                    if bound.port() == default_port { String::new() } else { format!(":{}", bound.port()) };
                allowed.push(format!("{scheme}://{host}{port}"));
            }
        }
        Origins { allowed, url: settings.url.clone() }
    }

    /// Whether the request's Host is one of ours.
    pub fn knows_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.allowed.iter().any(|origin| origin.split_once("://").is_some_and(|(_, ours)| ours == host))
    }

    /// Whether the request carries exactly one Origin, and it is one of ours
    /// and names the host that was asked.
    pub fn allows(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
        let Ok(origin) = origin.to_str() else { return false };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        self.allowed.iter().any(|ours| ours == origin)
            && origin.split_once("://").is_some_and(|(_, ours)| ours.eq_ignore_ascii_case(host))
    }

    /// Whether a browser that asks with this Host honours `Secure` cookies.
    pub fn is_secure(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = host
            .rsplit_once(':')
            .map_or(host, |(name, port)| if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host });
        let loopback = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
        loopback || (self.url.starts_with("https:") && self.url.ends_with(&format!("//{host}")))
    }

    /// `connect-src` needs the WebSocket form of each origin. It knows no IPv6
    /// addresses: there `'self'` must do.
    pub fn sockets(&self) -> String {
        let mut sockets: Vec<_> =
            self.allowed.iter().map(|origin| origin.replacen("http", "ws", 1)).collect();
        sockets.retain(|socket| !socket.contains('['));
        sockets.sort();
        sockets.dedup();
        sockets.join(" ")
    }
}

/// Middleware: refuses requests for another host, and changes asked for by
/// another site.
pub async fn same_origin(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| app.origins.knows_host(host)) {
        let words = format!("this server is reached at {}\n", app.settings.url);
        return (StatusCode::MISDIRECTED_REQUEST, words).into_response();
    }
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if (safe && is_brought_in(headers)) || (!safe && !comes_from_us(&app.origins, headers)) {
        return AppError::OtherSite.into_response();
    }
    next.run(request).await
}

/// Another site may link to our pages, and no more: whatever else it asks for,
/// such as a script, a picture or a frame, would be asked with the learner's
/// cookie where it shares our site, as a preview may.
fn is_brought_in(headers: &HeaderMap) -> bool {
    let says =
        |name: &str, word: &str| headers.get(name).is_some_and(|value| value.as_bytes() == word.as_bytes());
    let theirs = says("sec-fetch-site", "same-site") || says("sec-fetch-site", "cross-site");
    theirs && !(says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document"))
}

/// Browsers say where a request comes from by Sec-Fetch-Site; those that
/// don't, by Origin. Saying nothing is not enough.
fn comes_from_us(origins: &Origins, headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-site") {
        Some(site) => {
            site.as_bytes() == b"same-origin"
                && (!headers.contains_key(header::ORIGIN) || origins.allows(headers))
        }
        None => origins.allows(headers),
    }
}
