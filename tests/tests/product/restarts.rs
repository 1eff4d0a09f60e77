//! Our processes may be killed; what learners made goes on.

use drydock_tests::instance::{Instance, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn k01_nodes_go_on_while_the_server_is_killed_and_started_again() {
    let mut instance = Instance::start();
    let id = instance.session(&[]).id.clone();
    let sh = |instance: &Instance, script: &str| {
        let output = instance.drydock(&["session", "exec", &id, "node1", "--", "bash", "-c", script]);
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    sh(
        &instance,
        "docker run -d --name keeps busybox sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done'",
    );
    sh(
        &instance,
        "setsid sh -c 'echo $$ >/root/pid; i=0; while :; do i=$((i+1)); echo $i >>/root/t; sleep 0.1; done' >/dev/null 2>&1 &",
    );
    eventually("the counter runs", || sh(&instance, "cat /root/pid; wc -l </root/t").lines().count() == 2);
    let pid = sh(&instance, "cat /root/pid");
    let containers = sh(&instance, "docker ps --format '{{.ID}} {{.Names}}'");
    instance.kill_and_restart();
    assert_eq!(
        sh(&instance, "cat /root/pid; kill -0 $(cat /root/pid) && echo alive"),
        format!("{pid}alive\n")
    );
    assert_eq!(sh(&instance, "docker ps --format '{{.ID}} {{.Names}}'"), containers);
    for lines in [sh(&instance, "cat /root/t"), sh(&instance, "docker logs keeps")] {
        let counted: Vec<usize> =
            lines.lines().map(|line| line.parse().expect("the counter prints numbers")).collect();
        let expected: Vec<usize> = (1..=counted.len()).collect();
        assert_eq!(counted, expected, "the counter has a gap");
    }
}

#[test]
fn the_engine_may_be_killed_and_containers_do_not_notice() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let counter = "docker run -d --name keeps busybox sh -c 'i=0; while :; do i=$((i+1)); echo $i; done'";
    assert_eq!(session.sh("node1", counter).status, 0);
    let containers = session.sh("node1", "docker ps --no-trunc --format '{{.ID}} {{.Names}}'").stdout;
    assert!(containers.contains("keeps"));
    for _ in 0..3 {
        let engines = engines_of(&session.instance_name());
        assert!(!engines.is_empty(), "there is no engine to kill");
        for pid in &engines {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).expect("the engine runs");
        }
        eventually("docker ps answers again", || {
            session.sh("node1", "docker ps --no-trunc --format '{{.ID}} {{.Names}}'").stdout == containers
        });
    }
    let done = session.sh("node1", "docker rm -f keeps >/dev/null; docker ps -aq");
    assert_eq!(done.stdout, "", "{done:?}");
    session.works("node1");
}

#[test]
fn k03_a_node_whose_first_process_is_killed_is_failed_and_can_be_reset() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    let record = instance.state_dir().join(format!("sessions/{}.json", session.id));
    let text = std::fs::read_to_string(record).expect("host keeps a record");
    let record: serde_json::Value = serde_json::from_str(&text).expect("the record is JSON");
    let pid = record["processes"]["node1"]["pid"].as_i64().expect("a running node has a process");
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("it runs");
    let state = || {
        let listed = instance.drydock(&["session", "list", "--json"]);
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("the list is JSON");
        listed[0]["nodes"][0]["state"].as_str().expect("a node has a state").to_owned()
    };
    eventually("the node is failed", || state() == "failed");
    let group = format!("/sys/fs/cgroup/pids/drydock/{}/n-{}-node1", session.instance_name(), session.id);
    let unified = format!("/sys/fs/cgroup/drydock/{}/n-{}-node1", session.instance_name(), session.id);
    assert!(![group, unified].iter().any(|group| std::path::Path::new(group).exists()), "its group is left");
    session.works("node2");
    let reset = instance.drydock(&["session", "reset", &session.id, "node1"]);
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    session.works("node1");
    assert_eq!(session.sh("node1", "ping -c1 -W5 node2").status, 0);
}

/// Host PIDs of the engines of this instance's nodes, known by their cgroup.
pub(crate) fn engines_of(instance: &str) -> Vec<i32> {
    let group = format!("/drydock/{instance}/");
    let is_ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"engine") && groups.contains(&group)
    };
    let entries = std::fs::read_dir("/proc").expect("/proc can be read").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
}
