//! The `drydock session` command, for people without a browser.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use drydock_tests::instance::{Instance, eventually};
use nix::pty::{Winsize, openpty};

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
fn exec_of_a_command_that_is_too_long_says_so() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let argument = "x".repeat(100_000);
    let done = session.exec("node1", &[&["true"][..], &[argument.as_str(); 12]].concat(), b"");
    assert_eq!(done.status, 125, "not run: {}", done.stderr);
    assert!(done.stderr.contains("a node takes 1048576 at most"), "{}", done.stderr);
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
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a descriptor can be copied"))
        .stderr(file)
        .status()
        .expect("drydock can be run");
    assert!(status.success());
    let expected: String = (1..10).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(std::fs::read_to_string(both).expect("the file can be read"), expected);
}

fn window(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

#[test]
fn exec_on_a_terminal_gives_the_command_one_that_follows_its_size() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let pty = openpty(Some(&window(33, 99)), None).expect("a pseudo terminal can be made");
    let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a descriptor can be copied"));
    let script = "trap 'echo now $(stty size)' WINCH; echo first $(stty size); while :; do sleep 0.1; done";
    let mut command =
        instance.command(&["session", "exec", &session.id, "node1", "--", "bash", "-c", script]);
    command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
    // SAFETY: two system calls between fork and exec, nothing allocates.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            nix::errno::Errno::result(nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0))?;
            Ok(())
        });
    }
    let mut child = command.spawn().expect("drydock can be run");
    drop(pty.slave);
    let mut master = std::fs::File::from(pty.master);
    read_until(&mut master, "first 33 99");
    // SAFETY: TIOCSWINSZ reads one winsize from the pointer.
    let resized = unsafe { nix::libc::ioctl(master.as_raw_fd(), nix::libc::TIOCSWINSZ, &window(20, 70)) };
    assert_eq!(resized, 0, "the terminal can't be resized");
    read_until(&mut master, "now 20 70");
    // Ctrl-C is a byte here: the node's terminal turns it into a signal.
    master.write_all(b"\x03").expect("the terminal takes input");
    assert_eq!(child.wait().expect("drydock ends").code(), Some(130));
}

fn read_until(terminal: &mut std::fs::File, words: &str) {
    let mut seen = String::new();
    let mut piece = [0; 1024];
    while !seen.contains(words) {
        let read =
            terminal.read(&mut piece).unwrap_or_else(|error| panic!("no {words:?} in {seen:?}: {error}"));
        seen.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
}

#[test]
fn nodes_are_cut_joined_added_and_removed() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    let run = |words: &[&str]| {
        let output = instance.drydock(&[&["session"], words].concat());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let reaches = |name: &str| session.sh("node1", &format!("ping -c1 -W2 {name}")).status == 0;
    assert!(reaches("node2"));
    run(&["cut", &session.id, "node2"]);
    assert!(!reaches("node2"), "a cut node answers");
    assert_eq!(session.sh("node2", "true").status, 0, "a cut node no longer runs commands");
    run(&["join", &session.id, "node2"]);
    eventually("node2 is back", || reaches("node2"));
    run(&["add", &session.id]);
    eventually("node3 answers", || reaches("node3"));
    run(&["remove", &session.id, "node3"]);
    assert!(!reaches("node3"), "a removed node answers");
    session.works("node1");
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
