//! Learners can't see each other.

use drydock_tests::attack::{PLAIN, attack};
use drydock_tests::http::request;
use drydock_tests::instance::eventually;

#[test]
fn t01_a_learner_sees_only_their_own_node() {
    attack(|instance, mine| {
        let other = instance.session(PLAIN);
        other.sh("node1", "touch /only-here; setsid sleep 4242 >/dev/null 2>&1 &");
        let seen = mine.sh(
            "node1",
            "ps -ef; ls /; cat /proc/net/unix /proc/mounts; hostname; ls /proc; losetup -a; \
         grep -rs . /sys/block/*/loop /sys/class/net",
        );
        for secret in ["sleep 4242", "only-here", other.id.as_str()] {
            assert!(!seen.stdout.contains(secret), "{secret} can be seen: {}", seen.stdout);
        }
        let state_dir = instance.state_dir().to_str().expect("the path is text");
        assert!(!seen.stdout.contains(state_dir), "a path of the host can be seen: {}", seen.stdout);
        other.works("node1");
    });
}

#[test]
fn t02_the_ids_of_others_answer_like_ids_that_do_not_exist() {
    attack(|instance, session| {
        let cookie = request(instance.port, "GET", "/", &[], "").cookie().expect("a learner gets a cookie");
        let origin = format!("http://localhost:{}", instance.port);
        let unknown = "a".repeat(26);
        let routes = [
            ("GET", "", ""),
            ("DELETE", "", ""),
            ("POST", "/extend", "{}"),
            ("POST", "/nodes", "{}"),
            ("POST", "/nodes/node1/reset", "{}"),
            ("POST", "/nodes/node1/kill", "{}"),
            ("DELETE", "/nodes/node1", ""),
            ("GET", "/nodes/node1/terminals/1?cols=80&rows=24", ""),
            ("GET", "/nodes/node1/files?path=/etc/hostname", ""),
            ("PUT", "/nodes/node1/files?path=/x", "x"),
            ("POST", "/setup", r#"{"lab":"namespaces","step":1}"#),
            ("POST", "/checks", r#"{"lab":"namespaces","step":1}"#),
            ("GET", "/events", ""),
        ];
        for (method, route, body) in routes {
            let ask = |id: &str| {
                let path = format!("/api/sessions/{id}{route}");
                let mut headers = vec![("Cookie", cookie.as_str()), ("Origin", origin.as_str())];
                headers.extend([("Sec-Fetch-Site", "same-origin"), ("Content-Type", "application/json")]);
                if route.contains("/terminals/") {
                    headers.extend([("Connection", "Upgrade"), ("Upgrade", "websocket")]);
                    headers.extend([
                        ("Sec-WebSocket-Version", "13"),
                        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                    ]);
                }
                let answer = request(instance.port, method, &path, &headers, body);
                (answer.status, answer.body.replace(id, "ID"))
            };
            let (theirs, nobodys) = (ask(&session.id), ask(&unknown));
            assert_eq!(theirs.0, 404, "{method} {route} of another's session: {theirs:?}");
            assert_eq!(theirs, nobodys, "{method} {route} tells whether a session exists");
        }
    });
}

#[test]
fn t03_one_learner_s_inotify_instances_are_not_another_s() {
    attack(|instance, greedy| {
        let other = instance.session(PLAIN);
        // inotify_init until it fails, and then a while of holding them.
        let take = "perl -e 'my $n = 0; $n++ while syscall(253) >= 0; print \"$n\\n\"; \
        open(F, \">/taken\"); print F $n; close F; sleep 1000' >/dev/null 2>&1 &";
        assert_eq!(greedy.sh("node1", &format!("setsid {take}")).status, 0);
        eventually("all are taken", || greedy.sh("node1", "test -s /taken").status == 0);
        let count = "perl -e 'my $n = 0; $n++ while $n < 50 && syscall(253) >= 0; print $n'";
        assert_eq!(other.sh("node1", count).stdout, "50", "another learner has too few");
        assert_eq!(greedy.sh("node1", count).stdout, "0", "there is no bound at all");
        let host = std::process::Command::new("sh").args(["-c", count]).output().expect("perl is installed");
        assert_eq!(host.stdout, b"50", "the host has too few");
        other.works("node1");
    });
}

#[test]
fn t05_keys_queues_and_shared_memory_are_a_node_s_own() {
    attack(|instance, session| {
        let other = instance.session(PLAIN);
        // System V and POSIX shared memory, a queue, and a file in each place.
        let leave = "perl -e 'shmget(4711, 4096, 01666) // die; msgget(4712, 01666) // die; \
            semget(4713, 1, 01666) // die'; echo secret >/dev/shm/others; true >/dev/mqueue/others";
        assert_eq!(other.sh("node1", leave).status, 0);
        let mine = session.sh("node1", "ipcs; ls /dev/shm /dev/mqueue; cat /proc/sysvipc/*");
        for secret in ["4711", "4712", "4713", "0x00001267", "0x00001268", "0x00001269", "others"] {
            assert!(!mine.stdout.contains(secret), "{secret} can be seen: {}", mine.stdout);
        }
        let take = "perl -e 'exit(defined(shmget(4711, 4096, 0666)) || defined(msgget(4712, 0666)) || \
            defined(semget(4713, 1, 0666)))'";
        assert_eq!(session.sh("node1", take).status, 0, "another's can be opened");
        // They are there for their owner, and for a key there is no call at all.
        assert_ne!(other.sh("node1", take).status, 0, "they were never there");
        session.upload("node1", &drydock_tests::setting("DRYDOCK_PROBE"), "/probe");
        let keys = session.sh("node1", "/probe sys keyctl add_key request_key; cat /proc/keys");
        assert_eq!(keys.stdout.lines().count(), 3, "{keys:?}");
        for line in keys.stdout.lines() {
            assert!(line.ends_with("=EPERM") || line.ends_with("=ENOSYS"), "{line}");
        }
    });
}

#[test]
fn t06_the_shared_store_can_be_neither_changed_nor_locked() {
    attack(|_, session| {
        let store = "/var/lib/drydock/store";
        for attempt in [
            format!("flock -n {store}/lock true"),
            format!("touch {store}/x"),
            format!("echo x >>{store}/index.json"),
            format!("mount -o remount,bind,rw {store}"),
            format!("umount -l {store}"),
        ] {
            assert_ne!(session.sh("node1", &attempt).status, 0, "this worked: {attempt}");
        }
    });
}
