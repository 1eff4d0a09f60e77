//! Requests that no honest client sends: an answer, never a hang, never a crash.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use drydock_tests::instance::{Instance, Session, guard};

/// Sends these bytes and reads what comes until the engine closes.
fn send(session: &Session<'_>, bytes: &[u8]) -> String {
    let path = session.docker_host(0);
    let mut stream = UnixStream::connect(path.trim_start_matches("unix://")).expect("the engine listens");
    stream.set_read_timeout(Some(guard())).expect("a timeout can be set");
    stream.set_write_timeout(Some(guard())).expect("a timeout can be set");
    // The engine may have answered, and closed, before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the engine did not close: {error}"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request with `Connection: close`; its answer's status and message.
fn ask(session: &Session<'_>, method: &str, path: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = send(session, head.as_bytes());
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status.unwrap_or_else(|| panic!("no answer to {method} {path}: {answer:?}")), body)
}

#[test]
fn what_can_t_be_read_gets_docker_s_status_and_words() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    for (method, path, body, status, words) in [
        (
            "GET",
            "/v1.99/info",
            "",
            400,
            "client version 1.99 is too new. Maximum supported API version is 1.50",
        ),
        (
            "GET",
            "/v1.10/info",
            "",
            400,
            "client version 1.10 is too old. Minimum supported API version is 1.24",
        ),
        ("GET", "/v99999999999.1/info", "", 404, "page not found"),
        ("GET", "/nosuch", "", 404, "page not found"),
        ("PUT", "/info", "", 404, "page not found"),
        ("POST", "/containers/create", "", 400, "invalid JSON: got EOF while reading request body"),
        ("POST", "/containers/create", "{\"Image\":", 400, "invalid JSON: unexpected EOF"),
        ("POST", "/containers/create", "{} {}", 400, "invalid JSON: unexpected content after JSON"),
        ("POST", "/containers/create", "[]", 400, "invalid JSON"),
        ("POST", "/volumes/create", "{\"Name\":7}", 400, "invalid JSON"),
        ("GET", "/containers/json?filters=%7B", "", 400, "invalid filter"),
        ("GET", "/containers/json?filters=[]", "", 400, "invalid filter"),
        ("GET", "/containers/json?filters=%7B%22nosuch%22:[%221%22]%7D", "", 400, "invalid filter 'nosuch'"),
        (
            "GET",
            "/images/json?filters=%7B%22dangling%22:[%22maybe%22]%7D",
            "",
            400,
            "invalid filter 'dangling=maybe'",
        ),
        ("GET", "/events?since=yesterday", "", 400, "failed to parse value as time or duration"),
        ("GET", "/system/df?type=nosuch", "", 400, "unknown object type: nosuch"),
        ("GET", "/containers/%ff%fe/json", "", 400, ""),
        ("GET", "/containers/nosuch/json", "", 404, "No such container: nosuch"),
        ("DELETE", "/images/..%2f..%2fetc", "", 400, "invalid reference format"),
        ("DELETE", "/volumes/..%2f..%2fetc", "", 404, "no such volume"),
        ("GET", "/images/get", "", 400, "1 to 64 images"),
    ] {
        let (found, body_found) = ask(&session, method, path, body);
        assert_eq!(found, status, "{method} {path} {body}: {body_found}");
        let message: serde_json::Value = serde_json::from_str(&body_found)
            .unwrap_or_else(|error| panic!("{method} {path}: not JSON: {error}: {body_found}"));
        let message = message["message"].as_str().unwrap_or_else(|| panic!("no message: {body_found}"));
        assert!(message.contains(words), "{method} {path}: {message}");
    }
    sh_works(&session);
}

#[test]
fn half_open_huge_and_mad_connections_hurt_nobody() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let path = session.docker_host(0);
    let path = path.trim_start_matches("unix://");
    // Held open while everything else goes on.
    let mut held = Vec::new();
    for start in [
        "",
        "GET /info HTTP/1.1\r\nHost: x",
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"Image\"",
        "POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        for _ in 0..20 {
            let mut stream = UnixStream::connect(path).expect("the engine listens");
            stream.write_all(start.as_bytes()).expect("the engine reads");
            held.push(stream);
        }
    }
    sh_works(&session);
    let huge = format!("{{\"Image\":\"{}\"}}", "x".repeat(8 << 20));
    let (status, body) = ask(&session, "POST", "/containers/create", &huge);
    assert!(status == 413 && body.contains("message"), "{status} {body}");
    let answers = [
        send(&session, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        send(&session, &[b'A'; 1 << 20]),
        send(&session, format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20)).as_bytes()),
        send(&session, format!("GET /info HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100_000)).as_bytes()),
        send(
            &session,
            b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ),
        send(&session, b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"),
    ];
    for answer in answers {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    drop(held);
    sh_works(&session);
}

fn sh_works(session: &Session<'_>) {
    let done = session.sh("node1", "docker version --format '{{.Server.Version}}'");
    assert_eq!(done.status, 0, "{done:?}");
}
