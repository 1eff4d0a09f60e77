//! Terminals, as a browser would use them through `drydock web`.

use drydock_protocol::terminal::{FromViewer, Size, ToViewer, WINDOW};

use crate::support::TestNode;

#[tokio::test]
async fn a_learner_types_and_sees_and_a_second_look_shows_the_same_screen() {
    let node = TestNode::start();
    let mut viewer = node.attach("1").await;
    viewer.until("prompt", |screen| screen.text()[0].starts_with("root@node1:~#")).await;
    let said = viewer.run("echo $((6*7)) $TERM $COLORTERM $LANG; tty; ps -o pid= -p $$").await;
    assert!(said.contains("42 xterm-256color truecolor C.UTF-8\r\n/dev/pts/0\r\n"), "{said}");
    assert!(said.contains("\x1b]133;C\x1b\\") && said.contains("\x1b]133;D;0\x1b\\"), "{said:?}");
    viewer.run("printf '\\e[31mred\\e[0m'; false").await;
    let mut second = node.attach("1").await;
    assert!(matches!(second.take().await, Some(ToViewer::Snapshot { .. })));
    assert_eq!(second.offset, viewer.offset);
    assert_eq!(second.terminal.text(), viewer.terminal.text());
    assert_eq!(second.terminal.dump(), viewer.terminal.dump());
    assert_eq!(node.agent().await.terminals().await.unwrap(), ["1"]);
}

#[tokio::test]
async fn the_one_who_typed_last_decides_the_size_and_all_hear_of_it_in_order() {
    let node = TestNode::start();
    let mut first = node.attach_as("1", Size { cols: 100, rows: 30 }, false).await;
    first.run("stty size").await;
    assert!(String::from_utf8_lossy(&first.seen).contains("30 100"));
    let mut second = node.attach_as("1", Size { cols: 60, rows: 20 }, false).await;
    let mut watcher = node.attach_as("1", Size { cols: 10, rows: 10 }, true).await;
    let Some(ToViewer::Snapshot { size, .. }) = second.take().await else { panic!("no snapshot") };
    assert_eq!(size, Size { cols: 100, rows: 30 });
    watcher.type_in("echo not-this\r").await;
    second.run("stty size").await;
    let said = String::from_utf8_lossy(&second.seen).into_owned();
    assert!(said.contains("20 60") && !said.contains("not-this"), "{said}");
    first.until("resize", |screen| screen.size() == (60, 20)).await;
    first.attached.send(FromViewer::Resize(Size { cols: 90, rows: 40 })).await.unwrap();
    first.type_in("stty size\r").await;
    first.until_seen("40 90\r\n").await;
    drop(first);
    second.until("its own size again", |screen| screen.size() == (90, 40)).await;
    second.until("its own size again", |screen| screen.size() == (60, 20)).await;
}

#[tokio::test]
async fn a_flood_waits_for_its_viewer_and_starves_nobody() {
    let node = TestNode::start();
    let mut flooded = node.attach("1").await;
    flooded.until("prompt", |screen| screen.text()[0].contains('#')).await;
    flooded.type_in("yes\r").await;
    flooded.until_seen("y\r\ny\r\n").await;
    // Nothing is read any more: all that comes is what was under way.
    let mut other = node.attach("2").await;
    other.run("echo still here").await;
    let memory = rss_kib(node.pid());
    other.run("for i in 1 2 3 4 5; do echo $i; done").await;
    assert!(rss_kib(node.pid()) < memory + 2048);
    let unread = flooded.offset;
    flooded.type_in("\x03").await;
    flooded.until_seen("\x1b]133;D;130\x1b\\").await;
    assert!(flooded.offset - unread <= 2 * WINDOW, "{} bytes after Ctrl-C", flooded.offset - unread);
    flooded.run("echo and here").await;
}

#[tokio::test]
async fn a_viewer_that_stalls_is_dropped_and_the_program_goes_on() {
    let node = TestNode::start();
    let mut stalled = node.attach("1").await;
    stalled.until("prompt", |screen| screen.text()[0].contains('#')).await;
    let mut other = node.attach("1").await;
    stalled.type_in("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo finished-$((1+1))\r").await;
    let refused = async {
        let mut last = None;
        while let Some(frame) = stalled.attached.recv().await.unwrap() {
            last = Some(frame);
        }
        last
    };
    // It reads, but acknowledges nothing; `other` is owed all the same.
    let (last, ()) = tokio::join!(refused, other.until_seen("finished-2"));
    assert!(last == Some(ToViewer::Refused("this viewer has stalled".into())));
}

#[tokio::test]
async fn a_shell_that_ends_says_so_and_the_next_look_makes_a_new_one() {
    let node = TestNode::start();
    let mut viewer = node.attach("1").await;
    viewer.type_in("echo last words; exit 7\r").await;
    let mut frames = Vec::new();
    while let Some(frame) = viewer.take().await {
        frames.push(frame);
    }
    assert_eq!(frames.last(), Some(&ToViewer::Ended(7)));
    assert!(String::from_utf8_lossy(&viewer.seen).contains("last words"));
    node.attach("1").await.run("echo again").await;
}

#[tokio::test]
async fn names_and_numbers_of_terminals_are_bounded_and_closing_ends_all_programs() {
    let node = TestNode::start();
    let mut refused = node.attach("../x").await;
    assert!(matches!(refused.take().await, Some(ToViewer::Refused(why)) if why.contains("name")));
    let mut viewers = Vec::new();
    for name in ["10", "9", "1", "2", "3", "4", "5", "6"] {
        let mut viewer = node.attach(name).await;
        viewer.take().await;
        viewers.push(viewer);
    }
    let names = node.agent().await.terminals().await.unwrap();
    assert_eq!(names, ["1", "2", "3", "4", "5", "6", "9", "10"]);
    let mut refused = node.attach("7").await;
    assert!(matches!(refused.take().await, Some(ToViewer::Refused(why)) if why.contains("8 terminals")));
    viewers[2].run("(trap '' HUP TERM; exec sleep 1234567) & disown").await;
    node.agent().await.close("1").await.unwrap();
    let exec = drydock_protocol::agent::Exec {
        argv: ["pgrep", "-f", "sleep 1234567"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    assert_eq!(node.agent().await.run(exec, b"", 1000).await.unwrap().status, 1);
    assert!(node.agent().await.close("1").await.is_err());
}

fn rss_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}
