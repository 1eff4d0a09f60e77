//! Against a directory that looks like the kernel's files.

use std::collections::BTreeMap;

use super::*;

/// A fake hierarchy tree that is removed on drop.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str) -> Fake {
        let path = std::env::temp_dir().join(format!("drydock-cgroup-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Fake(path)
    }

    fn group(&self, path: &str, files: &[(&str, &str)]) {
        let directory = self.0.join(path);
        fs::create_dir_all(&directory).unwrap();
        for (name, content) in files {
            fs::write(directory.join(name), content).unwrap();
        }
    }

    fn content(&self, path: &str) -> BTreeMap<String, String> {
        fs::read_dir(self.0.join(path))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| {
                (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())
            })
            .collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn hierarchy(fake: &Fake, controllers: &str) -> Hierarchy {
    Hierarchy { controllers: controllers.into(), path: fake.0.join(controllers) }
}

fn limits() -> Limits {
    Limits {
        memory: Some(64 << 20),
        memory_swap: Some(96 << 20),
        pids: Some(10),
        cpu_milli: Some(1500),
        cpu_shares: Some(1024),
    }
}

#[test]
fn v1_limits_go_to_each_controllers_files() {
    let fake = Fake::new("v1");
    let memory = [("memory.limit_in_bytes", ""), ("memory.memsw.limit_in_bytes", "")];
    fake.group("memory/a/b", &memory);
    fake.group("cpu,cpuacct/a/b", &[("cpu.cfs_period_us", ""), ("cpu.cfs_quota_us", ""), ("cpu.shares", "")]);
    fake.group("pids/a/b", &[("pids.max", "")]);
    let v1 = ["memory", "cpu,cpuacct", "pids"].map(|name| hierarchy(&fake, name)).to_vec();
    let group = Group::new(Arc::new(Layout { v1, ..Layout::default() }), "a/b");
    group.limit(&limits()).unwrap();
    assert_eq!(fake.content("memory/a/b")["memory.limit_in_bytes"], "67108864");
    // Written from its start twice, as into the kernel's file: -1, then the value.
    assert_eq!(fake.content("memory/a/b")["memory.memsw.limit_in_bytes"], "100663296");
    assert_eq!(fake.content("pids/a/b")["pids.max"], "10");
    let cpu = fake.content("cpu,cpuacct/a/b");
    assert_eq!((cpu["cpu.cfs_quota_us"].as_str(), cpu["cpu.shares"].as_str()), ("150000", "1024"));
}

#[test]
fn v2_limits_go_to_one_directory() {
    let fake = Fake::new("v2");
    let files = ["memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.weight"].map(|name| (name, ""));
    fake.group("a", &files);
    let group = Group::new(Arc::new(Layout { v2: Some(fake.0.clone()), ..Layout::default() }), "a");
    group.limit(&limits()).unwrap();
    let content = fake.content("a");
    let values: Vec<_> = files.iter().map(|(name, _)| content[*name].as_str()).collect();
    assert_eq!(values, ["67108864", "33554432", "10", "150000 100000", "39"]);
}

#[test]
fn beside_v1_a_v2_without_controllers_gets_no_limits() {
    let fake = Fake::new("hybrid");
    fake.group("pids/a", &[("pids.max", "")]);
    let layout =
        Layout { v1: vec![hierarchy(&fake, "pids")], v2: Some(fake.0.join("unified")), ..Layout::default() };
    let group = Group::new(Arc::new(layout), "a");
    assert!(matches!(group.limit(&limits()), Err(CgroupError::NoController("memory"))));
}

#[test]
fn only_missing_controllers_are_enabled() {
    let fake = Fake::new("enable");
    fake.group(
        "",
        &[("cgroup.controllers", "cpuset cpu memory pids\n"), ("cgroup.subtree_control", "cpu\n")],
    );
    v2::enable_for_children(&fake.0).unwrap();
    assert!(fake.content("")["cgroup.subtree_control"].starts_with("+memory +pids"));
}

#[test]
fn oom_kills_are_counted_in_both_versions() {
    let fake = Fake::new("oom");
    fake.group("memory/a", &[("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")]);
    fake.group("two/a", &[("memory.events", "low 0\noom 9\noom_kill 4\n")]);
    let v1 = Group::new(Arc::new(Layout { v1: vec![hierarchy(&fake, "memory")], ..Layout::default() }), "a");
    let v2 = Group::new(Arc::new(Layout { v2: Some(fake.0.join("two")), ..Layout::default() }), "a");
    assert_eq!((v1.oom_kills().unwrap(), v2.oom_kills().unwrap()), (3, 4));
}

#[test]
fn a_real_group_is_made_entered_emptied_and_removed() {
    let layout = Arc::new(Layout::detect().unwrap());
    let parent = Group::new(layout, format!("drydock-test-{}", std::process::id()));
    let group = parent.child("a");
    group.create().expect("this test needs root and control groups");
    let child = group.child("c-1");
    child.create().unwrap();
    child.limit(&Limits { memory: Some(64 << 20), pids: Some(20), ..Limits::default() }).unwrap();
    assert_eq!(group.children().unwrap(), ["c-1"]);
    let mut sleeper = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    for directory in child.directories() {
        fs::write(directory.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    }
    child.freeze(true).unwrap();
    // A zombie leaves its groups only when it is reaped.
    let reaper = std::thread::spawn(move || sleeper.wait().unwrap());
    group.kill().unwrap();
    reaper.join().unwrap();
    parent.remove().unwrap();
    assert!(parent.directories().all(|directory| !directory.exists()));
}
