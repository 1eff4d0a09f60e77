//! Host as a process of its own, with real nodes. Needs root and the node's
//! program, whose path is in DRYDOCK_NODE_BINARY.

mod daemon;

use std::{collections::BTreeSet, fs, path::Path};

use daemon::{Daemon, eventually};
use serde_json::{Value, json};

const SESSION: &str = r#"{"owner":"test","nodes":["node1"],"seconds":600}"#;

fn pid_of(session: &Value, node: usize) -> i64 {
    session["nodes"][node]["pid"].as_i64().unwrap_or_else(|| panic!("{session}"))
}

fn proc_file(pid: i64, name: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap()
}

#[test]
fn a_node_has_ids_namespaces_groups_and_capabilities_of_its_own() {
    let daemon = Daemon::start();
    let session = daemon.created(&SESSION.replace("[\"node1\"]", "[\"one\",\"two\"]"));
    let nodes = session["nodes"].as_array().unwrap();
    let bases: BTreeSet<_> = nodes.iter().map(|node| node["base_id"].as_u64().unwrap()).collect();
    assert_eq!(bases.len(), 2);
    for (number, node) in nodes.iter().enumerate() {
        let pid = pid_of(&session, number);
        let map: Vec<_> = proc_file(pid, "uid_map").split_whitespace().map(str::to_owned).collect();
        assert_eq!(map, ["0", &node["base_id"].to_string(), "65536"]);
        for kind in ["user", "pid", "mnt", "net", "uts", "ipc", "cgroup"] {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            assert_ne!(of(&pid.to_string()), of("self"), "{kind}");
        }
        let status = proc_file(pid, "status");
        assert!(status.contains("CapBnd:\t00000000a82c35fb"), "{status}");
        assert!(status.contains("Seccomp:\t2"), "{status}");
        let group = format!("n-{}-{}/init", session["id"].as_str().unwrap(), node["name"].as_str().unwrap());
        assert!(proc_file(pid, "cgroup").lines().any(|line| line.ends_with(&group)));
        let mounts = proc_file(pid, "mounts");
        assert!(!mounts.contains(daemon.state().to_str().unwrap()), "{mounts}");
    }
    assert_eq!(nodes[1]["address"], "192.168.0.12");
}

#[test]
fn a_disk_outlives_a_stop_and_not_a_reset() {
    let daemon = Daemon::start();
    let session = daemon.created(SESSION);
    let id = session["id"].as_str().unwrap();
    let act = |verb: &str| daemon.ok("POST", &format!("/v1/sessions/{id}/nodes/node1/{verb}"), "");
    let file = |session: &Value| format!("/proc/{}/root/root/kept", pid_of(session, 0));
    fs::write(file(&session), "here").unwrap();
    for verb in ["stop", "kill"] {
        let stopped = act(verb);
        assert_eq!(
            (&stopped["nodes"][0]["state"], &stopped["nodes"][0]["pid"]),
            (&json!("stopped"), &Value::Null)
        );
        let started = act("start");
        assert_eq!(started["nodes"][0]["state"], "running");
        assert_eq!(fs::read_to_string(file(&started)).unwrap(), "here");
        assert_eq!(started["nodes"][0]["mac"], session["nodes"][0]["mac"]);
    }
    let reset = act("reset");
    assert!(!Path::new(&file(&reset)).exists());
    assert_eq!(act("cut")["nodes"][0]["cut"], true);
    assert_eq!(act("stop")["nodes"][0]["state"], "stopped");
    assert_eq!(act("start")["nodes"][0]["cut"], true, "a cut node stays cut");
    assert_eq!(act("join")["nodes"][0]["cut"], false);
}

