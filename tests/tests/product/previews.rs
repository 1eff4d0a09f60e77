//! What a node serves, seen through its preview.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use drydock_tests::http::request;
use drydock_tests::instance::{Instance, Session, eventually, guard};

/// A learner's web application on port 8000.
const APP: &str = include_str!("../../browser/preview-app.py");

/// Starts the application in a container with the node's own network.
fn start_app(session: &Session<'_>) {
    let done = session.exec("node1", &["bash", "-c", "cat > /root/app.py"], APP.as_bytes());
    assert_eq!(done.status, 0, "{done:?}");
    let run = "docker run -d --name app --network host -v /root/app.py:/app.py python python /app.py";
    let done = session.sh("node1", run);
    assert_eq!(done.status, 0, "{done:?}");
}

/// The preview's host, as the session's events tell it.
fn preview_host(instance: &Instance, session: &Session<'_>, port: u16) -> String {
    let cookie = learner_of(instance, session);
    let path = format!("/api/sessions/{}/events", session.id);
    let mut stream = TcpStream::connect(("127.0.0.1", instance.port)).expect("the server listens");
    stream.set_read_timeout(Some(guard())).expect("a timeout can be set");
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nCookie: {cookie}\r\n\r\n", instance.port);
    stream.write_all(head.as_bytes()).expect("the server takes the request");
    for line in BufReader::new(stream).lines() {
        let line = line.expect("events come until the port is open");
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let event: serde_json::Value = serde_json::from_str(data).expect("an event is JSON");
        let ports = event["nodes"][0]["ports"].as_array().cloned().unwrap_or_default();
        if let Some(found) = ports.iter().find(|found| found["port"] == port) {
            let url = found["url"].as_str().expect("there is a place for previews");
            let host = url.strip_prefix("http://").and_then(|url| url.strip_suffix('/'));
            return host.expect("a preview has a host of its own").to_owned();
        }
    }
    panic!("the events ended and port {port} was not open");
}

/// The cookie of a learner who has opened the session's page.
fn learner_of(instance: &Instance, session: &Session<'_>) -> String {
    let url = session.json["url"].as_str().expect("a session has a url");
    let path =
        url.strip_prefix(&format!("http://localhost:{}", instance.port)).expect("it is on this server");
    request(instance.port, "GET", path, &[], "").cookie().expect("a learner gets a cookie")
}

/// One request to a preview, byte by byte as written here; the whole answer.
fn raw(instance: &Instance, text: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", instance.port)).expect("the server listens");
    stream.set_read_timeout(Some(guard())).expect("a timeout can be set");
    stream.write_all(text.as_bytes()).expect("the server takes the request");
    stream.write_all(body).expect("the server takes the body");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(instance: &Instance, host: &str, path: &str, headers: &str) -> String {
    let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    raw(instance, &text, b"")
}

#[test]
fn a_port_is_shown_at_an_origin_of_its_own() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    start_app(&session);
    let host = preview_host(&instance, &session, 8000);
    assert!(host.starts_with("8000-node1-") && !host.contains(&session.id), "{host}");

    let answer = get(&instance, &host, "/", "");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("It works"), "{answer}");
    assert!(answer.contains(&format!("http://{host}/about")), "the app sees the browser's host: {answer}");

    let sent = "Cookie: a=1; __Host-drydock=secret; b=2\r\nProxy-Authorization: secret\r\n";
    let answer = get(&instance, &host, "/headers", sent);
    assert!(answer.contains("a=1; b=2") && !answer.contains("secret"), "{answer}");

    let answer = get(&instance, &host, "/hostile", "").to_ascii_lowercase();
    let set: Vec<&str> = answer.lines().filter(|line| line.starts_with("set-cookie")).collect();
    assert_eq!(set, ["set-cookie: wide=1; path=/", "set-cookie: own=1; path=/"], "{answer}");
    assert!(!answer.contains("clear-site-data") && !answer.contains("strict-transport"), "{answer}");

    nobody_and_nothing(&instance, &session, &host);
    uploads(&instance, &host);
    streams(&instance, &host);
    websocket(&instance, &host);
}

fn nobody_and_nothing(instance: &Instance, session: &Session<'_>, host: &str) {
    let other = host.replacen("8000", "8001", 1);
    let answer = get(instance, &other, "/", "");
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("Nobody serves port 8001"), "{answer}");
    let (label, rest) = host.split_once('.').expect("a host has labels");
    for wrong in
        [format!("{}a.{rest}", &label[..label.len() - 1]), format!("8000-node1-{}.{rest}", session.id)]
    {
        let answer = get(instance, &wrong, "/", "");
        assert!(answer.starts_with("HTTP/1.1 404"), "{wrong}: {answer}");
    }
}

