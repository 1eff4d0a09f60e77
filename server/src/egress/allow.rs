//! The operator's list of hosts that labs may reach.

use std::net::IpAddr;

/// Ports that an entry without one allows.
const PORTS: [u16; 2] = [80, 443];

/// Ports that no entry allows: mail, which a learner could send in our name.
const NEVER: [u16; 3] = [25, 465, 587];

/// Hosts that may be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// Any host with a public address.
    Any,
    /// All names below this one.
    Below(String),
    /// This very name or address.
    This(String),
}

/// What the list says of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not on the list.
    No,
    /// It is, if its address is a public one.
    Public,
    /// It is by its very name: the operator means it, wherever it is.
    Named,
}

impl AllowList {
    /// Reads entries such as `deb.debian.org`, `*.pypi.org`, `mirror.lan:8080`, `*`.
    pub fn parse(entries: &[String]) -> Result<AllowList, String> {
        let entries = entries.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty());
        Ok(AllowList { entries: entries.map(entry).collect::<Result<_, _>>()? })
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn verdict(&self, host: &str, port: u16) -> Verdict {
        if NEVER.contains(&port) {
            return Verdict::No;
        }
        let host = plain(host);
        let fits = |entry: &&Entry| match entry.port {
            Some(allowed) => allowed == port,
            None => PORTS.contains(&port),
        };
        let mut verdict = Verdict::No;
        for entry in self.entries.iter().filter(fits) {
            match &entry.host {
                Host::This(name) if *name == host => return Verdict::Named,
                Host::Any => verdict = Verdict::Public,
                Host::Below(name) if is_below(&host, name) => verdict = Verdict::Public,
                _ => {}
            }
        }
        verdict
    }
}

fn is_below(host: &str, name: &str) -> bool {
    host.strip_suffix(name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// As names are compared: lower case, without the root's dot or brackets.
fn plain(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn entry(text: &str) -> Result<Entry, String> {
    let wrong = || format!("{text:?} is no host, such as deb.debian.org, *.pypi.org or mirror.lan:8080");
    let (host, port) = split(text).ok_or_else(wrong)?;
    if port.is_some_and(|port| port == 0 || NEVER.contains(&port)) {
        return Err(format!("{text:?}: this port is never allowed"));
    }
    if host == "*" {
        return Ok(Entry { host: Host::Any, port });
    }
    let host = plain(host);
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
    };
    let host = match host.strip_prefix("*.") {
        Some(name) if is_name(name) => Host::Below(name.to_owned()),
        None if is_name(&host) || host.parse::<IpAddr>().is_ok() => Host::This(host),
        _ => return Err(wrong()),
    };
    Ok(Entry { host, port })
}

/// Host and port; IPv6 addresses stand in brackets where a port follows.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Result<AllowList, String> {
        AllowList::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_host_is_on_the_list_or_not() {
        let list =
            list(&["deb.debian.org", "*.pypi.org", "mirror.lan:8080", "10.1.2.3", "[fd00::1]:443"]).unwrap();
        for (host, port, verdict) in [
            ("deb.debian.org", 80, Verdict::Named),
            ("DEB.Debian.org.", 443, Verdict::Named),
            ("deb.debian.org", 8080, Verdict::No),
            ("debian.org", 80, Verdict::No),
            ("a.b.pypi.org", 443, Verdict::Public),
            ("pypi.org", 443, Verdict::No),
            (".pypi.org", 443, Verdict::No),
            ("evilpypi.org", 443, Verdict::No),
            ("mirror.lan", 8080, Verdict::Named),
            ("mirror.lan", 80, Verdict::No),
            ("10.1.2.3", 80, Verdict::Named),
            ("[fd00::1]", 443, Verdict::Named),
        ] {
            assert_eq!(list.verdict(host, port), verdict, "{host}:{port}");
        }
    }

    #[test]
    fn any_host_is_never_any_address_and_never_mail() {
        let list = list(&["*", "*:8443"]).unwrap();
        assert_eq!(list.verdict("example.org", 443), Verdict::Public);
        assert_eq!(list.verdict("example.org", 8443), Verdict::Public);
        assert_eq!(list.verdict("example.org", 25), Verdict::No);
        assert_eq!(AllowList::default().verdict("example.org", 443), Verdict::No);
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in ["a b", "http://x", "x:y", "*.*", "a*", "mail.example:25", "x:0", "*.", "x/y"] {
            assert!(list(&[wrong]).is_err(), "{wrong}");
        }
        assert!(list(&["", " "]).unwrap().is_empty());
    }
}
