//! A node for a test: the real binary as PID 1 of namespaces of its own.
//!
//! Its root is the machine's, with another `/etc`, `/root`, `/run`, `/dev/pts`
//! and `/proc`. Host's part (user namespace, disk, network) is tested where
//! host is.

use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
};

use drydock_agent::{Agent, Attached};
use drydock_protocol::{
    Hello,
    host::{Features, Limits},
    node::{CgroupFd, Spec},
    terminal::{FromViewer, Size, ToViewer},
};
use drydock_sandbox::spawn::{Child, Command, Executable};
use drydock_terminal::Terminal;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal};

/// What the machine's root needs before PID 1 may have it.
const PREPARE: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs scratch "$1"
mkdir "$1/upper" "$1/work"
cp -r "$2/etc/." "$1/upper"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc
mount -t tmpfs root /root
mount -t tmpfs run /run
mount -t proc proc /proc
mount -t devpts devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 /dev/pts
exec "$3" init
"#;

/// A running node; dropping it ends it.
pub(crate) struct TestNode {
    dir: tempfile::TempDir,
    child: Child,
    /// What PID 1 logged so far is read from here.
    log: PathBuf,
}

impl TestNode {
    pub(crate) fn start() -> TestNode {
        TestNode::with_groups(Features::default(), Vec::new())
    }

    /// One whose shells enter cgroups by these descriptors.
    pub(crate) fn with_groups(features: Features, groups: Vec<(CgroupFd, OwnedFd)>) -> TestNode {
        assert!(rustix::process::geteuid().is_root(), "these tests make namespaces: run them as root");
        let dir = tempfile::tempdir().unwrap();
        let scratch = dir.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let (kinds, fds): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
        let spec = memfd(&serde_json::to_vec(&spec(features, kinds)).unwrap());
        let agent = UnixListener::bind(dir.path().join("agent.sock")).unwrap();
        let docker = UnixListener::bind(dir.path().join("docker.sock")).unwrap();
        let (mut is_ready, ready) = std::io::pipe().unwrap();
        let log = dir.path().join("log");
        let (null, stderr) = (File::open("/dev/null").unwrap(), File::create(&log).unwrap());
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("files");
        let sh = Executable::at(Path::new("/bin/sh")).unwrap();
        let node = env!("CARGO_BIN_EXE_drydock-node");
        let paths = [scratch.to_str().unwrap(), files.to_str().unwrap(), node];
        let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWUTS;
        let child = Command::new(&sh, ["sh", "-c", PREPARE, "sh"].into_iter().chain(paths))
            .unwrap()
            .fds([null.as_fd(), stderr.as_fd(), stderr.as_fd()])
            .fds([spec.as_fd(), agent.as_fd(), docker.as_fd(), ready.as_fd()])
            .fds(fds.iter().map(AsFd::as_fd))
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .unwrap()
            .namespaces(namespaces as u64)
            .unwrap()
            .spawn()
            .unwrap();
        drop(ready);
        let node = TestNode { dir, child, log };
        let mut said = Vec::new();
        is_ready.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"1", "PID 1 did not get ready: {}", node.log());
        node
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// PID 1's PID outside.
    pub(crate) fn pid(&self) -> i32 {
        self.child.pid
    }

    pub(crate) async fn agent(&self) -> Agent {
        Agent::connect(self.dir.path().join("agent.sock")).await.unwrap()
    }

    pub(crate) async fn attach(&self, terminal: &str) -> Viewer {
        self.attach_as(terminal, Size { cols: 80, rows: 24 }, false).await
    }

    pub(crate) async fn attach_as(&self, terminal: &str, size: Size, view_only: bool) -> Viewer {
        let attached = self.agent().await.attach(terminal, size, view_only).await.unwrap();
        Viewer { attached, terminal: Terminal::new(size.cols, size.rows, 1000), offset: 0, seen: Vec::new() }
    }

    /// Waits until PID 1 has ended by itself.
    pub(crate) fn ended(&self) {
        let ended = rustix::process::waitid(WaitId::PidFd(self.child.pidfd.as_fd()), WaitIdOptions::EXITED);
        ended.unwrap();
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        // It may have ended, and been waited for.
        let _ = pidfd_send_signal(&self.child.pidfd, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(self.child.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

fn spec(features: Features, cgroups: Vec<CgroupFd>) -> Spec {
    Spec {
        hello: Hello::OURS,
        session: "testsession".into(),
        name: "node1".into(),
        address: [192, 168, 0, 11].into(),
        gateway: [192, 168, 0, 1].into(),
        features,
        limits: Limits::default(),
        cgroups,
    }
}

fn memfd(bytes: &[u8]) -> OwnedFd {
    let fd = rustix::fs::memfd_create("spec", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(bytes).unwrap();
    file.into()
}

/// Somebody who looks at a terminal, as the page does.
pub(crate) struct Viewer {
    pub(crate) attached: Attached,
    pub(crate) terminal: Terminal,
    pub(crate) offset: u64,
    /// All bytes of output since the snapshot.
    pub(crate) seen: Vec<u8>,
}

impl Viewer {
    pub(crate) async fn type_in(&mut self, keys: &str) {
        self.attached.send(FromViewer::Input(keys.into())).await.unwrap();
    }

    /// Takes in one frame and acknowledges it.
    pub(crate) async fn take(&mut self) -> Option<ToViewer> {
        let frame = self.attached.recv().await.unwrap()?;
        match &frame {
            ToViewer::Snapshot { offset, size, bytes } => {
                self.terminal = Terminal::from_dump(size.cols, size.rows, 1000, bytes);
                self.offset = *offset;
            }
            ToViewer::Output(bytes) => {
                self.terminal.feed(bytes);
                self.seen.extend_from_slice(bytes);
                self.offset += bytes.len() as u64;
                // The terminal may just have ended.
                let _ = self.attached.send(FromViewer::Ack(self.offset)).await;
            }
            ToViewer::Resized(size) => self.terminal.resize(size.cols, size.rows),
            ToViewer::Ended(_) | ToViewer::Refused(_) => {}
        }
        Some(frame)
    }

    /// Goes on until the screen is as wanted.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Terminal) -> bool) {
        while !is_so(&self.terminal) {
            let frame = self.take().await;
            assert!(frame.is_some(), "no {what}, but the end of: {:#?}", self.terminal.text());
        }
    }

    /// Goes on until the output since the snapshot holds these bytes.
    pub(crate) async fn until_seen(&mut self, wanted: &str) {
        while !self.seen.windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
            let frame = self.take().await;
            assert!(frame.is_some(), "no {wanted:?} in {:?}", String::from_utf8_lossy(&self.seen));
        }
    }

    /// Runs a command and waits for its exit status.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        self.seen.clear();
        self.type_in(&format!("{command}\r")).await;
        self.until_seen("\x1b]133;D;").await;
        self.until_seen("\x1b]133;B\x1b\\").await;
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}
