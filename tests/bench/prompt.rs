//! From the request for a session to the first prompt on each node's terminal.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use drydock_protocol::agent::{DONE, HELLO, REQUEST, Request};
use drydock_protocol::host::{CreateSession, Features, Limits, Session};
use drydock_protocol::terminal::{Size, ToViewer};
use drydock_protocol::{Hello, frame};

/// Bash says that its prompt stands there (OSC 133;B).
const PROMPT_MARK: &[u8] = b"\x1b]133;B";

/// Makes a session by host's API, attaches to each node, and waits for all
/// prompts; the session is removed afterwards, untimed.
pub(crate) fn session_to_prompt(socket: &Path, nodes: usize) -> Result<Duration> {
    let create = CreateSession {
        owner: "bench".into(),
        purpose: String::new(),
        nodes: (1..=nodes).map(|number| format!("node{number}")).collect(),
        limits: Limits { memory_mb: 512, ..Limits::default() },
        features: Features::default(),
        seconds: 600,
        nodes_max: None,
    };
    let begin = Instant::now();
    let session: Session =
        serde_json::from_str(&http(socket, "POST", "/v1/sessions", &serde_json::to_string(&create)?)?)?;
    let waiting: Vec<_> = session
        .nodes
        .iter()
        .map(|node| {
            let agent = node.agent.clone();
            std::thread::spawn(move || first_prompt(&agent))
        })
        .collect();
    for thread in waiting {
        thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    let took = begin.elapsed();
    http(socket, "DELETE", &format!("/v1/sessions/{}", session.id), "")?;
    Ok(took)
}

fn http(socket: &Path, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot reach {}", socket.display()))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: host\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("host's answer has no head")?;
    if !head.starts_with("HTTP/1.1 2") {
        bail!("{method} {path}: {answer}");
    }
    Ok(body.to_owned())
}

fn first_prompt(agent: &Path) -> Result<()> {
    let mut stream =
        UnixStream::connect(agent).with_context(|| format!("cannot reach {}", agent.display()))?;
    let request =
        Request::Attach { terminal: "1".into(), size: Size { cols: 80, rows: 24 }, view_only: false };
    let mut out = Vec::new();
    frame::write(&mut out, HELLO, &serde_json::to_vec(&Hello::OURS)?);
    frame::write(&mut out, REQUEST, &serde_json::to_vec(&request)?);
    stream.write_all(&out)?;
    let mut seen = Vec::new();
    while !seen.windows(PROMPT_MARK.len()).any(|bytes| bytes == PROMPT_MARK) {
        let mut head = [0; frame::HEAD];
        stream.read_exact(&mut head)?;
        let (kind, length) = frame::head(head)?;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        if kind == HELLO || kind == DONE {
            continue;
        }
        match ToViewer::decode(kind, &payload)? {
            ToViewer::Snapshot { bytes, .. } | ToViewer::Output(bytes) => seen.extend(bytes),
            ToViewer::Resized(_) => {}
            other => bail!("the terminal ended: {other:?}"),
        }
    }
    Ok(())
}
