//! Containers' networks and published ports, with the real Docker CLI in a
//! node.

use std::process::Command;

use drydock_tests::instance::{Instance, Session, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::restarts::engines_of;

/// Runs a script in node1 that must work, and gives what it printed.
fn ok(session: &Session<'_>, script: &str) -> String {
    let done = session.sh("node1", script);
    assert_eq!(done.status, 0, "{script}: {done:?}");
    done.stdout
}

/// Runs a script in node1 that must fail with this status, and gives its
/// complaint.
fn fails(session: &Session<'_>, status: i32, script: &str) -> String {
    let done = session.sh("node1", script);
    assert_eq!(done.status, status, "{script}: {done:?}");
    done.stderr.lines().next().unwrap_or_default().to_owned()
}

/// Starts a web server in a container that says `word`.
fn serve(session: &Session<'_>, name: &str, options: &str, word: &str) {
    let script = format!(
        "docker run -d --name {name} {options} busybox sh -c \
         'mkdir /www && echo {word} > /www/index.html && exec httpd -f -p 80 -h /www'"
    );
    ok(session, &script);
    // The server listens a moment after its container has started.
    let listens = format!("docker exec {name} netstat -ltn | grep -q :80");
    eventually("the server listens", || session.sh("node1", &listens).status == 0);
}

#[test]
fn names_lead_to_containers_of_the_same_network() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    ok(&session, "docker network create appnet && docker network create other");
    serve(&session, "db", "--network appnet --network-alias store", "hi");
    for name in ["db", "store", "db.appnet", "DB", "$(docker inspect -f '{{slice .Id 0 12}}' db)"] {
        let said = ok(&session, &format!("docker run --rm --network appnet busybox wget -qO- http://{name}"));
        assert_eq!(said, "hi\n", "{name}");
    }
    for network in ["other", "bridge"] {
        let script = format!("docker run --rm --network {network} busybox nslookup db");
        assert!(session.sh("node1", &script).all().contains("NXDOMAIN"), "{network} knows db");
    }
    let config = ok(&session, "docker exec db cat /etc/resolv.conf");
    assert!(config.contains("nameserver 127.0.0.11\noptions ndots:0\n"), "{config}");
    // Back from the address, and on to the session's own names.
    let address = ok(&session, "docker inspect -f '{{.NetworkSettings.Networks.appnet.IPAddress}}' db");
    let back = ok(&session, &format!("docker exec db nslookup {}", address.trim()));
    assert!(back.contains("db.appnet"), "{back}");
    assert!(ok(&session, "docker exec db nslookup node1").contains("192.168.0.11"));
    // A container may serve port 53 itself.
    ok(
        &session,
        "docker run -d --name own --network appnet busybox nc -l -p 53 && docker exec own nslookup db",
    );
    session.works("node1");
}

#[test]
fn aliases_are_answered_with_all_addresses_by_udp_and_tcp() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    let script = "docker network create many && for i in $(seq 40); do \
                  docker run -d --network many --network-alias all busybox sleep 1000; done";
    ok(&session, script);
    // More than 512 bytes hold: the resolver comes again by TCP.
    let script =
        "docker run --rm --network many debian getent ahostsv4 all | awk '{print $1}' | sort -u | wc -l";
    assert_eq!(ok(&session, script).trim(), "40");
    let first = "docker run --rm --network many busybox sh -c \
                 'for i in $(seq 20); do nslookup all | grep -A1 Name: | grep -m1 Address; done | sort -u | wc -l'";
    assert!(
        ok(&session, first).trim().parse::<u32>().expect("a count") > 1,
        "the same comes first each time"
    );
    session.works("node1");
}