#[test]
fn nodes_are_added_and_removed() {
    let daemon = Daemon::start();
    let session = daemon.created(SESSION);
    let id = session["id"].as_str().unwrap();
    let nodes = format!("/v1/sessions/{id}/nodes");
    let two = daemon.ok("POST", &nodes, "{}");
    assert_eq!((&two["nodes"][1]["name"], &two["nodes"][1]["state"]), (&json!("node2"), &json!("running")));
    let pid = pid_of(&two, 1);
    let one = daemon.ok("DELETE", &format!("{nodes}/node2"), "");
    assert_eq!(one["nodes"].as_array().unwrap().len(), 1);
    assert!(!Path::new(&format!("/proc/{pid}/root")).exists());
    let (status, body) = daemon.ask("DELETE", &format!("{nodes}/node1"), "");
    assert_eq!(
        (status, body["message"].as_str()),
        (409, Some("a session keeps its last node; end the session"))
    );
}

#[test]
fn requests_that_cannot_be_are_refused_in_words() {
    let daemon = Daemon::start();
    let before = daemon.traces();
    for (body, words) in [
        (r#"{"owner":"x","nodes":[],"seconds":1}"#, "a session has 1 to 10 nodes, not 0"),
        (r#"{"owner":"x","nodes":["a","a"],"seconds":1}"#, "there is a node \"a\" already"),
        (r#"{"owner":"x","nodes":["../a"],"seconds":1}"#, "\"../a\" can't be a node's name"),
        (r#"{"owner":"x"}"#, "missing field `nodes`"),
    ] {
        let (status, answer) = daemon.ask("POST", "/v1/sessions", body);
        assert!(matches!(status, 400 | 409), "{status}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{answer}");
    }
    for path in ["/v1/sessions/nosuch", "/v1/nosuch", "/v1/sessions/../../etc"] {
        assert_eq!(daemon.ask("GET", path, "").0, 404, "{path}");
    }
    assert_eq!(daemon.traces(), before);
}

#[test]
fn a_killed_host_finds_its_nodes_again() {
    let mut daemon = Daemon::start();
    let session = daemon.created(SESSION);
    let pid = pid_of(&session, 0);
    daemon.kill();
    daemon.restart();
    let id = session["id"].as_str().unwrap();
    let found = daemon.ok("GET", &format!("/v1/sessions/{id}"), "");
    assert_eq!(found, session);
    // It watches the node as before.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    eventually("the node has failed", || {
        let found = daemon.ok("GET", &format!("/v1/sessions/{id}"), "");
        found["nodes"][0]["state"] == "failed"
    });
    let reset = daemon.ok("POST", &format!("/v1/sessions/{id}/nodes/node1/reset"), "");
    assert_eq!(reset["nodes"][0]["state"], "running");
}

#[test]
fn what_a_lost_session_left_is_removed_at_the_next_start() {
    let mut daemon = Daemon::start();
    let before = daemon.traces();
    let session = daemon.created(SESSION);
    let pid = pid_of(&session, 0);
    daemon.kill();
    let record = format!("sessions/{}.json", session["id"].as_str().unwrap());
    fs::remove_file(daemon.state().join(record)).unwrap();
    daemon.restart();
    daemon.comes_back_to(&before);
    assert!(!Path::new(&format!("/proc/{pid}/root")).exists());
}

#[test]
fn a_session_ends_at_its_deadline() {
    let daemon = Daemon::start();
    let before = daemon.traces();
    let session = daemon.created(SESSION);
    let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
    let moved = daemon.ok("POST", &format!("{path}/extend"), r#"{"seconds":1}"#);
    assert!(moved["deadline"].as_u64() < session["deadline"].as_u64());
    eventually("the session has ended", || daemon.ask("GET", &path, "").0 == 404);
    daemon.comes_back_to(&before);
}

#[test]
fn fifty_sessions_leave_nothing_behind() {
    let daemon = Daemon::start();
    let before = daemon.traces();
    for _ in 0..50 {
        let session = daemon.created(SESSION);
        let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
        assert_eq!(daemon.ask("DELETE", &path, "").0, 204);
    }
    daemon.comes_back_to(&before);
}
