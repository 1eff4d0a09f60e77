//! What a session leaves behind: nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use drydock_sandbox::loop_device;
use drydock_tests::instance::Instance;

#[test]
fn fifty_sessions_leave_nothing_behind() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    session.works("node1");
    let mut words = vec![session.instance_name(), instance.state_dir().display().to_string()];
    instance.drydock(&["session", "rm", &session.id]);
    let before = traces(&instance, &words);
    for round in 0..50 {
        let session = instance.session(&[]);
        if round % 10 == 0 {
            session.works("node1");
        }
        let output = instance.drydock(&["session", "rm", &session.id]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        words.push(session.id.clone());
    }
    let after = traces(&instance, &words);
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.is_empty(), "left behind: {new:#?}");
}

/// All mounts, cgroups, links, loop devices, processes and directories in
/// whose description one of these words stands: the instance's name, its state
/// directory, or a session's id.
fn traces(instance: &Instance, words: &[String]) -> BTreeSet<String> {
    let ours = |line: &str| words.iter().any(|word| line.contains(word.as_str()));
    let mut found = BTreeSet::new();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts can be read");
    found.extend(mounts.lines().filter(|line| ours(line)).map(|line| {
        // Without the mount's number, which says nothing.
        format!("mount {}", line.split(' ').skip(4).collect::<Vec<_>>().join(" "))
    }));
    let output = Command::new("ip").args(["-br", "link"]).output().expect("the tool is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    found.extend(text.lines().filter(|line| ours(line)).map(|line| format!("link {line}")));
    // What nodes see of these says nothing, so that no tool of theirs does either.
    let devices = loop_device::list().expect("loop devices can be listed");
    let devices = devices.into_iter().filter(|device| ours(&device.label));
    found.extend(devices.map(|device| format!("loop device of {}", device.label)));
    for entry in std::fs::read_dir("/proc").expect("/proc can be read").flatten() {
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        found.extend(groups.lines().find(|line| ours(line)).map(|line| format!("process in {line}")));
    }
    for root in [Path::new("/sys/fs/cgroup"), Path::new("/run/drydock"), instance.state_dir()] {
        list_directories(root, &mut |path| {
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