#[test]
fn n08_dns_in_a_node_answers_from_the_gateway_only_and_at_once() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    ok(
        &session,
        "docker network create appnet && docker run -d --name asker --network appnet busybox sleep 1000",
    );
    for script in ["getent hosts node2", "docker exec asker nslookup node2"] {
        assert!(ok(&session, script).contains("192.168.0.12"), "{script}");
    }
    for script in ["getent hosts example.org", "docker exec asker nslookup example.org"] {
        let done = session.sh("node1", script);
        assert_ne!(done.status, 0, "an outside name resolved: {done:?}");
    }
    let unknown = session.sh("node1", "docker exec asker nslookup example.org").all();
    assert!(unknown.contains("NXDOMAIN"), "not refused at once: {unknown}");
    // A flood of queries leaves the server, the engine and the node alive.
    let flood = "docker exec asker sh -c 'for i in $(seq 300); do nslookup x$i.example.org >/dev/null & done; wait'; \
                 docker run --rm --network container:asker debian bash -c \
                 'for i in $(seq 300); do head -c 600 /dev/urandom >/dev/udp/127.0.0.11/53; done'";
    session.sh("node1", flood);
    assert!(ok(&session, "docker exec asker nslookup asker").contains("Name:"));
    // An internal network asks nobody outside.
    ok(
        &session,
        "docker network create --internal inner && docker run -d --name hidden --network inner busybox sleep 1000",
    );
    let inner = session.sh("node1", "docker exec hidden nslookup node2").all();
    assert!(inner.contains("SERVFAIL"), "{inner}");
    session.works("node1");
}

#[test]
fn published_ports_are_reached_from_everywhere_in_the_session() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    serve(&session, "srv", "-p 8080:80 -p 127.0.0.1:8081:80", "hello");
    ok(&session, "docker network create appnet");
    // A container's first process would not hear of the timeout's signal.
    let from = [
        ("node1", "curl -sS -m9 localhost:8080"),
        ("node1", "curl -sS -m9 192.168.0.11:8080"),
        ("node1", "curl -sS -m9 127.0.0.1:8081"),
        ("node2", "curl -sS -m9 node1:8080"),
        ("node1", "docker run --rm busybox sh -c 'timeout 9 wget -qO- http://192.168.0.11:8080; exit $?'"),
        (
            "node1",
            "docker run --rm --network appnet busybox sh -c 'timeout 9 wget -qO- http://192.168.0.11:8080; exit $?'",
        ),
        ("node1", "docker exec srv timeout 9 wget -qO- http://192.168.0.11:8080"),
        (
            "node1",
            "docker run --rm --network host busybox sh -c 'timeout 9 wget -qO- http://127.0.0.1:8080; exit $?'",
        ),
    ];
    for (node, script) in from {
        let done = session.sh(node, script);
        assert_eq!((done.status, done.stdout.as_str()), (0, "hello\n"), "{node}: {script}: {done:?}");
    }
    assert_ne!(
        session.sh("node2", "curl -sS -m2 node1:8081").status,
        0,
        "127.0.0.1's port is open to others"
    );
    let source = ok(&session, "docker logs srv 2>&1; docker port srv | sort");
    assert!(source.ends_with("80/tcp -> 0.0.0.0:8080\n80/tcp -> 127.0.0.1:8081\n"), "{source}");
    let row = ok(&session, "docker ps --format '{{.Ports}}'");
    assert_eq!(row, "0.0.0.0:8080->80/tcp, 127.0.0.1:8081->80/tcp\n");
    ok(&session, "docker rm -f srv");
    assert_ne!(session.sh("node1", "curl -sS -m9 localhost:8080").status, 0, "the port stayed open");
    assert_eq!(ok(&session, "ss -Hltnu"), "", "a socket stayed");
    session.works("node1");
}

