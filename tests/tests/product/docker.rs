//! The real Docker CLI against the engine, with two clients: the one on PATH
//! (28 on the developers' machines) and Debian 12's 20.10.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use drydock_tests::instance::{Done, Instance, eventually, guard};
use drydock_tests::setting;

/// A client from outside the node, on the socket that the session lends.
struct Cli {
    program: PathBuf,
    host: String,
}

impl Cli {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("DOCKER_HOST", &self.host).env("DOCKER_CLI_HINTS", "false");
        command.env("HOME", "/nonexistent").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        let output = self.command(arguments).output().expect("the Docker CLI can be run");
        Done::from(output)
    }

    /// Runs what must work, and gives its stdout.
    fn ok(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.status, 0, "docker {}: {done:?}", arguments.join(" "));
        done.stdout
    }

    /// Runs what must fail with this status, and gives its stderr.
    fn fails(&self, status: i32, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.status, status, "docker {}: {done:?}", arguments.join(" "));
        done.stderr
    }
}

fn with_cli(program: &Path, smoke: impl Fn(&Cli)) {
    let instance = Instance::start();
    let session = instance.session(&[]);
    smoke(&Cli { program: program.to_owned(), host: session.docker_host(0) });
    session.works("node1");
}

#[test]
fn the_smoke_test_passes_with_the_cli_on_path() {
    with_cli(&setting("DOCKER_CLI"), smoke);
}

#[test]
fn the_smoke_test_passes_with_debians_cli() {
    with_cli(&setting("DOCKER_CLI_20"), smoke);
}

fn smoke(cli: &Cli) {
    about_the_engine(cli);
    pulling(cli);
    running(cli);
    exit_codes(cli);
    a_life(cli);
    logs_and_exec(cli);
    limits(cli);
    networks(cli);
    inspecting(cli);
    exporting(cli);
}

fn about_the_engine(cli: &Cli) {
    assert!(cli.ok(&["version"]).contains("Server:"));
    assert!(cli.ok(&["info"]).contains("Containers: 0"));
    assert_eq!(cli.ok(&["images", "-q"]), "", "a fresh node lists no image");
    assert_eq!(cli.ok(&["ps", "-aq"]), "");
}

fn pulling(cli: &Cli) {
    let refused = cli.fails(1, &["pull", "nosuch"]);
    assert_eq!(
        refused.lines().last(),
        Some(
            "Error response from daemon: pull access denied for nosuch, repository does not exist or may require \
             'docker login': denied: requested access to the resource is denied"
        )
    );
    let pulled = cli.ok(&["pull", "busybox"]);
    for line in ["Using default tag: latest", "latest: Pulling from library/busybox", "Pull complete"] {
        assert!(pulled.contains(line), "no {line:?} in {pulled}");
    }
    assert!(pulled.contains("Status: Downloaded newer image for busybox:latest"), "{pulled}");
    assert!(cli.ok(&["pull", "busybox"]).contains("Status: Image is up to date for busybox:latest"));
    assert_eq!(cli.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]), "busybox:latest\n");
    assert!(
        cli.run(&["run", "--rm", "hello-world"]).stdout.contains("Docker"),
        "hello-world explains itself"
    );
}

fn running(cli: &Cli) {
    assert_eq!(cli.ok(&["run", "--rm", "busybox", "echo", "hi"]), "hi\n");
    assert_eq!(cli.ok(&["run", "--rm", "-e", "A=b", "busybox", "sh", "-c", "echo $A"]), "b\n");
    assert_eq!(cli.ok(&["run", "--rm", "-w", "/tmp", "busybox", "pwd"]), "/tmp\n");
    assert_eq!(cli.ok(&["run", "--rm", "--hostname", "box", "busybox", "hostname"]), "box\n");
    assert_eq!(cli.ok(&["run", "--rm", "--entrypoint", "echo", "busybox", "over"]), "over\n");
    assert_eq!(cli.ok(&["run", "--rm", "busybox", "sh", "-c", "echo $$"]), "1\n");
    let both = cli.run(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    cli.ok(&["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept >/data/f"]);
    assert_eq!(cli.ok(&["run", "--rm", "-v", "data:/data", "busybox", "cat", "/data/f"]), "kept\n");
    assert!(
        cli.ok(&["run", "--rm", "-v", "/etc:/host:ro", "busybox", "cat", "/host/hostname"]).contains("node1")
    );
    let mut piped = cli.command(&["run", "--rm", "-i", "busybox", "cat"]);
    let mut child = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the CLI runs");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"through").expect("the CLI reads");
    let output = child.wait_with_output().expect("the CLI ends when stdin does");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "through");
}

