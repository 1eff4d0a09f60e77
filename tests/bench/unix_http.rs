//! One HTTP request on a unix socket: host's API, and the Docker API of either
//! engine.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Sends a request and gives the answer's body; any status but 2xx is an error.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Result<String> {
    send(socket, method, path, "Connection: close", body)
}

/// Sends a request that turns the connection into a stream, and gives all that
/// comes on it.
pub(crate) fn hijack(socket: &Path, path: &str, body: &str) -> Result<String> {
    send(socket, "POST", path, "Connection: Upgrade\r\nUpgrade: tcp", body)
}

fn send(socket: &Path, method: &str, path: &str, headers: &str, body: &str) -> Result<String> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot reach {}", socket.display()))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: bench\r\n{headers}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no head")?;
    if !head.starts_with("HTTP/1.1 2") && !head.starts_with("HTTP/1.1 101") {
        bail!("{method} {path}: {answer}");
    }
    Ok(body.to_owned())
}

/// The JSON object in a body, which may have come in one chunk.
pub(crate) fn object(body: &str) -> Result<serde_json::Value> {
    let (begin, end) = (body.find('{').unwrap_or(0), body.rfind('}').map_or(body.len(), |at| at + 1));
    serde_json::from_str(&body[begin..end]).with_context(|| format!("no JSON object: {body}"))
}
