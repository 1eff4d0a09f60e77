//! A learner takes all they can get, and their neighbour doesn't notice.

use std::path::Path;

use drydock_tests::attack::{KINDS, Neighbour, attack, attack_kinds, can_be_reset, group_file, terminal};
use drydock_tests::instance::{Instance, Session, eventually};

#[test]
fn r01_a_fork_bomb_hits_the_node_s_own_limit() {
    attack(|instance, session| {
        assert_eq!(session.sh("node1", BOMB).status, 0);
        eventually("the bomb has met the limit", || refused_forks(session) > 0);
        can_be_reset(instance, session);
    });
}

const BOMB: &str = "setsid bash -c 'bomb() { bomb | bomb & }; while :; do bomb; done' >/dev/null 2>&1 &";
const LOOPS: &str = "for i in $(seq 64); do setsid sh -c 'while :; do :; done' >/dev/null 2>&1 & done";
const HOG: &str = "setsid sh -c 'while :; do tail /dev/zero; done' >/dev/null 2>&1 &";

/// How often the kernel refused a process to what the learner runs.
fn refused_forks(session: &Session<'_>) -> u64 {
    keyed(&group_file(session, "pids", "pids.events", "pids.events"), "max")
}

/// How often the kernel ended a process of the learner's for want of memory.
fn memory_ends(session: &Session<'_>) -> u64 {
    keyed(&group_file(session, "memory", "memory.oom_control", "memory.events"), "oom_kill")
}

/// The number in a file's line that begins with this word.
fn keyed(file: &Path, word: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let value = lines.find(|(key, _)| *key == word).and_then(|(_, value)| value.parse().ok());
    value.unwrap_or_else(|| panic!("{} has no number for {word}", file.display()))
}

#[test]
fn r03_memory_ends_inside_the_node() {
    attack(|instance, session| {
        let done = session.sh("node1", "tail /dev/zero");
        assert_eq!(done.status, 137, "nothing was killed: {done:?}");
        session.works("node1");
        // What a ramfs holds can't be given back by killing somebody.
        let fill = "mount -t ramfs r /mnt && dd if=/dev/zero of=/mnt/x bs=1M count=100000";
        assert_ne!(session.sh("node1", fill).status, 0, "memory has no end");
        can_be_reset(instance, session);
    });
}

#[test]
fn r05_a_full_disk_is_full_at_its_size() {
    let instance = with_settings("disk_mb = 256\n");
    attack_kinds(&instance, &KINDS, |instance, session| {
        for place in ["/", "/var/lib/docker/", "/tmp/", "/run/", "/dev/shm/", "/dev/"] {
            let fill = format!(
                "dd if=/dev/zero of={place}big bs=1M count=100000; stat -c %s {place}big; rm {place}big"
            );
            let done = session.sh("node1", &fill);
            assert!(done.stderr.contains("No space left on device"), "{place}: {done:?}");
            let bytes: u64 = done.stdout.trim().parse().expect("a size");
            assert!(bytes <= 256 << 20, "{place} took {bytes} bytes");
        }
        let sessions = instance.state_dir().join("sessions");
        assert!(sessions.join(format!("{}.json", session.id)).exists());
    });
}

#[test]
fn r06_inodes_end_at_the_node_s_own_count() {
    attack(|_, session| {
        let fill = "mkdir /many; perl -e 'my $i = 0; while (open(my $f, \">\", \"/many/$i\")) { close $f; $i++ } \
            print \"$i $!\"'";
        let done = session.sh("node1", fill);
        let (count, why) = done.stdout.split_once(' ').expect("a count and a reason");
        assert_eq!(why, "No space left on device");
        assert!(count.parse::<u32>().is_ok_and(|count| count <= 131_072), "{count} files");
        assert_eq!(session.sh("node1", "rm -r /many").status, 0);
    });
}

