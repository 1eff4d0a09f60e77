//! No packet leaves a session.

use drydock_tests::attack::{attack, attack_kinds};
use drydock_tests::instance::{Instance, Session, eventually};
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
    attack(|_, session| {
        session.upload("node1", &setting("DRYDOCK_PROBE"), "/probe");
        let done = session.sh("node1", "/probe scan 192.168.0.1 10.99.0.2");
        assert_eq!(done.status, 0, "{done:?}");
        let open: Vec<&str> = done.stdout.lines().filter(|line| line.ends_with("=open")).collect();
        assert_eq!(open, ["192.168.0.1:53=open"], "only the resolver answers");
        // Not by a scan: connecting to one's own ports now and then meets itself.
        let own = session.sh("node1", "ss -Hltnu");
        assert_eq!((own.status, own.stdout.as_str()), (0, ""), "something of ours listens in the node");
    });
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
    attack(|_, session| {
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
    });
}

#[test]
fn n04_no_host_of_another_session_answers() {
    attack(|instance, alone| {
        let pair = instance.session(&["--nodes", "2"]);
        assert_eq!(pair.sh("node1", "ping -c1 -W5 192.168.0.12").status, 0);
        // All at once: the whole network of the session.
        let sweep = "for i in $(seq 254); do ping -c1 -W1 192.168.0.$i >/dev/null && echo $i & done; wait";
        let done = alone.sh("node1", sweep);
        let mut answered: Vec<&str> = done.stdout.lines().collect();
        answered.sort_unstable();
        assert_eq!(answered, ["1", "11"], "others than the gateway and the node itself");
    });
}

/// Kinds of session with two nodes.
const PAIRS: [&[&str]; 2] = [&["--nodes", "2"], &["--nodes", "2", "--userns"]];

#[test]
fn n05_frames_from_another_ethernet_address_are_dropped() {
    attack_kinds(&Instance::start(), &PAIRS, |_, session| {
        let ping = "ping -c1 -W2 192.168.0.12";
        assert_eq!(session.sh("node1", ping).status, 0);
        let foreign = format!("ip link set eth0 address 02:42:c0:a8:00:0c && {ping}");
        assert_ne!(session.sh("node1", &foreign).status, 0, "another node's address could be used");
        let owner = session.sh("node2", "ping -c1 -W5 192.168.0.1");
        assert_eq!(owner.status, 0, "its owner can't use it any more");
        let back = format!("ip link set eth0 address 02:42:c0:a8:00:0b && {ping}");
        assert_eq!(session.sh("node1", &back).status, 0);
    });
}

/// Makes node1 claim to be node2 towards the gateway and node3 and then tells
/// what they believe.
#[test]
fn n05_nobody_speaks_for_another_s_address() {
    attack_kinds(&Instance::start(), &[&["--nodes", "3"]], |instance, session| {
        session.upload("node1", &setting("DRYDOCK_PROBE"), "/probe");
        let believes = |node: &str| session.sh(node, "ip -4 neigh show 192.168.0.12").stdout;
        for life in ["at first", "after a cut", "after a reset"] {
            match life {
                "after a cut" => verbs(instance, session, &["cut", "join"]),
                "after a reset" => {
                    verbs(instance, session, &["reset"]);
                    session.upload("node1", &setting("DRYDOCK_PROBE"), "/probe");
                }
                _ => {}
            }
            let ping = "ping -c1 -W5 192.168.0.12";
            assert_eq!(session.sh("node3", ping).status, 0, "{life}");
            assert!(believes("node3").contains("02:42:c0:a8:00:0c"), "{life}: {}", believes("node3"));
            let before = dropped(session, "n11");
            // ARP replies and requests that say 192.168.0.12 is at node1, a
            // packet from that address, a router advertisement, a DHCP offer.
            let forged = session.sh("node1", "/probe forge eth0 192.168.0.12 192.168.0.13");
            assert_eq!(forged.status, 0, "{life}: {forged:?}");
            let sent: u64 = forged.stdout.trim().parse().expect("the probe counts what it sends");
            eventually("all forged frames are dropped", || dropped(session, "n11") >= before + sent);
            assert!(believes("node3").contains("02:42:c0:a8:00:0c"), "{life}: {}", believes("node3"));
            // An address of node2's that node1 gives itself as well.
            let steal = "ip addr add 192.168.0.12/32 dev eth0; ping -c1 -W1 -I 192.168.0.12 192.168.0.13; \
                ip addr del 192.168.0.12/32 dev eth0";
            assert_eq!(session.sh("node1", steal).status, 0);
            assert!(believes("node3").contains("02:42:c0:a8:00:0c"), "{life}: {}", believes("node3"));
            assert_eq!(session.sh("node3", ping).status, 0, "{life}: its owner is not reached any more");
            // What is its own still passes, a container's traffic too.
            assert_eq!(session.sh("node1", "ping -c1 -W5 192.168.0.13").status, 0, "{life}");
            let inside = session.sh("node1", "docker run --rm busybox ping -c1 -W5 192.168.0.13");
            assert_eq!(inside.status, 0, "{life}: {inside:?}");
        }
        assert_eq!(in_network(session, &["cat", "/proc/sys/net/ipv6/conf/all/accept_ra"]).trim(), "0");
        assert_eq!(in_network(session, &["cat", "/proc/sys/net/ipv6/conf/br0/accept_ra"]).trim(), "0");
    });
}

