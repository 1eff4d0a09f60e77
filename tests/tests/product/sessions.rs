//! The `drydock session` command, for people without a browser.

use drydock_tests::instance::{Instance, eventually};

#[test]
fn exec_passes_stdin_output_and_exit_status() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let done = session.exec("node1", &["sh", "-c", "cat; echo err >&2; exit 7"], b"from outside");
    assert_eq!((done.status, done.stdout.as_str(), done.stderr.as_str()), (7, "from outside", "err\n"));
    let much = vec![b'x'; 3_000_000];
    let done = session.exec("node1", &["wc", "-c"], &much);
    assert_eq!(done.stdout.trim(), "3000000");
}

#[test]
fn exec_keeps_the_order_of_outputs_that_share_a_file() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let both = instance.state_dir().join("both");
    let file = std::fs::File::create(&both).expect("a file can be made");
    let script = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done";
    let status = instance
        .command(&["session", "exec", &session.id, "node1", "--", "sh", "-c", script])
        .stdin(std::process::Stdio::null())
        .stdout(file.try_clone().expect("a descriptor can be copied"))
        .stderr(file)
        .status()
        .expect("drydock can be run");
    assert!(status.success());
    let expected: String = (1..10).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(std::fs::read_to_string(both).expect("the file can be read"), expected);
}

#[test]
fn a_node_is_stopped_started_reset_and_killed() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    let verb = |verb: &str| {
        let output = instance.drydock(&["session", verb, &session.id, "node1"]);
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    };
    session.sh("node1", "echo kept >/root/note");
    verb("stop");
    assert_eq!(session.sh("node1", "true").status, 125, "a stopped node runs commands");
    verb("start");
    assert_eq!(session.sh("node1", "cat /root/note").stdout, "kept\n", "the disk outlives a stop");
    verb("kill");
    verb("start");
    session.works("node1");
    let address = session.sh("node1", "ip -br addr show eth0").stdout;
    verb("reset");
    assert_ne!(session.sh("node1", "cat /root/note").status, 0, "a reset keeps files");
    assert_eq!(
        session.sh("node1", "ip -br addr show eth0").stdout.split('@').next(),
        address.split('@').next()
    );
    assert_eq!(session.sh("node2", "ping -c1 -W5 node1").status, 0, "node1 is not back on the network");
    session.works("node1");
}

#[test]
fn a_removed_session_is_gone() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    assert!(instance.drydock(&["session", "rm", &session.id]).status.success());
    eventually("the session is gone", || {
        let list = instance.drydock(&["session", "list", "--json"]);
        !String::from_utf8_lossy(&list.stdout).contains(&session.id)
    });
    assert_ne!(session.sh("node1", "true").status, 0);
}
