//! The keeper, with the test as its engine on the other end of the socket.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::BorrowedFd,
};

use drydock_protocol::{cgroup, event::Event};
use drydock_sandbox::fdpass;
use tokio::task::LocalSet;

use super::*;

/// What a test's engine says and hears.
struct Engine(Packets);

impl Engine {
    /// Says hello to a keeper that serves from now on.
    async fn start(keeper: &Rc<Keeper>) -> Engine {
        let (ours, theirs) = fdpass::packet_pair().unwrap();
        let (keeper, packets) = (keeper.clone(), Packets::new(theirs).unwrap());
        tokio::task::spawn_local(async move { keeper.serve(packets).await.unwrap() });
        let engine = Engine(Packets::new(ours).unwrap());
        engine.ask(&ToKeeper::Hello(Hello::OURS), &[]).await;
        assert_eq!(engine.hear().await.0, ToEngine::Hello(Hello::OURS));
        assert_eq!(engine.hear().await.0, ToEngine::Watched { watched: false });
        engine
    }

    async fn ask(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) {
        self.0.send(&serde_json::to_vec(message).unwrap(), fds).await.unwrap();
    }

    async fn hear(&self) -> (ToEngine, Vec<OwnedFd>) {
        let (bytes, fds) = self.0.recv(MAX).await.unwrap().expect("the keeper closed the connection");
        (serde_json::from_slice(&bytes).unwrap(), fds)
    }

