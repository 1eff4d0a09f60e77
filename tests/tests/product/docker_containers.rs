//! Containers by the real Docker CLI: files copied both ways, limits changed,
//! numbers, probes, restarts; and what a killed engine must not change.

use std::collections::BTreeMap;

use drydock_tests::instance::{Done, Instance, Session, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::restarts::engines_of;

/// A node with `docker` in it.
struct Node<'a>(Session<'a>);

impl Node<'_> {
    fn run(&self, script: &str) -> Done {
        self.0.sh("node1", script)
    }

    /// What a script prints that must work.
    fn ok(&self, script: &str) -> String {
        let done = self.run(script);
        assert_eq!(done.status, 0, "{script}: {done:?}");
        done.stdout
    }

    fn inspect(&self, container: &str, field: &str) -> String {
        self.ok(&format!("docker inspect -f '{{{{{field}}}}}' {container}")).trim().to_owned()
    }

    fn kill_engine(&self) {
        let engines = engines_of(&self.0.instance_name());
        assert!(!engines.is_empty(), "there is no engine to kill");
        for pid in engines {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the engine runs");
        }
        eventually("the engine answers again", || self.run("docker ps").status == 0);
    }
}

#[test]
fn files_are_copied_both_ways() {
    let instance = Instance::start();
    let node = Node(instance.session(&[]));
    for start in [
        "docker run -d --name box -v vol:/vol busybox sleep 1000",
        "docker create --name box -v vol:/vol busybox",
    ] {
        node.ok(start);
        node.ok("echo up >f; docker cp f box:/root/; docker cp f box:/root/other; docker cp f box:/vol/");
        assert_eq!(node.ok("docker cp box:/root/other - | tar xO"), "up\n");
        assert_eq!(node.ok("docker cp box:/vol/f g; cat g"), "up\n");
        node.ok("rm -rf d; docker cp box:/root d");
        assert_eq!(node.ok("ls d"), "f\nother\n");
        node.ok("docker cp d/. box:/tmp");
        assert_eq!(node.ok("docker cp box:/tmp/. - | tar t | sort"), "./\n./f\n./other\n");
        assert!(node.ok("docker cp box:/ - | tar t").lines().any(|name| name == "/bin/busybox"));
        let missing = node.run("docker cp box:/nosuch .");
        // The CLI 20.10 says it in words of its own; the golden suite has those of 28.
        assert!(missing.status == 1 && missing.stderr.contains("/nosuch"), "{missing:?}");
        assert_eq!(
            node.run("mkdir -p root; docker cp root box:/root/f").status,
            1,
            "a directory over a file"
        );
        assert!(node.ok("docker diff box").contains("A /root/other\n"));
        node.ok("docker rm -f box");
    }
    assert_eq!(node.run("docker run --name ro --read-only busybox; docker cp f ro:/x").status, 1);
    assert_eq!(node.ok("docker run --rm -v vol:/vol busybox cat /vol/f"), "up\n", "the volume has it");
}

/// A container swaps a directory and a link to the node's own files while files
/// are copied through it.
#[test]
fn a03_a_container_that_changes_its_links_meanwhile_leads_nowhere() {
    let instance = Instance::start();
    let node = Node(instance.session(&[]));
    node.ok("echo secret >/root/secret; mkdir -p /srv/t");
    let swap = "mkdir -p /a/t /root/t; ln -s /root /l; while :; do mv /a/t /a/u; ln -s /srv /a/t; rm /a/t; mv /a/u /a/t; done";
    node.ok(&format!("docker run -d --name swap busybox sh -c '{swap}'"));
    let race = "echo x >f; for i in $(seq 60); do docker cp f swap:/a/t/ ; docker cp swap:/a/t d$i; \
                docker cp swap:/l/secret out$i; done >/dev/null 2>&1; ls -A /srv/t /srv; grep -rl secret out* d* 2>/dev/null; true";
    assert_eq!(node.ok(race), "/srv:\nt\n\n/srv/t:\n", "something was written or read outside the container");
    node.ok("docker rm -f swap");
}

