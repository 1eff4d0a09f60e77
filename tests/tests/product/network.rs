//! No packet leaves a session.

use drydock_tests::instance::Instance;
use drydock_tests::setting;
use drydock_tests::world::Record;
use std::process::Command;

#[test]
fn nodes_of_a_session_reach_each_other_by_name() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    let done = session.sh("node1", "ping -c1 -W5 node2 && getent hosts node1");
    assert_eq!(done.status, 0, "{done:?}");
    let done = session.sh("node1", "getent hosts example.org");
    assert_eq!(done.status, 2, "an outside name resolved: {done:?}");
    session.works("node1");
}

#[test]
fn n01_host_services_are_out_of_reach() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    session.upload("node1", &setting("DRYDOCK_PROBE"), "/probe");
    let done = session.sh("node1", "/probe scan 192.168.0.1 10.99.0.2");
    assert_eq!(done.status, 0, "{done:?}");
    let open: Vec<&str> = done.stdout.lines().filter(|line| line.ends_with("=open")).collect();
    assert_eq!(open, ["192.168.0.1:53=open"], "only the resolver answers");
    // Not by a scan: connecting to one's own ports now and then meets itself.
    let own = session.sh("node1", "ss -Hltnu");
    assert_eq!((own.status, own.stdout.as_str()), (0, ""), "something of ours listens in the node");
    session.works("node1");
}

#[test]
fn n02_cloud_metadata_and_the_world_are_out_of_reach() {
    let targets = [
        "http://169.254.169.254/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://10.99.0.3/",
        "http://198.51.100.7/",
    ];
    for target in targets {
        let reached =
            Command::new("curl").args(["-gsS", "-m10", target]).output().expect("curl is installed");
        assert_eq!(
            reached.stdout, b"world",
            "the rig's root cannot reach {target}: the test would prove nothing"
        );
    }
    let instance = Instance::start();
    let session = instance.session(&[]);
    let record = Record::from_now();
    for target in targets {
        let done = session.sh("node1", &format!("curl -gsS -m2 '{target}'"));
        assert_ne!(done.status, 0, "a learner reached {target}");
        let done = session.sh(
            "node1",
            &format!("ip route add default via 192.168.0.1 2>/dev/null; curl -gsS -m2 '{target}'"),
        );
        assert_ne!(done.status, 0, "a learner with a route of their own reached {target}");
    }
    let done = session.sh("node1", "docker run --rm busybox wget -T2 -qO- http://169.254.169.254/");
    assert_ne!(done.status, 0, "a container reached the metadata service");
    assert_eq!(record.packets(), Vec::<String>::new(), "packets left the session");
    session.works("node1");
}

#[test]
fn n04_no_host_of_another_session_answers() {
    let instance = Instance::start();
    let alone = instance.session(&[]);
    let pair = instance.session(&["--nodes", "2"]);
    assert_eq!(pair.sh("node1", "ping -c1 -W5 192.168.0.12").status, 0);
    // All at once: the whole network of the session.
    let sweep = "for i in $(seq 254); do ping -c1 -W1 192.168.0.$i >/dev/null && echo $i & done; wait";
    let done = alone.sh("node1", sweep);
    let mut answered: Vec<&str> = done.stdout.lines().collect();
    answered.sort_unstable();
    assert_eq!(answered, ["1", "11"], "others than the gateway and the node itself");
    alone.works("node1");
}

#[test]
fn n05_frames_from_another_ethernet_address_are_dropped() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    let ping = "ping -c1 -W2 192.168.0.12";
    assert_eq!(session.sh("node1", ping).status, 0);
    let foreign = format!("ip link set eth0 address 02:42:c0:a8:00:0c && {ping}");
    assert_ne!(session.sh("node1", &foreign).status, 0, "another node's address could be used");
    assert_eq!(session.sh("node2", "ping -c1 -W5 192.168.0.1").status, 0, "its owner can't use it any more");
    let back = format!("ip link set eth0 address 02:42:c0:a8:00:0b && {ping}");
    assert_eq!(session.sh("node1", &back).status, 0);
    session.works("node1");
}
