//! The machine is started again, or the product is replaced by another version.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;

use drydock_protocol::agent::HELLO;
use drydock_protocol::{Hello, frame};
use drydock_tests::agree::assert_agrees;
use drydock_tests::http::request;
use drydock_tests::instance::{Instance, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bystander::Bystander;

#[test]
fn after_a_restart_of_the_machine_sessions_have_ended_and_nothing_is_left() {
    let mut instance = Instance::start();
    let cookie = request(instance.port, "GET", "/", &[], "").cookie().expect("a learner gets a cookie");
    let origin = format!("http://localhost:{}", instance.port);
    let headers = [
        ("Cookie", cookie.as_str()),
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/json"),
    ];
    let lab = r#"{"lab":"namespaces"}"#;
    let made = request(instance.port, "POST", "/api/sessions", &headers, lab);
    assert!((200..300).contains(&made.status), "no session: {made:?}");
    let id = made.json()["id"].as_str().expect("a session has an id").to_owned();
    instance.session(&["--nodes", "2"]);

    instance.restart_the_machine();
    assert_eq!(instance.sessions(), Vec::<serde_json::Value>::new());
    assert_agrees(&instance);
    let left: Vec<_> =
        std::fs::read_dir(instance.state_dir().join("disks")).expect("there").flatten().collect();
    assert!(left.is_empty(), "disks are left: {left:?}");
    let asked = format!("/api/sessions/{id}");
    eventually("the learner is told", || {
        let got = request(instance.port, "GET", &asked, &headers, "");
        got.status == 410 && got.body.contains("restart")
    });
    let again = request(instance.port, "POST", "/api/sessions", &headers, lab);
    assert!((200..300).contains(&again.status), "no session after the restart: {again:?}");
    assert_ne!(again.json()["id"], id.as_str());
}

/// Another version of a program: it does the same, but is another file.
fn another_version(of: &Path, at: &Path) {
    let mut bytes = std::fs::read(of).unwrap_or_else(|error| panic!("cannot read {}: {error}", of.display()));
    // Behind the end of what the kernel loads of an ELF file.
    bytes.extend_from_slice(b"another version");
    std::fs::write(at, bytes).expect("a program can be written");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(at, PermissionsExt::from_mode(0o755)).expect("its mode can be set");
}

#[test]
fn k10_nodes_go_on_when_the_product_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut instance = Instance::start();
    let bystander = Bystander::start(&instance);
    let (server, node) = (directory.path().join("drydock"), directory.path().join("drydock-node"));
    another_version(&drydock_tests::setting("DRYDOCK_BIN"), &server);
    another_version(&drydock_tests::setting("DRYDOCK_NODE_BINARY"), &node);
    let before = installed(&instance);
    instance.replace(&server, &node);
    assert_ne!(installed(&instance), before, "the node's program was not replaced");
    assert_agrees(&instance);
    bystander.went_on(&instance);
    bystander.works(&instance);
    // Its engine is started anew from the program that the node was started with.
    for pid in super::restarts::engines_of(&instance.name()) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the engine runs");
    }
    bystander.works(&instance);
    bystander.went_on(&instance);
    instance.session(&[]).works("node1");
    let reset = instance.drydock(&["session", "reset", bystander.id(), "node1"]);
    assert!(reset.status.success(), "{reset:?}");
    bystander.works(&instance);
    assert_agrees(&instance);
}

/// Stands where a node's agent socket was and speaks only a protocol that is yet
/// to come.
fn agent_of_another_time(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("a socket can be made");
    std::thread::spawn(move || {
        let hello = Hello { version: Hello::OURS.version + 7, lowest: Hello::OURS.version + 7 };
        let mut greeting = Vec::new();
        frame::write(&mut greeting, HELLO, &serde_json::to_vec(&hello).expect("a hello is JSON"));
        for caller in listener.incoming() {
            let Ok(mut caller) = caller else { return };
            // One that has hung up has heard enough.
            let _ = caller.write_all(&greeting);
            std::thread::spawn(move || std::io::copy(&mut caller, &mut std::io::sink()));
        }
    });
}

#[test]
fn k10_a_node_that_speaks_no_protocol_of_ours_is_listed_and_left_running() {
    let mut instance = Instance::start();
    let (id, socket) = {
        let session = instance.session(&[]);
        (session.id.clone(), session.run_dir().join(format!("s/{}/node1/agent.sock", session.id)))
    };
    let first = instance.first_process(&id, "node1").expect("the node runs");
    let aside = socket.with_extension("aside");
    std::fs::rename(&socket, &aside).expect("the socket is there");
    agent_of_another_time(&socket);
    instance.kill_and_restart();
    eventually("the node is foreign", || instance.node_state(&id, "node1").as_deref() == Some("foreign"));
    assert_eq!(instance.first_process(&id, "node1"), Some(first), "the node was not left running");
    let refused = instance.drydock(&["session", "exec", &id, "node1", "--", "true"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("version"), "it says {refused:?}");

    // It was only the socket: with its own it is one of ours again.
    std::fs::rename(&aside, &socket).expect("the socket is there");
    instance.kill_and_restart();
    eventually("the node is ours", || instance.node_state(&id, "node1").as_deref() == Some("running"));
    assert_eq!(instance.first_process(&id, "node1"), Some(first));
    let done = instance.drydock(&["session", "exec", &id, "node1", "--", "true"]);
    assert!(done.status.success(), "{done:?}");
    assert_agrees(&instance);
}

fn installed(instance: &Instance) -> Vec<String> {
    let entries = std::fs::read_dir(instance.state_dir().join("bin")).expect("there").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn k10_what_is_half_made_at_the_end_is_rolled_back() {
    let mut instance = Instance::start();
    let bystander = Bystander::start(&instance);
    for _ in 0..5 {
        let mut command = instance.command(&["session", "create", "--nodes", "3"]);
        let mut making = command.spawn().expect("drydock can be run");
        // As soon as there is something of it.
        eventually("a node is being made", || instance.sessions().len() > 1 || has_disks(&instance, 2));
        instance.end_and_start();
        making.wait().expect("drydock ends");
        assert_agrees(&instance);
        bystander.went_on(&instance);
        for session in instance.sessions() {
            let id = session["id"].as_str().expect("a session has an id");
            let nodes = session["nodes"].as_array().expect("a session has nodes");
            let all_run = nodes.iter().all(|node| node["state"] == "running");
            assert!(all_run, "a session is half made: {session}");
            if id != bystander.id() {
                assert!(instance.drydock(&["session", "rm", id]).status.success());
            }
        }
    }
}

fn has_disks(instance: &Instance, count: usize) -> bool {
    let entries = std::fs::read_dir(instance.state_dir().join("disks")).expect("disks can be listed");
    entries.count() >= count
}