#[test]
fn udp_ranges_and_ports_of_the_engines_choice_are_published() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    let echo = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 53)); \
                print('up', flush=True); s.sendto(*s.recvfrom(99))";
    let ports = "-p 5353:53/udp -p 9000-9001:9000-9001";
    ok(&session, &format!("docker run -d --name udp {ports} python python3 -c \"{echo}\""));
    eventually("the server is up", || session.sh("node1", "docker logs udp").stdout == "up\n");
    let ports = "53/udp -> 0.0.0.0:5353\n9000/tcp -> 0.0.0.0:9000\n9001/tcp -> 0.0.0.0:9001\n";
    assert_eq!(ok(&session, "docker port udp"), ports);
    let echo = "exec 3<>/dev/udp/192.168.0.11/5353; echo ping >&3; timeout 9 head -n1 <&3";
    assert_eq!(session.sh("node2", echo).stdout, "ping\n");
    ok(&session, "docker run -d --name pub -P --expose 80 busybox sleep 1000");
    assert_eq!(ok(&session, "docker port pub"), "80/tcp -> 0.0.0.0:32768\n");
    assert_eq!(
        ok(&session, "docker run -d -p 8000-8005:80 --name one busybox sleep 1000; docker port one")
            .lines()
            .nth(1),
        Some("80/tcp -> 0.0.0.0:8000")
    );
    assert_eq!(
        ok(&session, "docker run -d -p 8000-8005:80 --name two busybox sleep 1000; docker port two")
            .lines()
            .nth(1),
        Some("80/tcp -> 0.0.0.0:8001")
    );
    session.works("node1");
}

#[test]
fn a_taken_port_is_refused_in_dockers_words_both_ways() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    ok(&session, "docker run -d --name srv -p 8080:80 busybox sleep 1000");
    let words = fails(&session, 125, "docker run --name srv2 -p 8080:80 busybox true");
    assert!(
        words.starts_with(
            "docker: Error response from daemon: failed to set up container networking: driver failed programming \
             external connectivity on endpoint srv2 ("
        ) && words.ends_with("): Bind for 0.0.0.0:8080 failed: port is already allocated"),
        "{words}"
    );
    assert_eq!(ok(&session, "docker ps -a --filter name=srv2 --format '{{.Status}}{{.Ports}}'"), "Created\n");
    // Somebody of the node's own has a port; then the engine does.
    let listener = "nc -l -p 9090 & until ss -Hltn | grep -q :9090; do :; done";
    let words = fails(
        &session,
        125,
        &format!("{listener}; docker run -p 9090:80 busybox true; r=$?; kill %1; exit $r"),
    );
    assert!(words.contains("failed to bind host port for 0.0.0.0:9090:172.17.0."), "{words}");
    assert!(words.ends_with(":80/tcp: address already in use"), "{words}");
    let own = session.sh("node1", "nc -l -p 8080 </dev/null");
    assert_ne!(own.status, 0, "a published port could be listened on");
    // A container's end frees it at once, for the next.
    for _ in 0..5 {
        ok(&session, "docker rm -f srv && docker run -d --name srv -p 8080:80 busybox sleep 1000");
    }
    session.works("node1");
}

#[test]
fn n09_published_ports_are_the_nodes_not_the_machines() {
    let listening = || {
        let output = Command::new("ss").arg("-Hltnu").output().expect("ss is installed");
        let text = String::from_utf8(output.stdout).expect("ss prints text");
        let mut ports: Vec<String> =
            text.lines().filter_map(|line| line.split_whitespace().nth(4).map(str::to_owned)).collect();
        ports.sort();
        ports
    };
    let instance = Instance::start();
    let session = instance.session(&[]);
    let before = listening();
    assert!(before.iter().any(|address| address.ends_with(&format!(":{}", instance.port))), "{before:?}");
    ok(&session, "docker run -d -p 80:80 -p 0.0.0.0:22:22 -p 53:53/udp busybox sleep 1000");
    assert!(ok(&session, "ss -Hltn").contains("0.0.0.0:22"), "the node itself listens");
    assert_eq!(listening(), before, "the machine's own sockets changed");
    session.works("node1");
}

