//! Host as a process, on a state directory and a store of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    os::unix::{fs::chown, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use drydock_host::instance::Instance;
use drydock_image::{
    config::ImageConfig,
    digest::Digest,
    store::{ID_BASE, INDEX_VERSION, Image, Index, Layer},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const GUARD: Duration = Duration::from_secs(60);

/// Waits for something, at most [`GUARD`].
pub(crate) fn eventually(what: &str, mut happens: impl FnMut() -> bool) {
    let until = Instant::now() + GUARD;
    while !happens() {
        assert!(Instant::now() < until, "waited for too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running host; ended on drop, with its sessions.
pub(crate) struct Daemon {
    child: Child,
    state: tempfile::TempDir,
    instance: Instance,
}

impl Daemon {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> Daemon {
        assert!(nix::unistd::geteuid().is_root(), "this test makes namespaces and mounts: run it as root");
        let state = tempfile::Builder::new().prefix("ddhost").tempdir().unwrap();
        make_store(&state.path().join("store"));
        let instance = Instance::of(state.path());
        let child = run(state.path());
        let daemon = Daemon { child, state, instance };
        daemon.wait();
        daemon
    }

    /// As if the machine had no more memory for it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same state.
    pub(crate) fn restart(&mut self) {
        self.child = run(self.state.path());
        self.wait();
    }

    fn wait(&self) {
        eventually("host answers", || {
            UnixStream::connect(&self.instance.host_socket).is_ok() && self.ask("GET", "/v1", "").0 == 200
        });
    }

    /// The state directory.
    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// Makes a session whose nodes all run.
    pub(crate) fn created(&self, body: &str) -> Value {
        let session = self.ok("POST", "/v1/sessions", body);
        for node in session["nodes"].as_array().unwrap() {
            assert_eq!(node["state"], "running", "{node}");
        }
        session
    }

    /// Asks and expects success.
    pub(crate) fn ok(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = self.ask(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// Asks: status and answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(&self.instance.host_socket).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: host\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {text}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Waits until there is nothing more than before.
    pub(crate) fn comes_back_to(&self, before: &BTreeSet<String>) {
        let until = Instant::now() + GUARD;
        while self.traces() != *before {
            let now = self.traces();
            let (left, gone): (Vec<_>, Vec<_>) =
                (now.difference(before).collect(), before.difference(&now).collect());
            assert!(Instant::now() < until, "left behind: {left:#?}; gone: {gone:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything on the machine that carries the instance's name.
    pub(crate) fn traces(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let name = &self.instance.name;
        for root in fs::read_dir("/sys/fs/cgroup").unwrap() {
            walk(&root.unwrap().path().join("drydock").join(name), &mut found);
        }
        walk(&Path::new("/sys/fs/cgroup/drydock").join(name), &mut found);
        walk(&self.instance.run_dir, &mut found);
        for directory in ["sessions", "disks"] {
            walk(&self.state.path().join(directory), &mut found);
        }
        let ours =
            |line: &&str| line.contains(name.as_str()) || line.contains(self.state.path().to_str().unwrap());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        found.extend(mounts.lines().filter(ours).map(str::to_owned));
        let disks = drydock_sandbox::loop_device::list().unwrap().into_iter();
        found.extend(disks.map(|used| used.label).filter(|label| label.starts_with(name.as_str())));
        found.extend(processes_in(name));
        found
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            for session in self.ok("GET", "/v1/sessions", "").as_array().unwrap() {
                self.ask("DELETE", &format!("/v1/sessions/{}", session["id"].as_str().unwrap()), "");
            }
            kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
            self.child.wait().unwrap();
        }
    }
}

fn run(state: &Path) -> Child {
    let node = std::env::var_os("DRYDOCK_NODE_BINARY")
        .expect("DRYDOCK_NODE_BINARY names the node's program; `./dev test` builds it and sets it");
    Command::new(env!("CARGO_BIN_EXE_drydock-host")).arg(state).arg(node).arg("nobody").spawn().unwrap()
}

/// A store with nothing but a root that has directories.
fn make_store(store: &Path) {
    let diff_id = Digest::of(b"a root of directories");
    let layer = store.join("layers").join(diff_id.hex());
    for directory in ["", "etc", "proc", "root", "sys", "tmp", "usr/bin", "var/lib", "var/run"] {
        fs::create_dir_all(layer.join(directory)).unwrap();
    }
    let root = Image {
        manifest: Digest::of(b"manifest"),
        config_digest: Digest::of(b"config"),
        layers: vec![Layer {
            digest: Digest::of(b"blob"),
            diff_id,
            size: 0,
            unpacked_size: 0,
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
        }],
        config: ImageConfig::default(),
        size: 0,
    };
    let index = Index { version: INDEX_VERSION, node_root: Some(root), images: BTreeMap::new() };
    fs::write(store.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    give(store);
}

fn give(path: &Path) {
    chown(path, Some(ID_BASE), Some(ID_BASE)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

fn walk(path: &Path, found: &mut BTreeSet<String>) {
    let Ok(metadata) = path.symlink_metadata() else { return };
    found.insert(path.display().to_string());
    if metadata.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten();
        // What the kernel puts into a control group says nothing.
        let is_kernels = |path: &PathBuf| path.starts_with("/sys") && !path.is_dir();
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !is_kernels(path))
            .for_each(|path| walk(&path, found));
    }
}

fn processes_in(name: &str) -> Vec<String> {
    let group = format!("/drydock/{name}/");
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    pids.filter(|pid| {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&group))
    })
    .map(|pid| format!("process {pid}"))
    .collect()
}
