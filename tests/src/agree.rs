//! Whether what is on disk, in the control groups and in the kernel is exactly
//! what `drydock session list` says: nothing missing, nothing left behind.
//!
//! Everything is a line of text in a set, so that a difference reads as what it
//! is. Asked only while nothing is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use drydock_sandbox::{loop_device, namespaces};
use serde_json::Value;

use crate::instance::{Instance, guard};

/// Waits until all agrees: the kernel lets go of a loop device in its own time.
///
/// # Panics
/// With all that differs, when it still does after a minute.
pub fn assert_agrees(instance: &Instance) {
    let end = std::time::Instant::now() + guard();
    loop {
        let differences = differences(instance);
        if differences.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < end, "it does not agree: {differences:#?}\n{}", instance.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// What differs now: a line for each thing that is missing or left behind.
pub fn differences(instance: &Instance) -> Vec<String> {
    let said = said(instance);
    let found = found(instance, &said);
    let missing = said.must.difference(&found).map(|thing| format!("missing: {thing}"));
    let left = found.iter().filter(|thing| !said.must.contains(*thing) && !said.may.contains(*thing));
    missing.chain(left.map(|thing| format!("left: {thing}"))).collect()
}

/// What follows from the list of sessions.
struct Said {
    must: BTreeSet<String>,
    /// What a node that does not run may have or not.
    may: BTreeSet<String>,
    /// Session ids.
    sessions: Vec<String>,
}

fn said(instance: &Instance) -> Said {
    let (mut must, mut may, mut ids) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let name = instance.name();
    for part in ["host.sock", "gateway.sock", "net", "s", "stage"] {
        must.insert(format!("run {part}"));
    }
    let groups = groups(&name);
    for session in instance.sessions() {
        let id = session["id"].as_str().expect("a session has an id").to_owned();
        must.extend([format!("record {id}.json"), format!("run net/{id}"), format!("namespace {id}")]);
        must.extend([format!("link {id} lo"), format!("link {id} br0")]);
        must.insert(format!("run s/{id}"));
        for node in session["nodes"].as_array().expect("a session has nodes") {
            let node_name = node["name"].as_str().expect("a node has a name");
            let state = node["state"].as_str().expect("a node has a state");
            let whole = format!("{id}-{node_name}");
            must.insert(format!("state {whole} {state}"));
            must.insert(format!("lease {whole}"));
            let files = [format!("run s/{id}/{node_name}"), format!("disk {whole}.img")];
            let sockets =
                ["agent.sock", "docker.sock"].map(|socket| format!("run s/{id}/{node_name}/{socket}"));
            let runs = state == "running" || state == "foreign";
            if runs { &mut must } else { &mut may }.extend(files.into_iter().chain(sockets));
            if !runs {
                may.insert(format!("run s/{id}"));
                continue;
            }
            let port = node["address"].as_str().and_then(|address| address.rsplit('.').next());
            must.insert(format!("link {id} n{}", port.expect("a node has an address")));
            must.insert(format!("loop device {name} {id} {node_name}"));
            must.insert(format!("first process {whole}"));
            for group in groups.keys() {
                must.extend(["", "/init", "/inner"].map(|part| format!("group {group} n-{whole}{part}")));
            }
        }
        let runs = |node: &Value| matches!(node["state"].as_str(), Some("running" | "foreign"));
        if !session["nodes"].as_array().is_some_and(|nodes| nodes.iter().any(runs)) {
            must.remove(&format!("run s/{id}"));
        }
        ids.push(id);
    }
    Said { must, may, sessions: ids }
}

fn found(instance: &Instance, said: &Said) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (state, run) = (instance.state_dir(), Path::new("/run/drydock").join(instance.name()));
    found.extend(names(&state.join("sessions")).into_iter().map(|name| format!("record {name}")));
    found.extend(names(&state.join("disks")).into_iter().map(|name| format!("disk {name}")));
    run_files(&run, "", &mut found);
    records(instance, &mut found);
    mounts(instance, &run, &mut found);
    for (group, path) in groups(&instance.name()) {
        node_groups(&group, &path, &mut found);
    }
    for device in loop_device::list().expect("loop devices can be listed") {
        if device.label.starts_with(&format!("{} ", instance.name())) {
            once(&mut found, format!("loop device {}", device.label));
        }
    }
    for id in &said.sessions {
        links(&run.join("net").join(id), id, &mut found);
    }
    found
}

/// Adds a thing, by another name if it is there twice.
fn once(found: &mut BTreeSet<String>, thing: String) {
    if !found.insert(thing.clone()) {
        found.insert(format!("{thing} (twice)"));
    }
}

/// The names in a directory; none if it is not there.
fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn run_files(directory: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for name in names(directory) {
        let (path, shown) = (directory.join(&name), format!("{prefix}{name}"));
        found.insert(format!("run {shown}"));
        if path.is_dir() {
            run_files(&path, &format!("{shown}/"), found);
        }
    }
}

/// The sessions' files, the leases that name them, and the first processes.
fn records(instance: &Instance, found: &mut BTreeSet<String>) {
    let directory = instance.state_dir().join("sessions");
    let mut owners = BTreeMap::new();
    for file in names(&directory) {
        let path = directory.join(&file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let Ok(record) = serde_json::from_str::<Value>(&text) else {
            found.insert(format!("torn record {file}"));
            continue;
        };
        if record["ended"] != Value::Bool(false) {
            found.insert(format!("record of an ended session {file}"));
        }
        let id = record["session"]["id"].as_str().unwrap_or_default().to_owned();
        for node in record["session"]["nodes"].as_array().into_iter().flatten() {
            let name = node["name"].as_str().unwrap_or_default();
            let whole = format!("{id}-{name}");
            found.insert(format!("state {whole} {}", node["state"].as_str().unwrap_or_default()));
            let base = node["base_id"].as_u64().unwrap_or_default();
            if let Some(other) = owners.insert(base, whole.clone()) {
                found.insert(format!("ids {base} of both {other} and {whole}"));
            }
            let pid = record["processes"][name]["pid"].as_i64();
            if let Some(pid) = pid.filter(|pid| first_process(*pid, &instance.name(), &whole)) {
                found.insert(format!("first process {whole}"));
                assert_eq!(node["pid"].as_i64(), Some(pid), "two PIDs of {whole}");
            }
        }
    }
    leases(&directory, &owners, found);
}

/// Whether a process lives in the node's group `init`.
fn first_process(pid: i64, instance: &str, node: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().any(|line| line.ends_with(&format!("/drydock/{instance}/n-{node}/init")))
}

/// The leases of id ranges that name a session file of this instance.
fn leases(sessions: &Path, owners: &BTreeMap<u64, String>, found: &mut BTreeSet<String>) {
    let directory = Path::new("/run/drydock/ids");
    for base in names(directory) {
        // Another instance may just give it back.
        let owner = PathBuf::from(fs::read_to_string(directory.join(&base)).unwrap_or_default());
        if owner.parent() != Some(sessions) {
            continue;
        }
        let node = base.parse().ok().and_then(|base: u64| owners.get(&base));
        let id = owner.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match node.filter(|node| node.starts_with(&id)) {
            Some(node) => found.insert(format!("lease {node}")),
            None => found.insert(format!("lease {base} for {}", owner.display())),
        };
    }
}

/// Mounts of this mount namespace: one for each session, beside the catalogue.
fn mounts(instance: &Instance, run: &Path, found: &mut BTreeSet<String>) {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mounts can be read");
    let (run, state) =
        (run.to_string_lossy().into_owned(), instance.state_dir().to_string_lossy().into_owned());
    let own = instance.own_mounts();
    for line in table.lines() {
        let target = line.split(' ').nth(4).unwrap_or_default();
        let kind = line.split(" - ").nth(1).and_then(|after| after.split(' ').next()).unwrap_or_default();
        match target.strip_prefix(&format!("{run}/net/")) {
            Some(id) if kind == "nsfs" => once(found, format!("namespace {id}")),
            _ if target.starts_with(&run) => once(found, format!("mount {target}")),
            _ if target.starts_with(&state) && !own.iter().any(|mount| mount == Path::new(target)) => {
                once(found, format!("mount {target}"));
            }
            _ => {}
        }
    }
}

/// The instance's control group in each hierarchy that has one, by controller.
fn groups(instance: &str) -> BTreeMap<String, PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut found = BTreeMap::new();
    for name in names(root).into_iter().chain([".".to_owned()]) {
        let path = root.join(&name).join("drydock").join(instance);
        // Controllers that are mounted together are two names for one place.
        if let Ok(path) = path.canonicalize() {
            found.insert(path.display().to_string(), (name, path));
        }
    }
    found.into_values().collect()
}

/// The groups of nodes, what is in them, and where processes are that should
/// not be.
fn node_groups(hierarchy: &str, path: &Path, found: &mut BTreeSet<String>) {
    let processes = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines() {
        found.insert(format!("process {pid} in the instance's own group in {hierarchy}"));
    }
    for node in names(path).into_iter().filter(|name| path.join(name).is_dir()) {
        found.insert(format!("group {hierarchy} {node}"));
        let inside = path.join(&node);
        for part in names(&inside).into_iter().filter(|part| inside.join(part).is_dir()) {
            found.insert(format!("group {hierarchy} {node}/{part}"));
        }
    }
}

/// The links in a session's namespace.
fn links(namespace: &Path, id: &str, found: &mut BTreeSet<String>) {
    let Ok(namespace) = namespaces::open(namespace) else { return };
    let list = || Command::new("ip").args(["-o", "addr"]).output();
    let Ok(output) = namespaces::in_network_namespace(std::os::fd::AsFd::as_fd(&namespace), list) else {
        // A file on which nothing is mounted: that is told already.
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.lines().any(|line| line.contains(" br0 ") && line.contains(" 192.168.0.1/24 ")) {
        found.insert(format!("bridge of {id} without its address"));
    }
    let list = || Command::new("ip").args(["-br", "link"]).output();
    let Ok(output) = namespaces::in_network_namespace(std::os::fd::AsFd::as_fd(&namespace), list) else {
        return;
    };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let name = line.split([' ', '@']).next().unwrap_or_default();
        found.insert(format!("link {id} {name}"));
    }
}
