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
    state: State,
    programs: Programs,
    /// What the machine seems to say of itself since it was started again.
    pretended: Vec<PathBuf>,
}

/// The state directory. Before it is removed, whatever panicked, what is mounted
/// in it goes: the catalogue must never be removed through its mount.
struct State(TempDir);

impl State {
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let store = self.path().join("store");
        // Nothing may be mounted there yet, or any more.
        let _ = umount2(&store, MntFlags::MNT_DETACH);
        let is_bare = std::fs::read_dir(&store).is_ok_and(|mut entries| entries.next().is_none());
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
        if !is_bare {
            eprintln!("{} is left: the catalogue may still be mounted there", self.path().display());
            self.0.disable_cleanup(true);
        }
    }
}

/// What is run: the server's program and the node's.
struct Programs {
    server: PathBuf,
    node: PathBuf,
}

impl Instance {
    /// Starts one and waits until it answers.
    pub fn start() -> Instance {
        Instance::start_on(|_| {})
    }

    /// Starts one whose state directory is first made ready, by a mount say;
    /// what is mounted there goes with the instance.
    pub fn start_on(make_ready: impl FnOnce(&Path)) -> Instance {
        let state = tempfile::Builder::new().prefix("dd").tempdir().expect("a state directory can be made");
        let state = State(state);
        make_ready(state.path());
        share_catalogue(state.path());
        let port = free_port();
        let programs = Programs { server: setting("DRYDOCK_BIN"), node: setting("DRYDOCK_NODE_BINARY") };
        let server = serve(state.path(), port, &programs);
        let mut instance = Instance { port, server, state, programs, pretended: Vec::new() };
        instance.wait_until_up();
        instance
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// The instance's name, which every kernel object of it carries.
    pub fn name(&self) -> String {
        let base = self.state.path().file_name().expect("a state directory has a name");
        let prefix = format!("{}-", base.to_string_lossy().to_ascii_lowercase());
        let names = std::fs::read_dir("/run/drydock").expect("an instance runs").flatten();
        let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.find(|name| name.starts_with(&prefix)).expect("the instance has a run directory")
    }

    /// What `session list --json` says.
    ///
    /// # Panics
    /// When it says nothing.
    pub fn sessions(&self) -> Vec<Value> {
        let listed = self.drydock(&["session", "list", "--json"]);
        assert!(listed.status.success(), "no list: {}", String::from_utf8_lossy(&listed.stderr));
        serde_json::from_slice(&listed.stdout).expect("the list is JSON")
    }

    /// The state of a node, by the list.
    pub fn node_state(&self, session: &str, node: &str) -> Option<String> {
        let sessions = self.sessions();
        let session = sessions.iter().find(|listed| listed["id"] == session)?;
        let node = session["nodes"].as_array()?.iter().find(|listed| listed["name"] == node)?;
        node["state"].as_str().map(str::to_owned)
    }

    /// Mounts below the state directory that the tests made themselves.
    pub fn own_mounts(&self) -> Vec<PathBuf> {
        vec![self.state.path().to_owned(), self.state.path().join("store")]
    }

    /// The last lines of what the server said.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.state.path().join("test.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The PID of `drydock up`.
    pub fn pid(&self) -> i32 {
        self.server.id() as i32
    }

    /// The PIDs of `drydock host` and `drydock web`, by the word on their
    /// command line.
    pub fn part(&self, word: &str) -> i32 {
        let mut found = None;
        // It may just be started again.
        eventually(&format!("there is a process {word}"), || {
            found = self.part_if_any(word);
            found.is_some()
        });
        found.unwrap_or_else(|| unreachable!("it was waited for"))
    }

    /// As [`part`](Instance::part), but one may just be started again.
    pub fn part_if_any(&self, word: &str) -> Option<i32> {
        self.children().into_iter().find(|pid| arguments(*pid).iter().any(|argument| argument == word))
    }

    /// Kills the server with SIGKILL and starts it again on the same state.
    pub fn kill_and_restart(&mut self) {
        let parts = [self.part("host"), self.part("web"), self.pid()];
        for pid in parts {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the server runs");
        }
        self.start_again(&parts);
    }

    /// Kills `drydock up` with SIGKILL, which its children don't outlive, and
    /// starts it again. A part that was killed just now is first started by it,
    /// and dies again while it takes up its work.
    pub fn kill_and_restart_what_is_left(&mut self) {
        eventually("all parts are started again", || {
            let parts = ["host", "web"].map(|word| self.part_if_any(word));
            parts.iter().all(|part| part.is_some_and(|pid| !has_ended(pid)))
        });
        kill(Pid::from_raw(self.pid()), Signal::SIGKILL).expect("the server runs");
        // One that was just started again is none of the children that were.
        let parent = self.pid().to_string();
        let parts =
            processes().filter(|pid| arguments(*pid).windows(2).any(|two| two == ["--with-parent", &parent]));
        self.start_again(&parts.collect::<Vec<i32>>());
    }

    fn start_again(&mut self, parts: &[i32]) {
        self.server.wait().expect("the server can be reaped");
        // Whatever else it was just starting holds the port.
        eventually("the old server is gone", || {
            parts.iter().all(|pid| has_ended(*pid)) && TcpListener::bind(("127.0.0.1", self.port)).is_ok()
        });
        self.server = serve(self.state.path(), self.port, &self.programs);
        self.wait_until_up();
    }

    /// Ends the server in order and starts it again.
    pub fn end_and_start(&mut self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).expect("the server runs");
        self.start_again(&[]);
    }

