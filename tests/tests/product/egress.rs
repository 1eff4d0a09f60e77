//! The way out that an operator may give a lab: to the hosts on a list, and
//! nowhere else.

use drydock_tests::instance::{Instance, Session, eventually};
use drydock_tests::world::Record;

/// What the world answers on port 80.
const WORLD: &str = "world";

fn instance(allow: &str) -> Instance {
    Instance::start_on(|state| {
        let settings = format!("egress_allow = [{allow}]\n");
        std::fs::write(state.join("drydock.toml"), settings).expect("settings can be written");
    })
}

/// What curl gets for an address, by the node's own proxy settings, and its
/// status for the whole.
fn curl(session: &Session<'_>, arguments: &str) -> (String, i32) {
    let done = session.sh("node1", &format!("curl -sS --max-time 20 {arguments}"));
    (done.all(), done.status)
}

#[test]
fn without_the_operators_list_there_is_no_way_out() {
    let instance = Instance::start();
    let refused = instance.drydock(&["session", "create", "--egress"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("egress_allow"), "{refused:?}");
    let session = instance.session(&[]);
    let record = Record::from_now();
    assert_eq!(session.sh("node1", "env | grep -i proxy").stdout, "");
    let (said, status) = curl(&session, "-x http://192.168.0.1:3128 http://allowed.example/");
    assert_eq!(status, 7, "nothing listens: {said}");
    let packets: Vec<String> =
        record.packets().into_iter().filter(|packet| packet.contains("proto 17")).collect();
    assert_eq!(packets, [] as [String; 0], "and nobody looks a name up");
}

#[test]
fn a_host_on_the_list_is_reached_and_no_other() {
    let instance = instance(r#""allowed.example", "*.wild.example", "10.99.0.3""#);
    let session = instance.session(&["--egress"]);
    for host in ["allowed.example", "a.wild.example", "10.99.0.3"] {
        assert_eq!(curl(&session, &format!("http://{host}/")), (WORLD.to_owned(), 0), "{host}");
    }
    let (said, _) = curl(&session, "-p http://allowed.example/");
    assert_eq!(said, WORLD, "by CONNECT");

    let record = Record::from_now();
    for host in ["other.example", "wild.example", "allowed.example:8080", "169.254.169.254", "198.51.100.7"] {
        let (said, _) = curl(&session, &format!("http://{host}/"));
        assert!(said.contains("is not among the hosts"), "{host}: {said}");
        let (_, status) = curl(&session, &format!("-p http://{host}/"));
        assert_eq!(status, 56, "{host} by CONNECT");
    }
    // Connections to the allowed hosts may still be ending.
    let asked = |packet: &String| packet.ends_with("proto 17") || packet.contains("> 169.254.169.254");
    let packets: Vec<String> = record.packets().into_iter().filter(asked).collect();
    assert_eq!(packets, [] as [String; 0], "what is refused is not even looked up");
    let log = std::fs::read_to_string(instance.state_dir().join("test.log")).expect("the server has a log");
    for audited in ["allowed.example", "other.example"] {
        let lines =
            log.lines().filter(|line| line.contains("egress") && line.contains(&format!("\"{audited}\"")));
        assert_eq!(lines.count(), if audited == "allowed.example" { 2 } else { 1 }, "{audited}:\n{log}");
    }
}

#[test]
fn any_host_means_any_on_the_internet() {
    let instance = instance(r#""*""#);
    let session = instance.session(&["--egress"]);
    assert_eq!(curl(&session, "http://anything.example/").0, WORLD);
    let record = Record::from_now();
    for address in [
        "169.254.169.254",
        "100.100.100.200",
        "10.99.0.3",
        "10.99.0.2",
        "127.0.0.1",
        "192.168.0.1",
        "[fd00:ec2::254]",
        "[::ffff:10.99.0.3]",
        "0x0a630003",
    ] {
        let (said, _) = curl(&session, &format!("-g --noproxy '' http://{address}/"));
        assert!(said.contains("no public address"), "{address}: {said}");
    }
    let refused = ["> 169.254.169.254 ", "> 100.100.100.200 ", "> 10.99.0.3 ", "> fd00:ec2::254 "];
    let to_refused = |packet: &String| refused.iter().any(|target| packet.contains(target));
    let packets: Vec<String> = record.packets().into_iter().filter(to_refused).collect();
    assert_eq!(packets, [] as [String; 0]);
}

#[test]
fn programs_and_containers_follow_the_way_out() {
    let instance = instance(r#""allowed.example""#);
    let session = instance.session(&["--egress"]);
    let wget = "docker run --rm busybox wget -q -O - http://allowed.example/";
    eventually("a container reaches the host", || session.sh("node1", wget).stdout == WORLD);
    let store = "/etc/ssl/certs/ca-certificates.crt";
    let own = std::fs::read(store).expect("this machine has a trust store");
    let theirs = session.sh("node1", &format!("cat {store}")).stdout;
    assert!(own == theirs.as_bytes(), "the node trusts whom this machine trusts");
    assert!(instance.drydock(&["session", "reset", &session.id, "node1"]).status.success());
    let settings = session.sh("node1", "cat /root/.docker/config.json").stdout;
    assert!(settings.contains("192.168.0.1:3128"), "after a reset too: {settings}");
}

#[test]
fn a_session_moves_only_so_many_bytes() {
    let instance = Instance::start_on(|state| {
        let settings = "egress_allow = [\"allowed.example\"]\negress_mb = 1\n";
        std::fs::write(state.join("drydock.toml"), settings).expect("settings can be written");
    });
    let session = instance.session(&["--egress"]);
    let upload =
        "head -c 3000000 /dev/zero | curl -sS --max-time 30 -H Expect: -T - http://allowed.example/x";
    eventually("all bytes are moved", || {
        // The world reads only the beginning and hangs up.
        session.sh("node1", upload);
        curl(&session, "http://allowed.example/").0.contains("moved all the bytes")
    });
}
