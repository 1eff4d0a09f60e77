//! What holds for all tests that stand for an attack.

/// The files whose rows are attacks from inside a node.
const FILES: [(&str, &str); 6] = [
    ("escape.rs", include_str!("escape.rs")),
    ("exhaustion.rs", include_str!("exhaustion.rs")),
    ("hostile_output.rs", include_str!("hostile_output.rs")),
    ("network.rs", include_str!("network.rs")),
    ("tenants.rs", include_str!("tenants.rs")),
    ("unkillable.rs", include_str!("unkillable.rs")),
];

#[test]
fn each_attack_is_followed_by_a_look_at_the_node_and_its_neighbour() {
    let looks = ["attack(|", "attack_kinds(", "never_noticed()"];
    let mut rows = 0;
    for (file, text) in FILES {
        for test in text.split("#[test]\nfn ").skip(1).filter(|test| is_row(test)) {
            let name = test.split('(').next().unwrap_or_default();
            assert!(looks.iter().any(|look| test.contains(look)), "{file}: {name} does not look");
            rows += 1;
        }
    }
    assert!(rows > 30, "only {rows} rows were found");
}

/// Whether a test's name begins with a row's: a letter, two digits, `_`.
fn is_row(test: &str) -> bool {
    let bytes = test.as_bytes();
    bytes.len() > 3 && bytes[1..3].iter().all(u8::is_ascii_digit) && bytes[3] == b'_'
}