#[test]
fn networks_are_joined_and_left_while_a_container_runs() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    ok(&session, "docker network create appnet && docker network create --subnet 172.31.0.0/16 subnetted");
    serve(&session, "db", "--network appnet", "hi");
    ok(
        &session,
        "docker run -d --name app --network subnetted --ip 172.31.0.10 -p 8080:80 busybox sleep 1000",
    );
    assert_ne!(session.sh("node1", "docker exec app nslookup db").status, 0);
    ok(&session, "docker network connect --alias extra appnet app");
    assert_eq!(ok(&session, "docker exec app timeout 9 wget -qO- http://db"), "hi\n");
    assert!(ok(&session, "docker exec db nslookup extra").contains("172.18.0.3"));
    let links = ok(&session, "docker exec app ip -4 -o addr | awk '{print $2, $4}'");
    assert_eq!(links, "lo 127.0.0.1/8\neth0 172.31.0.10/16\neth1 172.18.0.3/16\n");
    let words = fails(&session, 1, "docker network connect appnet app");
    assert_eq!(words, "Error response from daemon: endpoint with name app already exists in network appnet");
    let words = fails(&session, 1, "docker network rm appnet");
    assert!(words.contains("network appnet has active endpoints (name:\""), "{words}");
    ok(&session, "docker network disconnect appnet app");
    let links = ok(&session, "docker exec app ip -4 -o addr | wc -l; docker exec app ip route | head -1");
    assert_eq!(links.trim(), "2\ndefault via 172.31.0.1 dev eth0");
    let words = fails(&session, 1, "docker network disconnect appnet app");
    assert!(words.ends_with(" is not connected to network appnet"), "{words}");
    // From the default bridge to a network with names.
    ok(&session, "docker run -d --name plain busybox sleep 1000 && docker network connect appnet plain");
    assert_eq!(ok(&session, "docker exec plain timeout 9 wget -qO- http://db"), "hi\n");
    ok(&session, "docker rm -f db app plain && docker network rm appnet subnetted");
    let left = ok(&session, "ip -o link | grep -c -e veth -e br- || true");
    eventually("the links are gone", || {
        left.trim() == "0" || ok(&session, "ip -o link | grep -c -e veth -e br- || true").trim() == "0"
    });
    session.works("node1");
}

#[test]
fn a_link_works_from_the_first_packet_on() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    ok(&session, "docker network create appnet");
    // A link whose carrier the kernel has not taken notice of drops packets, and
    // the question for an address is asked again only after a second.
    for network in ["bridge", "appnet"] {
        let script = format!(
            "for i in $(seq 15); do docker run --rm --network {network} busybox cat /sys/class/net/eth0/operstate; done"
        );
        assert_eq!(ok(&session, &script), "up\n".repeat(15), "{network}");
    }
    session.works("node1");
}

#[test]
fn networks_are_apart() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    ok(
        &session,
        "docker network create one && docker network create two && docker network create --internal inner",
    );
    serve(&session, "srv", "--network one", "hi");
    serve(&session, "hidden", "--network inner", "secret");
    let address = |name: &str, network: &str| {
        let format =
            format!("docker inspect -f '{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}' {name}");
        ok(&session, &format).trim().to_owned()
    };
    let (srv, hidden) = (address("srv", "one"), address("hidden", "inner"));
    let get = |network: &str, address: &str| {
        session.sh(
            "node1",
            &format!("docker run --rm --network {network} busybox sh -c 'timeout 2 wget -qO- http://{address}; exit $?'"),
        )
    };
    assert_eq!(get("one", &srv).stdout, "hi\n");
    assert_eq!(get("inner", &hidden).stdout, "secret\n");
    for (network, address) in
        [("two", &srv), ("bridge", &srv), ("one", &hidden), ("bridge", &hidden), ("inner", &srv)]
    {
        assert_ne!(get(network, address).status, 0, "{network} reaches {address}");
    }
    let direct = format!("ip route add {srv} via 192.168.0.11; curl -sS -m2 http://{srv}");
    assert_ne!(session.sh("node2", &direct).status, 0, "another node reaches a port that is not published");
    let out = session.sh("node1", "docker run --rm --network inner busybox ping -c1 -W2 192.168.0.12");
    assert_ne!(out.status, 0, "an internal network reaches the session");
    assert_eq!(
        session.sh("node1", "docker run --rm --network two busybox ping -c1 -W9 192.168.0.12").status,
        0
    );
    session.works("node1");
}

