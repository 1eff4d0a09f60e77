//! A node's engine is killed, at random and at each call of what it does:
//! nothing leaks in the node, what should run runs, and no exit status is lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use drydock_sandbox::namespaces;
use drydock_tests::fault::{Calls, Fault, Trace};
use drydock_tests::instance::{Instance, Session, eventually};
use drydock_tests::random::{Random, cycles};
use drydock_tests::setting;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::restarts::engines_of;

const KEEPS: &str =
    "docker run -d --name keeps busybox sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done'";

/// What a node holds for its containers, counted by kind.
fn held(instance: &Instance, session: &Session<'_>) -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    let mut count = |kind: String| *held.entry(kind).or_insert(0) += 1;
    let first = instance.first_process(&session.id, "node1").expect("the node runs");
    for entry in fs::read_dir(format!("/proc/{first}/fd")).expect("the first process runs").flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
        let kind = target.split([':', '(']).next().unwrap_or_default();
        count(format!("descriptor of PID 1: {kind}"));
    }
    let mounts = fs::read_to_string(format!("/proc/{first}/mountinfo")).expect("the first process runs");
    mounts.lines().for_each(|_| count("mount".into()));
    let namespace = namespaces::open(Path::new(&format!("/proc/{first}/ns/net"))).expect("it has one");
    let list = || Command::new("ip").args(["-br", "link"]).output();
    let links =
        namespaces::in_network_namespace(std::os::fd::AsFd::as_fd(&namespace), list).expect("ip runs");
    for line in String::from_utf8_lossy(&links.stdout).lines() {
        let name = line.split([' ', '@']).next().unwrap_or_default();
        count(format!("link {}", if name.starts_with("veth") { "veth" } else { name }));
    }
    let roots = fs::read_dir("/sys/fs/cgroup").expect("it is mounted").flatten().map(|entry| entry.path());
    for root in roots.filter(|path| !path.is_symlink()).chain(["/sys/fs/cgroup".into()]) {
        let inner = root.join(format!("drydock/{}/n-{}-node1/inner", session.instance_name(), session.id));
        for group in fs::read_dir(inner).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir())
        {
            count(format!("group {}", group.path().parent().unwrap_or(Path::new("/")).display()));
        }
    }
    let places = "ls /var/lib/docker/containers /var/lib/docker/overlay2 /var/lib/docker/volumes";
    let files = session.sh("node1", places);
    files.stdout.lines().for_each(|name| count(format!("file {name}")));
    held
}

