//! Too much of everything, over HTTP and WebSockets: refused in words, while
//! those who were there work on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use drydock_protocol::terminal::{FromViewer, ToViewer};
use drydock_tests::http::{Answer, request, request_from};
use drydock_tests::instance::{Instance, guard};
use drydock_tests::websocket::{WebSocket, head};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn learner(instance: &Instance) -> String {
    request(instance.port, "GET", "/", &[], "").cookie().expect("a learner gets a cookie")
}

/// A new learner from this address asks for a lab.
fn ask(instance: &Instance, from: Ipv4Addr) -> Answer {
    let cookie = request_from(from, instance.port, "GET", "/", &[], "").cookie();
    let cookie = cookie.expect("a learner gets a cookie");
    open_lab(instance, from, &cookie)
}

fn open_lab(instance: &Instance, from: Ipv4Addr, cookie: &str) -> Answer {
    let origin = format!("http://localhost:{}", instance.port);
    let headers = [
        ("Cookie", cookie),
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/json"),
    ];
    request_from(from, instance.port, "POST", "/api/sessions", &headers, r#"{"lab":"namespaces"}"#)
}

/// A learner with a session, and the path of its first terminal.
fn with_session(instance: &Instance) -> (String, String, String) {
    let cookie = learner(instance);
    let answer = open_lab(instance, Ipv4Addr::LOCALHOST, &cookie);
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.json()["id"].as_str().expect("a session has an id").to_owned();
    let path = format!("/api/sessions/{id}/nodes/node1/terminals/1?cols=80&rows=24");
    (cookie, id, path)
}

fn typed(socket: &mut WebSocket, text: &str) {
    let (kind, payload) = FromViewer::Input(text.as_bytes().to_vec()).encode();
    socket.say(&[&[kind][..], &payload].concat()).expect("the server takes it");
}

/// Reads, acknowledging, until these bytes were printed; gives how many were.
fn until(socket: &mut WebSocket, wanted: &[u8]) -> u64 {
    let (mut seen, mut offset, mut read) = (Vec::new(), 0, 0);
    loop {
        let (kind, message) = socket.frame().expect("the terminal goes on");
        if kind != drydock_tests::websocket::BINARY {
            continue;
        }
        let bytes = match ToViewer::decode(message[0], &message[1..]).expect("a frame") {
            ToViewer::Snapshot { offset: at, bytes, .. } => {
                offset = at;
                bytes
            }
            ToViewer::Output(bytes) => {
                offset += bytes.len() as u64;
                bytes
            }
            ToViewer::Resized(_) => continue,
            other => panic!("the terminal ended: {other:?}"),
        };
        let (kind, payload) = FromViewer::Ack(offset).encode();
        socket.say(&[&[kind][..], &payload].concat()).expect("the server takes it");
        read += bytes.len() as u64;
        seen.extend_from_slice(&bytes);
        if seen.windows(wanted.len()).any(|window| window == wanted) {
            return read;
        }
        let past = seen.len().saturating_sub(wanted.len());
        seen.drain(..past);
    }
}

/// Asserts that a learner who was there works on.
fn works(instance: &Instance, id: &str) {
    let done = instance
        .drydock(&["session", "exec", id, "node1", "--", "docker", "run", "--rm", "busybox", "echo", "on"]);
    assert!(done.status.success() && done.stdout.starts_with(b"on"), "{done:?}");
}

#[test]
fn w08_a_flood_of_sessions_is_refused_and_hurts_nobody() {
    let instance = Instance::start_on(|state| {
        std::fs::write(state.join("drydock.toml"), "nodes_max = 6\n").expect("settings can be written");
    });
    let (_, id, _) = with_session(&instance);
    let refused = |answer: &Answer| {
        assert!([429, 503].contains(&answer.status), "{answer:?}");
        let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
        assert!(seconds.is_some_and(|seconds| (1..=300).contains(&seconds)), "{answer:?}");
    };
    let flood = |address: Ipv4Addr, count: usize| -> Vec<Answer> {
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..count).map(|_| scope.spawn(|| ask(&instance, address))).collect();
            asking.into_iter().map(|one| one.join().expect("it was asked")).collect()
        })
    };
    // From one address: some get in, and for the rest there is no room, or it
    // is their address that asks too much.
    let answers = flood(Ipv4Addr::new(127, 0, 0, 2), 50);
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(made <= 5, "{made} of 5 places were given");
    answers.iter().filter(|answer| answer.status != 200).for_each(refused);
    assert!(answers.iter().any(|answer| answer.status == 429), "the address was not held back");
    works(&instance, &id);
    // From fifty.
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let flood = &flood;
        let addresses = (0..50).map(|last| Ipv4Addr::new(127, 0, 1, last));
        let asking: Vec<_> = addresses.map(|address| scope.spawn(move || flood(address, 10))).collect();
        asking.into_iter().flat_map(|one| one.join().expect("it was asked")).collect()
    });
    assert_eq!(answers.len(), 500);
    answers.iter().filter(|answer| answer.status != 200).for_each(refused);
    assert_eq!(instance.sessions().len(), 6, "all places are given, and no more");
    works(&instance, &id);
}

#[test]
fn w09_a_frame_of_64_mb_ends_the_socket_at_its_head() {
    let instance = Instance::start();
    let (cookie, id, path) = with_session(&instance);
    let mut socket = WebSocket::open(instance.port, &path, &cookie);
    socket.stream.write_all(&head(0x82, 64 << 20)).expect("the head is taken");
    // Nothing of the 64 MB was sent: the length alone is too much.
    let end = socket.end();
    assert!(end.is_none_or(|(code, _)| code == 1009), "not for its length");
    works(&instance, &id);
}

