//! A learner takes all they can get, and their neighbour doesn't notice.

use drydock_tests::instance::{Instance, Session, eventually};

/// Asserts that a reset gives the node back, and that the neighbour works.
fn recovers(instance: &Instance, session: &Session<'_>, neighbour: &Session<'_>) {
    neighbour.works("node1");
    let reset = instance.drydock(&["session", "reset", &session.id, "node1"]);
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    session.works("node1");
}

#[test]
fn r01_a_fork_bomb_hits_the_node_s_own_limit() {
    let instance = Instance::start();
    let (session, neighbour) = (instance.session(&[]), instance.session(&[]));
    let bomb = "setsid bash -c 'bomb() { bomb | bomb & }; while :; do bomb; done' >/dev/null 2>&1 &";
    assert_eq!(session.sh("node1", bomb).status, 0);
    eventually("the bomb has met the limit", || refused_forks(&session) > 0);
    recovers(&instance, &session, &neighbour);
}

/// How often the kernel refused a process to what the learner runs.
fn refused_forks(session: &Session<'_>) -> u64 {
    let group = format!("drydock/{}/n-{}-node1/inner/pids.events", session.instance_name(), session.id);
    let read = |root: &str| std::fs::read_to_string(format!("{root}/{group}")).ok();
    let text = read("/sys/fs/cgroup/pids").or_else(|| read("/sys/fs/cgroup")).expect("the group is there");
    let count = text.lines().find_map(|line| line.strip_prefix("max "));
    count.and_then(|count| count.parse().ok()).expect("pids.events counts refusals")
}

#[test]
fn r03_memory_ends_inside_the_node() {
    let instance = Instance::start();
    let (session, neighbour) = (instance.session(&[]), instance.session(&[]));
    let done = session.sh("node1", "tail /dev/zero");
    assert_eq!(done.status, 137, "nothing was killed: {done:?}");
    session.works("node1");
    // What a ramfs holds can't be given back by killing somebody.
    let fill = "mount -t ramfs r /mnt && dd if=/dev/zero of=/mnt/x bs=1M count=100000";
    assert_ne!(session.sh("node1", fill).status, 0, "memory has no end");
    recovers(&instance, &session, &neighbour);
}

#[test]
fn r05_a_full_disk_is_full_at_its_size() {
    let instance = Instance::start();
    let (session, neighbour) = (instance.session(&[]), instance.session(&[]));
    for place in ["/", "/var/lib/docker/", "/tmp/", "/run/", "/dev/shm/", "/dev/"] {
        let fill =
            format!("dd if=/dev/zero of={place}big bs=1M count=100000; stat -c %s {place}big; rm {place}big");
        let done = session.sh("node1", &fill);
        assert!(done.stderr.contains("No space left on device"), "{place}: {done:?}");
        let bytes: u64 = done.stdout.trim().parse().expect("a size");
        assert!(bytes <= 2 << 30, "{place} took {bytes} bytes");
    }
    let sessions = instance.state_dir().join("sessions");
    assert!(sessions.join(format!("{}.json", session.id)).exists());
    session.works("node1");
    neighbour.works("node1");
}

#[test]
fn r06_inodes_end_at_the_node_s_own_count() {
    let instance = Instance::start();
    let (session, neighbour) = (instance.session(&[]), instance.session(&[]));
    let fill = "mkdir /many; perl -e 'my $i = 0; while (open(my $f, \">\", \"/many/$i\")) { close $f; $i++ } \
        print \"$i $!\"'";
    let done = session.sh("node1", fill);
    let (count, why) = done.stdout.split_once(' ').expect("a count and a reason");
    assert_eq!(why, "No space left on device");
    assert!(count.parse::<u32>().is_ok_and(|count| count <= 131_072), "{count} files");
    assert_eq!(session.sh("node1", "rm -r /many").status, 0);
    session.works("node1");
    neighbour.works("node1");
}

#[test]
fn r12_control_groups_end_somewhere() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let script = "n=0; for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do \
        while [ $n -lt 2000 ] && mkdir $d/x$n 2>/dev/null; do n=$((n+1)); done; done; echo $n";
    let done = session.sh("node1", script);
    let made: u32 = done.stdout.trim().parse().expect("a count");
    assert!(made <= 256, "{made} groups were made");
    session.works("node1");
}
