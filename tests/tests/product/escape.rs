//! A hostile root in a node tries to get out of it.

use drydock_tests::attack::{PLAIN, USERNS, attack, attack_kinds};
use drydock_tests::instance::{Instance, Session, eventually};
use drydock_tests::setting;

/// CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP
/// NET_BIND_SERVICE NET_ADMIN NET_RAW SYS_CHROOT SYS_PTRACE SYS_ADMIN MKNOD
/// AUDIT_WRITE SETFCAP, as bits.
const NODE_CAPABILITIES: u64 = 1 << 0
    | 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 10
    | 1 << 12
    | 1 << 13
    | 1 << 18
    | 1 << 19
    | 1 << 21
    | 1 << 27
    | 1 << 29
    | 1 << 31;

#[test]
fn e01_a_node_has_an_id_range_of_its_own() {
    attack(|instance, one| {
        let two = instance.session(PLAIN);
        let base = |session: &Session<'_>| -> u32 {
            let map = session.sh("node1", "cat /proc/self/uid_map").stdout;
            let words: Vec<&str> = map.split_whitespace().collect();
            assert_eq!((words.len(), words[0], words[2]), (3, "0", "65536"), "uid_map is {map:?}");
            words[1].parse().expect("the base is a number")
        };
        let (first, second) = (base(one), base(&two));
        assert!(first >= 100_000 && second >= 100_000);
        assert!(first.abs_diff(second) >= 65_536, "ranges overlap: {first} and {second}");
        for (session, base) in [(one, first), (&two, second)] {
            session.sh("node1", "setsid sleep 31337 >/dev/null 2>&1 &");
            eventually("the process runs", || !host_uids_of("sleep\u{0}31337").is_empty());
            for uid in host_uids_of("sleep\u{0}31337") {
                let ours = [first, second].iter().any(|base| (*base..*base + 65_536).contains(&uid));
                assert!(ours, "a process of a node runs with host uid {uid}");
            }
            let root = session.sh("node1", "stat -Lc %u /proc/self").stdout;
            assert_eq!(root.trim(), "0", "root of the node with base {base}");
            session.sh("node1", "pkill sleep");
        }
    });
}

/// Real uids on the host of the processes with this command line.
fn host_uids_of(command: &str) -> Vec<u32> {
    let mut uids = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc can be read").flatten() {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if !line.contains(command) {
            continue;
        }
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        uids.extend(
            uid.and_then(|line| line.split_whitespace().next()).and_then(|uid| uid.parse::<u32>().ok()),
        );
    }
    uids
}

#[test]
fn e02_a_learner_has_just_the_capabilities_of_a_node() {
    attack(|_, session| {
        for set in ["CapBnd", "CapEff", "CapPrm"] {
            let line = session.sh("node1", &format!("grep {set} /proc/self/status")).stdout;
            let hex = line.split_whitespace().nth(1).expect("the set has a value");
            let bits = u64::from_str_radix(hex, 16).expect("the set is hexadecimal");
            assert_eq!(bits, NODE_CAPABILITIES, "{set} is {bits:#x}");
        }
    });
}

#[test]
fn e03_no_nested_user_namespace_refills_the_bounding_set() {
    attack_kinds(&Instance::start(), &[PLAIN], |_, session| {
        let plain = session.sh("node1", "unshare -Ur sh -c 'grep CapBnd /proc/self/status'");
        assert_ne!(plain.status, 0, "unshare -Ur worked: {plain:?}");
        session.upload("node1", &setting("DRYDOCK_PROBE"), "/probe");
        for user in ["", "setpriv --reuid=1000 --regid=1000 --clear-groups "] {
            let done = session.sh("node1", &format!("{user}/probe newuser"));
            assert_eq!(done.stdout.lines().count(), 3, "{done:?}");
            for line in done.stdout.lines() {
                let (call, result) = line.split_once('=').expect("the probe prints NAME=RESULT");
                assert!(["EPERM", "ENOSPC", "ENOSYS"].contains(&result), "{call} answered {result} {user}");
            }
        }
    });
}

#[test]
fn e03_root_in_a_nested_user_namespace_gets_no_further() {
    attack_kinds(&Instance::start(), &[USERNS], |_, session| {
        let done = session.sh("node1", "unshare -Ur id -u");
        assert_eq!((done.status, done.stdout.trim()), (0, "0"), "{done:?}");
        for attempt in [
            "echo '|/x' >/proc/sys/kernel/core_pattern",
            "mount -t cgroup -o none,name=x c /mnt",
            "umount -l /proc/kcore",
            "mount -o remount,bind,rw /var/lib/drydock/store",
            "ls /.drydock/",
            "mknod /tmp/d b 254 0 && head -c1 /tmp/d",
            "dmesg",
            "mount -t ext4 /dev/loop0 /mnt",
            "ip link add drydock0 type dummy && ip link set drydock0 netns 1",
            "cat /proc/1/maps",
        ] {
            let done = session.exec("node1", &["unshare", "-Urm", "bash", "-c", attempt], b"");
            assert_ne!(done.status, 0, "this worked: {attempt}");
        }
        let nested = "unshare -Urnm bash -c 'grep Seccomp: /proc/self/status; mount -t tmpfs t /mnt; \
            nft list ruleset && echo filters; true'";
        let done = session.sh("node1", nested);
        assert!(done.stdout.contains("Seccomp:\t2") && !done.stdout.contains("filters"), "{done:?}");
    });
}

