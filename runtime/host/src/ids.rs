//! Random ids, names, and the nodes' id ranges.

use std::{collections::BTreeSet, fs, io, net::Ipv4Addr};

use drydock_sandbox::id_map::RANGE;

const ID_LENGTH: usize = 26;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// The first id of the first node's range.
const BASE_FIRST: u32 = 1_000_000;
const NAME_MAX: usize = 20;
/// The first node's last address byte.
const ADDRESS_FIRST: u8 = 11;
const ADDRESS_LAST: u8 = 250;

/// An unguessable id: 26 lower-case letters and digits, 134 bits.
pub(crate) fn random() -> io::Result<String> {
    let mut id = String::with_capacity(ID_LENGTH);
    let mut bytes = [0; 64];
    while id.len() < ID_LENGTH {
        let count = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        // 252 is the largest multiple of 36 in a byte: no letter is likelier.
        let fair = bytes[..count].iter().filter(|byte| **byte < 252);
        id.extend(fair.map(|byte| char::from(ALPHABET[usize::from(byte % 36)])));
    }
    id.truncate(ID_LENGTH);
    Ok(id)
}

/// Whether a text can be a session's id.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// Whether a text can be a node's name: a host name that begins with a letter.
pub(crate) fn is_name(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= NAME_MAX
        && text.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && text.bytes().all(rest)
        && !text.ends_with('-')
        // What the session's DNS has already.
        && !["hub", "gateway", "localhost"].contains(&text)
}

/// The next free `nodeN`.
pub(crate) fn next_name<'a>(taken: impl Iterator<Item = &'a str> + Clone) -> String {
    let free = (1u32..).map(|number| format!("node{number}"));
    free.into_iter().find(|name| !taken.clone().any(|other| other == name)).unwrap_or_default()
}

/// The lowest free address of a session's network.
pub(crate) fn next_address(taken: impl Iterator<Item = Ipv4Addr> + Clone) -> Option<Ipv4Addr> {
    (ADDRESS_FIRST..=ADDRESS_LAST)
        .map(|last| Ipv4Addr::new(192, 168, 0, last))
        .find(|address| !taken.clone().any(|other| other == *address))
}

/// The lowest range of ids that no node, and nobody else on the machine, has.
pub(crate) fn next_base(taken: &BTreeSet<u32>, foreign: &[(u32, u32)]) -> Option<u32> {
    (BASE_FIRST..=u32::MAX - 2 * RANGE).step_by(RANGE as usize).find(|base| {
        let overlaps = |(first, count): &(u32, u32)| {
            u64::from(*first) < u64::from(*base) + u64::from(RANGE)
                && u64::from(*base) < u64::from(*first) + u64::from(*count)
        };
        !taken.contains(base) && !foreign.iter().any(overlaps)
    })
}

/// Ranges that `/etc/subuid` and `/etc/subgid` give to users: first id, count.
pub(crate) fn foreign_ranges() -> io::Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    for path in ["/etc/subuid", "/etc/subgid"] {
        match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            text => found.extend(text?.lines().filter_map(subordinate)),
        }
    }
    Ok(found)
}

fn subordinate(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_fit_for_a_host_name_and_differ() {
        let ids: BTreeSet<_> = (0..100).map(|_| random().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| is_id(id)));
        assert!(!is_id("short") && !is_id(&"A".repeat(26)) && !is_id(&"/".repeat(26)));
    }

    #[test]
    fn names_are_host_names() {
        assert!(["node1", "a", "manager-2"].iter().all(|name| is_name(name)));
        let long = "n".repeat(21);
        for bad in ["", "1node", "Node", "a_b", "a/b", "a.", "a-", "hub", "..", &long] {
            assert!(!is_name(bad), "{bad}");
        }
        assert_eq!(next_name(["node1", "node3"].into_iter()), "node2");
    }

    #[test]
    fn a_range_is_never_shared() {
        let taken = BTreeSet::from([1_000_000]);
        assert_eq!(next_base(&taken, &[]), Some(1_065_536));
        // Someone's range ends in the middle of the second.
        assert_eq!(next_base(&taken, &[(1_065_000, 1_000)]), Some(1_131_072));
        assert_eq!(subordinate("kim:100000:65536"), Some((100_000, 65_536)));
    }

    #[test]
    fn addresses_are_reused_when_free() {
        let taken = [Ipv4Addr::new(192, 168, 0, 11), Ipv4Addr::new(192, 168, 0, 13)];
        assert_eq!(next_address(taken.into_iter()), Some(Ipv4Addr::new(192, 168, 0, 12)));
        let all = (11..=250).map(|last| Ipv4Addr::new(192, 168, 0, last));
        assert_eq!(next_address(all), None);
    }
}
