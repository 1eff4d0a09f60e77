//! Terminals over WebSockets: from where, how much, and how they end.

mod common;

use std::time::Duration;

use common::{Client, TestServer};
use drydock_protocol::terminal::{FromViewer, Size, ToViewer};
use futures_util::{SinkExt, StreamExt};
use hyper::StatusCode;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::CloseFrame},
};

type Socket = WebSocketStream<TcpStream>;

fn path(session: &Value) -> String {
    format!("/api/sessions/{}/nodes/node1/terminals/1?cols=80&rows=24", session["id"].as_str().unwrap())
}

/// Opens a WebSocket, or says with which status it was refused.
async fn open(client: &Client, path: &str, origin: Option<&str>) -> Result<Socket, StatusCode> {
    let mut request = format!("ws://{}{path}", client.host).into_client_request().unwrap();
    let headers = request.headers_mut();
    if let Some(cookie) = &client.cookie {
        headers.insert("cookie", cookie.parse().unwrap());
    }
    if let Some(origin) = origin {
        headers.insert("origin", origin.parse().unwrap());
    }
    let stream = TcpStream::connect(client.address).await.unwrap();
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status()),
        Err(error) => panic!("{error}"),
    }
}

async fn say(socket: &mut Socket, frame: FromViewer) {
    let (kind, payload) = frame.encode();
    let bytes = [&[kind][..], &payload].concat();
    socket.send(Message::Binary(bytes.into())).await.unwrap();
}

/// The next frame; pings are answered on the way.
async fn hear(socket: &mut Socket) -> ToViewer {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => return ToViewer::decode(bytes[0], &bytes[1..]).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn close_frame(mut socket: Socket) -> Option<CloseFrame> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => return frame,
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

#[tokio::test]
async fn w01_only_our_own_pages_open_terminals() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let session = learner.session().await;
    let path = path(&session);
    let port = server.address.port();
    let other_port = format!("http://localhost:{}", port.wrapping_add(1).max(1));
    let (https, ip) = (format!("https://localhost:{port}"), format!("http://127.0.0.1:{port}"));
    let (sub, tail) = (format!("http://x.localhost:{port}"), format!("http://localhost:{port}.evil.example"));
    let attacks = [
        None,
        Some("null"),
        Some("https://evil.example"),
        Some(&*other_port),
        Some(&*https),
        Some(&*sub),
        Some(&*tail),
        // Ours, but not the one that this request is for.
        Some(&*ip),
    ];
    for origin in attacks {
        assert_eq!(open(&learner, &path, origin).await.err(), Some(StatusCode::FORBIDDEN), "{origin:?}");
    }
    assert!(open(&learner, &path, Some(&server.origin())).await.is_ok());
}

#[tokio::test]
async fn w06_a_terminal_is_its_owners() {
    let server = TestServer::start().await;
    let ann = server.learner().await;
    let session = ann.session().await;
    let (path, origin) = (path(&session), server.origin());
    let ben = server.learner().await;
    assert_eq!(open(&ben, &path, Some(&origin)).await.err(), Some(StatusCode::NOT_FOUND));
    assert_eq!(open(&server.client(), &path, Some(&origin)).await.err(), Some(StatusCode::UNAUTHORIZED));
    let ninth = path.replace("terminals/1", "terminals/9");
    assert_eq!(open(&ann, &ninth, Some(&origin)).await.err(), Some(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn bytes_go_both_ways() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let session = learner.session().await;
    let mut socket = open(&learner, &path(&session), Some(&server.origin())).await.unwrap();
    let size = Size { cols: 80, rows: 24 };
    assert_eq!(hear(&mut socket).await, ToViewer::Snapshot { offset: 0, size, bytes: b"$ ".to_vec() });
    say(&mut socket, FromViewer::Input(b"\x00\xffls\r".to_vec())).await;
    assert_eq!(hear(&mut socket).await, ToViewer::Output(b"\x00\xffls\r".to_vec()));
    let wide = Size { cols: 120, rows: 40 };
    say(&mut socket, FromViewer::Resize(wide)).await;
    assert_eq!(hear(&mut socket).await, ToViewer::Resized(wide));
    say(&mut socket, FromViewer::Input(b"exit".to_vec())).await;
    assert_eq!(hear(&mut socket).await, ToViewer::Ended(0));
    assert_eq!(u16::from(close_frame(socket).await.unwrap().code), 1000);
}

#[tokio::test]
async fn w09_too_much_closes_the_socket() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let session = learner.session().await;
    let (path, origin) = (path(&session), server.origin());
    let attempts: [(Vec<Message>, &[u16]); 4] = [
        (vec![Message::Binary(vec![0x11; 80 * 1024].into())], &[1009]),
        (vec![Message::Binary(vec![0x7f, 1].into())], &[1002]),
        (vec![Message::Text("ls".into())], &[1003]),
        (vec![Message::Binary(vec![0x13, 0, 0, 0, 0, 0, 0, 0, 0].into()); 6000], &[1008]),
    ];
    for (messages, codes) in attempts {
        let mut socket = open(&learner, &path, Some(&origin)).await.unwrap();
        for message in messages {
            // The server may have closed already.
            if socket.send(message).await.is_err() {
                break;
            }
        }
        if let Some(frame) = close_frame(socket).await {
            assert!(codes.contains(&u16::from(frame.code)), "{codes:?}: {frame:?}");
        }
    }
    assert!(open(&learner, &path, Some(&origin)).await.is_ok(), "the next one works");
}

#[tokio::test]
async fn w09_a_viewer_who_never_reads_holds_nobody_back() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let session = learner.session().await;
    let (path, origin) = (path(&session), server.origin());
    let mut idle = open(&learner, &path, Some(&origin)).await.unwrap();
    say(&mut idle, FromViewer::Input(b"flood".to_vec())).await;
    // Not read from here on, and still open.
    let mut socket = open(&learner, &path, Some(&origin)).await.unwrap();
    hear(&mut socket).await;
    for _ in 0..1000 {
        say(&mut socket, FromViewer::Input(b"x".to_vec())).await;
        assert_eq!(hear(&mut socket).await, ToViewer::Output(b"x".to_vec()));
    }
    drop(idle);
}

