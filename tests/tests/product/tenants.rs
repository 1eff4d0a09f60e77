//! Learners can't see each other.

use drydock_tests::http::request;
use drydock_tests::instance::Instance;

#[test]
fn t01_a_learner_sees_only_their_own_node() {
    let instance = Instance::start();
    let mine = instance.session(&[]);
    let other = instance.session(&[]);
    other.sh("node1", "touch /only-here; setsid sleep 4242 >/dev/null 2>&1 &");
    let seen = mine.sh("node1", "ps -ef; ls /; cat /proc/net/unix /proc/mounts; hostname; ls /proc");
    for secret in ["sleep 4242", "only-here", other.id.as_str()] {
        assert!(!seen.stdout.contains(secret), "{secret} can be seen: {}", seen.stdout);
    }
    let state_dir = instance.state_dir().to_str().expect("the path is text");
    assert!(!seen.stdout.contains(state_dir), "a path of the host can be seen: {}", seen.stdout);
    mine.works("node1");
    other.works("node1");
}

#[test]
fn t02_the_ids_of_others_answer_like_ids_that_do_not_exist() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let cookie = request(instance.port, "GET", "/", &[], "").cookie().expect("a learner gets a cookie");
    let origin = format!("http://localhost:{}", instance.port);
    let unknown = "a".repeat(26);
    let routes = [
        ("GET", "", ""),
        ("DELETE", "", ""),
        ("POST", "/extend", "{}"),
        ("POST", "/nodes", "{}"),
        ("POST", "/nodes/node1/reset", "{}"),
        ("POST", "/nodes/node1/kill", "{}"),
        ("DELETE", "/nodes/node1", ""),
        ("GET", "/nodes/node1/terminals/1?cols=80&rows=24", ""),
        ("GET", "/nodes/node1/files?path=/etc/hostname", ""),
        ("PUT", "/nodes/node1/files?path=/x", "x"),
        ("POST", "/setup", r#"{"lab":"namespaces","step":1}"#),
        ("POST", "/checks", r#"{"lab":"namespaces","step":1}"#),
        ("GET", "/events", ""),
    ];
    for (method, route, body) in routes {
        let ask = |id: &str| {
            let path = format!("/api/sessions/{id}{route}");
            let mut headers = vec![("Cookie", cookie.as_str()), ("Origin", origin.as_str())];
            headers.extend([("Sec-Fetch-Site", "same-origin"), ("Content-Type", "application/json")]);
            if route.contains("/terminals/") {
                headers.extend([("Connection", "Upgrade"), ("Upgrade", "websocket")]);
                headers.extend([
                    ("Sec-WebSocket-Version", "13"),
                    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ]);
            }
            let answer = request(instance.port, method, &path, &headers, body);
            (answer.status, answer.body.replace(id, "ID"))
        };
        let (theirs, nobodys) = (ask(&session.id), ask(&unknown));
        assert_eq!(theirs.0, 404, "{method} {route} of another's session: {theirs:?}");
        assert_eq!(theirs, nobodys, "{method} {route} tells whether a session exists");
    }
    session.works("node1");
}