fn exit_codes(cli: &Cli) {
    cli.fails(7, &["run", "--rm", "busybox", "sh", "-c", "exit 7"]);
    let missing = cli.fails(127, &["run", "--rm", "busybox", "nosuchcommand"]);
    assert!(missing.contains("exec: \"nosuchcommand\": executable file not found in $PATH"), "{missing}");
    let not_executable = cli.fails(126, &["run", "--rm", "busybox", "/etc/passwd"]);
    assert!(not_executable.contains("exec: \"/etc/passwd\": permission denied"), "{not_executable}");
    let unknown = cli.fails(125, &["run", "--rm", "nosuchimage"]);
    assert!(unknown.contains("Unable to find image 'nosuchimage:latest' locally"), "{unknown}");
    assert!(unknown.contains("pull access denied for nosuchimage"), "{unknown}");
    assert!(cli.fails(1, &["inspect", "nosuch"]).contains("No such object: nosuch"));
    assert!(cli.fails(1, &["logs", "nosuch"]).contains("No such container: nosuch"));
    assert_eq!(cli.ok(&["ps", "-aq"]), "", "failed runs with --rm leave nothing");
}

fn a_life(cli: &Cli) {
    let id = cli.ok(&["create", "--name", "life", "busybox", "sleep", "1000"]);
    assert_eq!(id.trim().len(), 64);
    assert!(
        cli.fails(1, &["create", "--name", "life", "busybox"]).contains("is already in use by container")
    );
    assert_eq!(cli.ok(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]), "life Created\n");
    assert_eq!(cli.ok(&["start", "life"]), "life\n");
    assert!(cli.ok(&["ps", "--format", "{{.Names}} {{.Status}}"]).starts_with("life Up "));
    assert!(cli.ok(&["top", "life"]).contains("sleep 1000"));
    assert!(cli.fails(1, &["rm", "life"]).contains("container is running"));
    cli.ok(&["kill", "life"]);
    eventually("the container has ended", || {
        cli.ok(&["ps", "-a", "--format", "{{.Status}}"]).starts_with("Exited (137)")
    });
    cli.ok(&["start", "life"]);
    cli.ok(&["stop", "-t", "1", "life"]);
    assert_eq!(cli.ok(&["inspect", "-f", "{{.State.Running}} {{.State.ExitCode}}", "life"]), "false 137\n");
    cli.ok(&["rm", "life"]);
    let made_up = cli.ok(&["run", "-d", "busybox", "sleep", "1000"]);
    let name = cli.ok(&["ps", "--format", "{{.Names}}"]);
    assert!(name.trim().contains('_'), "a made-up name: {name}");
    cli.ok(&["rm", "-f", made_up.trim()]);
}

fn logs_and_exec(cli: &Cli) {
    cli.ok(&[
        "run",
        "-d",
        "--name",
        "talks",
        "busybox",
        "sh",
        "-c",
        "echo one; echo two >&2; echo three; exec sleep 1000",
    ]);
    eventually("the logs are there", || cli.run(&["logs", "talks"]).all().contains("three"));
    let logs = cli.run(&["logs", "talks"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("one\nthree\n", "two\n"));
    follows_logs(cli);
    assert_eq!(cli.ok(&["logs", "--tail", "1", "talks"]), "later\n");
    assert_eq!(cli.ok(&["exec", "talks", "echo", "inside"]), "inside\n");
    cli.fails(3, &["exec", "talks", "sh", "-c", "exit 3"]);
    let missing = cli.run(&["exec", "talks", "nosuch"]);
    assert_eq!(missing.status, 127, "{missing:?}");
    assert!(missing.all().contains("exec: \"nosuch\": executable file not found in $PATH"), "{missing:?}");
    assert_eq!(cli.ok(&["exec", "-e", "A=b", "-w", "/etc", "talks", "sh", "-c", "echo $A $PWD"]), "b /etc\n");
    on_a_terminal(cli);
    cli.ok(&["rm", "-f", "talks"]);
}

fn follows_logs(cli: &Cli) {
    let mut child = cli
        .command(&["logs", "-f", "talks"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the CLI runs");
    let output = child.stdout.take().expect("a pipe");
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
            // The test may have seen enough.
            let _ = send.send(line);
        }
    });
    for expected in ["one", "three"] {
        assert_eq!(lines.recv_timeout(guard()).expect("logs -f prints what is there"), expected);
    }
    cli.ok(&["exec", "talks", "sh", "-c", "echo later >/proc/1/fd/1"]);
    assert_eq!(lines.recv_timeout(guard()).expect("logs -f prints what comes"), "later");
    child.kill().expect("the CLI runs");
    child.wait().expect("the CLI can be reaped");
}

