//! The server is killed at every place of what it does to sessions: afterwards
//! all agrees, and other learners noticed nothing.

use std::process::{Child, Stdio};

use drydock_tests::agree::assert_agrees;
use drydock_tests::fault::{Calls, Fault, Seen, Trace};
use drydock_tests::instance::Instance;
use drydock_tests::random::{Random, cycles};
use nix::errno::Errno;

use super::bystander::Bystander;

/// What a sequence does to the session that it is about; `None` makes one.
type Sequence = (&'static str, fn(&Instance, &str) -> Child);

const SEQUENCES: [Sequence; 7] = [
    ("create", |instance, _| begin(instance, &["session", "create", "--nodes", "2"])),
    ("reset", |instance, id| begin(instance, &["session", "reset", id, "node1"])),
    ("stop", |instance, id| begin(instance, &["session", "stop", id, "node1"])),
    ("start", |instance, id| begin(instance, &["session", "start", id, "node1"])),
    ("add", |instance, id| begin(instance, &["session", "add", id])),
    ("remove", |instance, id| begin(instance, &["session", "remove", id, "node2"])),
    ("destroy", |instance, id| begin(instance, &["session", "rm", id])),
];

fn begin(instance: &Instance, words: &[&str]) -> Child {
    let mut command = instance.command(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("drydock can be run")
}

/// Runs a sequence with a fault in host; what was seen, and what was answered.
fn run(
    instance: &Instance,
    sequence: &Sequence,
    id: &str,
    calls: Calls,
    fault: Fault,
) -> (Seen, String, bool) {
    if sequence.0 == "start" {
        let stopped = instance.drydock(&["session", "stop", id, "node1"]);
        assert!(stopped.status.success(), "{stopped:?}");
    }
    let trace = Trace::begin(instance.part("host"), calls, fault);
    let output = sequence.1(instance, id).wait_with_output().expect("drydock ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (trace.end(), said, output.status.success())
}

/// Which places of so many are tried: all in the long suite.
fn places(random: &mut Random, count: u64, usual: u64) -> Vec<u64> {
    let wanted = cycles(usual, count).min(count);
    // From each part of the sequence one, so that no part is left out.
    (0..wanted)
        .map(|part| {
            let (first, end) = (part * count / wanted, (part + 1) * count / wanted);
            first + 1 + random.below(end - first)
        })
        .collect()
}

/// Ends all sessions but the bystander's.
fn end_others(instance: &Instance, bystander: &Bystander) {
    for session in instance.sessions() {
        let id = session["id"].as_str().expect("a session has an id");
        if id != bystander.id() {
            let ended = instance.drydock(&["session", "rm", id]);
            assert!(ended.status.success(), "{id} can't be ended: {ended:?}\n{}", instance.log());
        }
    }
}

#[test]
fn k04_host_is_killed_at_each_call_of_each_sequence() {
    let mut random = Random::new();
    let mut instance = Instance::start();
    let bystander = Bystander::start(&instance);
    for sequence in &SEQUENCES {
        let id = instance.session(&["--nodes", "2"]).id.clone();
        let (seen, said, worked) = run(&instance, sequence, &id, Calls::Changing, Fault::None);
        assert!(worked, "{} without a fault: {said}", sequence.0);
        assert!(seen.count > 10, "{} changes nothing", sequence.0);
        end_others(&instance, &bystander);
        for place in places(&mut random, seen.count, 5) {
            let id = instance.session(&["--nodes", "2"]).id.clone();
            let (seen, ..) = run(&instance, sequence, &id, Calls::Changing, Fault::Kill(place));
            eprintln!("{} killed at {place}: {:?}", sequence.0, seen.at);
            // Now and then a sequence is done a call or two earlier.
            if seen.at.is_some() {
                instance.kill_and_restart_what_is_left();
            }
            assert_agrees(&instance);
            bystander.went_on(&instance);
            recover(&instance, &id);
            end_others(&instance, &bystander);
            assert_agrees(&instance);
        }
    }
    bystander.works(&instance);
}

/// A session that is still listed can be used: each node starts again.
fn recover(instance: &Instance, id: &str) {
    let sessions = instance.sessions();
    let Some(session) = sessions.iter().find(|session| session["id"] == id) else { return };
    for node in session["nodes"].as_array().expect("a session has nodes") {
        let name = node["name"].as_str().expect("a node has a name");
        let started = instance.drydock(&["session", "start", id, name]);
        assert!(started.status.success(), "{name} can't start: {started:?}\n{}", instance.log());
        let done = instance.drydock(&["session", "exec", id, name, "--", "true"]);
        assert!(done.status.success(), "{name} runs no commands: {done:?}");
    }
    assert_agrees(instance);
}

#[test]
fn k04_a_call_of_host_fails_and_says_so() {
    let mut random = Random::new();
    let instance = Instance::start();
    let bystander = Bystander::start(&instance);
    let faults = [
        (Calls::Storing, Errno::ENOSPC, "No space left on device"),
        (Calls::Storing, Errno::EIO, "Input/output error"),
        (Calls::Opening, Errno::EMFILE, "Too many open files"),
        (Calls::Forking, Errno::EAGAIN, "Resource temporarily unavailable"),
    ];
    for sequence in &SEQUENCES {
        for (calls, errno, words) in faults {
            let id = instance.session(&["--nodes", "2"]).id.clone();
            let (seen, said, worked) = run(&instance, sequence, &id, calls, Fault::None);
            assert!(worked, "{} without a fault: {said}", sequence.0);
            end_others(&instance, &bystander);
            for place in places(&mut random, seen.count, 2) {
                let id = instance.session(&["--nodes", "2"]).id.clone();
                let (seen, said, worked) = run(&instance, sequence, &id, calls, Fault::Fail(place, errno));
                let what = format!("{} with {errno} at {place} ({:?})", sequence.0, seen.at);
                eprintln!("{what}: {said}");
                assert!(worked || said.contains(words) || node_says(&instance, words), "{what} says: {said}");
                assert_agrees(&instance);
                recover(&instance, &id);
                end_others(&instance, &bystander);
                assert_agrees(&instance);
            }
        }
    }
    bystander.went_on(&instance);
    bystander.works(&instance);
}

/// Whether a node that failed says these words.
fn node_says(instance: &Instance, words: &str) -> bool {
    instance.log().contains(words)
}
