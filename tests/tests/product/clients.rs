//! Clients that are not the Docker CLI: docker-py from PyPI, and Debian's
//! docker-compose 1.29, which is one of its users.

use std::path::Path;
use std::process::{Command, Stdio};

use drydock_tests::instance::{Done, Instance, Session, eventually};
use drydock_tests::setting;

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

fn client(program: &str, session: &Session<'_>) -> Command {
    let mut command = Command::new(program);
    command.env("DOCKER_HOST", session.docker_host(0)).env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

#[test]
fn docker_py_works_against_the_socket() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let output = client("/usr/bin/python3", &session)
        .arg(file("docker_py.py"))
        .env("PYTHONPATH", setting("DOCKER_PY"))
        .output()
        .expect("Debian's python3 can be run");
    let done = Done::from(output);
    assert_eq!(done.status, 0, "{}", done.all());
    session.works("node1");
}

#[test]
fn docker_compose_brings_two_services_up_and_down() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let compose = |arguments: &[&str]| -> Done {
        let file = file("compose.yml");
        let mut command = client("/usr/bin/docker-compose", &session);
        // Its `exec` leaves the work to the Docker CLI.
        let cli = setting("DOCKER_CLI");
        let path = format!("{}:/usr/bin:/bin", cli.parent().expect("a program lies somewhere").display());
        command.env("PATH", path).arg("-f").arg(file).args(["-p", "shop", "--ansi", "never"]).args(arguments);
        Done::from(command.output().expect("Debian's docker-compose can be run"))
    };
    let ok = |arguments: &[&str]| -> String {
        let done = compose(arguments);
        assert_eq!(done.status, 0, "docker-compose {}: {}", arguments.join(" "), done.all());
        done.stdout
    };
    ok(&["up", "-d"]);
    eventually("the client has heard the server by its name", || {
        ok(&["logs", "client"]).contains("hello from web")
    });
    let served = session.sh("node1", "curl -s localhost:8080");
    assert_eq!(served.stdout, "hello from web\n", "{served:?}");
    assert_eq!(ok(&["exec", "-T", "client", "sh", "-c", "echo $MODE"]), "dev\n");
    let listed = ok(&["ps"]);
    assert!(listed.contains("shop_web_1") && listed.contains("0.0.0.0:8080->80/tcp"), "{listed}");
    // Up again changes nothing; another number makes a container more.
    ok(&["up", "-d", "--scale", "client=2"]);
    assert_eq!(ok(&["ps", "-q"]).lines().count(), 3);
    ok(&["down", "-v", "-t", "0"]);
    let left =
        session.sh("node1", "docker ps -aq; docker volume ls -q; docker network ls -q --filter type=custom");
    assert_eq!(left.stdout, "", "{left:?}");
}
