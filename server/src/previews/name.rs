//! The first label of a preview's host: `<port>-<node>-<token>`.

/// Letters and digits that a token is made of, five bits each.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Digits of a token: 130 bits.
const TOKEN_DIGITS: usize = 26;

/// The longest label of a host name.
const LABEL_MAX: usize = 63;

/// A token from bytes that nobody can guess.
pub(super) fn token(bytes: [u8; 32]) -> String {
    let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let digit = |at: usize| (0..5).fold(0, |value, offset| value << 1 | bit(at * 5 + offset));
    (0..TOKEN_DIGITS).map(|at| char::from(DIGITS[digit(at)])).collect()
}

/// The label for a port of a node; `None` when it would be too long for one.
pub(super) fn label(port: u16, node: &str, token: &str) -> Option<String> {
    let label = format!("{port}-{node}-{token}");
    (label.len() <= LABEL_MAX).then_some(label)
}

/// Port, node and token of a label.
pub(super) fn parse(label: &str) -> Option<(u16, &str, &str)> {
    let (port, rest) = label.split_once('-')?;
    let (node, token) = rest.rsplit_once('-')?;
    if port.starts_with(['0', '+']) || !crate::host::is_node_name(node) || token.len() != TOKEN_DIGITS {
        return None;
    }
    Some((port.parse().ok()?, node, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_port_node_and_token() {
        let token = token([0xa5; 32]);
        assert_eq!(token.len(), TOKEN_DIGITS);
        let label = label(8080, "my-node", &token).unwrap();
        assert_eq!(parse(&label), Some((8080, "my-node", token.as_str())));
        assert_eq!(super::label(8080, &"n".repeat(40), &token), None, "no label is so long");
    }

    #[test]
    fn what_is_no_label_is_refused() {
        let token = token([1; 32]);
        for label in [
            "",
            "8080",
            "8080-node1",
            "x-node1-y",
            &format!("0-node1-{token}"),
            &format!("70000-node1-{token}"),
            &format!("80--{token}"),
            &format!("80-node1-{token}a"),
            &format!("+80-node1-{token}"),
            &format!("80-a.b-{token}"),
        ] {
            assert_eq!(parse(label), None, "{label}");
        }
    }

    #[test]
    fn tokens_differ_in_every_bit_they_are_made_of() {
        let plain = token([0; 32]);
        for bit in 0..TOKEN_DIGITS * 5 {
            let mut bytes = [0; 32];
            bytes[bit / 8] |= 0x80 >> (bit % 8);
            assert_ne!(token(bytes), plain, "bit {bit}");
        }
    }
}