#[test]
fn a_container_without_limits_is_paused_limited_and_measured() {
    let instance = Instance::start();
    let node = Node(instance.session(&[]));
    node.ok("docker run -d --name busy busybox sh -c 'while :; do :; done'");
    let stats = "docker stats --no-stream --format '{{.CPUPerc}} {{.PIDs}} {{.MemUsage}}' busy";
    let percent = |line: &str| -> f64 {
        let first = line.split('%').next().expect("a first field");
        first.parse().unwrap_or_else(|_| panic!("no number in {line}"))
    };
    let busy = node.ok(stats);
    assert!(percent(&busy) > 1.0, "a busy loop uses {busy}");
    assert!(busy.contains(" 1 ") && !busy.contains(" 0B /"), "{busy}");
    node.ok("docker pause busy");
    assert_eq!(node.inspect("busy", ".State.Status"), "paused");
    let frozen = node.ok(stats);
    assert!(percent(&frozen) < 5.0, "a frozen loop uses {frozen}");
    node.ok("docker unpause busy");
    node.ok("docker update --cpus 0.1 --memory 64m --memory-swap 64m busy");
    let slow = node.ok(stats);
    assert!(percent(&slow) < 60.0, "a loop limited to a tenth uses {slow}");
    assert!(slow.contains("/ 64MiB"), "{slow}");
    // What is run in it now is under its limits, too.
    assert_eq!(node.run("docker exec busy tail /dev/zero").status, 137);
    node.ok("docker rm -f busy");
}

#[test]
fn policies_and_probes_go_on_over_a_killed_engine() {
    let instance = Instance::start();
    let node = Node(instance.session(&[]));
    node.ok("docker run -d --name flaky --restart on-failure:3 busybox sh -c 'exit 3'");
    node.ok("docker run -d --name always --restart always busybox sleep 0.2");
    node.ok(
        "docker run -d --name hc --health-cmd 'test -f /ok' --health-interval 200ms --health-retries 2 busybox sleep 1000",
    );
    eventually("the retries are used up", || {
        node.inspect("flaky", ".RestartCount") == "3" && node.inspect("flaky", ".State.Status") == "exited"
    });
    eventually("the probe fails", || node.inspect("hc", ".State.Health.Status") == "unhealthy");
    node.kill_engine();
    node.ok("docker exec hc touch /ok");
    eventually("the probe succeeds", || node.inspect("hc", ".State.Health.Status") == "healthy");
    assert!(node.ok("docker ps --filter health=healthy").contains("(healthy)"));
    let count = || node.inspect("always", ".RestartCount").parse::<u32>().expect("a number");
    let before = count();
    eventually("it is started again", || count() > before);
    for _ in 0..5 {
        node.kill_engine();
        let before = count();
        eventually("it is started again", || count() > before);
    }
    node.ok("docker stop -t 1 always");
    let state = "docker inspect -f '{{.State.Status}} {{.RestartCount}}' always";
    let stopped = node.ok(state);
    node.kill_engine();
    assert_eq!(node.ok(state), stopped, "stopped by hand, it stays so");
    node.ok("docker rm -f flaky always hc");
}