#[test]
fn e04_global_sysctls_are_out_of_reach() {
    attack(|_, session| {
        let watched =
            ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/panic", "/proc/sys/vm/overcommit_memory"];
        let before: Vec<String> =
            watched.iter().map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect();
        for attempt in [
            "echo '|/x' >/proc/sys/kernel/core_pattern",
            "echo b >/proc/sysrq-trigger",
            "echo 7 >/proc/sys/kernel/panic",
            "echo 1 >/proc/sys/vm/overcommit_memory",
            "unshare -pf --mount-proc sh -c 'echo x >/proc/sys/kernel/core_pattern'",
        ] {
            let done = session.sh("node1", attempt);
            assert_ne!(done.status, 0, "this worked: {attempt}");
        }
        let after: Vec<String> =
            watched.iter().map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect();
        assert_eq!(before, after);
    });
}

#[test]
fn e05_no_release_agent_and_no_limit_of_our_own_can_be_written() {
    attack(|_, session| {
        let done = session.sh("node1", "mount -t cgroup -o none,name=x c /mnt");
        assert_ne!(done.status, 0, "a named hierarchy could be made");
        let done = session.sh(
            "node1",
            "mount -t cgroup -o memory c /mnt && ls /mnt/release_agent; \
         find /mnt /sys/fs/cgroup -name release_agent 2>/dev/null | grep .",
        );
        assert!(!done.stdout.contains("release_agent"), "there is a release_agent: {done:?}");
        let done = session.sh(
        "node1",
        "for limit in $(find /mnt /sys/fs/cgroup -maxdepth 3 \
           '(' -name memory.limit_in_bytes -o -name pids.max -o -name memory.max ')' -not -path '*/c-*' 2>/dev/null); do \
           echo 999999999 >$limit && echo wrote $limit; done; true",
    );
        assert!(!done.stdout.contains("wrote"), "a limit could be written: {done:?}");
    });
}

#[test]
fn e06_what_the_host_mounted_cannot_be_undone() {
    attack(|_, session| {
        for attempt in [
            "umount -l /proc/timer_list",
            "umount -l /proc/kcore",
            "umount -l /proc",
            "mount -o remount,bind,rw /proc/sys",
            "mount --bind /proc /mnt",
            "umount -l /.drydock",
            "ls /.drydock/",
        ] {
            let done = session.sh("node1", attempt);
            assert_ne!(done.status, 0, "this worked: {attempt}");
        }
    });
}

#[test]
fn e08_no_descriptor_of_ours_reaches_a_container() {
    attack(|_, session| {
        assert_eq!(session.sh("node1", "docker run -d --name lives busybox sleep 1000").status, 0);
        for command in ["docker run --rm busybox", "docker exec lives"] {
            let seen = session.sh("node1", &format!("{command} ls /proc/self/fd"));
            // The fourth is the directory that `ls` reads.
            assert_eq!(seen.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{seen:?}");
            for number in 3..16 {
                let (tool, rest) = command.split_at(command.find(' ').expect("a space") + 1);
                let (verb, rest) = rest.split_at(rest.find(' ').expect("a space") + 1);
                let script = format!("{tool}{verb} -w /proc/self/fd/{number} {rest} ls ../../..");
                let done = session.sh("node1", &script);
                assert_ne!(done.status, 0, "this worked: {script}: {done:?}");
            }
        }
        let shell = session.sh("node1", "ls /proc/self/fd");
        assert_eq!(shell.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{shell:?}");
    });
}

#[test]
fn e12_a_privileged_container_is_no_more_than_the_node_s_root() {
    attack(|_, session| {
        let script = "docker run --rm --privileged --pid=host --net=host --cap-add=ALL \
        --security-opt seccomp=unconfined -v /:/h busybox \
        sh -c 'grep -E \"^(Seccomp|CapBnd):\" /proc/self/status; ls /h/etc/hostname; cat /h/etc/hostname; \
        ls /dev | grep -E \"^(loop|vd|sd|nvme|mem|kmsg)\"; cat /proc/1/maps'";
        let done = session.sh("node1", script);
        let bits = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1).unwrap_or(""), 16);
        let bounding = done.stdout.lines().find(|line| line.starts_with("CapBnd")).expect("CapBnd is there");
        assert_eq!(bits(bounding), Ok(NODE_CAPABILITIES), "{done:?}");
        assert!(done.stdout.contains("Seccomp:\t2"), "{done:?}");
        assert!(done.stdout.contains("node1"), "/h is not the node's root: {done:?}");
        assert!(done.stderr.contains("/proc/1/maps"), "PID 1 can be looked into: {done:?}");
        assert!(done.stdout.lines().all(|line| !line.starts_with("loop")), "a device of the host: {done:?}");
    });
}