/// The rate is a limit's check, not a claim about speed: the bytes that the
/// device itself counted in a time are compared with what may be, twice over.
#[test]
fn r10_the_disk_is_no_faster_than_its_rate() {
    const RATE: u64 = 20 << 20;
    let instance = with_settings("disk_mb_s = 20\n");
    attack_kinds(&instance, &KINDS, |instance, session| {
        let device = disk_of(instance, session);
        // By the writer, by the kernel on its own later, and past the cache. The
        // root knows no fsync, and the engine's directory does.
        for how in ["of=/var/lib/docker/x conv=fsync", "of=/x", "of=/x oflag=direct"] {
            let (begin, before) = (std::time::Instant::now(), sectors(&device));
            let done = session
                .sh("node1", &format!("dd if=/dev/zero bs=1M count=100 {how} && sync -f /var/lib/docker"));
            assert_eq!(done.status, 0, "{done:?}");
            eventually("the device has it", || (sectors(&device) - before) * 512 >= 100 << 20);
            let bytes = (sectors(&device) - before) * 512;
            let may = begin.elapsed().as_secs_f64() * RATE as f64;
            assert!((bytes as f64) < 2.0 * may, "{how}: {bytes} bytes where {may} may be");
        }
        // Neither is there a way around it by a container with a group of its own.
        let own = "docker run --rm --memory 64m -v /:/h busybox dd if=/dev/zero of=/h/y bs=1M count=60 \
            oflag=direct";
        let (begin, before) = (std::time::Instant::now(), sectors(&device));
        let done = session.sh("node1", own);
        assert_eq!(done.status, 0, "{done:?}");
        let bytes = (sectors(&device) - before) * 512;
        let may = begin.elapsed().as_secs_f64() * RATE as f64;
        assert!(bytes >= 60 << 20 && (bytes as f64) < 2.0 * may, "{bytes} bytes where {may} may be");
    });
    instance.drydock(&["session", "rm", "--all"]);
    let rules = std::fs::read_to_string("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device");
    let ours = format!(" {RATE}");
    let left: Vec<String> =
        rules.unwrap_or_default().lines().filter(|line| line.ends_with(&ours)).map(str::to_owned).collect();
    assert_eq!(left, Vec::<String>::new(), "rules of devices that are free again");
}

fn with_settings(text: &str) -> Instance {
    Instance::start_on(|state| {
        std::fs::write(state.join("drydock.toml"), text).expect("settings can be written");
    })
}

/// The name of the loop device with a session's first node's disk.
fn disk_of(instance: &Instance, session: &Session<'_>) -> String {
    let label = format!("{} {} node1", instance.name(), session.id);
    let used = drydock_sandbox::loop_device::list().expect("loop devices can be listed");
    let disk = used.into_iter().find(|device| device.label == label).expect("the node has a disk");
    disk.path.file_name().expect("a device has a name").to_string_lossy().into_owned()
}

/// Sectors of 512 bytes that were written to a device: block/stat.rst.
fn sectors(device: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/sys/block/{device}/stat")).expect("the device is there");
    stat.split_whitespace().nth(6).and_then(|field| field.parse().ok()).expect("the seventh field")
}

/// The CPU time of all that a learner runs, in microseconds.
fn cpu_time(session: &Session<'_>) -> u64 {
    let file = group_file(session, "cpuacct", "cpuacct.usage", "cpu.stat");
    if file.ends_with("cpu.stat") {
        return keyed(&file, "usage_usec");
    }
    let text = std::fs::read_to_string(&file).expect("the group counts its time");
    text.trim().parse::<u64>().expect("a number") / 1000
}

#[test]
fn r09_busy_loops_get_the_node_s_own_cpu_time() {
    let instance = with_settings("cpus = 0.5\n");
    attack_kinds(&instance, &KINDS, |instance, session| {
        let mut terminal = terminal(session);
        assert_eq!(session.sh("node1", LOOPS).status, 0);
        eventually("the loops run", || running(session, "while :") >= 64);
        let (begin, before) = (std::time::Instant::now(), cpu_time(session));
        eventually("they used a second", || cpu_time(session) > before + 1_000_000);
        let (used, may) = (cpu_time(session) - before, begin.elapsed().as_micros() as u64 / 2);
        assert!(used < 2 * may, "{used} µs of CPU time where {may} may be");
        interrupts(&mut terminal);
        can_be_reset(instance, session);
    });
}

/// How many programs with this in their command line run in the first node.
fn running(session: &Session<'_>, words: &str) -> usize {
    let counted = session.sh("node1", &format!("pgrep -c -f '{words}'"));
    counted.stdout.trim().parse().unwrap_or(0)
}

