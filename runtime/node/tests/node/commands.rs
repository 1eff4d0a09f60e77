//! Commands, files, status, events and the end, over the agent socket.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
};

use drydock_agent::AgentError;
use drydock_protocol::{
    agent::{Exec, FromClient, ToClient},
    event::What,
    host::Features,
    node::CgroupFd,
    terminal::Size,
};

use crate::support::TestNode;

fn sh(script: &str) -> Exec {
    Exec { argv: ["/bin/bash", "-c", script].map(str::to_owned).to_vec(), ..Exec::default() }
}

#[tokio::test]
async fn a_command_has_stdin_two_outputs_and_a_status() {
    let node = TestNode::start();
    let output =
        node.agent().await.run(sh("cat; echo err >&2; pwd; exit 3"), b"in\n", 1 << 20).await.unwrap();
    assert_eq!(
        (output.status, &output.stdout[..], &output.stderr[..]),
        (3, &b"in\n/root\n"[..], &b"err\n"[..])
    );
    let merged = Exec { merge: true, ..sh("echo 1; echo 2 >&2; echo 3; kill -9 $$") };
    let output = node.agent().await.run(merged, b"", 1 << 20).await.unwrap();
    assert_eq!((output.status, &output.stdout[..]), (137, &b"1\n2\n3\n"[..]));
    let mut exec = Exec { argv: vec!["nosuch".into()], ..Exec::default() };
    let output = node.agent().await.run(exec.clone(), b"", 1000).await.unwrap();
    assert_eq!((output.status, &output.stderr[..]), (127, &b"nosuch: command not found\n"[..]));
    exec = Exec { cwd: Some("/nowhere".into()), ..sh("true") };
    assert_eq!(node.agent().await.run(exec, b"", 1000).await.unwrap().status, 126);
    exec = Exec {
        env: [("A".to_owned(), "b c".to_owned())].into(),
        cwd: Some("/usr".into()),
        ..sh("echo $A $PWD")
    };
    assert_eq!(node.agent().await.run(exec, b"", 1000).await.unwrap().stdout, b"b c /usr\n");
}

#[tokio::test]
async fn much_goes_through_in_both_directions_and_unread_stdin_holds_nothing_up() {
    let node = TestNode::start();
    let sent: Vec<u8> = (0..5_000_000u32).map(|number| number as u8).collect();
    let output = node.agent().await.run(sh("cat"), &sent, sent.len()).await.unwrap();
    assert!(output.stdout == sent && !output.truncated);
    let output = node.agent().await.run(sh("echo done"), &sent, 1000).await.unwrap();
    assert_eq!((output.status, &output.stdout[..]), (0, &b"done\n"[..]));
}

#[tokio::test]
async fn a_command_whose_time_is_up_is_killed_with_all_it_started() {
    let node = TestNode::start();
    let slow = Exec { timeout_ms: Some(300), ..sh("echo begun; sleep 7654321 & (setsid sleep 1 &); wait") };
    let output = node.agent().await.run(slow, b"", 1000).await.unwrap();
    assert_eq!((output.status, &output.stdout[..]), (124, &b"begun\n"[..]));
    let left = node.agent().await.run(sh("pgrep -f 'sleep 765432[1]'"), b"", 1000).await.unwrap();
    assert_eq!(left.status, 1);
}

#[tokio::test]
async fn a_client_that_goes_takes_its_command_with_it_but_what_was_left_behind_stays() {
    let node = TestNode::start();
    let output = node.agent().await.run(sh("sleep 8765432 & echo left"), b"", 1000).await.unwrap();
    assert_eq!((output.status, &output.stdout[..]), (0, &b"left\n"[..]));
    let mut running = node.agent().await.exec(sh("sleep 5432100 & echo $!; wait")).await.unwrap();
    assert!(matches!(running.recv().await.unwrap(), Some(ToClient::Stdout(_))));
    drop(running);
    let gone = "while pgrep -f 'sleep 543210[0]'; do sleep 0.01; done; pgrep -f 'sleep 876543[2]'";
    assert_eq!(node.agent().await.run(sh(gone), b"", 1 << 20).await.unwrap().status, 0);
}