#[test]
fn other_modes_and_old_links_work() {
    let instance = Instance::start();
    let session = instance.session(&[]);
    serve(&session, "srv", "--expose 80 -e COLOR=blue", "hello");
    assert_eq!(
        ok(&session, "docker run --rm --link srv:backend busybox wget -qO- http://backend"),
        "hello\n"
    );
    let env = ok(&session, "docker run --rm --name web --link srv:backend busybox env");
    for line in ["BACKEND_PORT_80_TCP_PORT=80", "BACKEND_NAME=/web/backend", "BACKEND_ENV_COLOR=blue"] {
        assert!(env.lines().any(|one| one == line), "{line} is missing: {env}");
    }
    let shared =
        ok(&session, "docker run --rm --network container:srv busybox sh -c 'wget -qO- localhost; hostname'");
    let id = ok(&session, "docker inspect -f '{{slice .Id 0 12}}' srv");
    assert_eq!(shared, format!("hello\n{id}"));
    let words = fails(&session, 125, "docker run --rm --network container:nosuch busybox true");
    assert_eq!(
        words,
        "docker: Error response from daemon: joining network namespace of container: No such container: nosuch"
    );
    assert_eq!(ok(&session, "docker run --rm --network none busybox ip -o link | wc -l").trim(), "1");
    assert_eq!(ok(&session, "docker run --rm --network host busybox hostname"), "node1\n");
    let words = fails(&session, 125, "docker run --rm --network nosuchnet busybox true");
    assert_eq!(
        words,
        "docker: Error response from daemon: failed to set up container networking: network nosuchnet not found"
    );
    let mac = "docker run --rm --mac-address 02:11:22:33:44:55 busybox cat /sys/class/net/eth0/address";
    assert_eq!(ok(&session, mac), "02:11:22:33:44:55\n");
    let hosts = ok(
        &session,
        "docker run --rm --add-host gate:host-gateway --dns 9.9.9.9 busybox cat /etc/hosts /etc/resolv.conf",
    );
    assert!(hosts.contains("172.17.0.1\tgate\n") && hosts.contains("nameserver 9.9.9.9\n"), "{hosts}");
    session.works("node1");
}

#[test]
fn everything_stays_when_the_engine_is_killed() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    ok(&session, "docker network create appnet");
    serve(&session, "db", "--network appnet -p 8080:80", "hi");
    ok(&session, "docker run -d --name app --network appnet busybox sleep 1000");
    // Links that an engine was making when it ended.
    ok(
        &session,
        "ip link add veth0123abc type veth peer name veth4567def; ip link add br-0123456789ab type bridge",
    );
    for pid in engines_of(&session.instance_name()) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the engine runs");
    }
    assert_eq!(session.sh("node2", "curl -sS -m30 node1:8080").stdout, "hi\n");
    eventually("the engine is back", || session.sh("node1", "docker ps -q").status == 0);
    assert_eq!(ok(&session, "docker exec app timeout 9 wget -qO- http://db"), "hi\n");
    assert_eq!(ok(&session, "curl -sS -m9 localhost:8080"), "hi\n");
    eventually("what nobody owns is gone", || {
        session.sh("node1", "ip -o link | grep -e veth0123abc -e br-0123456789ab").status == 1
    });
    let words = fails(&session, 125, "docker run --rm -p 8080:80 busybox true");
    assert!(words.ends_with("port is already allocated"), "{words}");
    let next = ok(&session, "docker run --rm --network appnet busybox hostname -i");
    assert_eq!(next, "172.18.0.4\n", "an address was given twice");
    ok(&session, "docker rm -f db app && docker network rm appnet");
    assert_eq!(ok(&session, "ss -Hltnu"), "", "a socket stayed");
    session.works("node1");
}