    /// Ends the server in order and starts these programs in its place.
    pub fn replace(&mut self, server: &Path, node: &Path) {
        self.programs = Programs { server: server.to_owned(), node: node.to_owned() };
        self.end_and_start();
    }

    /// Does to this instance what a restart of the machine does: of all that is
    /// not on the disk nothing is left, and it is another boot.
    pub fn restart_the_machine(&mut self) {
        let name = self.name();
        let parts: Vec<i32> = self.children().into_iter().chain([self.pid()]).collect();
        for pid in &parts {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).expect("the server runs");
        }
        let group = format!("/drydock/{name}/");
        eventually("all processes of nodes have ended", || {
            let groups =
                |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            let left: Vec<i32> = processes().filter(|pid| groups(pid).contains(&group)).collect();
            for pid in &left {
                // It may have ended by itself.
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            left.iter().all(|pid| has_ended(*pid))
        });
        eventually("the kernel lets go of the disks", || {
            let devices = drydock_sandbox::loop_device::list().expect("loop devices can be listed");
            !devices.iter().any(|device| device.label.starts_with(&format!("{name} ")))
        });
        let run = Path::new("/run/drydock").join(&name);
        for entry in std::fs::read_dir(run.join("net")).expect("it is there").flatten() {
            umount2(&entry.path(), MntFlags::MNT_DETACH).expect("a namespace is mounted there");
        }
        std::fs::remove_dir_all(&run).expect("it can be removed");
        for lease in std::fs::read_dir("/run/drydock/ids").into_iter().flatten().flatten() {
            let owner = std::fs::read_to_string(lease.path()).unwrap_or_default();
            if Path::new(&owner).starts_with(self.state.path()) {
                std::fs::remove_file(lease.path()).expect("it can be removed");
            }
        }
        for root in std::fs::read_dir("/sys/fs/cgroup").expect("it is mounted").flatten() {
            remove_groups(&root.path().join("drydock").join(&name));
        }
        remove_groups(&Path::new("/sys/fs/cgroup/drydock").join(&name));
        self.pretend_a_new_boot();
        self.start_again(&parts);
    }

    /// Lets the machine say that it was started just now.
    fn pretend_a_new_boot(&mut self) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("the clock is past 1970").as_secs() + 60;
        let stat = std::fs::read_to_string("/proc/stat").expect("it can be read");
        let line = |line: &str| {
            if line.starts_with("btime ") { format!("btime {now}\n") } else { format!("{line}\n") }
        };
        let stat: String = stat.lines().map(line).collect();
        let boot = format!("{:08x}-0000-4000-8000-000000000000\n", now as u32);
        for (path, text) in [("/proc/stat", stat), ("/proc/sys/kernel/random/boot_id", boot)] {
            let file = self.state.path().join(path.rsplit('/').next().expect("a path has a name"));
            std::fs::write(&file, text).expect("a file can be written");
            mount(Some(&file), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .expect("it can be mounted");
            self.pretended.push(path.into());
        }
    }

    /// A node's first process, if it lives: its PID as the session's file has it.
    pub fn first_process(&self, session: &str, node: &str) -> Option<i32> {
        let file = self.state.path().join(format!("sessions/{session}.json"));
        let record: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
        let pid = record["processes"][node]["pid"].as_i64()? as i32;
        (!has_ended(pid)).then_some(pid)
    }

    /// PIDs of the children of `drydock up`.
    fn children(&self) -> Vec<i32> {
        let file = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(file).expect("the server runs");
        children.split_whitespace().map(|pid| pid.parse().expect("a PID is a number")).collect()
    }

    /// Waits until the server answers, after one of its parts was killed.
    pub fn wait_until_up(&mut self) {
        eventually("the server answers", || {
            if let Some(status) = self.server.try_wait().expect("the server is our child") {
                panic!("the server ended with {status}: {}", self.log());
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
        let mut command = Command::new(&self.programs.server);
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
        // Each of these may have happened already, in a test of just that.
        let _ = self.command(&["session", "rm", "--all"]).output();
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        let _ = self.server.wait();
        for path in &self.pretended {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
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

    /// Runs a script on `node1` that must work, and gives its stdout.
    ///
    /// # Panics
    /// When a command of it fails.
    pub fn ok(&self, script: &str) -> String {
        let done = self.sh("node1", &format!("set -e -o pipefail\n{script}"));
        assert_eq!(done.status, 0, "{script}\n{done:?}");
        done.stdout
    }

    /// Runs a script on `node1` that must fail, and gives what it printed.
    ///
    /// # Panics
    /// When it works.
    pub fn fails(&self, script: &str) -> String {
        let done = self.sh("node1", script);
        assert_ne!(done.status, 0, "{script}\n{done:?}");
        done.all()
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

/// All processes there are.
pub fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc can be read").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether a process has ended, and closed all it had open; reaped or not.
pub fn has_ended(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with(['Z', 'X']))
}

/// A process's command line; empty if it has ended.
pub fn arguments(pid: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
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

/// Removes a control group without processes, and all below it.
fn remove_groups(group: &Path) {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path());
        }
    }
    if group.exists() {
        eventually("a control group can be removed", || {
            std::fs::remove_dir(group).is_ok() || !group.exists()
        });
    }
}

fn serve(state: &Path, port: u16, programs: &Programs) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(state.join("test.log"));
    let log = log.expect("a log can be opened");
    Command::new(&programs.server)
        .args(["up", "--listen", &format!("127.0.0.1:{port}")])
        .env("DRYDOCK_STATE_DIR", state)
        .env("DRYDOCK_NODE_BINARY", &programs.node)
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
