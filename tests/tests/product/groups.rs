//! What of a node's control groups is the learner's: on v2 a subtree, on v1
//! nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use drydock_tests::instance::{Instance, Session};

/// The files and directories of `n-ID`, `init` and `inner` that belong to the
/// node's root on v2. The first lets PID 1 start processes in `inner`.
const GIVEN_AWAY: [&str; 5] =
    ["cgroup.procs", "inner", "inner/cgroup.procs", "inner/cgroup.subtree_control", "inner/cgroup.threads"];

/// The node's directory in each hierarchy, and whether that is v2 with the
/// controllers: beside v1 it has none, and nothing of it is given away.
fn directories(session: &Session<'_>) -> Vec<(PathBuf, bool)> {
    let group = format!("drydock/{}/n-{}-node1", session.instance_name(), session.id);
    let root = Path::new("/sys/fs/cgroup");
    let is_v2 = root.join("cgroup.controllers").exists();
    if is_v2 {
        return vec![(root.join(group), true)];
    }
    let entries = fs::read_dir(root).expect("control groups are mounted").flatten();
    let found: Vec<_> = entries.map(|entry| (entry.path().join(&group), false)).collect();
    let found: Vec<_> = found.into_iter().filter(|(path, _)| path.is_dir()).collect();
    assert!(!found.is_empty(), "the node has no control group");
    found
}

/// The host's id of the node's root.
fn base(session: &Session<'_>) -> u32 {
    let map = session.sh("node1", "cat /proc/self/uid_map").stdout;
    map.split_whitespace().nth(1).and_then(|base| base.parse().ok()).expect("uid_map names the base")
}

/// `.` itself and the files in it, not the groups below.
fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.map(|entry| entry.path()).chain([directory.to_owned()]).collect()
}

#[test]
fn only_what_the_list_names_is_the_learner_s() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let base = base(&session);
    for (node, is_v2) in directories(&session) {
        let mut given = BTreeSet::new();
        for group in ["", "init", "inner"] {
            for path in files_of(&node.join(group)) {
                let metadata = fs::metadata(&path).expect("the file is there");
                let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
                let name = path.strip_prefix(&node).expect("it is below").display().to_string();
                let name = name.trim_end_matches('/').to_owned();
                // What others may write would be the learner's as well.
                assert_eq!(mode & 0o022, 0, "{name} has mode {mode:o}");
                match (uid, gid) {
                    (0, 0) => {}
                    (uid, gid) if uid == base && gid == base => drop(given.insert(name)),
                    owner => panic!("{name} belongs to {owner:?}, neither to root nor to {base}"),
                }
            }
        }
        let listed: BTreeSet<String> =
            GIVEN_AWAY.iter().filter(|_| is_v2).map(|name| name.to_string()).collect();
        assert_eq!(given, listed, "in {}", node.display());
        if is_v2 {
            shells_are_the_learner_s(&node, base);
        }
    }
    session.works("node1");
}

/// `inner/shell` was made by PID 1, as the node's root, and so is all in it.
fn shells_are_the_learner_s(node: &Path, base: u32) {
    for path in files_of(&node.join("inner/shell")) {
        let metadata = fs::metadata(&path).expect("the file is there");
        let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        assert_eq!(uid, base, "{}", path.display());
        assert_eq!(mode & 0o022, 0, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn a_learner_stays_in_the_group_with_the_limits() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    // From the shell itself, and from a container with all that can be given.
    let attempts = "for group in $(find /sys/fs/cgroup -name cgroup.procs -o -name tasks | grep -v '/inner/[^/]*/'); do \
        echo 0 >$group && echo entered $group; done 2>/dev/null; \
        for limit in $(find /sys/fs/cgroup -name 'memory.*' -o -name 'pids.*' -o -name 'cpu.*' -o -name 'io.*' \
        -o -name 'cgroup.max.*' -o -name cgroup.freeze -o -name cgroup.kill | grep -v '/inner/[^/]*/'); do \
        echo 1 >$limit && echo wrote $limit; done 2>/dev/null; true";
    let privileged = format!(
        "docker run --rm --privileged -v /sys/fs/cgroup:/sys/fs/cgroup busybox sh -c \"{}\"",
        attempts.replace('$', "\\$")
    );
    for script in [attempts, &privileged] {
        let done = session.sh("node1", script);
        assert_eq!((done.status, done.stdout.as_str()), (0, ""), "{done:?}");
    }
    for (node, _) in directories(&session).iter().filter(|(_, is_v2)| *is_v2) {
        let read = |name: &str| fs::read_to_string(node.join(name)).expect("the file is there");
        assert_eq!(read("inner/cgroup.max.depth").trim(), "8");
        assert_eq!(read("inner/cgroup.max.descendants").trim(), "256");
        assert_eq!(read("inner/memory.oom.group").trim(), "0");
        for limit in ["memory.max", "pids.max", "cpu.max"] {
            assert!(!read(&format!("inner/{limit}")).starts_with("max"), "inner has no {limit}");
            assert!(!read(&format!("init/{limit}")).starts_with("max"), "init has no {limit}");
        }
    }
    session.works("node1");
}
