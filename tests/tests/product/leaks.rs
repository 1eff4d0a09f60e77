//! What a session leaves behind: nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use drydock_sandbox::loop_device;
use drydock_tests::agree::assert_agrees;
use drydock_tests::instance::{Instance, eventually};
use drydock_tests::random::cycles;

/// After so many sessions what a process keeps for itself is there: buffers,
/// threads, what the allocator holds back.
const WARM: u64 = 10;

#[test]
fn k11_sessions_leave_nothing_behind() {
    let instance = Instance::start();
    let mut words = vec![instance.name(), instance.state_dir().display().to_string()];
    for _ in 0..WARM {
        let session = instance.session(&[]);
        session.works("node1");
        instance.drydock(&["session", "rm", &session.id]);
    }
    assert_agrees(&instance);
    let before = traces(&instance, &words);
    let parts = ["host", "web"].map(|word| instance.part(word));
    let (files, memory) = (parts.map(open_files), parts.map(resident_kib));
    eprintln!("slab before: {}", slab());
    for round in 0..cycles(50, 1000) {
        let session = instance.session(&[]);
        if round % 10 == 0 {
            session.works("node1");
        }
        let output = instance.drydock(&["session", "rm", &session.id]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        words.push(session.id.clone());
    }
    assert_agrees(&instance);
    let after = traces(&instance, &words);
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.is_empty(), "left behind: {new:#?}");
    // Web closes what was lent to it when it is told, a moment later.
    eventually("as many files are open as before", || parts.map(open_files) <= files);
    eprintln!("slab after: {}", slab());
    let grown = parts.map(resident_kib);
    eprintln!("memory of host and web: {memory:?} KiB before, {grown:?} KiB after");
    for (before, after) in memory.into_iter().zip(grown) {
        // What is small grows by a page or two that say nothing.
        assert!(after <= before + before / 20 + 1024, "from {before} to {after} KiB");
    }
}

fn open_files(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

/// The memory that a process holds.
fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What the kernel itself holds, for who reads the log: others use it too.
fn slab() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").expect("it can be read");
    text.lines().find(|line| line.starts_with("Slab:")).unwrap_or("unknown").to_owned()
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
