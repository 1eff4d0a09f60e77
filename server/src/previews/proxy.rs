//! A request to a node's program, and its answer.
//!
//! HTTP/1.1 on both sides, read and written by hyper; bodies stream through.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use drydock_agent::{Agent, AgentError, Dialled};
use drydock_protocol::host::{Node, NodeState};
use http_body_util::BodyExt;
use hyper::{client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tower_http::timeout::TimeoutBody;

use super::{Previews, Target, cookie, page};
use crate::web::hops;

/// How long a request may wait for its turn.
const TURN: Duration = Duration::from_secs(10);
/// How long the node may take to connect us.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a program may take until it begins to answer.
const ANSWER: Duration = Duration::from_secs(300);
/// How long a body, or an upgraded connection, may be silent.
const SILENCE: Duration = Duration::from_secs(900);
/// The longest head of an answer, in bytes.
const HEAD_MAX: usize = 64 * 1024;

/// What an answer must not tell the browser, since it would hold for more than
/// the preview: for the whole name, or for the site that we are part of.
const NOT_THEIRS: [&str; 4] = ["alt-svc", "clear-site-data", "strict-transport-security", "nel"];

/// What a page may do that shares its name with us.
const SANDBOX: &str = "sandbox allow-scripts allow-forms allow-popups";

/// Whose name the preview's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Its own.
    Own,
    /// Ours, on another port: cookies don't tell ports apart.
    Shared,
}

/// Passes a request to what serves the port, and the answer back.
pub(super) async fn pass(previews: &Previews, target: &Target, request: Request, origin: Origin) -> Response {
    let Some(session) = previews.session(&target.session) else { return page::gone() };
    let Some(node) = session.nodes.iter().find(|node| node.name == target.node) else { return page::gone() };
    if node.state != NodeState::Running {
        return page::not_running(&node.name);
    }
    let Ok(Ok(slot)) = timeout(TURN, previews.slots(&session.id).acquire_owned()).await else {
        return page::busy();
    };
    let stream = match timeout(CONNECT, dial(node, target.port)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(AgentError::Refused(words))) => {
            tracing::debug!(node = node.name, words, "no preview");
            return page::nobody(&node.name, target.port);
        }
        Ok(Err(error)) => {
            tracing::info!(node = node.name, %error, "no preview");
            return page::not_running(&node.name);
        }
        Err(_) => return page::slow(&node.name, target.port),
    };
    match timeout(ANSWER, exchange(stream, request, slot, origin)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::debug!(node = node.name, port = target.port, %error, "no answer for a preview");
            page::no_http(&node.name, target.port)
        }
        Err(_) => page::slow(&node.name, target.port),
    }
}

async fn dial(node: &Node, port: u16) -> Result<Dialled, AgentError> {
    Agent::connect(&node.agent).await?.dial(port).await
}

async fn exchange(
    stream: Dialled,
    mut request: Request,
    slot: OwnedSemaphorePermit,
    origin: Origin,
) -> Result<Response, hyper::Error> {
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection of a preview ended");
        }
    });
    let upgrade = is_websocket(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let mut response = sender.send_request(outgoing(request, upgrade.is_some(), origin)).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let theirs = hyper::upgrade::on(&mut response);
        // Without the browser's own wish, hyper takes such an answer for an error.
        if let Some(ours) = upgrade {
            tokio::spawn(carry(ours, theirs, slot));
        }
        return Ok(incoming(response.map(|_| Body::empty()), true, origin));
    }
    // The place is given back when the body has ended.
    let body = |body| {
        let body = TimeoutBody::new(SILENCE, body);
        Body::new(body.map_frame(move |frame| {
            let _held = &slot;
            frame
        }))
    };
    Ok(incoming(response.map(body), false, origin))
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The request as the program gets it: the Host as the browser sent it.
fn outgoing(request: Request, upgrade: bool, origin: Origin) -> hyper::Request<TimeoutBody<Body>> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().unwrap_or(Uri::from_static("/"));
    parts.version = axum::http::Version::HTTP_11;
    hops::strip(&mut parts.headers, upgrade);
    parts.headers.remove(header::EXPECT);
    cookie::strip_request(&mut parts.headers, origin);
    hyper::Request::from_parts(parts, TimeoutBody::new(SILENCE, body))
}

/// The answer as the browser gets it.
fn incoming(mut response: Response, upgrade: bool, origin: Origin) -> Response {
    let headers = response.headers_mut();
    hops::strip(headers, upgrade);
    for name in NOT_THEIRS {
        headers.remove(name);
    }
    cookie::strip_answer(headers, origin);
    if origin == Origin::Shared {
        headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    }
    response
}

/// Carries an upgraded connection's bytes until either side ends, or both have
/// been silent for long.
async fn carry(ours: OnUpgrade, theirs: OnUpgrade, slot: OwnedSemaphorePermit) {
    let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) else { return };
    let (from_browser, to_browser) = tokio::io::split(TokioIo::new(ours));
    let (from_node, to_node) = tokio::io::split(TokioIo::new(theirs));
    let moved = Arc::new(AtomicBool::new(true));
    tokio::select! {
        _ = copy(from_browser, to_node, &moved) => {}
        _ = copy(from_node, to_browser, &moved) => {}
        () = silence(&moved) => {}
    }
    drop(slot);
}

/// One direction, to its end.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicBool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        moved.store(true, Ordering::Relaxed);
    }
}

/// Resolves once nothing has moved for a while.
async fn silence(moved: &AtomicBool) {
    while moved.swap(false, Ordering::Relaxed) {
        tokio::time::sleep(SILENCE).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_page_that_shares_our_name_is_sandboxed() {
        let answer = || {
            let mut response = Response::new(Body::empty());
            *response.headers_mut() = headers(&[
                ("content-security-policy", "default-src *"),
                ("clear-site-data", "\"cookies\""),
                ("set-cookie", "drydock=evil"),
            ]);
            response
        };
        let shared = incoming(answer(), false, Origin::Shared);
        let policies: Vec<_> = shared.headers().get_all(header::CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, ["default-src *", SANDBOX]);
        let own = incoming(answer(), false, Origin::Own);
        assert_eq!(*own.headers(), headers(&[("content-security-policy", "default-src *")]));
    }
}
