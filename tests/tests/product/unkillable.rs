//! Nodes that take no signal: they end all the same, or hold up nobody else.

use std::path::PathBuf;

use drydock_tests::attack::{KINDS, attack, attack_kinds, can_be_reset, first_process};
use drydock_tests::fuse::Hung;
use drydock_tests::instance::{Instance, Session, eventually};

/// The file that freezes a group of a session's first node, and the word for it.
fn freezer(session: &Session<'_>, group: &str) -> (PathBuf, &'static str) {
    let group = format!("drydock/{}/n-{}-node1{group}", session.instance_name(), session.id);
    let old = PathBuf::from(format!("/sys/fs/cgroup/freezer/{group}/freezer.state"));
    if old.exists() {
        return (old, "FROZEN");
    }
    (PathBuf::from(format!("/sys/fs/cgroup/{group}/cgroup.freeze")), "1")
}

#[test]
fn k07_a_frozen_node_is_thawed_to_end() {
    attack(|instance, session| {
        for group in ["", "/inner", "/init"] {
            session.sh("node1", "setsid sleep 100000 >/dev/null 2>&1 &");
            let (file, word) = freezer(session, group);
            std::fs::write(&file, word).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            can_be_reset(instance, session);
        }
    });
}

#[test]
fn k07_a_node_whose_programs_are_all_stopped_ends() {
    attack(|instance, session| {
        session.sh("node1", "docker run -d busybox sleep 100000; setsid sleep 100000 >/dev/null 2>&1 &");
        // Each program but the one that says so, again and again.
        let stop = "setsid bash -c 'while :; do kill -STOP -1; sleep 0.1; done' >/dev/null 2>&1 &";
        session.sh("node1", stop);
        can_be_reset(instance, session);
    });
}

#[test]
fn k07_what_cannot_be_killed_holds_up_nobody_else() {
    let instance = Instance::start();
    attack_kinds(&instance, &KINDS, |instance, bystander| {
        let stuck = instance.session(&[]);
        assert_eq!(stuck.sh("node1", "mkdir -p /hung").status, 0);
        let mut hung = Hung::mount(first_process(instance, &stuck), "/hung");
        assert_eq!(stuck.sh("node1", "setsid ls /hung/x >/dev/null 2>&1 &").status, 0);
        hung.take();
        for verb in ["reset", "rm"] {
            let arguments = ["session", verb, &stuck.id, "node1"];
            let ended = instance.drydock(&arguments[..if verb == "rm" { 3 } else { 4 }]);
            let words = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(!ended.status.success() && words.contains("did not end"), "{verb}: {words}");
        }
        // It is listed no more, and what it has is nobody else's.
        let record = instance.state_dir().join(format!("sessions/{}.json", stuck.id));
        assert!(record.exists(), "what is stuck is forgotten");
        bystander.works("node1");
        let new = instance.session(&[]);
        new.works("node1");
        can_be_reset(instance, &new);
        let removed = instance.drydock(&["session", "rm", &new.id]);
        assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
        drop(hung);
        eventually("host ends it when it can be", || !record.exists());
    });
}