/// Asserts that Ctrl-C ends a program in the terminal.
fn interrupts(terminal: &mut drydock_tests::viewer::Viewer) {
    // Only what runs can be interrupted, and what is typed is no sign of that,
    // nor what the shell itself prints before it starts the program.
    let program = "sh -c 'echo it $0; exec sleep 100000' runs\n";
    terminal.typed(program).expect("the terminal takes input");
    terminal.until(b"it runs").expect("the program begins");
    terminal.typed("\x03").expect("the terminal takes Ctrl-C");
    terminal.prompt().expect("the shell is back at its prompt");
}

#[test]
fn r09_loops_a_bomb_and_a_hog_at_once_leave_ctrl_c_and_reset() {
    let instance = with_settings("memory_mb = 384\npids = 256\n");
    let mut neighbour = Neighbour::of(&instance);
    for kind in KINDS {
        let session = instance.session(kind);
        let mut terminal = terminal(&session);
        // A program of the shell's own, so that nothing has to be started for it.
        let own = "printf 'it %s\\n' runs; while :; do :; done\n";
        terminal.typed(own).expect("the terminal takes input");
        terminal.until(b"it runs").expect("the loop begins");
        let ends = memory_ends(&session);
        // The loops leave the hog little time, and the bomb no process, to begin with.
        assert_eq!(session.sh("node1", HOG).status, 0);
        eventually("memory ran out", || memory_ends(&session) > ends);
        assert_eq!(session.sh("node1", &format!("{LOOPS}; {BOMB}")).status, 0);
        eventually("the bomb has met the limit", || refused_forks(&session) > 0);
        terminal.typed("\x03").expect("the terminal takes Ctrl-C");
        terminal.until(b"^C").expect("the terminal shows it");
        terminal.prompt().expect("the shell is back at its prompt");
        neighbour.never_noticed();
        can_be_reset(&instance, &session);
        instance.drydock(&["session", "rm", &session.id]);
    }
}

/// The machine's core pattern, put back at the end.
struct CorePattern(String);

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

impl CorePattern {
    fn set(pattern: &str) -> CorePattern {
        let before = std::fs::read_to_string(CORE_PATTERN).expect("the pattern can be read");
        std::fs::write(CORE_PATTERN, pattern).expect("this test needs root");
        CorePattern(before)
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(CORE_PATTERN, &self.0) {
            eprintln!("{CORE_PATTERN} should be {:?} again: {error}", self.0);
        }
    }
}

#[test]
fn r13_no_core_of_a_learner_s_is_dumped_and_no_handler_runs() {
    let scratch = tempfile::tempdir().expect("a directory can be made");
    let (handler, trace) = (scratch.path().join("h"), scratch.path().join("trace"));
    std::fs::write(&handler, format!("#!/bin/sh\necho $1 >>{}\ncat >/dev/null\n", trace.display()))
        .expect("a handler can be written");
    std::fs::set_permissions(&handler, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("it can be made a program");
    let _pattern = CorePattern::set(&format!("|{} %e", handler.display()));
    // Outside a node the handler runs: else the test would prove nothing.
    let crash = "ulimit -c unlimited; perl -e 'kill SEGV => $$'";
    std::process::Command::new("sh").args(["-c", crash]).output().expect("a shell runs");
    eventually("the handler runs for the machine's own", || trace.exists());
    let before = std::fs::read_to_string(&trace).expect("its trace can be read");
    attack(|_, session| {
        for script in [
            crash.to_owned(),
            "perl -e 'kill SEGV => $$'".into(),
            "docker run --rm --privileged --ulimit core=-1 busybox sh -c 'kill -SEGV $$'".into(),
        ] {
            session.sh("node1", &script);
        }
        let cores =
            session.sh("node1", "find / -xdev -name 'core*' -type f -size +0 -newer /proc/1 2>/dev/null");
        assert_eq!(cores.stdout, "", "core files were written");
        let mut terminal = terminal(session);
        terminal.typed("kill -SEGV $$\n").expect("the terminal takes input");
    });
    assert_eq!(std::fs::read_to_string(&trace).expect("its trace is there"), before, "a handler ran");
}

#[test]
fn r12_control_groups_end_somewhere() {
    attack(|_, session| {
        let script = "n=0; for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do \
        while [ $n -lt 2000 ] && mkdir $d/x$n 2>/dev/null; do n=$((n+1)); done; done; echo $n; \
        rmdir /sys/fs/cgroup/x* /sys/fs/cgroup/*/x* 2>/dev/null; true";
        let done = session.sh("node1", script);
        let made: u32 = done.stdout.trim().parse().expect("a count");
        assert!(made <= 256, "{made} groups were made");
    });
}