#[test]
fn w09_compression_is_not_agreed_on_and_not_taken() {
    let instance = Instance::start();
    let (cookie, id, path) = with_session(&instance);
    let mut socket = WebSocket::open(instance.port, &path, &cookie);
    let head = socket.head.to_ascii_lowercase();
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    // A frame that says it is compressed (RSV1), with a megabyte in a few bytes.
    socket.send(0xc2, b"\xec\xc0\x01\x01\x00\x00\x00\x80\x90\xfe\xaf\xee\x08\x0a").expect("it is sent");
    socket.end();
    works(&instance, &id);
}

#[test]
fn w09_ten_thousand_messages_a_second_are_too_many() {
    let instance = Instance::start();
    let (cookie, id, path) = with_session(&instance);
    let mut socket = WebSocket::open(instance.port, &path, &cookie);
    let (kind, payload) = FromViewer::Ack(0).encode();
    let message = [&[kind][..], &payload].concat();
    let mut frame = head(0x82, message.len() as u64);
    frame.extend_from_slice(&message);
    // The server may hang up in the middle.
    let _ = socket.stream.write_all(&frame.repeat(20_000));
    let end = socket.end();
    assert!(end.is_none_or(|(code, _)| code == 1008), "not for its messages");
    works(&instance, &id);
}

#[test]
fn w09_two_thousand_idle_sockets_are_let_go_and_keep_nobody_out() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the limit can be raised");
    let instance = Instance::start();
    let (_, id, _) = with_session(&instance);
    let idle: Vec<TcpStream> =
        (0..2000).map(|_| TcpStream::connect(("127.0.0.1", instance.port)).expect("it is taken")).collect();
    let answer = request_from(Ipv4Addr::new(127, 0, 0, 3), instance.port, "GET", "/", &[], "");
    assert_eq!(answer.status, 200, "another address gets in");
    works(&instance, &id);
    for mut socket in idle {
        socket.set_read_timeout(Some(guard())).expect("a timeout can be set");
        let read = socket.read(&mut [0; 64]);
        let waits = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!read.as_ref().is_err_and(waits), "an idle socket is still open");
    }
}

#[test]
fn w09_a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let instance = Instance::start();
    let mut socket = TcpStream::connect(("127.0.0.1", instance.port)).expect("it listens");
    let pause = std::time::Duration::from_millis(100);
    socket.set_read_timeout(Some(pause)).expect("a timeout can be set");
    let begun = std::time::Instant::now();
    socket.write_all(b"GET / HTTP/1.1\r\nX: ").expect("it is taken");
    // The pause of each read is the drip's.
    loop {
        assert!(begun.elapsed() < guard(), "it is still waited for");
        match socket.read(&mut [0; 64]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => break,
        }
        if socket.write_all(b"x").is_err() {
            break;
        }
    }
    assert_eq!(request(instance.port, "GET", "/", &[], "").status, 200);
}

#[test]
fn w09_who_never_reads_holds_up_nobody_else() {
    let instance = Instance::start();
    let (cookie, id, path) = with_session(&instance);
    let mut reader = WebSocket::open(instance.port, &path, &cookie);
    until(&mut reader, b"\x1b]133;B");
    let _deaf = WebSocket::open(instance.port, &path, &cookie);
    // More than all buffers on the way of the deaf one can hold.
    typed(&mut reader, "seq 3000000; echo do''ne\r");
    assert!(until(&mut reader, b"done") > 16 << 20);
    typed(&mut reader, "echo st''ill\r");
    until(&mut reader, b"still");
    works(&instance, &id);
}

#[test]
fn w14_nonsense_instead_of_http_is_refused() {
    let instance = Instance::start();
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nzz\r\n",
        b"GET /labs/%00%ff/../../etc HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut socket = TcpStream::connect(("127.0.0.1", instance.port)).expect("it listens");
        socket.set_read_timeout(Some(guard())).expect("a timeout can be set");
        socket.write_all(nonsense).expect("it is taken");
        let mut answer = Vec::new();
        // It may be answered or just closed.
        let _ = socket.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.0 4"),
            "{text}"
        );
        assert!(!text.contains(".rs:") && !text.contains("panic"), "{text}");
    }
    let huge =
        format!("GET / HTTP/1.1\r\nHost: localhost:{}\r\nX: {}\r\n\r\n", instance.port, "x".repeat(100_000));
    let mut socket = TcpStream::connect(("127.0.0.1", instance.port)).expect("it listens");
    let _ = socket.write_all(huge.as_bytes());
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(request(instance.port, "GET", "/", &[], "").status, 200);
}

#[test]
fn k10_sigterm_says_goodbye_with_a_hint_when_to_come_back() {
    let instance = Instance::start();
    let (cookie, _, path) = with_session(&instance);
    let mut socket = WebSocket::open(instance.port, &path, &cookie);
    until(&mut socket, b"\x1b]133;B");
    typed(&mut socket, "was=here; echo s''et\r");
    until(&mut socket, b"set");
    kill(Pid::from_raw(instance.part("web")), Signal::SIGTERM).expect("web runs");
    let (code, reason) = socket.end().expect("a goodbye");
    assert_eq!(code, drydock_protocol::terminal::CLOSE_RESTART);
    assert!(drydock_protocol::terminal::seconds_of(&reason).is_some(), "{reason}");
    // `up` starts web again, and the shell is the one that was.
    let mut socket = WebSocket::open(instance.port, &path, &cookie);
    typed(&mut socket, "echo st''ill $was\r");
    until(&mut socket, b"still here");
}
