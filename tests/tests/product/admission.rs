//! A node is let in only while there is room for it.

use drydock_tests::instance::Instance;

/// An instance with this settings file.
fn instance(settings: &str) -> Instance {
    Instance::start_on(|state| {
        std::fs::write(state.join("drydock.toml"), settings).expect("settings can be written");
    })
}

fn number(path: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.trim().parse().unwrap_or_else(|_| panic!("{path} is no number: {text}"))
}

/// The sum of the process limits of all nodes of an instance.
fn promised(instance: &Instance) -> u64 {
    let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(std::path::Path::new);
    let root = roots.iter().find(|root| root.join("drydock").exists()).expect("nodes have control groups");
    let group = root.join("drydock").join(instance.name());
    let nodes = std::fs::read_dir(group).expect("the instance has a group").flatten();
    let nodes = nodes.map(|node| node.path()).filter(|node| node.is_dir());
    let limits = nodes.flat_map(|node| ["init", "inner"].map(|part| node.join(part).join("pids.max")));
    limits.map(|file| number(file.to_str().expect("a plain path"))).sum()
}

#[test]
fn r02_the_process_limits_of_all_nodes_fit_the_kernel() {
    let most = number("/proc/sys/kernel/pid_max").min(number("/proc/sys/kernel/threads-max"));
    // What is beside the limit in each node is small against a third of all.
    let each = (most - 4096) / 3 - 600;
    let instance = instance(&format!("pids = {each}\n"));
    let mut made = 0;
    let refusal = loop {
        let output = instance.drydock(&["session", "create", "--json"]);
        if !output.status.success() {
            break String::from_utf8_lossy(&output.stderr).into_owned();
        }
        made += 1;
        assert!(promised(&instance) < most - 4096, "{made} nodes");
    };
    assert_eq!(made, 3, "{refusal}");
    assert!(refusal.contains("process ids"), "{refusal}");
    let id = instance.sessions()[0]["id"].as_str().expect("a session has an id").to_owned();
    assert!(instance.drydock(&["session", "rm", &id]).status.success());
    let output = instance.drydock(&["session", "create", "--json"]);
    assert!(output.status.success(), "there is room again: {output:?}");
}

#[test]
fn doctor_says_how_many_nodes_are_let_in() {
    let instance = instance("memory_mb = 300\nnodes_max = 2\n");
    let output = instance.drydock(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("doctor prints JSON");
    let features = report["features"].as_array().expect("a list");
    for name in ["overlay in a user namespace", "vxlan links", "loop devices", "kernel.pid_max"] {
        assert!(features.iter().any(|feature| feature["name"] == name), "nothing about {name}");
    }
    let sizes = report["room"]["sizes"].as_array().expect("a list");
    let as_set = sizes.iter().find(|size| size["name"] == "as set").expect("the size that is set");
    assert_eq!((&as_set["limits"]["memory_mb"], &as_set["nodes"]), (&300.into(), &2.into()));
    assert_eq!(as_set["bound_by"], "nodes");
    instance.session(&[]);
    instance.session(&[]);
    assert!(!instance.drydock(&["session", "create"]).status.success(), "admission agrees");
    // Nothing is set without a word: here is nobody to ask.
    let fixed = instance.command(&["doctor", "--fix"]).stdin(std::process::Stdio::null()).output();
    let fixed = fixed.expect("drydock can be run");
    let nothing_to_do = fixed.stdout.starts_with(b"All kernel settings");
    assert!(fixed.status.success() == nothing_to_do, "{fixed:?}");
}

#[test]
fn the_last_places_are_given_once() {
    let instance = instance("nodes_max = 3\n");
    let asked: Vec<_> = (0..12)
        .map(|_| {
            let mut command = instance.command(&["session", "create", "--json"]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            command.spawn().expect("drydock can be run")
        })
        .collect();
    let outputs: Vec<_> =
        asked.into_iter().map(|child| child.wait_with_output().expect("it can be waited for")).collect();
    assert_eq!(outputs.iter().filter(|output| output.status.success()).count(), 3);
    for output in outputs.iter().filter(|output| !output.status.success()) {
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(words.contains("all 3 nodes of this server are in use"), "{words}");
    }
    assert_eq!(instance.sessions().len(), 3);
    let id = instance.sessions()[0]["id"].as_str().expect("a session has an id").to_owned();
    let added = instance.drydock(&["session", "add", &id]);
    assert!(!added.status.success(), "a node more than there may be");
}

#[test]
fn all_nodes_together_leave_the_machine_its_reserve() {
    let instance = instance("memory_reserve_mb = 700\n");
    let files = ["memory/drydock/NAME/memory.limit_in_bytes", "drydock/NAME/memory.max"];
    let files = files.map(|file| format!("/sys/fs/cgroup/{}", file.replace("NAME", &instance.name())));
    let file = files.iter().find(|file| std::path::Path::new(file).exists()).expect("memory is held down");
    let reserve = memory_total() - number(file) as f64 / f64::from(1 << 20);
    assert!((699.0..702.0).contains(&reserve), "{reserve} MiB are left");
}

#[test]
fn memory_is_promised_up_to_its_factor() {
    // Two thirds of all there is, once.
    let each = memory_total() * 2.0 / 3.0 - 300.0;
    let instance = instance(&format!("memory_mb = {each:.0}\nmemory_factor = 1\nmemory_reserve_mb = 0\n"));
    let first = instance.drydock(&["session", "create", "--json"]);
    let second = instance.drydock(&["session", "create", "--json"]);
    let words = String::from_utf8_lossy(&second.stderr);
    assert!(first.status.success(), "{first:?}");
    assert!(!second.status.success() && words.contains("memory is in use"), "{words}");
}

/// In MiB.
fn memory_total() -> f64 {
    let memory = std::fs::read_to_string("/proc/meminfo").expect("the kernel tells its memory");
    let line = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.expect("the kernel tells its memory") / 1024.0
}
