//! Keys by name.

/// The bytes a terminal sends for the key `name`; `None` when there is no such key.
pub fn key_bytes(name: &str) -> Option<Vec<u8>> {
    let bytes: &[u8] = match name {
        "enter" => b"\r",
        "tab" => b"\t",
        "esc" => b"\x1b",
        "space" => b" ",
        "backspace" => b"\x7f",
        "up" => b"\x1b[A",
        "down" => b"\x1b[B",
        "right" => b"\x1b[C",
        "left" => b"\x1b[D",
        _ => return single(name),
    };
    Some(bytes.to_vec())
}

fn single(name: &str) -> Option<Vec<u8>> {
    let (control, rest) = match name.strip_prefix("ctrl-") {
        Some(rest) => (true, rest),
        None => (false, name),
    };
    let mut chars = rest.chars();
    let (Some(key), None) = (chars.next(), chars.next()) else { return None };
    match control {
        true if key.is_ascii_alphabetic() => Some(vec![key.to_ascii_uppercase() as u8 & 0x1f]),
        true => None,
        false if key.is_control() => None,
        false => Some(key.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::key_bytes;

    #[test]
    fn keys_have_the_bytes_of_a_terminal() {
        assert_eq!(key_bytes("q"), Some(b"q".to_vec()));
        assert_eq!(key_bytes("ctrl-d"), Some(vec![4]));
        assert_eq!(key_bytes("ctrl-C"), Some(vec![3]));
        assert_eq!(key_bytes("enter"), Some(b"\r".to_vec()));
        assert_eq!(key_bytes("ä"), Some("ä".as_bytes().to_vec()));
        assert_eq!(key_bytes("ctrl-1"), None);
        assert_eq!(key_bytes("quit"), None);
        assert_eq!(key_bytes(""), None);
    }
}