#[tokio::test]
async fn a_command_may_have_a_terminal_and_get_signals() {
    let node = TestNode::start();
    let exec =
        Exec { tty: Some(Size { cols: 77, rows: 22 }), ..sh("stty size; read x; echo got $x; stty size") };
    let mut running = node.agent().await.exec(exec).await.unwrap();
    let mut said = String::new();
    while !said.contains("22 77") {
        let Some(ToClient::Stdout(bytes)) = running.recv().await.unwrap() else { panic!("{said}") };
        said.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    running.send(FromClient::Resize(Size { cols: 50, rows: 10 })).await.unwrap();
    running.send(FromClient::Stdin(b"word\r".to_vec())).await.unwrap();
    let status = loop {
        match running.recv().await.unwrap().unwrap() {
            ToClient::Stdout(bytes) => said.push_str(std::str::from_utf8(&bytes).unwrap()),
            ToClient::Exit(status) => break status,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(status, 0);
    assert!(said.ends_with("got word\r\n10 50\r\n"), "{said:?}");
    let mut running = node
        .agent()
        .await
        .exec(sh("trap 'exit 9' USR1; echo ready; while :; do sleep 0.01; done"))
        .await
        .unwrap();
    running.recv().await.unwrap();
    running.send(FromClient::Signal(libc::SIGUSR1)).await.unwrap();
    assert_eq!(running.recv().await.unwrap(), Some(ToClient::Exit(9)));
}

#[tokio::test]
async fn files_go_in_whole_and_come_out_within_their_limit() {
    let node = TestNode::start();
    let sent: Vec<u8> = (0..3_000_000u32).map(|number| (number >> 3) as u8).collect();
    node.agent().await.put("/root/new/file", 0o750, &sent).await.unwrap();
    assert_eq!(node.agent().await.get("/root/new/file", sent.len() as u64).await.unwrap(), sent);
    let refused = node.agent().await.get("/root/new/file", sent.len() as u64 - 1).await;
    assert!(matches!(refused, Err(AgentError::Refused(why)) if why.contains("longer than")));
    let mode =
        node.agent().await.run(sh("stat -c '%a %U' new/file; ls -A new | wc -l"), b"", 100).await.unwrap();
    assert_eq!(mode.stdout, b"750 root\n1\n");
    let refused = node.agent().await.put("/proc/no", 0o644, b"x").await;
    assert!(matches!(refused, Err(AgentError::Refused(why)) if why.starts_with("/proc/no: ")));
    node.agent().await.run(sh("mkfifo /root/fifo"), b"", 100).await.unwrap();
    assert!(node.agent().await.get("/root/fifo", 100).await.is_err());
    node.agent().await.put("/root/fifo", 0o644, b"now a file").await.unwrap();
    assert_eq!(node.agent().await.get("/root/fifo", 100).await.unwrap(), b"now a file");
}

#[tokio::test]
async fn what_runs_in_a_node_is_confined() {
    let node = TestNode::start();
    let script = "grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status; ls /proc/self/fd | wc -l; \
        ulimit -n; umask; unshare -U true 2>&1; echo $?; readlink /proc/1/exe; kill -9 1; echo alive; \
        ls /dev/pts; hostname; cat /etc/hosts /etc/resolv.conf; stat -c '%a' /run/docker.sock";
    let output = node.agent().await.run(Exec { merge: true, ..sh(script) }, b"", 1 << 20).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let mask = "00000000a82c35fb";
    assert!(
        said.contains(&format!(
            "CapEff:\t{mask}\nCapBnd:\t{mask}\nNoNewPrivs:\t0\nSeccomp:\t2\n4\n1024\n0022\n"
        )),
        "{said}"
    );
    assert!(said.contains("unshare failed") && said.contains("alive\nptmx\nnode1\n"), "{said}");
    assert!(said.contains("127.0.0.1\tlocalhost\n192.168.0.11\tnode1\nnameserver 192.168.0.1\n"), "{said}");
    assert!(said.ends_with("660\n"), "{said}");
}

/// A cgroup of the test's own in this hierarchy.
struct Group(PathBuf);

impl Group {
    fn new(hierarchy: &Path) -> Group {
        let group = Group(hierarchy.join(format!("drydock-node-test-{}", std::process::id())));
        std::fs::create_dir(&group.0).unwrap();
        group
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Killed processes leave a moment later; only empty groups go.
        for group in [self.0.join("shell"), self.0.clone()] {
            while group.exists() && std::fs::remove_dir(&group).is_err() {
                std::thread::yield_now();
            }
        }
    }
}

/// Commands and shells are in the group: it is the root of their namespace.
async fn assert_in_group(node: &TestNode, hierarchy: &str) {
    let output = node.agent().await.run(sh("cat /proc/self/cgroup"), b"", 1000).await.unwrap();
    let line = format!("{hierarchy}:/\n");
    assert!(String::from_utf8_lossy(&output.stdout).contains(&line), "{output:?}");
    let mut viewer = node.attach("1").await;
    let said = viewer.run("cat /proc/self/cgroup").await;
    assert!(said.contains(&format!("{hierarchy}:/\r\n")), "{said}");
}

#[tokio::test]
async fn commands_and_shells_enter_v1_cgroups_by_tasks_files() {
    let hierarchy = Path::new("/sys/fs/cgroup/pids");
    if !hierarchy.join("tasks").exists() {
        // Then this is a v2 machine, and the next test is the one for it.
        assert!(v2_hierarchy().join("cgroup.procs").exists());
        return;
    }
    let group = Group::new(hierarchy);
    let tasks = OpenOptions::new().write(true).open(group.0.join("tasks")).unwrap();
    let kind = CgroupFd::V1Tasks { controllers: "pids".into() };
    let node = TestNode::with_groups(Features::default(), vec![(kind, tasks.into())]);
    assert_in_group(&node, ":pids").await;
    assert!(!std::fs::read_to_string(group.0.join("tasks")).unwrap().is_empty());
    drop(node);
}

#[tokio::test]
async fn commands_and_shells_start_in_a_v2_cgroup() {
    let group = Group::new(&v2_hierarchy());
    let inner = File::open(&group.0).unwrap();
    let node = TestNode::with_groups(Features::default(), vec![(CgroupFd::V2Dir, inner.into())]);
    assert_in_group(&node, "0:").await;
    assert!(!std::fs::read_to_string(group.0.join("shell/cgroup.procs")).unwrap().is_empty());
    drop(node);
}

fn v2_hierarchy() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    mount.expect("no cgroup2 is mounted on this machine").split(' ').nth(1).unwrap().into()
}

#[tokio::test]
async fn events_are_numbered_and_the_node_ends_when_it_is_told_to() {
    let node = TestNode::start();
    let mut viewer = node.attach("main").await;
    viewer.run("true").await;
    let mut events = node.agent().await.events(0).await.unwrap();
    let mut seqs = Vec::new();
    loop {
        let event = events.next().await.unwrap().unwrap();
        seqs.push(event.seq);
        if event.what == (What::TerminalOpened { terminal: "main".into() }) {
            break;
        }
    }
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{seqs:?}");
    let status = node.agent().await.status().await.unwrap();
    assert_eq!(status.terminals, ["main"]);
    let mut stubborn =
        node.agent().await.exec(sh("trap '' TERM HUP; echo ready; while :; do sleep 1; done")).await.unwrap();
    stubborn.recv().await.unwrap();
    node.agent().await.shutdown(100).await.unwrap();
    node.ended();
    while events.next().await.unwrap().is_some() {}
}