    async fn spawn(&self, key: &str, args: [&str; 2], fds: &[BorrowedFd<'_>]) -> ToEngine {
        let args = args.map(str::to_owned).to_vec();
        let message = ToKeeper::Spawn { seq: 5, key: key.into(), args, namespaces: 0, cgroup: None };
        self.ask(&message, fds).await;
        self.hear().await.0
    }
}

/// A keeper whose children are shells, and its reaper at work.
fn keeper() -> Rc<Keeper> {
    let shell = Rc::new(Executable::at("/bin/sh".as_ref()).unwrap());
    let reaper = Rc::new(Reaper::default());
    let reaping = reaper.clone();
    tokio::task::spawn_local(async move { reaping.run().await });
    Keeper::new(shell, reaper, Events::new(), Relay::new())
}

#[tokio::test(flavor = "current_thread")]
async fn children_statuses_and_descriptors_outlive_an_engine() {
    LocalSet::new().run_until(outlive()).await;
}

async fn outlive() {
    let keeper = keeper();
    let engine = Engine::start(&keeper).await;
    let (stdin, mut to_child) = std::io::pipe().unwrap();
    let (read, mut write) = std::io::pipe().unwrap();
    let null = File::open("/dev/null").unwrap();
    let answer = engine
        .spawn("container/a", ["-c", "read x; exit 9"], &[stdin.as_fd(), null.as_fd(), null.as_fd()])
        .await;
    assert!(matches!(answer, ToEngine::Spawned { seq: 5, pid } if pid > 1));
    engine.ask(&ToKeeper::Park { key: "container/a".into(), name: "stdout".into() }, &[read.as_fd()]).await;
    let again = engine.spawn("container/a", ["-c", "true"], &[]).await;
    assert_eq!(again, ToEngine::SpawnFailed { seq: 5, error: "container/a is running".into() });
    drop(engine);

    let engine = Engine::start(&keeper).await;
    engine.ask(&ToKeeper::List, &[]).await;
    let (process, fds) = engine.hear().await;
    assert!(matches!(process, ToEngine::Process { ref key, exited: None, .. } if key == "container/a"));
    assert_eq!(fds.len(), 1);
    let (parked, mut fds) = engine.hear().await;
    assert_eq!(parked, ToEngine::Parked { key: "container/a".into(), name: "stdout".into() });
    assert_eq!(engine.hear().await.0, ToEngine::Listed);
    write.write_all(b"x").unwrap();
    let mut byte = [0];
    File::from(fds.pop().unwrap()).read_exact(&mut byte).unwrap();
    drop(engine);
    // It ends while no engine is there to hear of it.
    let pid = keeper.processes.borrow()["container/a"].pid;
    to_child.write_all(b"\n").unwrap();
    while keeper.reaper.has(pid) {
        tokio::task::yield_now().await;
    }

    let engine = Engine::start(&keeper).await;
    engine.ask(&ToKeeper::Unpark { key: "container/a".into(), name: None }, &[]).await;
    engine.ask(&ToKeeper::List, &[]).await;
    let (process, fds) = engine.hear().await;
    assert!(matches!(process, ToEngine::Process { exited: Some((9, _)), .. }), "{process:?}");
    assert!(fds.is_empty());
    assert_eq!(engine.hear().await.0, ToEngine::Listed);
    engine.ask(&ToKeeper::Forget { key: "container/a".into() }, &[]).await;
    engine.ask(&ToKeeper::List, &[]).await;
    assert_eq!(engine.hear().await.0, ToEngine::Listed);
}

#[tokio::test(flavor = "current_thread")]
async fn an_engine_hears_of_exits_and_of_watchers_and_its_events_are_numbered() {
    LocalSet::new()
        .run_until(async {
            let keeper = keeper();
            let engine = Engine::start(&keeper).await;
            engine.spawn("exec/b", ["-c", "kill -9 $$"], &[]).await;
            assert!(
                matches!(engine.hear().await.0, ToEngine::Exited { key, status: 137, .. } if key == "exec/b")
            );
            let mut watcher = keeper.events.watch(0);
            assert_eq!(engine.hear().await.0, ToEngine::Watched { watched: true });
            let what = What::Image { name: "busybox".into(), action: "pull".into() };
            engine.ask(&ToKeeper::Event(what.clone()), &[]).await;
            watcher.next().await;
            let event: Event = serde_json::from_slice(&watcher.next().await).unwrap();
            assert_eq!((event.seq, event.what), (2, what));
            drop(watcher);
            assert_eq!(engine.hear().await.0, ToEngine::Watched { watched: false });
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn cgroup_requests_wait_for_host_and_come_back_with_descriptors() {
    LocalSet::new().run_until(cgroups()).await;
}

async fn cgroups() {
    let keeper = keeper();
    let engine = Engine::start(&keeper).await;
    let action = cgroup::Action::Make(cgroup::Limits::default());
    engine.ask(&ToKeeper::Cgroup(cgroup::Request { seq: 70, group: 3, action: action.clone() }), &[]).await;
    // A host that goes without having answered; then one that answers.
    for answers in [false, true] {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let relay = keeper.relay.clone();
        let serving = tokio::task::spawn_local(async move { relay.serve(theirs, Default::default()).await });
        let mut buffer = vec![0; 4096];
        let got = fdpass::recv_stream(&ours, &mut buffer).await.unwrap();
        let mut read = buffer[..got.len].into();
        let (kind, payload) = drydock_agent::frames::take(&mut read, 4096).unwrap().unwrap();
        assert_eq!(kind, cgroup::ASK);
        let request: cgroup::Request = serde_json::from_slice(&payload).unwrap();
        assert_eq!((request.group, &request.action), (3, &action));
        if answers {
            let hierarchies = vec!["cpu".to_owned(), "memory".to_owned()];
            let answer = Answer { seq: request.seq, result: Ok(cgroup::Outcome::Made { hierarchies }) };
            let mut bytes = Vec::new();
            drydock_protocol::frame::write(&mut bytes, cgroup::ANSWER, &serde_json::to_vec(&answer).unwrap());
            fdpass::send_stream(&ours, &bytes, &[ours.as_fd(), ours.as_fd()]).await.unwrap();
            let (heard, fds) = engine.hear().await;
            assert_eq!(heard, ToEngine::Cgroup(Answer { seq: 70, ..answer }));
            assert_eq!(fds.len(), 2);
        }
        drop(ours);
        serving.await.unwrap().unwrap();
    }
}
