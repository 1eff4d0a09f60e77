//! Attacks from inside a node, and what nobody else may notice of them.

use std::path::PathBuf;

use crate::instance::{Instance, Session, eventually, guard};
use crate::viewer::Viewer;

/// The kinds of node that a lab may ask for, by the options of `session create`.
pub const KINDS: [&[&str]; 2] = [PLAIN, USERNS];
/// An ordinary node.
pub const PLAIN: &[&str] = &[];
/// A node in which nested user namespaces work.
pub const USERNS: &[&str] = &["--userns"];

/// Tries an attack in each kind of node. After each the node still works, and a
/// neighbour never noticed.
pub fn attack(attempt: impl Fn(&Instance, &Session<'_>)) {
    attack_kinds(&Instance::start(), &KINDS, attempt);
}

/// As [`attack`], in nodes of these kinds only, of this instance.
pub fn attack_kinds(instance: &Instance, kinds: &[&[&str]], attempt: impl Fn(&Instance, &Session<'_>)) {
    let mut neighbour = Neighbour::of(instance);
    for kind in kinds {
        let session = instance.session(kind);
        attempt(instance, &session);
        session.works("node1");
        neighbour.never_noticed();
        let removed = instance.drydock(&["session", "rm", &session.id]);
        assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    }
}

/// Somebody else's session, in which a program and a container run all along.
pub struct Neighbour<'a> {
    session: Session<'a>,
    beats: u64,
    /// The program's PID in the node, the container's, the engine's first.
    identity: String,
}

impl<'a> Neighbour<'a> {
    /// Makes a session, and sets its heart going.
    pub fn of(instance: &'a Instance) -> Neighbour<'a> {
        let session = instance.session(PLAIN);
        let heart = "setsid sh -c 'echo $$ >/heart; while :; do echo >>/beats; sleep 0.05; done' \
            >/dev/null 2>&1 & docker run -d --name lives busybox sleep 100000";
        assert_eq!(session.sh("node1", heart).status, 0);
        let mut neighbour = Neighbour { session, beats: 0, identity: String::new() };
        eventually("the neighbour's heart beats", || neighbour.look().0 > 0);
        (neighbour.beats, neighbour.identity) = neighbour.look();
        neighbour
    }

    fn look(&self) -> (u64, String) {
        let script = "wc -l </beats; cat /heart; kill -0 $(cat /heart) && echo beats; \
            docker inspect -f '{{.State.Pid}} {{.State.StartedAt}} {{.State.Running}}' lives";
        let seen = self.session.sh("node1", script).stdout;
        let (beats, identity) = seen.split_once('\n').unwrap_or_default();
        (beats.trim().parse().unwrap_or(0), identity.to_owned())
    }

    /// Asserts that the same program and the same container still run, that the
    /// program went on, and that the node works.
    pub fn never_noticed(&mut self) {
        eventually("the neighbour's heart beats on", || self.look().0 > self.beats);
        let (beats, identity) = self.look();
        assert_eq!(identity, self.identity, "the neighbour's programs are not what they were");
        self.beats = beats;
        self.session.works("node1");
    }
}

/// Asserts that a reset gives the node back.
pub fn can_be_reset(instance: &Instance, session: &Session<'_>) {
    let reset = instance.drydock(&["session", "reset", &session.id, "node1"]);
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    session.works("node1");
}

/// A terminal of a session's first node, whose shell stands at its prompt.
pub fn terminal(session: &Session<'_>) -> Viewer {
    let agent = session.run_dir().join("s").join(&session.id).join("node1/agent.sock");
    // Beside busy loops and on a busy machine, what takes a moment takes long.
    let mut viewer = Viewer::attach_within(&agent, guard() * 5).expect("the node's terminal opens");
    viewer.prompt().expect("the shell says its prompt");
    viewer
}

/// A file of the group in which all that a learner runs is: its path on v1,
/// below its controller, or else on v2.
pub fn group_file(session: &Session<'_>, controller: &str, v1: &str, v2: &str) -> PathBuf {
    let group = format!("drydock/{}/n-{}-node1/inner", session.instance_name(), session.id);
    let old = PathBuf::from(format!("/sys/fs/cgroup/{controller}/{group}/{v1}"));
    if old.exists() { old } else { PathBuf::from(format!("/sys/fs/cgroup/{group}/{v2}")) }
}

/// The machine's PID of the first process of a session's first node, by host's
/// own record.
pub fn first_process(instance: &Instance, session: &Session<'_>) -> i32 {
    let path = instance.state_dir().join(format!("sessions/{}.json", session.id));
    let text = std::fs::read_to_string(path).expect("host keeps a record");
    let record: serde_json::Value = serde_json::from_str(&text).expect("the record is JSON");
    record["processes"]["node1"]["pid"].as_i64().expect("a running node has a process") as i32
}