fn uploads(instance: &Instance, host: &str) {
    let body = vec![b'x'; 64 << 20];
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = raw(instance, &head, &body);
    assert!(answer.contains(&format!("{} ", body.len())), "{answer}");
}

/// The first piece arrives while the second is not written yet.
fn streams(instance: &Instance, host: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", instance.port)).expect("the server listens");
    stream.set_read_timeout(Some(guard())).expect("a timeout can be set");
    let head = format!("GET /stream HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the server takes the request");
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("first") {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).expect("the first piece comes");
        assert!(count > 0, "the stream ended early");
        got.extend_from_slice(&piece[..count]);
    }
    assert!(get(instance, host, "/go", "").contains("going"));
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the second piece comes");
    assert!(rest.contains("second"), "{rest}");
}

fn websocket(instance: &Instance, host: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", instance.port)).expect("the server listens");
    stream.set_read_timeout(Some(guard())).expect("a timeout can be set");
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the server takes the request");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut answer).expect("an answer comes") > 0, "{answer}");
    }
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    // Unmasked by a mask of zeros.
    stream.write_all(b"\x81\x85\0\0\0\0hello").expect("the socket takes a message");
    let mut echo = [0; 7];
    reader.read_exact(&mut echo).expect("the message comes back");
    assert_eq!(&echo, b"\x81\x05hello");
}

#[test]
fn previews_end_with_their_session_and_survive_a_restart_of_the_server() {
    let mut instance = Instance::start();
    let session = instance.session(&[]);
    start_app(&session);
    let host = preview_host(&instance, &session, 8000);
    let id = session.id.clone();
    instance.kill_and_restart();
    eventually("the preview is there again", || get(&instance, &host, "/", "").contains("It works"));
    assert!(instance.drydock(&["session", "rm", &id]).status.success());
    eventually("the preview is gone", || get(&instance, &host, "/", "").starts_with("HTTP/1.1 404"));
}

#[test]
fn without_names_a_preview_has_a_port_and_is_sandboxed() {
    let instance = Instance::start_on(|state| {
        std::fs::write(state.join("drydock.toml"), "preview_ports = \"8100-8101\"\n").expect("settings");
    });
    let session = instance.session(&[]);
    start_app(&session);
    let host = preview_host(&instance, &session, 8000);
    let port: u16 =
        host.strip_prefix("localhost:").and_then(|port| port.parse().ok()).expect("a port of ours");
    assert!((8100..=8101).contains(&port), "{host}");
    assert_eq!(preview_host(&instance, &session, 8000), host, "the same port each time");

    let answer = request(port, "GET", "/hostile", &[("Cookie", "__Host-drydock=secret; theme=dark")], "");
    assert_eq!(
        answer.header("content-security-policy"),
        Some("sandbox allow-scripts allow-forms allow-popups")
    );
    let set: Vec<&str> = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(set, ["wide=1; Path=/", "own=1; Path=/"]);
    let sent = request(port, "GET", "/headers", &[("Cookie", "__Host-drydock=secret; theme=dark; a=1")], "");
    assert!(
        sent.body.contains("a=1") && !sent.body.contains("secret") && !sent.body.contains("theme"),
        "{sent:?}"
    );

    // What such a page asks of us is of our site, and not of our origin.
    let cookie = learner_of(&instance, &session);
    let path = format!("/api/sessions/{}", session.id);
    for (site, mode, dest, status) in [
        ("same-site", "cors", "empty", 403),
        ("same-site", "no-cors", "image", 403),
        ("same-site", "navigate", "iframe", 403),
        ("cross-site", "no-cors", "script", 403),
        ("same-origin", "cors", "empty", 200),
        ("none", "navigate", "document", 200),
        ("same-site", "navigate", "document", 200),
    ] {
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Sec-Fetch-Site", site),
            ("Sec-Fetch-Mode", mode),
            ("Sec-Fetch-Dest", dest),
        ];
        let answer = request(instance.port, "GET", &path, &headers, "");
        assert_eq!(answer.status, status, "{site} {mode} {dest}: {answer:?}");
    }
    assert!(instance.drydock(&["session", "rm", &session.id]).status.success());
    eventually("the preview says that its session is gone", || {
        request(port, "GET", "/", &[], "").status == 404
    });
}