#[tokio::test]
async fn a_stopped_node_has_no_terminal() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let session = learner.session().await;
    let id = session["id"].as_str().unwrap();
    let stopped = learner.post(&format!("/api/sessions/{id}/nodes/node1/stop"), Value::Null).await.json();
    assert_eq!(stopped["nodes"][0]["state"], "stopped");
    let refused = open(&learner, &path(&session), Some(&server.origin())).await.err();
    assert_eq!(refused, Some(StatusCode::CONFLICT));
}

#[tokio::test]
async fn a_learner_has_so_many_terminals() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let session = learner.session().await;
    let (path, origin) = (path(&session), server.origin());
    let mut sockets = Vec::new();
    for _ in 0..64 {
        sockets.push(open(&learner, &path, Some(&origin)).await.unwrap());
    }
    assert_eq!(open(&learner, &path, Some(&origin)).await.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
    let other = server.learner().await;
    let others = other.session().await;
    assert!(open(&other, &self::path(&others), Some(&origin)).await.is_ok());
}

#[tokio::test]
async fn the_event_stream_tells_changes_and_the_end() {
    let server = TestServer::start().await;
    let learner = server.learner().await;
    let session = learner.session().await;
    let id = session["id"].as_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "GET /api/sessions/{id}/events HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\n\r\n",
        learner.host,
        learner.cookie.as_ref().unwrap()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut text = String::new();
    until(&mut stream, &mut text, r#""state":"running""#).await;
    learner.post(&format!("/api/sessions/{id}/nodes/node1/stop"), Value::Null).await;
    until(&mut stream, &mut text, r#""state":"stopped""#).await;
    server.host.end(&id);
    until(&mut stream, &mut text, r#""reason":"gone""#).await;
    let again = learner.session().await;
    assert_ne!(again["id"], session["id"]);
}

/// Reads on until the text holds `words`.
async fn until(stream: &mut TcpStream, text: &mut String, words: &str) {
    let mut buffer = [0; 4096];
    while !text.contains(words) {
        let read = tokio::io::AsyncReadExt::read(stream, &mut buffer);
        let len = tokio::time::timeout(Duration::from_secs(20), read).await.expect(text).unwrap();
        assert_ne!(len, 0, "the stream ended after {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
}

#[tokio::test]
async fn at_the_end_of_the_server_a_page_is_told_when_to_come_back() {
    let mut server = TestServer::start().await;
    let learner = server.learner().await;
    let session = learner.session().await;
    let mut socket = open(&learner, &path(&session), Some(&learner.origin())).await.unwrap();
    hear(&mut socket).await;
    server.stop();
    let frame = close_frame(socket).await.expect("a goodbye");
    assert_eq!(u16::from(frame.code), drydock_protocol::terminal::CLOSE_RESTART);
    assert!(drydock_protocol::terminal::seconds_of(&frame.reason).is_some(), "{}", frame.reason);
}
