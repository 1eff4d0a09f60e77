//! What a web page of another origin, or a visitor with a cookie of their own,
//! can do: nothing.

use drydock_tests::http::{Answer, request};
use drydock_tests::instance::Instance;

fn learner(instance: &Instance) -> String {
    request(instance.port, "GET", "/", &[], "").cookie().expect("a learner gets a cookie")
}

/// Makes the learner's session for a lab and gives its id.
fn start_lab(instance: &Instance, cookie: &str) -> String {
    let origin = format!("http://localhost:{}", instance.port);
    let headers = [
        ("Cookie", cookie),
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/json"),
    ];
    let answer = request(instance.port, "POST", "/api/sessions", &headers, r#"{"lab":"namespaces"}"#);
    assert!((200..300).contains(&answer.status), "no session: {answer:?}");
    answer.json()["id"].as_str().expect("a session has an id").to_owned()
}

fn upgrade(instance: &Instance, id: &str, cookie: &str, origin: Option<&str>) -> Answer {
    let path = format!("/api/sessions/{id}/nodes/node1/terminals/1?cols=80&rows=24");
    let mut headers = vec![("Cookie", cookie), ("Connection", "Upgrade"), ("Upgrade", "websocket")];
    headers.extend([("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]);
    headers.extend(origin.map(|origin| ("Origin", origin)));
    request(instance.port, "GET", &path, &headers, "")
}

#[test]
fn w01_a_websocket_of_another_origin_is_refused_before_the_upgrade() {
    let instance = Instance::start();
    let cookie = learner(&instance);
    let id = start_lab(&instance, &cookie);
    let own = format!("http://localhost:{}", instance.port);
    let others = [
        None,
        Some("null".to_owned()),
        Some("https://evil.example".to_owned()),
        Some(format!("http://localhost:{}.evil.example", instance.port)),
        Some(format!("https://localhost:{}", instance.port)),
        Some(format!("http://localhost:{}", instance.port.wrapping_add(1))),
        Some(format!("http://8080-node1-token.localhost:{}", instance.port)),
    ];
    for origin in others {
        let answer = upgrade(&instance, &id, &cookie, origin.as_deref());
        assert_eq!(answer.status, 403, "origin {origin:?}: {answer:?}");
    }
    assert_eq!(upgrade(&instance, &id, &cookie, Some(&own)).status, 101);
}

#[test]
fn w02_cross_site_requests_change_nothing() {
    let instance = Instance::start();
    let cookie = learner(&instance);
    let id = start_lab(&instance, &cookie);
    let own = format!("http://localhost:{}", instance.port);
    let session = format!("/api/sessions/{id}");
    let extend = format!("{session}/extend");
    let reset = format!("{session}/nodes/node1/reset");
    let json = ("Content-Type", "application/json");
    for (method, path) in
        [("POST", "/api/sessions"), ("POST", &extend), ("POST", &reset), ("DELETE", &session)]
    {
        let attempts: [&[(&str, &str)]; 5] = [
            &[json, ("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")],
            &[json, ("Origin", &own), ("Sec-Fetch-Site", "same-site")],
            &[json, ("Origin", "https://evil.example")],
            &[json, ("Origin", "null")],
            &[json],
        ];
        for attempt in attempts {
            let headers = [&[("Cookie", cookie.as_str())], attempt].concat();
            let answer = request(instance.port, method, path, &headers, r#"{"lab":"namespaces"}"#);
            assert_eq!(answer.status, 403, "{method} {path} with {attempt:?}: {answer:?}");
        }
    }
    let text = [
        ("Cookie", cookie.as_str()),
        ("Origin", own.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "text/plain"),
    ];
    let answer = request(instance.port, "POST", "/api/sessions", &text, r#"{"lab":"namespaces"}"#);
    assert_eq!(answer.status, 415, "JSON as text/plain: {answer:?}");
    for path in [&extend, &reset, &format!("{session}/checks"), &format!("{session}/setup")] {
        let answer = request(instance.port, "GET", path, &[("Cookie", cookie.as_str())], "");
        assert!([404, 405].contains(&answer.status), "GET {path} does something: {answer:?}");
    }
    let answer = request(instance.port, "GET", &session, &[("Cookie", cookie.as_str())], "");
    assert_eq!(answer.status, 200, "the session is as it was");
    assert_eq!(answer.json()["nodes"][0]["state"], "running");
}

#[test]
fn w03_the_cookie_is_bound_to_this_host() {
    let instance = Instance::start();
    let answer = request(instance.port, "GET", "/", &[], "");
    let cookie = answer.header("set-cookie").expect("a learner gets a cookie");
    let words: Vec<String> = cookie.split(';').map(|word| word.trim().to_ascii_lowercase()).collect();
    assert!(words[0].starts_with("__host-"), "{cookie}");
    for word in ["secure", "httponly", "path=/"] {
        assert!(words.iter().any(|it| it == word), "no {word} in {cookie}");
    }
    assert!(words.iter().any(|it| it == "samesite=lax" || it == "samesite=strict"), "{cookie}");
    assert!(!words.iter().any(|it| it.starts_with("domain")), "{cookie}");
    let (name, value) =
        cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie has a value");
    let forged = format!("{name}={}x", &value[..value.len() - 1]);
    let answer = request(instance.port, "GET", "/", &[("Cookie", forged.as_str())], "");
    assert!(answer.header("set-cookie").is_some(), "a forged cookie was taken for a learner's");
}

#[test]
fn w06_every_route_asks_who_is_there_and_takes_no_more_than_it_knows() {
    let instance = Instance::start();
    let (owner, other) = (learner(&instance), learner(&instance));
    let id = start_lab(&instance, &owner);
    let own = format!("http://localhost:{}", instance.port);
    let ask = |cookie: Option<&str>, method: &str, path: &str, body: &str| {
        let mut headers = vec![("Origin", own.as_str()), ("Content-Type", "application/json")];
        headers.extend(cookie.map(|cookie| ("Cookie", cookie)));
        request(instance.port, method, path, &headers, body).status
    };
    let session = format!("/api/sessions/{id}");
    let step = r#"{"lab":"namespaces","step":1}"#;
    // Of a session: for its owner only. The last ends it.
    for (method, route, body, allowed) in [
        ("GET", "", "", 200),
        ("POST", "/extend", "", 200),
        ("POST", "/setup", step, 200),
        ("POST", "/checks", step, 200),
        ("GET", "/nodes/node1/files?path=/etc/hostname", "", 200),
        ("PUT", "/nodes/node1/files?path=/x", "x", 204),
        ("POST", "/nodes/node1/stop", "", 200),
        ("POST", "/nodes/node1/start", "", 200),
        ("DELETE", "", "", 204),
    ] {
        let path = format!("{session}{route}");
        assert_eq!(ask(None, method, &path, body), 401, "{method} {path} without a cookie");
        assert_eq!(ask(Some(&other), method, &path, body), 404, "{method} {path} by another");
        assert_eq!(ask(Some(&owner), method, &path, body), allowed, "{method} {path} by its owner");
    }
    let lab = "/api/labs/namespaces";
    for (method, path, body) in [
        ("POST", "/api/sessions", r#"{"lab":"namespaces","role":"admin"}"#),
        ("POST", "/api/sessions", r#"{"lab":"namespaces","owner":"cli"}"#),
        ("POST", &format!("{lab}/steps/1/runs"), r#"{"block":0,"exit":0,"learner":"x"}"#),
        ("POST", &format!("{lab}/steps/1/quiz"), r#"{"quiz":0,"answers":[0],"right":true}"#),
    ] {
        assert_eq!(ask(None, method, path, body), 401, "{method} {path} without a cookie");
        assert_eq!(ask(Some(&owner), method, path, body), 422, "{method} {path} took {body}");
    }
}

#[test]
fn w09_who_connects_and_says_nothing_is_let_go() {
    use std::io::{Read, Write};
    let instance = Instance::start();
    let starts = ["", "GET / HTT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0"];
    let sockets: Vec<_> = starts
        .iter()
        .map(|start| {
            let mut socket = std::net::TcpStream::connect(("127.0.0.1", instance.port)).expect("it listens");
            socket.write_all(start.as_bytes()).expect("it takes them");
            socket.set_read_timeout(Some(drydock_tests::instance::guard())).expect("a timeout can be set");
            socket
        })
        .collect();
    for (start, mut socket) in starts.iter().zip(sockets) {
        let mut answer = Vec::new();
        // A reset ends it as well; only that nothing happens is wrong.
        let ended = socket.read_to_end(&mut answer);
        let waits = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!ended.as_ref().is_err_and(waits), "a connection that said {start:?} is still open");
    }
    assert_eq!(request(instance.port, "GET", "/", &[], "").status, 200);
}

#[test]
fn w14_nothing_hidden_answers_and_nonsense_is_the_sender_s_fault() {
    let instance = Instance::start();
    let cookie = learner(&instance);
    let own = format!("http://localhost:{}", instance.port);
    for path in ["/metrics", "/debug", "/api", "/api/", "/api/nodes", "/.env", "/admin", "/v1/sessions"] {
        let answer = request(instance.port, "GET", path, &[("Cookie", cookie.as_str())], "");
        assert_eq!(answer.status, 404, "{path}");
    }
    let deep = "[".repeat(100_000);
    for body in ["{", "null", "\u{0}", "{\"lab\":1}", "{\"lab\":\"../../etc\"}", deep.as_str()] {
        let headers =
            [("Cookie", cookie.as_str()), ("Origin", own.as_str()), ("Content-Type", "application/json")];
        let answer = request(instance.port, "POST", "/api/sessions", &headers, body);
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert!(!answer.body.contains("panic") && !answer.body.contains(".rs:"), "{answer:?}");
    }
    assert_eq!(request(instance.port, "GET", "/", &[], "").status, 200);
}

#[test]
fn w10_pages_carry_a_strict_policy() {
    let instance = Instance::start();
    for path in ["/", "/labs/namespaces/1", "/no/such/page"] {
        let answer = request(instance.port, "GET", path, &[], "");
        let policy =
            answer.header("content-security-policy").unwrap_or_else(|| panic!("no policy on {path}"));
        for word in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(word), "{path}: no {word} in {policy}");
        }
        assert!(!policy.contains("unsafe-inline"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}