fn verbs(instance: &Instance, session: &Session<'_>, verbs: &[&str]) {
    for verb in verbs {
        let done = instance.drydock(&["session", verb, &session.id, "node1"]);
        assert!(done.status.success(), "{verb}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Runs a program in the session's network namespace, outside all nodes.
fn in_network(session: &Session<'_>, command: &[&str]) -> String {
    let net = format!("--net={}", session.run_dir().join("net").join(&session.id).display());
    let output = Command::new("nsenter").arg(net).args(command).output().expect("nsenter is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How many frames a port has not let in.
fn dropped(session: &Session<'_>, port: &str) -> u64 {
    let rules = in_network(session, &["nft", "-j", "list", "chain", "netdev", port, "in"]);
    let rules: serde_json::Value = serde_json::from_str(&rules).expect("nft prints JSON");
    let rules = rules["nftables"].as_array().expect("a list of rules");
    let expressions = rules.iter().filter_map(|rule| rule["rule"]["expr"].as_array()).flatten();
    expressions.filter_map(|expression| expression["counter"]["packets"].as_u64()).sum()
}

/// The rate is a limit's check, not a claim about speed: what passed in a time
/// is compared with what may, twice over.
#[test]
fn n07_the_network_is_no_faster_than_its_rate_both_ways() {
    const RATE: u64 = 2 << 20;
    let instance = Instance::start_on(|state| {
        std::fs::write(state.join("drydock.toml"), "network_mb_s = 2\n").expect("settings can be written");
    });
    attack_kinds(&instance, &PAIRS, |_, session| {
        // Through node1's port in, and then out: the other's port has a rate of its own.
        for (from, to, address) in [("node1", "node2", "192.168.0.12"), ("node2", "node1", "192.168.0.11")] {
            let serve = "setsid perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 7777, \
                Listen => 1, ReuseAddr => 1) or die; open(R, \">/listens\"); close R; $c = $s->accept; \
                while (sysread($c, $b, 1 << 16)) { $n += length $b; open(F, \">/got\"); print F $n; close F }' \
                >/dev/null 2>&1 &";
            assert_eq!(session.sh(to, &format!("rm -f /got /listens; {serve}")).status, 0);
            eventually("the receiver listens", || session.sh(to, "test -e /listens").status == 0);
            let send = format!(
                "setsid timeout 100 bash -c 'exec 3<>/dev/tcp/{address}/7777; cat /dev/zero >&3' >/dev/null 2>&1 &"
            );
            let begin = std::time::Instant::now();
            assert_eq!(session.sh(from, &send).status, 0);
            let got = || session.sh(to, "cat /got").stdout.trim().parse::<u64>().unwrap_or(0);
            // Past the burst, which is one second's worth.
            eventually("bytes arrive", || got() > 4 * RATE);
            let bytes = got();
            let may = (begin.elapsed().as_secs_f64() + 1.0) * RATE as f64;
            assert!((bytes as f64) < 2.0 * may, "{from} sent {bytes} bytes where {may} may pass");
            assert_eq!(session.sh(from, "pkill cat; pkill perl; true").status, 0);
            assert_eq!(session.sh(to, "pkill perl; true").status, 0);
        }
        assert!(dropped(session, "n11") > 0, "nothing was held back");
    });
}
