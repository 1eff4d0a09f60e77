//! Output without an end: it fills its bounds, and nothing else.

use std::time::{Duration, Instant};

use drydock_tests::attack::terminal;
use drydock_tests::instance::{Instance, eventually};
use drydock_tests::random::is_long;

/// How much the server's processes may grow, in KiB.
const GROWTH: u64 = 20 * 1024;
/// What a container's log and its index may hold on disk, in MiB.
const LOG_MAX: u64 = 48;

#[test]
fn r08_floods_fill_their_bounds_only() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let mut screen = terminal(&session);
    session.works("node1");
    let parts = [instance.part("host"), instance.part("web")];
    let first = instance.first_process(&session.id, "node1").expect("the node runs");
    let watched = || [parts[0], parts[1], first].map(resident_kib);
    assert_eq!(session.sh("node1", "docker run -d --name floods busybox yes").status, 0);
    screen.typed("yes\n").expect("the terminal takes input");
    let written = || {
        let counted =
            session.sh("node1", "docker logs --tail 1 floods >/dev/null; du -sm /var/lib/docker/containers");
        counted.stdout.split_whitespace().next().and_then(|size| size.parse::<u64>().ok()).unwrap_or(0)
    };
    eventually("the log has some of it", || written() > 4);
    let before = watched();
    let until = Instant::now() + Duration::from_secs(if is_long() { 600 } else { 5 });
    while Instant::now() < until {
        screen.until(b"y\r\ny\r\n").expect("the flood goes on");
        assert!(written() <= LOG_MAX, "a log of {} MiB", written());
    }
    let after = watched();
    eprintln!("host, web, PID 1: {before:?} KiB before, {after:?} KiB after");
    for (before, after) in before.into_iter().zip(after) {
        assert!(after <= before + GROWTH, "from {before} to {after} KiB");
    }
    screen.typed("\x03").expect("the terminal takes Ctrl-C");
    screen.typed("echo over-$((40 + 2))\n").expect("the terminal takes input");
    screen.until(b"over-42").expect("the shell takes commands again");
    assert_eq!(session.sh("node1", "docker rm -f floods").status, 0);
    session.works("node1");
}

fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
