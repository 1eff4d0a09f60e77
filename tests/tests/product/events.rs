//! A node's stream of events: typed, numbered, and resumed from a number.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use drydock_protocol::agent::{EVENT, HELLO, REQUEST, Request};
use drydock_protocol::event::{Event, What};
use drydock_protocol::{Hello, frame};
use drydock_tests::instance::{Instance, Session, guard};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Somebody who watches a node.
struct Watcher(UnixStream);

impl Watcher {
    fn of(session: &Session<'_>, after: u64) -> Watcher {
        let path = session.run_dir().join("s").join(&session.id).join("node1").join("agent.sock");
        let mut stream = UnixStream::connect(path).expect("the agent listens");
        stream.set_read_timeout(Some(guard())).expect("a timeout can be set");
        let mut out = Vec::new();
        let json = |value: Result<Vec<u8>, serde_json::Error>| value.expect("requests are JSON");
        frame::write(&mut out, HELLO, &json(serde_json::to_vec(&Hello::OURS)));
        frame::write(&mut out, REQUEST, &json(serde_json::to_vec(&Request::Events { after })));
        stream.write_all(&out).expect("the agent takes the request");
        Watcher(stream)
    }

    fn next(&mut self) -> Event {
        loop {
            let mut head = [0; frame::HEAD];
            self.0.read_exact(&mut head).expect("an event comes");
            let (kind, length) = frame::head(head).expect("a frame is bounded");
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).expect("a frame is whole");
            if kind == EVENT {
                return serde_json::from_slice(&payload).expect("an event is typed JSON");
            }
        }
    }

    /// The first event that `wanted` takes; the numbers up to it count up.
    fn until(&mut self, wanted: impl Fn(&What) -> bool) -> Event {
        let mut last = 0;
        loop {
            let event = self.next();
            assert!(event.seq > last, "event {} after {last}", event.seq);
            last = event.seq;
            if wanted(&event.what) {
                return event;
            }
        }
    }
}

#[test]
fn a_watcher_sees_containers_and_their_namespaces() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let mut watcher = Watcher::of(&session, 0);
    session.sh("node1", "docker run -d --name seen busybox sleep 1000");
    let started = watcher.until(|what| matches!(what, What::Container { action, .. } if action == "start"));
    let What::Container { name, image, pid, .. } = started.what else { unreachable!("it was matched") };
    assert_eq!((name.as_str(), image.as_str()), ("seen", "busybox"));
    let pid = pid.expect("a started container has a PID");
    let list = watcher.until(|what| match what {
        What::Processes { processes } => processes.iter().any(|process| process.pid == pid),
        _ => false,
    });
    let What::Processes { processes } = list.what else { unreachable!("it was matched") };
    let seen = processes.iter().find(|process| process.pid == pid).expect("it was matched");
    assert_eq!((seen.inner_pid, seen.name.as_str()), (1, "sleep"));
    let inode = session.sh("node1", &format!("stat -Lc %i /proc/{pid}/ns/net")).stdout;
    assert_eq!(seen.namespaces.get("net").map(u64::to_string).as_deref(), Some(inode.trim()));
    session.sh("node1", "docker rm -f seen");
    watcher.until(|what| matches!(what, What::Container { action, .. } if action == "destroy"));
    session.works("node1");
}

#[test]
fn numbers_go_on_through_a_restart_of_the_engine() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let mut watcher = Watcher::of(&session, 0);
    watcher.until(|what| matches!(what, What::EngineStarted));
    for pid in super::restarts::engines_of(&session.instance_name()) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the engine runs");
    }
    let ended = watcher.until(|what| matches!(what, What::EngineEnded { .. }));
    assert_eq!(ended.what, What::EngineEnded { status: 137 });
    let again = watcher.until(|what| matches!(what, What::EngineStarted));
    assert!(again.seq > ended.seq);
    let first = Watcher::of(&session, ended.seq).next();
    assert_eq!(first.seq, ended.seq + 1, "a watcher goes on after the number it names");
    session.works("node1");
}
