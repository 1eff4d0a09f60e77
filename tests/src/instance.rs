//! An instance of the product, started for one test.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::setting;

/// How long to wait for what takes a second or two before a test gives up: a
/// minute, times `DRYDOCK_SLOW` where that is set, for an emulated machine.
///
/// # Panics
/// When `DRYDOCK_SLOW` is not a number.
pub fn guard() -> Duration {
    let slow = std::env::var("DRYDOCK_SLOW").map_or(1, |times| {
        times.parse().unwrap_or_else(|_| panic!("DRYDOCK_SLOW is {times}, not a whole number"))
    });
    Duration::from_secs(60) * slow
}

/// `drydock up` with a state directory and a port of its own, on the
/// catalogue that `./dev` made.
pub struct Instance {
    /// Where it listens.
    pub port: u16,
    server: Child,
    state: TempDir,
}

impl Instance {
    /// Starts one and waits until it answers.
    pub fn start() -> Instance {
        let state = tempfile::Builder::new().prefix("dd").tempdir().expect("a state directory can be made");
        share_catalogue(state.path());
        let port = free_port();
        let server = serve(state.path(), port);
        let mut instance = Instance { port, server, state };
        instance.wait_until_up();
        instance
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// The PID of `drydock up`.
    pub fn pid(&self) -> i32 {
        self.server.id() as i32
    }

    /// The PIDs of `drydock host` and `drydock web`, by the word on their
    /// command line.
    pub fn part(&self, word: &str) -> i32 {
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(children).expect("the server runs");
        let is_part = |pid: &&str| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
        };
        let found = children.split_whitespace().find(is_part).unwrap_or_else(|| panic!("no {word} process"));
        found.parse().expect("a PID is a number")
    }

    /// Kills the server with SIGKILL and starts it again on the same state.
    pub fn kill_and_restart(&mut self) {
        let parts = [self.part("host"), self.part("web"), self.pid()];
        for pid in parts {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the server runs");
        }
        self.server.wait().expect("the server can be reaped");
        eventually("the old server is gone", || {
            parts.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists())
        });
        self.server = serve(self.state.path(), self.port);
        self.wait_until_up();
    }

    fn wait_until_up(&mut self) {
        eventually("the server answers", || {
            if let Some(status) = self.server.try_wait().expect("the server is our child") {
                panic!("the server ended with {status}");
            }
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
                && self.drydock(&["session", "list", "--json"]).status.success()
        });
    }

    /// Runs `drydock ARGUMENTS` against this instance.
    pub fn drydock(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("drydock can be run")
    }

    /// `drydock ARGUMENTS` against this instance, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(setting("DRYDOCK_BIN"));
        command.env("DRYDOCK_STATE_DIR", self.state.path()).args(arguments);
        command
    }

    /// Makes a session without a browser.
    pub fn session(&self, options: &[&str]) -> Session<'_> {
        let output = self.drydock(&[&["session", "create", "--json"], options].concat());
        assert!(
            output.status.success(),
            "session create failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let session: Value = serde_json::from_slice(&output.stdout).expect("session create prints JSON");
        let id = session["id"].as_str().expect("a session has an id").to_owned();
        Session { instance: self, id, json: session }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.drydock(&["session", "rm", "--all"]);
        // Each of these may have happened already, in a test of just that.
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        let _ = self.server.wait();
        let _ = umount2(&self.state.path().join("store"), MntFlags::MNT_DETACH);
    }
}

/// A session, removed with its instance.
pub struct Session<'a> {
    instance: &'a Instance,
    /// Its id.
    pub id: String,
    /// What `session create --json` printed.
    pub json: Value,
}

impl Session<'_> {
    /// Runs a script with bash in a node, as a learner's shell would.
    pub fn sh(&self, node: &str, script: &str) -> Done {
        self.exec(node, &["bash", "-c", script], b"")
    }

    /// Runs a command in a node with this stdin.
    pub fn exec(&self, node: &str, command: &[&str], input: &[u8]) -> Done {
        let head = ["session", "exec", &self.id, node, "--"];
        let mut child = self
            .instance
            .command(&[&head[..], command].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("drydock can be run");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        let input = input.to_vec();
        // A thread, since the command may print before it has read everything;
        // one that ends early may leave input unread.
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("drydock can be waited for");
        let _ = writer.join().expect("the writer does not panic");
        Done::from(output)
    }

    /// Copies a file of this machine into a node.
    pub fn upload(&self, node: &str, file: &Path, to: &str) {
        let bytes =
            std::fs::read(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        let script = format!("cat > {to} && chmod 755 {to}");
        let done = self.exec(node, &["bash", "-c", &script], &bytes);
        assert_eq!(done.status, 0, "upload failed: {done:?}");
    }

    /// Asserts that the node still works: a command, and a container.
    pub fn works(&self, node: &str) {
        let done = self.sh(node, "docker run --rm busybox echo still here");
        assert!(done.stdout.contains("still here"), "{node} no longer works: {done:?}");
    }

    /// The directory of the instance's sockets; its last part is the instance's
    /// name, which every kernel object of it carries.
    pub fn run_dir(&self) -> PathBuf {
        let socket = self.docker_host(0);
        let path = Path::new(socket.trim_start_matches("unix://"));
        // RUN/s/SESSION/NODE/docker.sock
        path.ancestors().nth(4).expect("the socket lies in the run directory").to_owned()
    }

    /// The instance's name.
    pub fn instance_name(&self) -> String {
        self.run_dir()
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a run directory has a name")
            .to_owned()
    }

    /// The host path of a node's Docker socket.
    pub fn docker_host(&self, node: usize) -> String {
        let value = &self.json["nodes"][node]["docker_host"];
        value.as_str().expect("a node has a docker_host").to_owned()
    }
}

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its exit status.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Done {
    /// Both outputs.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Done {
        Done {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Waits for something to be true.
///
/// # Panics
/// When it is not within [`guard`].
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + guard();
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The catalogue is shared by all tests, read-only.
fn share_catalogue(state: &Path) {
    let store = state.join("store");
    std::fs::create_dir(&store).expect("the store's place can be made");
    let catalogue = setting("DRYDOCK_STORE");
    mount(Some(&catalogue), &store, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .unwrap_or_else(|error| panic!("cannot bind the catalogue {}: {error}", catalogue.display()));
}

fn serve(state: &Path, port: u16) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(state.join("test.log"));
    let log = log.expect("a log can be opened");
    Command::new(setting("DRYDOCK_BIN"))
        .args(["up", "--listen", &format!("127.0.0.1:{port}")])
        .env("DRYDOCK_STATE_DIR", state)
        .env("DRYDOCK_NODE_BINARY", setting("DRYDOCK_NODE_BINARY"))
        .env("DRYDOCK_LABS", setting("DRYDOCK_LABS"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor can be copied"))
        .stderr(log)
        .spawn()
        .expect("drydock can be run")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("a socket has an address").port()
}
