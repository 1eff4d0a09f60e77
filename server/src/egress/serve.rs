//! The proxy's requests: RFC 9110, 9.3.6 (CONNECT), RFC 9112, 3.2.2 (absolute
//! addresses). Read and written by hyper.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    client, header,
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::copy_bidirectional,
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tower_http::timeout::TimeoutBody;

use super::{Client, Held, address, allow::Verdict, audit::Outcome, meter::Metered};
use crate::web::hops;

/// A request's head must have arrived within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest head, in bytes.
const HEAD_MAX: usize = 32 * 1024;
/// How long a name may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(10);
/// How long a host may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a host may take until it begins to answer, and how long a body may
/// be silent.
const SILENCE: Duration = Duration::from_secs(120);
/// How long a tunnel may last.
const TUNNEL: Duration = Duration::from_secs(4 * 3600);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Serves one connection from a node to its end.
pub(super) async fn connection(stream: TcpStream, node: IpAddr, client: Client, held: Arc<Held>) {
    let service = service_fn(|request| {
        let (client, held) = (client.clone(), held.clone());
        async move { Ok::<_, Infallible>(answer(request, node, &client, held).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection to the proxy ended");
    }
}

/// Why a request goes nowhere, for the learner to read.
struct Refusal(StatusCode, String);

async fn answer(
    request: Request<Incoming>,
    node: IpAddr,
    client: &Client,
    held: Arc<Held>,
) -> Response<Body> {
    match pass(request, node, client, held).await {
        Ok(response) => response,
        Err(Refusal(status, words)) => {
            let mut response = Response::new(Body::new(Full::new(Bytes::from(words + "\n"))));
            *response.status_mut() = status;
            response
        }
    }
}

async fn pass(
    mut request: Request<Incoming>,
    node: IpAddr,
    client: &Client,
    held: Arc<Held>,
) -> Result<Response<Body>, Refusal> {
    let (host, port) = target(&request)?;
    if client.budget.is_spent() {
        let words = "this session has moved all the bytes that it may";
        return Err(Refusal(StatusCode::FORBIDDEN, words.into()));
    }
    let stream = match reach(client, &host, port).await {
        Ok(stream) => {
            client.audit.note(node, &host, port, Outcome::Reached);
            Metered::new(stream, client.budget.clone())
        }
        Err((outcome, words)) => {
            client.audit.note(node, &host, port, outcome);
            let status =
                if outcome == Outcome::Unreachable { StatusCode::BAD_GATEWAY } else { StatusCode::FORBIDDEN };
            return Err(Refusal(status, words));
        }
    };
    if request.method() == Method::CONNECT {
        let theirs = hyper::upgrade::on(&mut request);
        tokio::spawn(tunnel(theirs, stream, held));
        return Ok(Response::new(Body::empty()));
    }
    forward(request, stream, &host, port).await
}

/// The host and port that a request is for.
fn target<T>(request: &Request<T>) -> Result<(String, u16), Refusal> {
    let bad = |words: &str| Refusal(StatusCode::BAD_REQUEST, words.to_owned());
    let uri = request.uri();
    let authority = uri.authority().ok_or_else(|| {
        bad("this is a proxy: ask it for whole addresses, such as http://deb.debian.org/, or to CONNECT")
    })?;
    if authority.as_str().contains('@') {
        return Err(bad("an address with a user in it is not passed on"));
    }
    let default = match (request.method() == Method::CONNECT, uri.scheme_str()) {
        (true, _) => None,
        (false, Some("http")) => Some(80),
        (false, _) => return Err(bad("only http:// addresses can be asked for; others need CONNECT")),
    };
    let port = authority.port_u16().or(default).ok_or_else(|| bad("the port is missing"))?;
    Ok((authority.host().to_owned(), port))
}

/// Connects to the host, if it may be.
async fn reach(client: &Client, host: &str, port: u16) -> Result<TcpStream, (Outcome, String)> {
    let verdict = client.egress.shared.allow.verdict(host, port);
    if verdict == Verdict::No {
        let words = format!("{host}:{port} is not among the hosts that labs on this server may reach");
        return Err((Outcome::NotListed, words));
    }
    let failed = |words: String| (Outcome::Unreachable, words);
    let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let found: Vec<SocketAddr> = match timeout(LOOK_UP, lookup_host((name, port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(failed(format!("{host} can't be looked up: {error}"))),
        Err(_) => return Err(failed(format!("{host} can't be looked up: no answer"))),
    };
    let own =
        address::own().map_err(|error| failed(format!("this machine's addresses are not known: {error}")))?;
    let may = |found: &&SocketAddr| verdict == Verdict::Named || address::is_public(found.ip(), &own);
    let allowed: Vec<_> = found.iter().filter(may).take(ADDRESSES_MAX).copied().collect();
    if allowed.is_empty() {
        let words = format!("{host} leads to no public address, and is not named by the operator");
        return Err((Outcome::PrivateAddress, words));
    }
    let mut last = failed(format!("{host}:{port} does not answer"));
    for address in allowed {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = failed(format!("{host}:{port} can't be reached: {error}")),
            Err(_) => {}
        }
    }
    Err(last)
}

/// Carries a tunnel's bytes.
async fn tunnel(theirs: OnUpgrade, mut stream: Metered, held: Arc<Held>) {
    let mut ended = held.ended.clone();
    let carry = async {
        let mut theirs = TokioIo::new(theirs.await.map_err(std::io::Error::other)?);
        copy_bidirectional(&mut theirs, &mut stream).await
    };
    tokio::select! {
        // Nothing is ever sent: the sender's end is the word.
        _ = ended.changed() => {}
        carried = timeout(TUNNEL, carry) => {
            if let Ok(Err(error)) = carried {
                tracing::debug!(%error, "tunnel broke");
            }
        }
    }
}

/// Sends a request on, and its answer back.
async fn forward(
    request: Request<Incoming>,
    stream: Metered,
    host: &str,
    port: u16,
) -> Result<Response<Body>, Refusal> {
    let broken = |error: hyper::Error| {
        Refusal(StatusCode::BAD_GATEWAY, format!("{host}:{port} gave no answer that can be read: {error}"))
    };
    let (mut sender, connection) = client::conn::http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection of the proxy ended");
        }
    });
    let request = origin_form(request.map(|body| TimeoutBody::new(SILENCE, body)));
    let response = match timeout(SILENCE, sender.send_request(request)).await {
        Ok(response) => response.map_err(broken)?,
        Err(_) => return Err(Refusal(StatusCode::GATEWAY_TIMEOUT, format!("{host}:{port} does not answer"))),
    };
    let mut response = response.map(|body| Body::new(TimeoutBody::new(SILENCE, body)));
    hops::strip(response.headers_mut(), false);
    Ok(response)
}

/// The request as the host itself wants it.
fn origin_form<T>(mut request: Request<T>) -> Request<T> {
    hops::strip(request.headers_mut(), false);
    // RFC 9112, 3.2.2: what the address says is what holds.
    let host = request.uri().authority().and_then(|authority| authority.as_str().parse().ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().unwrap_or(Uri::from_static("/"));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, uri: &str) -> Result<(String, u16), StatusCode> {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        target(&request).map_err(|Refusal(status, _)| status)
    }

    #[test]
    fn a_request_says_where_it_goes() {
        assert_eq!(asked("GET", "http://a.example/x"), Ok(("a.example".into(), 80)));
        assert_eq!(asked("POST", "http://a.example:8080/"), Ok(("a.example".into(), 8080)));
        assert_eq!(asked("CONNECT", "a.example:443"), Ok(("a.example".into(), 443)));
        assert_eq!(asked("CONNECT", "[::1]:443"), Ok(("[::1]".into(), 443)));
        for (method, uri) in [("GET", "/x"), ("GET", "https://a.example/"), ("GET", "http://me@a.example/")] {
            assert_eq!(asked(method, uri), Err(StatusCode::BAD_REQUEST), "{method} {uri}");
        }
    }

    #[test]
    fn the_host_gets_a_path_and_its_own_name() {
        let request = Request::builder()
            .uri("http://a.example:81/x?y")
            .header("host", "other.example")
            .header("proxy-authorization", "secret")
            .body(())
            .unwrap();
        let request = origin_form(request);
        assert_eq!(request.uri(), "/x?y");
        assert_eq!(request.headers()["host"], "a.example:81");
        assert!(!request.headers().contains_key("proxy-authorization"));
    }
}