/// `-it`, with a real pseudo terminal made by util-linux's `script`.
fn on_a_terminal(cli: &Cli) {
    for words in ["exec -it talks", "run --rm -it busybox"] {
        let line = format!("{} {words} sh -c 'tty; stty size'", cli.program.display());
        let output = Command::new("script")
            .args(["-qec", &format!("stty rows 33 cols 99; {line}"), "/dev/null"])
            .env("DOCKER_HOST", &cli.host)
            .stdin(Stdio::null())
            .output()
            .expect("script is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("/dev/pts/"), "no terminal with {words}: {text}");
        assert!(output.status.success(), "{words}: {text}");
    }
}

fn limits(cli: &Cli) {
    let id = cli.ok(&["run", "-d", "-m", "64m", "busybox", "sh", "-c", "tail /dev/zero"]);
    eventually("the memory hog is ended", || {
        cli.ok(&["inspect", "-f", "{{.State.Running}}", id.trim()]) == "false\n"
    });
    assert_eq!(
        cli.ok(&["inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", id.trim()]),
        "137 true\n"
    );
    cli.ok(&["rm", id.trim()]);
    let bomb = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do sleep 5 & done; wait";
    let fizzled = cli.run(&["run", "--rm", "--pids-limit", "8", "busybox", "sh", "-c", bomb]);
    assert!(fizzled.all().contains("fork"), "16 processes fit in a limit of 8: {fizzled:?}");
    cli.ok(&["run", "--rm", "--cpus", "0.5", "busybox", "true"]);
}

fn networks(cli: &Cli) {
    let links = "ip -o link | cut -d: -f2 | cut -d@ -f1 | xargs";
    assert_eq!(cli.ok(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", links]), "lo\n");
    assert_eq!(cli.ok(&["run", "--rm", "busybox", "sh", "-c", links]), "lo eth0\n");
    assert!(cli.ok(&["run", "--rm", "--network", "host", "busybox", "sh", "-c", links]).contains("docker0"));
    let address = cli.ok(&["run", "--rm", "busybox", "sh", "-c", "ip -o -4 addr show eth0"]);
    assert!(address.contains("172.17.0."), "{address}");
    cli.ok(&["run", "--rm", "busybox", "ping", "-c1", "-W5", "172.17.0.1"]);
    cli.ok(&["run", "--rm", "busybox", "ping", "-c1", "-W5", "192.168.0.1"]);
}

fn inspecting(cli: &Cli) {
    let run = [
        "run",
        "-d",
        "--name",
        "seen",
        "-e",
        "A=b",
        "-m",
        "64m",
        "--hostname",
        "box",
        "busybox",
        "sleep",
        "1000",
    ];
    cli.ok(&run);
    let format = "{{.Name}} {{.Config.Hostname}} {{.HostConfig.Memory}} {{.State.Status}} {{.Path}} {{.Args}} \
                  {{.NetworkSettings.IPAddress}} {{.HostConfig.NetworkMode}}";
    let line = cli.ok(&["inspect", "-f", format, "seen"]);
    assert!(line.starts_with("/seen box 67108864 running sleep [1000] 172.17.0."), "{line}");
    let json: serde_json::Value =
        serde_json::from_str(&cli.ok(&["inspect", "seen"])).expect("inspect prints JSON");
    for field in [
        "Id",
        "Created",
        "State",
        "Image",
        "HostConfig",
        "GraphDriver",
        "Mounts",
        "Config",
        "NetworkSettings",
    ] {
        assert!(!json[0][field].is_null(), "no {field} in inspect");
    }
    cli.ok(&["rm", "-f", "seen"]);
}

fn exporting(cli: &Cli) {
    cli.ok(&["create", "--name", "root", "busybox"]);
    let output = cli.command(&["export", "root"]).output().expect("the CLI runs");
    assert!(output.status.success());
    let listing = Command::new("tar").arg("t").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut listing = listing.expect("tar is installed");
    let mut stdin = listing.stdin.take().expect("a pipe");
    let bytes = output.stdout;
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &bytes));
    let names = listing.wait_with_output().expect("tar ends").stdout;
    writer.join().expect("the writer does not panic").expect("tar reads everything");
    let names = String::from_utf8_lossy(&names).into_owned();
    assert!(names.lines().any(|name| name == "bin/busybox"), "{names}");
    cli.ok(&["rm", "root"]);
}