#[test]
fn policies_hold_over_a_node_s_stop_and_start() {
    let instance = Instance::start();
    let node = Node(instance.session(&[]));
    for (name, policy) in [("always", "always"), ("unless", "unless-stopped"), ("plain", "no")] {
        node.ok(&format!("docker run -d --name {name} --restart {policy} busybox sleep 1000"));
        node.ok(&format!(
            "docker run -d --name {name}2 --restart {policy} busybox sleep 1000; docker stop -t 0 {name}2"
        ));
    }
    for verb in ["stop", "start"] {
        let done = instance.drydock(&["session", verb, &node.0.id, "node1"]);
        assert!(done.status.success(), "{verb}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let up = || node.run("docker ps --format '{{.Names}}' | sort").stdout;
    eventually("what its policy wants is up", || up() == "always\nalways2\nunless\n");
    node.ok("docker rm -f $(docker ps -aq)");
}

#[test]
fn init_reaps_and_passes_signals_on() {
    let instance = Instance::start();
    let node = Node(instance.session(&[]));
    let first = node.ok("docker run --rm --init busybox ps | sed -n 2p");
    assert_eq!(first.split_whitespace().collect::<Vec<_>>(), ["1", "root", "/sbin/docker-init", "--", "ps"]);
    assert_eq!(node.run("docker run --rm --init busybox sh -c 'exit 7'").status, 7);
    assert_eq!(node.run("docker run --rm --init busybox nosuch").status, 127);
    node.ok(
        "docker run -d --name orphans --init busybox sh -c 'while :; do (sleep 0.01 &); sleep 0.05; done'",
    );
    eventually("orphans were made", || node.ok("docker top orphans").lines().count() > 2);
    assert!(!node.ok("docker exec orphans ps").contains("Z "), "zombies are left");
    // A program that has no handler ends by the signal that init passes on.
    node.ok("docker stop -t 60 orphans");
    assert_eq!(node.inspect("orphans", ".State.ExitCode"), "143");
    node.ok("docker rm orphans");
}

#[test]
fn a_client_without_an_upgraded_connection_gets_the_same_bytes() {
    let instance = Instance::start();
    let node = Node(instance.session(&[]));
    node.ok("docker run -d --name box busybox sleep 1000");
    let curl = "curl -s --unix-socket /var/run/docker.sock -H 'Content-Type: application/json'";
    let id = node.ok(&format!(
        "{curl} -d '{{\"AttachStdout\":true,\"AttachStderr\":true,\"Cmd\":[\"echo\",\"hi\"]}}' \
         http://d/v1.45/containers/box/exec"
    ));
    let id: serde_json::Value = serde_json::from_str(&id).expect("JSON");
    let id = id["Id"].as_str().expect("an id");
    let output = node.ok(&format!("{curl} -i -d '{{}}' http://d/v1.45/exec/{id}/start"));
    assert!(
        output.contains("200 OK") && output.contains("application/vnd.docker.multiplexed-stream"),
        "{output}"
    );
    assert!(output.ends_with("\u{1}\0\0\0\0\0\0\u{3}hi\n"), "{output:?}");
    node.ok("docker rm -f box");
}

#[test]
fn r08_output_is_kept_up_to_a_bound_and_the_newest_is_there() {
    let instance = Instance::start();
    let node = Node(instance.session(&[]));
    node.ok("docker run --name flood busybox sh -c 'yes 0123456789abcdef | head -c 150000000; echo; echo last' >/dev/null");
    let id = node.inspect("flood", ".Id");
    let kib = node.ok(&format!("du -sk /var/lib/docker/containers/{id} | cut -f1"));
    let kib: u64 = kib.trim().parse().expect("du prints a number");
    assert!(kib < 24 * 1024, "the log of 150 MB takes {kib} KiB");
    assert_eq!(node.ok("docker logs --tail 1 flood"), "last\n");
    let shown: u64 = node.ok("docker logs flood | wc -c").trim().parse().expect("wc prints a number");
    assert!(shown > 8 << 20 && shown < 17 << 20, "{shown} bytes are shown");
    node.ok("docker rm flood");
}

/// Each start fails at another step; nothing is left of any.
#[test]
fn starts_that_fail_leave_nothing() {
    let instance = Instance::start();
    let node = Node(instance.session(&[]));
    node.ok("docker run --rm busybox true");
    let left = || {
        let groups = node.ok("ls -d /sys/fs/cgroup/*/c-* /sys/fs/cgroup/c-* 2>/dev/null | wc -l");
        let links = node.ok("ip -o link | wc -l");
        let parked = node.ok("ls /proc/$(pgrep -f 'drydock-node engine' | head -1)/fd 2>/dev/null | wc -l");
        BTreeMap::from([("groups", groups), ("links", links), ("descriptors", parked)])
    };
    let before = left();
    for flags in [
        "--device /dev/nosuch",
        "--gpus all",
        "-u nosuchuser",
        "-m 64m --sysctl net.nosuch=1",
        "--entrypoint /nosuch",
        "-m 64m -w /bin/busybox",
    ] {
        let failed = node.run(&format!("docker run --rm {flags} busybox true"));
        assert!(matches!(failed.status, 125..=127), "{flags}: {failed:?}");
    }
    assert!(
        node.run("docker run --rm --gpus all busybox true")
            .stderr
            .contains("could not select device driver \"\" with capabilities: [[gpu]]")
    );
    assert_eq!(node.ok("docker ps -aq"), "");
    eventually("all is as before", || left() == before);
    node.0.works("node1");
}
