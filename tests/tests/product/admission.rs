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
fn memory_is_promised_up_to_its_factor() {
    // Room for one node of 64 MiB beside its reserve, whatever the machine has.
    let memory = std::fs::read_to_string("/proc/meminfo").expect("the kernel tells its memory");
    let total: f64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
        .expect("the kernel tells its memory");
    let factor = 500.0 / (total / 1024.0 - 1.0);
    // A factor under 0.1 is refused as a slip, so that big machines keep more back.
    let (factor, reserve) = if factor < 0.1 { (0.1, (total / 1024.0 - 5000.0) as u64) } else { (factor, 0) };
    let instance =
        instance(&format!("memory_mb = 64\nmemory_factor = {factor:.4}\nmemory_reserve_mb = {reserve}\n"));
    let first = instance.drydock(&["session", "create", "--json"]);
    let second = instance.drydock(&["session", "create", "--json"]);
    let words = String::from_utf8_lossy(&second.stderr);
    assert!(first.status.success(), "{first:?}");
    assert!(!second.status.success() && words.contains("memory"), "{words}");
}
