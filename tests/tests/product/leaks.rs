//! What a session leaves behind: nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use drydock_tests::instance::Instance;

#[test]
fn fifty_sessions_leave_nothing_behind() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    session.works("node1");
    instance.drydock(&["session", "rm", &session.id]);
    let name = session.instance_name();
    let before = traces(&instance, &name);
    for round in 0..50 {
        let session = instance.session(&[]);
        if round % 10 == 0 {
            session.works("node1");
        }
        let output = instance.drydock(&["session", "rm", &session.id]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let after = traces(&instance, &name);
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.is_empty(), "left behind: {new:#?}");
}

/// All mounts, cgroups, links, namespaces, loop devices, processes and
/// directories that carry this instance's name or lie in its directories.
fn traces(instance: &Instance, name: &str) -> BTreeSet<String> {
    let state = instance.state_dir().to_str().expect("the path is text").to_owned();
    let mut found = BTreeSet::new();
    let ours = |line: &str| line.contains(&state) || line.contains(name);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts can be read");
    found.extend(mounts.lines().filter(|line| ours(line)).map(|line| {
        // Without the mount's number, which says nothing.
        format!("mount {}", line.split(' ').skip(4).collect::<Vec<_>>().join(" "))
    }));
    for command in [&["ip", "-br", "link"][..], &["losetup", "-a"], &["lsns", "-n", "-o", "TYPE,COMMAND"]] {
        let output = Command::new(command[0]).args(&command[1..]).output().expect("the tool is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().filter(|line| ours(line) || line.contains("drydock-node"));
        found.extend(lines.map(|line| format!("{} {line}", command[0])));
    }
    for root in ["/sys/fs/cgroup", &state, "/run/drydock"] {
        list_directories(Path::new(root), &mut |path| {
            let path = path.to_string_lossy();
            if ours(&path) {
                found.insert(format!("directory {path}"));
            }
        });
    }
    found
}

fn list_directories(root: &Path, see: &mut dyn FnMut(&Path)) {
    // The store is shared and can't change.
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if entry.file_name() == "store" {
            continue;
        }
        see(&entry.path());
        if is_directory {
            list_directories(&entry.path(), see);
        }
    }
}
