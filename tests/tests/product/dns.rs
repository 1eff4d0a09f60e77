//! The session's DNS, asked too much.

use drydock_tests::instance::{Instance, eventually};

/// Asks for node1 over and over on one socket, while another process reads the
/// answers; prints how many bytes of them came, and of one alone.
const FLOOD: &str = r#"
question='\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05node1\x00\x00\x01\x00\x01'
exec 3<>/dev/udp/192.168.0.1/53
cat <&3 >/tmp/answers & reader=$!
printf "$question" >&3
until [ -s /tmp/answers ]; do :; done
one=$(stat -c %s /tmp/answers)
for ((i = 0; i < 20000; i++)); do printf "$question" >&3; done
kill $reader; wait $reader 2>/dev/null
echo $(($(stat -c %s /tmp/answers) / one))
"#;

#[test]
fn n08_who_asks_too_much_is_not_answered_and_a_neighbour_is() {
    let instance = Instance::start();
    let session = instance.session(&["--nodes", "2"]);
    let flood = session.sh("node1", FLOOD);
    assert_eq!(flood.status, 0, "{flood:?}");
    let answers: u32 = flood.stdout.trim().parse().unwrap_or_else(|_| panic!("{flood:?}"));
    assert!((1..10_000).contains(&answers), "{answers} of 20,001 questions were answered");
    let looked_up = |node: &str| session.sh(node, "getent hosts node2").stdout;
    assert!(looked_up("node2").contains("192.168.0.12"));
    eventually("the node is answered again", || looked_up("node1").contains("192.168.0.12"));
    session.works("node1");
}