#[test]
fn e13_no_device_nodes_and_no_kernel_log() {
    attack(|_, session| {
        for attempt in ["mknod /tmp/d b 254 0", "mknod /tmp/k c 1 11", "dmesg", "cat /dev/kmsg"] {
            let done = session.sh("node1", attempt);
            assert_ne!(done.status, 0, "this worked: {attempt}");
            let done = session.sh("node1", &format!("docker run --rm --privileged busybox {attempt}"));
            assert_ne!(done.status, 0, "this worked in a privileged container: {attempt}");
        }
    });
}

#[test]
fn e14_what_is_kernel_wide_is_refused() {
    let calls = "kexec_load kexec_file_load init_module finit_module delete_module bpf perf_event_open \
        userfaultfd io_uring_setup keyctl add_key request_key open_by_handle_at swapon reboot settimeofday \
        clock_settime acct syslog quotactl iopl";
    attack(|_, session| {
        session.upload("node1", &setting("DRYDOCK_PROBE"), "/probe");
        let privileged = format!("docker run --rm --privileged -v /probe:/probe busybox /probe sys {calls}");
        for script in [format!("/probe sys {calls}"), privileged] {
            let done = session.sh("node1", &script);
            assert_eq!(done.stdout.lines().count(), calls.split_whitespace().count(), "{done:?}");
            for line in done.stdout.lines() {
                assert!(line.ends_with("=EPERM") || line.ends_with("=ENOSYS"), "{line}");
            }
        }
    });
}

#[test]
fn e15_only_the_sockets_that_labs_need() {
    attack(|instance, session| {
        session.upload("node1", &setting("DRYDOCK_PROBE"), "/probe");
        let allowed = [
            "family 1=",
            "family 2=",
            "family 10=",
            "family 16=",
            "family 17=",
            "netlink 0=",
            "netlink 4=",
            "netlink 15=",
            "netlink 16=",
        ];
        for script in ["/probe sock", "docker run --rm --privileged -v /probe:/probe busybox /probe sock"] {
            let done = session.sh("node1", script);
            assert_eq!(done.stdout.lines().count(), 47 + 32, "{done:?}");
            for line in done.stdout.lines() {
                let may = allowed.iter().any(|prefix| line.starts_with(prefix));
                assert!(may || line.ends_with("=EAFNOSUPPORT"), "{line}");
            }
        }
        // The old tools need no netlink socket.
        for tool in ["iptables-legacy -L", "ip6tables-legacy -L", "iptables -L", "nft list ruleset"] {
            assert_ne!(session.sh("node1", tool).status, 0, "this worked: {tool}");
        }
        let other = instance.session(&["--netfilter"]);
        for tool in ["iptables -L", "nft list ruleset"] {
            let done = other.sh("node1", tool);
            assert_eq!(done.status, 0, "{tool} in a lab that asks for it: {done:?}");
        }
    });
}

#[test]
fn e18_no_filesystem_that_parses_what_a_learner_wrote() {
    attack(|_, session| {
        let script = "for t in $(awk '{print $NF}' /proc/filesystems) nfs cifs fuse; do \
        mount -t $t none /mnt 2>/dev/null && echo $t && umount /mnt; done; true";
        for script in [script, "dd if=/dev/zero of=/i bs=1M count=8 2>/dev/null; losetup -f --show /i"] {
            let done = session.sh("node1", script);
            // On v1 and hybrid machines the last but one is the group hierarchy that is there anyway.
            let may = [
                "overlay",
                "tmpfs",
                "ramfs",
                "proc",
                "sysfs",
                "devpts",
                "mqueue",
                "cgroup",
                "cgroup2",
                "cpuset",
                "binfmt_misc",
            ];
            for kind in done.stdout.lines() {
                assert!(may.contains(&kind), "a learner can mount {kind}");
            }
        }
    });
}

#[test]
fn e20_nobody_types_into_a_terminal_for_somebody_else() {
    attack(|_, session| {
        // TIOCSTI and TIOCLINUX, on a terminal of one's own.
        for request in ["0x5412", "0x541C"] {
            let attempt = format!(
                "perl -e 'my $c = \"x\"; print ioctl(STDIN, {request}, $c) ? \"typed\" : \"refused: $!\"'"
            );
            let done = session.sh(
                "node1",
                &format!("script -qec \"{}\" /dev/null", attempt.replace('"', "\\\"").replace('$', "\\$")),
            );
            assert!(done.stdout.contains("refused: Operation not permitted"), "{request}: {done:?}");
        }
    });
}