fn assert_holds(instance: &Instance, session: &Session<'_>, before: &BTreeMap<String, usize>, when: &str) {
    let mut last = BTreeMap::new();
    let end = std::time::Instant::now() + drydock_tests::instance::guard();
    while std::time::Instant::now() < end {
        last = held(instance, session);
        if last == *before {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let differs: Vec<String> = before
        .keys()
        .chain(last.keys())
        .filter(|kind| before.get(*kind) != last.get(*kind))
        .map(|kind| format!("{kind}: {:?} before, {:?} after", before.get(kind), last.get(kind)))
        .collect();
    panic!("{when}: {differs:#?}");
}

/// `docker ARGUMENTS` on this machine, against the node.
fn docker(session: &Session<'_>, arguments: &[&str]) -> Command {
    let mut command = Command::new(setting("DOCKER_CLI"));
    command.env("DOCKER_HOST", session.docker_host(0)).args(arguments).stdin(Stdio::null());
    command
}

fn says(session: &Session<'_>, arguments: &[&str]) -> (bool, String) {
    let output = docker(session, arguments).output().expect("docker can be run");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn engine_is_back(session: &Session<'_>) {
    eventually("the engine answers", || says(session, &["version"]).0);
}

/// The container that counts is the same, runs, and lost no line.
fn assert_keeps(session: &Session<'_>, id: &str) {
    let state = says(session, &["inspect", "-f", "{{.Id}} {{.State.Running}}", "keeps"]).1;
    assert_eq!(state, format!("{id} true"), "the container that should run");
    let lines = says(session, &["logs", "keeps"]).1;
    let gap = lines.lines().enumerate().find(|(index, line)| line.parse() != Ok(index + 1));
    assert_eq!(gap, None, "docker logs has a gap");
}

fn start_keeps(session: &Session<'_>) -> String {
    assert_eq!(session.sh("node1", KEEPS).status, 0);
    says(session, &["inspect", "-f", "{{.Id}}", "keeps"]).1
}

/// Removes all containers but the one that counts.
fn remove_others(session: &Session<'_>) {
    engine_is_back(session);
    let (done, names) = says(session, &["ps", "-a", "--format", "{{.Names}}"]);
    assert!(done, "containers can't be listed");
    for name in names.lines().filter(|name| *name != "keeps") {
        let removed = docker(session, &["rm", "-f", name]).output().expect("docker can be run");
        assert!(removed.status.success(), "{name} can't be removed: {removed:?}");
    }
}

#[test]
fn the_engine_is_killed_at_random_under_load() {
    let mut random = Random::new();
    let instance = Instance::start();
    let session = instance.session(&[]);
    let id = start_keeps(&session);
    let before = held(&instance, &session);
    for round in 0..cycles(4, 40) {
        let load = "for i in 1 2 3 4 5 6; do
            docker run -d --name c$i busybox sh -c \"sleep 0.$i; exit $i\"
            docker exec keeps true; docker logs keeps | tail -n 1
            docker run --rm --memory 64m busybox true
            docker run -d --name r$i busybox sleep 1000; docker rm -f r$i
            done >/dev/null 2>&1";
        let head = ["session", "exec", &session.id, "node1", "--", "bash", "-c", load];
        let mut load = instance.command(&head).spawn().expect("drydock can be run");
        let mut kills = 0;
        while load.try_wait().expect("it is our child").is_none() && kills < 5 {
            std::thread::sleep(Duration::from_millis(50 + random.below(600)));
            for pid in engines_of(&session.instance_name()) {
                // It may just be started again.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                kills += 1;
            }
        }
        load.wait().expect("the load ends");
        engine_is_back(&session);
        assert_keeps(&session, &id);
        assert_exits(&session, round);
        remove_others(&session);
        assert_holds(&instance, &session, &before, &format!("round {round}, {kills} kills"));
        assert_keeps(&session, &id);
    }
    session.works("node1");
}

/// Each container that was started has ended with its own status.
fn assert_exits(session: &Session<'_>, round: u64) {
    for number in 1..=6 {
        let name = format!("c{number}");
        let look = ["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", &name];
        eventually("the container has ended", || !says(session, &look).1.starts_with("running"));
        let (there, state) = says(session, &look);
        // Without its `create` there is none; without its `start` it is only made,
        // and a start that was cut off ends with Docker's 128 for that.
        let expected =
            [format!("exited {number}"), "created 0".into(), "created 128".into(), "exited 128".into()];
        assert!(!there || expected.contains(&state), "round {round}: {name} is {state:?}");
    }
}

/// A piece of work: what it is, and how it is undone.
const WORKS: [&[&str]; 4] = [
    &["run", "-d", "--name", "one", "busybox", "sleep", "1000"],
    &["run", "--rm", "--name", "one", "--memory", "64m", "busybox", "true"],
    &["exec", "keeps", "true"],
    &["rm", "-f", "other"],
];

#[test]
fn the_engine_is_killed_at_each_call() {
    let mut random = Random::new();
    let instance = Instance::start();
    let session = instance.session(&[]);
    let id = start_keeps(&session);
    let before = held(&instance, &session);
    for work in WORKS {
        let run = |fault| {
            let made =
                docker(&session, &["run", "-d", "--name", "other", "busybox", "sleep", "1000"]).output();
            let made = made.expect("docker can be run");
            assert!(made.status.success(), "no container to remove: {made:?}");
            let engines = engines_of(&session.instance_name());
            let trace = Trace::begin(engines[0], Calls::Changing, fault);
            let output = docker(&session, work).output().expect("docker can be run");
            (trace.end(), output)
        };
        let (seen, output) = run(Fault::None);
        assert!(output.status.success(), "{work:?} without a fault: {output:?}");
        remove_others(&session);
        assert_holds(&instance, &session, &before, &format!("{work:?}"));
        let wanted = cycles(5, seen.count).min(seen.count);
        for part in 0..wanted {
            let first = part * seen.count / wanted;
            let place = first + 1 + random.below((part + 1) * seen.count / wanted - first);
            let (seen, _) = run(Fault::Kill(place));
            let when = format!("{work:?} killed at {place}: {:?}", seen.at);
            eprintln!("{when}");
            engine_is_back(&session);
            assert_keeps(&session, &id);
            remove_others(&session);
            assert_holds(&instance, &session, &before, &when);
        }
    }
    session.works("node1");
}
